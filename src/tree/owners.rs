//! The names of numeric owners, and back, and who is to own what is restored.

use crate::model::{Meta, Owners};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The users and groups of this machine, from `/etc/passwd` and `/etc/group`.
///
/// Read directly, since a static binary in an empty image has no name service to ask.
#[derive(Clone, Debug, Default)]
pub struct OwnerNames {
    users: BTreeMap<Vec<u8>, u32>,
    groups: BTreeMap<Vec<u8>, u32>,
}

impl OwnerNames {
    /// Reads `/etc/passwd` and `/etc/group`; a file that is missing has no names.
    pub fn of_this_machine() -> Self {
        Self { users: parse(Path::new("/etc/passwd")), groups: parse(Path::new("/etc/group")) }
    }

    /// The uid of a user.
    pub fn uid(&self, name: &[u8]) -> Option<u32> {
        self.users.get(name).copied()
    }

    /// The gid of a group.
    pub fn gid(&self, name: &[u8]) -> Option<u32> {
        self.groups.get(name).copied()
    }

    /// The names of these owners, as far as they have one.
    pub fn of(&self, uids: &BTreeSet<u32>, gids: &BTreeSet<u32>) -> Owners {
        Owners { users: select(&self.users, uids), groups: select(&self.groups, gids) }
    }
}

/// Whose the restored files are to be.
#[derive(Clone, Debug)]
pub enum OwnerMap {
    /// Whoever restores owns them.
    Nobody,
    /// The numbers in the manifest.
    Numeric,
    /// The owners of the manifest's names on this machine; the numbers where a name is not known.
    Names(Owners, OwnerNames),
}

impl OwnerMap {
    /// The uid and gid that an entry is to have; none where owners are not restored.
    pub fn owner(&self, meta: &Meta) -> Option<(u32, u32)> {
        match self {
            Self::Nobody => None,
            Self::Numeric => Some((meta.uid, meta.gid)),
            Self::Names(there, here) => {
                let uid = there.user(meta.uid).and_then(|name| here.uid(name)).unwrap_or(meta.uid);
                let gid = there.group(meta.gid).and_then(|name| here.gid(name)).unwrap_or(meta.gid);
                Some((uid, gid))
            }
        }
    }

    /// The mode that an entry is to have where a path's owner is this one. Without its owner or group a file goes
    /// without the setuid or setgid bit: it would give away the rights of somebody who never gave them.
    pub fn mode(&self, meta: &Meta, is_file: bool, now: (u32, u32)) -> u32 {
        let (uid, gid) = self.owner(meta).unwrap_or((meta.uid, meta.gid));
        let withheld = |bit: u32, same: bool| if is_file && !same { bit } else { 0 };
        meta.mode & !(withheld(0o4000, uid == now.0) | withheld(0o2000, gid == now.1))
    }
}

/// The first name of each wanted id.
fn select(names: &BTreeMap<Vec<u8>, u32>, wanted: &BTreeSet<u32>) -> Vec<(u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for (name, id) in names.iter().filter(|(_, id)| wanted.contains(id)) {
        found.entry(*id).or_insert_with(|| name.clone());
    }
    found.into_iter().collect()
}

/// Both files have the name first and the number third, separated by colons.
fn parse(path: &Path) -> BTreeMap<Vec<u8>, u32> {
    let text = std::fs::read(path).unwrap_or_default();
    let row = |line: &[u8]| {
        let mut fields = line.split(|&b| b == b':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let id = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
        Some((name.to_vec(), id))
    };
    text.split(|&b| b == b'\n').filter_map(row).collect()
}
