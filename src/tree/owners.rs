//! The names of numeric owners, and back, and who is to own what is restored.

use super::ids::{OwnerId, ids_in, mapped};
use crate::model::{Meta, Owners, Xattr};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The users and groups of this machine, from `/etc/passwd` and `/etc/group`.
///
/// Read directly, since a static binary in an empty image has no name service to ask. As with the C library's getpwnam and
/// getpwuid, of several lines with one name or one number the first counts.
#[derive(Clone, Debug, Default)]
pub struct OwnerNames {
    users: Names,
    groups: Names,
}

#[derive(Clone, Debug, Default)]
struct Names {
    by_name: BTreeMap<Vec<u8>, u32>,
    by_id: BTreeMap<u32, Vec<u8>>,
}

impl OwnerNames {
    /// Reads `/etc/passwd` and `/etc/group`; a file that is missing has no names.
    pub fn of_this_machine() -> Self {
        let read = |path| Names::parse(&std::fs::read(Path::new(path)).unwrap_or_default());
        Self { users: read("/etc/passwd"), groups: read("/etc/group") }
    }

    /// The uid of a user.
    pub fn uid(&self, name: &[u8]) -> Option<u32> {
        self.users.by_name.get(name).copied()
    }

    /// The gid of a group.
    pub fn gid(&self, name: &[u8]) -> Option<u32> {
        self.groups.by_name.get(name).copied()
    }

    /// The names of these owners, as far as they have one.
    pub fn of(&self, uids: &BTreeSet<u32>, gids: &BTreeSet<u32>) -> Owners {
        Owners { users: self.users.of(uids), groups: self.groups.of(gids) }
    }
}

impl Names {
    /// Both files have the name first and the number third, separated by colons.
    fn parse(text: &[u8]) -> Self {
        let row = |line: &[u8]| {
            let mut fields = line.split(|&b| b == b':');
            let name = fields.next().filter(|n| !n.is_empty())?;
            let id = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
            Some((name.to_vec(), id))
        };
        let mut names = Self::default();
        for (name, id) in text.split(|&b| b == b'\n').filter_map(row) {
            names.by_id.entry(id).or_insert_with(|| name.clone());
            names.by_name.entry(name).or_insert(id);
        }
        names
    }

    fn of(&self, ids: &BTreeSet<u32>) -> Vec<(u32, Vec<u8>)> {
        ids.iter().filter_map(|id| Some((*id, self.by_id.get(id)?.clone()))).collect()
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
            _ => Some((self.uid(meta.uid), self.gid(meta.gid))),
        }
    }

    /// The uid here of a uid in the manifest. Root is root on every machine, and nobody else is.
    fn uid(&self, uid: u32) -> u32 {
        let Self::Names(there, here) = self else { return uid };
        there
            .user(uid)
            .and_then(|name| here.uid(name))
            .filter(|here| (*here == 0) == (uid == 0))
            .unwrap_or(uid)
    }

    /// The gid here of a gid in the manifest.
    fn gid(&self, gid: u32) -> u32 {
        let Self::Names(there, here) = self else { return gid };
        there
            .group(gid)
            .and_then(|name| here.gid(name))
            .filter(|here| (*here == 0) == (gid == 0))
            .unwrap_or(gid)
    }

    /// The attributes that an entry is to have: users and groups that ACLs and capabilities name are those of this machine.
    pub fn xattrs<'a>(&self, wanted: &'a [Xattr]) -> Cow<'a, [Xattr]> {
        if !matches!(self, Self::Names(..)) || !wanted.iter().any(|xattr| ids_in(xattr).next().is_some()) {
            return Cow::Borrowed(wanted);
        }
        wanted.iter().map(|xattr| mapped(xattr, |id| self.id(id))).collect()
    }

    fn id(&self, id: OwnerId) -> u32 {
        match id {
            OwnerId::User(uid) => self.uid(uid),
            OwnerId::Group(gid) => self.gid(gid),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts() {
        let names =
            Names::parse(b"root:x:0:0::/:\nadmin:x:0:0::/:\nbob:x:7:7::/:\nbob:x:8:8::/:\n:x:9:9\nno\n");
        assert_eq!(
            names.of(&BTreeSet::from([0, 7, 8, 9])),
            [(0, b"root".into()), (7, b"bob".into()), (8, b"bob".into())]
        );
        assert_eq!(names.by_name.get(b"bob".as_slice()), Some(&7));
    }

    #[test]
    fn root_is_root_and_nobody_else_is() {
        let names = |text: &[u8]| OwnerNames { users: Names::parse(text), groups: Names::parse(text) };
        let there = names(b"toor:x:0:0\nwheel:x:5:5\nann:x:6:6\n");
        let here = names(b"toor:x:900:900\nwheel:x:0:0\nann:x:7:7\n");
        let all = BTreeSet::from([0, 5, 6]);
        let map = OwnerMap::Names(there.of(&all, &all), here);
        let owner = |uid, gid| map.owner(&Meta { uid, gid, ..Meta::default() }).unwrap();
        assert_eq!((owner(0, 0), owner(5, 5), owner(6, 6)), ((0, 0), (5, 5), (7, 7)));
    }
}
