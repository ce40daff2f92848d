//! Users and groups that extended attributes name by their numbers: POSIX ACLs, and capabilities of a user namespace.
//!
//! The kernel's layouts: `include/uapi/linux/posix_acl_xattr.h` (version 2: a u32, then entries of u16 tag, u16
//! permissions, u32 id) and `include/uapi/linux/capability.h` (`vfs_ns_cap_data`: a u32 of revision and flags, two pairs
//! of u32, the u32 of the namespace's root). All of it is little endian.

use crate::model::Xattr;
use std::ops::Range;

/// A user or a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnerId {
    /// A uid.
    User(u32),
    /// A gid.
    Group(u32),
}

const ACL_VERSION: [u8; 4] = 2u32.to_le_bytes();
const ACL_USER: u16 = 0x02;
const ACL_GROUP: u16 = 0x08;
const ACL_ENTRY: usize = 8;
/// Length of capabilities of revision 3, which is in the first number's highest byte.
const CAPABILITIES: usize = 24;
const REVISION_3: u8 = 3;

/// Where an attribute has the numbers of users and groups, and whether they are users.
fn places(xattr: &Xattr) -> Vec<(Range<usize>, bool)> {
    let value = &xattr.value;
    match xattr.name.as_slice() {
        b"system.posix_acl_access" | b"system.posix_acl_default" => {
            let Some(entries) = value.strip_prefix(&ACL_VERSION) else { return Vec::new() };
            let entry = |(number, entry): (usize, &[u8])| {
                let tag = u16::from_le_bytes(*entry.first_chunk()?);
                let at = ACL_VERSION.len() + number * ACL_ENTRY + 4;
                matches!(tag, ACL_USER | ACL_GROUP).then_some((at..at + 4, tag == ACL_USER))
            };
            entries.chunks_exact(ACL_ENTRY).enumerate().filter_map(entry).collect()
        }
        b"security.capability" if value.len() == CAPABILITIES && value.get(3) == Some(&REVISION_3) => {
            vec![(CAPABILITIES - 4..CAPABILITIES, true)]
        }
        _ => Vec::new(),
    }
}

fn id_at(value: &[u8], place: &Range<usize>, is_user: bool) -> Option<OwnerId> {
    let id = u32::from_le_bytes(*value.get(place.clone())?.first_chunk()?);
    Some(if is_user { OwnerId::User(id) } else { OwnerId::Group(id) })
}

/// The users and groups that an attribute names.
pub fn ids_in(xattr: &Xattr) -> impl Iterator<Item = OwnerId> {
    places(xattr).into_iter().filter_map(|(place, is_user)| id_at(&xattr.value, &place, is_user))
}

/// The attribute with other users and groups. Entries of an ACL stay in the order that tools write: of one tag by number.
pub(super) fn mapped(xattr: &Xattr, id: impl Fn(OwnerId) -> u32) -> Xattr {
    let mut value = xattr.value.clone();
    let places = places(xattr);
    for (place, is_user) in &places {
        if let (Some(old), Some(slot)) = (id_at(&xattr.value, place, *is_user), value.get_mut(place.clone()))
        {
            slot.copy_from_slice(&id(old).to_le_bytes());
        }
    }
    if !places.is_empty() && value.starts_with(&ACL_VERSION) {
        let (version, entries) = value.split_at(ACL_VERSION.len());
        let mut entries: Vec<&[u8]> = entries.chunks(ACL_ENTRY).collect();
        let number =
            |entry: &[u8], from: usize| entry.get(from..).and_then(|e| e.first_chunk::<2>()).copied();
        let key = |entry: &&[u8]| {
            let id = entry.get(4..).and_then(|e| e.first_chunk()).map(|id| u32::from_le_bytes(*id));
            (number(entry, 0).map(u16::from_le_bytes), id)
        };
        entries.sort_by_key(key);
        value = [version, &entries.concat()].concat();
    }
    Xattr { name: xattr.name.clone(), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Xattr {
        let mut value = ACL_VERSION.to_vec();
        for (tag, permissions, id) in entries {
            value.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
            value.extend(id.to_le_bytes());
        }
        Xattr { name: b"system.posix_acl_access".to_vec(), value }
    }

    #[test]
    fn named_entries_are_mapped_and_stay_in_order() {
        const NONE: u32 = u32::MAX;
        let there = acl(&[
            (1, 6, NONE),
            (2, 4, 5),
            (2, 6, 6),
            (4, 4, NONE),
            (8, 4, 5),
            (0x10, 7, NONE),
            (0x20, 0, NONE),
        ]);
        let ids: Vec<OwnerId> = ids_in(&there).collect();
        assert_eq!(ids, [OwnerId::User(5), OwnerId::User(6), OwnerId::Group(5)]);
        let here = mapped(&there, |id| match id {
            OwnerId::User(5) => 90,
            OwnerId::User(uid) => uid,
            OwnerId::Group(gid) => gid + 1,
        });
        let expected = acl(&[
            (1, 6, NONE),
            (2, 6, 6),
            (2, 4, 90),
            (4, 4, NONE),
            (8, 4, 6),
            (0x10, 7, NONE),
            (0x20, 0, NONE),
        ]);
        assert_eq!(here, expected);
        let other = Xattr { name: b"user.x".to_vec(), value: there.value.clone() };
        assert_eq!((ids_in(&other).count(), mapped(&other, |_| 0)), (0, other.clone()));
    }

    #[test]
    fn capabilities_name_the_root_of_their_namespace() {
        let mut value = vec![0; CAPABILITIES];
        value[3] = REVISION_3;
        value[20..].copy_from_slice(&1000u32.to_le_bytes());
        let capability = Xattr { name: b"security.capability".to_vec(), value };
        assert_eq!(ids_in(&capability).collect::<Vec<_>>(), [OwnerId::User(1000)]);
        assert_eq!(ids_in(&mapped(&capability, |_| 2000)).collect::<Vec<_>>(), [OwnerId::User(2000)]);
        let old = Xattr { value: vec![0; 20], ..capability };
        assert_eq!(ids_in(&old).count(), 0);
    }
}
