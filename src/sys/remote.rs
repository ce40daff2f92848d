//! Whether a tree is on this machine.

use std::path::Path;

/// File systems whose files are, or may be, on another machine, by the `f_type` of statfs(2); the numbers are those of
/// Linux's `magic.h` and of the file systems' own sources.
const REMOTE: [u32; 9] = [
    0x6969,      // NFS
    0x6573_5546, // FUSE: sshfs, s3fs, GlusterFS, ...
    0xFF53_4D42, // CIFS
    0xFE53_4D42, // SMB 2 and later
    0x517B,      // smbfs
    0x00C3_6400, // Ceph
    0x0102_1997, // 9p
    0x5346_414F, // AFS
    0x0BD0_0BD0, // Lustre
];

/// Whether each question to a tree's file system may cross a network.
pub fn is_remote(root: &Path) -> bool {
    rustix::fs::statfs(root).is_ok_and(|found| REMOTE.contains(&(found.f_type as u32)))
}
