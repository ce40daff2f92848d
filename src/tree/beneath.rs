//! Opening paths below a folder without ever leaving it.

use crate::model::ArchivePath;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Opens `path` below `root`, following no symbolic link on the way: a tree that is changed under us, or that was
/// made to harm, cannot lead outside. A symbolic link anywhere in the path gives `ELOOP` (or `ENOTDIR`).
pub(super) fn open_beneath(root: BorrowedFd<'_>, path: &ArchivePath, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = if path.is_root() { Path::new(".") } else { path.as_path() };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut retries = 0;
    loop {
        match rustix::fs::openat2(root, name, flags, Mode::empty(), resolve) {
            // Kernels before 5.6, strict seccomp profiles; and paths that are too long for one call.
            Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG) => return by_component(root, path, flags),
            Err(Errno::INTR) => {}
            // A rename elsewhere may have raced with the lookup; a file under a lease says the same for long.
            Err(Errno::AGAIN) if retries < 100 => retries += 1,
            result => return result,
        }
    }
}

fn by_component(root: BorrowedFd<'_>, path: &ArchivePath, flags: OFlags) -> Result<OwnedFd> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(root, ".", step, Mode::empty())?;
    let mut components = path.components().peekable();
    while let Some(name) = components.next() {
        let flags = if components.peek().is_some() { step } else { flags };
        at = rustix::fs::openat(at.as_fd(), name, flags, Mode::empty())?;
    }
    if path.is_root() { rustix::fs::openat(at.as_fd(), ".", flags, Mode::empty()) } else { Ok(at) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn stays_below_in_both_ways() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/f"), b"x").unwrap();
        symlink("/etc", dir.path().join("out")).unwrap();
        symlink("b", dir.path().join("a/in")).unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for open in [open_beneath, by_component] {
            let path = |p: &str| ArchivePath::parse(p.as_bytes()).unwrap();
            let try_open = |p: &str| open(root.as_fd(), &path(p), OFlags::RDONLY | OFlags::NOFOLLOW);
            assert!(try_open("a/b/f").is_ok() && try_open("").is_ok());
            for bad in ["out/passwd", "out", "a/in/f", "a/in"] {
                assert!(try_open(bad).is_err(), "{bad}");
            }
        }
    }
}
