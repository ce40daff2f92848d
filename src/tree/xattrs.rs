//! Extended attributes, POSIX ACLs and file capabilities among them.

use crate::model::Xattr;
use rustix::fs;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Where the attributes are.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// Of an open file or folder.
    Open(BorrowedFd<'a>),
    /// Of what stands at a path; a symbolic link is not followed.
    Path(&'a Path),
}

/// All attributes, sorted by name. None where the file system has none.
pub(super) fn read(place: Place<'_>) -> rustix::io::Result<Vec<Xattr>> {
    let list = |buffer: &mut Vec<u8>| match place {
        Place::Open(fd) => fs::flistxattr(fd, buffer.as_mut_slice()),
        Place::Path(path) => fs::llistxattr(path, buffer.as_mut_slice()),
    };
    let names = match sized(list) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        names => names?,
    };
    // Some file systems list a name twice.
    let names: BTreeSet<&[u8]> = names.split(|&b| b == 0).filter(|n| !n.is_empty()).collect();
    let mut xattrs = Vec::new();
    for name in names {
        let get = |buffer: &mut Vec<u8>| match place {
            Place::Open(fd) => fs::fgetxattr(fd, name, buffer.as_mut_slice()),
            Place::Path(path) => fs::lgetxattr(path, name, buffer.as_mut_slice()),
        };
        match sized(get) {
            Ok(value) => xattrs.push(Xattr { name: name.to_vec(), value }),
            // Removed since it was listed, or listed by a file system that then denies it.
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(xattrs)
}

/// Calls with a buffer that grows until the result fits; the kernel's limit is 64 KiB for a list and for a value.
fn sized(call: impl Fn(&mut Vec<u8>) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 1 << 8];
    loop {
        match call(&mut buffer) {
            Err(Errno::RANGE) if buffer.len() < 64 << 10 => buffer.resize(buffer.len() * 4, 0),
            result => {
                buffer.truncate(result?);
                buffer.shrink_to_fit();
                return Ok(buffer);
            }
        }
    }
}

/// Makes the attributes equal to `wanted`; those in `keep` are left alone where they are not wanted.
/// Returns the names that could not be set or removed, with the reasons.
pub(super) fn write(
    place: Place<'_>,
    wanted: &[Xattr],
    keep: &dyn Fn(&[u8]) -> bool,
) -> Vec<(Vec<u8>, Errno)> {
    let mut failures = Vec::new();
    let found = match read(place) {
        Ok(found) => found,
        // A file system without attributes matters only where some are wanted.
        Err(_) if wanted.is_empty() => return failures,
        Err(_) => Vec::new(),
    };
    for old in &found {
        if keep(&old.name) || wanted.iter().any(|w| w.name == old.name) {
            continue;
        }
        let removed = match place {
            Place::Open(fd) => fs::fremovexattr(fd, old.name.as_slice()),
            Place::Path(path) => fs::lremovexattr(path, old.name.as_slice()),
        };
        if let Err(e) = removed {
            failures.push((old.name.clone(), e));
        }
    }
    for new in wanted.iter().filter(|w| !found.contains(w)) {
        let flags = fs::XattrFlags::empty();
        let set = match place {
            Place::Open(fd) => fs::fsetxattr(fd, new.name.as_slice(), &new.value, flags),
            Place::Path(path) => fs::lsetxattr(path, new.name.as_slice(), &new.value, flags),
        };
        if let Err(e) = set {
            failures.push((new.name.clone(), e));
        }
    }
    failures
}

/// Attributes that are the machine's own: they are not removed where the manifest has none.
pub(super) fn kept(name: &[u8]) -> bool {
    const LABELS: [&[u8]; 4] = [b"security.selinux", b"security.ima", b"security.evm", b"security.apparmor"];
    let prefixes: [&[u8]; 3] = [b"security.SMACK64", b"system.nfs4", b"btrfs."];
    LABELS.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}
