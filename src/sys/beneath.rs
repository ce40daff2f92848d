//! Opening paths below a directory without ever leaving it.

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::{Errno, Result};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Opens `path`, relative to `root` and empty for the root itself, following no symbolic link on the way: a tree that
/// is changed under us, or that was made to harm, cannot lead outside.
///
/// # Errors
/// What the kernel says; [`is_blocked`] tells a symbolic link, or what is not a directory, on the way. With
/// [`OFlags::PATH`] a symbolic link at the end is opened itself.
pub fn open_beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    open_within(root, path, flags, ResolveFlags::empty())
}

/// The same, with more that the kernel sees to on the way where it knows `openat2`.
///
/// # Errors
/// As [`open_beneath`].
pub fn open_within(root: BorrowedFd<'_>, path: &Path, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | more;
    let mut retries = 0;
    loop {
        match rustix::fs::openat2(root, name, flags, Mode::empty(), resolve) {
            // Kernels before 5.6, strict seccomp profiles.
            Err(Errno::NOSYS | Errno::PERM) => return by_component(root, path, flags),
            Err(Errno::NAMETOOLONG) => return by_parts(root, path, flags, more),
            Err(Errno::INTR) => {}
            // A rename elsewhere may have raced with the lookup; a file under a lease says the same for long.
            Err(Errno::AGAIN) if retries < 100 => retries += 1,
            result => return result,
        }
    }
}

/// Whether an error of [`open_beneath`] says that a symbolic link, or something else that is not a directory, stands on
/// the way or where a directory was wanted.
pub fn is_blocked(error: Errno) -> bool {
    matches!(error, Errno::LOOP | Errno::NOTDIR | Errno::XDEV)
}

/// Asks the server, where there is one, what a directory is now: a client's listing may be a minute old.
pub fn refresh(folder: BorrowedFd<'_>) {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    let _ = rustix::fs::statx(folder, "", flags, StatxFlags::MTIME | StatxFlags::CTIME);
}

/// Bytes of a path that one call takes.
const MAX_PART: usize = 4000;

/// Opens a path that is too long for one call: piece by piece, each as long as can be. By single components, a tree of
/// many levels would take a call for each level above each of them.
fn by_parts(root: BorrowedFd<'_>, path: &Path, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd> {
    let bytes = path.as_os_str().as_bytes();
    let cut = bytes.get(..MAX_PART).and_then(|start| start.iter().rposition(|&byte| byte == b'/'));
    let Some((first, rest)) = cut.and_then(|at| bytes.split_at_checked(at)) else {
        // One name is too long.
        return by_component(root, path, flags);
    };
    let part = |bytes| Path::new(OsStr::from_bytes(bytes));
    let step = OFlags::PATH | OFlags::DIRECTORY;
    let folder = open_within(root, part(first), step, more)?;
    open_within(folder.as_fd(), part(rest.get(1..).unwrap_or_default()), flags, more)
}

fn by_component(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(root, ".", step, Mode::empty())?;
    let mut components = path.iter().peekable();
    if components.peek().is_none() {
        return rustix::fs::openat(at.as_fd(), ".", flags, Mode::empty());
    }
    while let Some(name) = components.next() {
        if name == OsStr::new("..") || name == OsStr::new("/") {
            return Err(Errno::XDEV);
        }
        let flags = if components.peek().is_some() { step } else { flags };
        at = rustix::fs::openat(at.as_fd(), name, flags, Mode::empty())?;
    }
    Ok(at)
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
        symlink("loop", dir.path().join("loop")).unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for open in [open_beneath, by_component] {
            let try_open = |p: &str| open(root.as_fd(), Path::new(p), OFlags::RDONLY | OFlags::NOFOLLOW);
            assert!(try_open("a/b/f").is_ok() && try_open("").is_ok());
            for bad in
                ["out/passwd", "out", "a/in/f", "a/in", "loop", "loop/x", "a/b/f/g", "../x", "a/../../x"]
            {
                assert!(is_blocked(try_open(bad).unwrap_err()), "{bad}");
            }
            assert_eq!(try_open("a/c").unwrap_err(), Errno::NOENT);
        }
    }
}
