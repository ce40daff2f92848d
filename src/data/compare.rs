//! What change detection compares.

use crate::model::{Entry, Kind, NodeKind, Stat, Timestamp};

/// Times this close to the previous run's start prove nothing: the clock of a file system may be that coarse.
const RACY_SECONDS: i64 = 2;

/// How a path of a live tree stands to the entry of an earlier manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Same content and metadata; the entry can be kept, xattrs and all.
    None,
    /// The content is the same as far as the metadata tells, but xattrs and the like must be looked at.
    Metadata,
    /// The content must be read.
    Content,
}

/// Decides whether a path changed since an earlier run.
#[derive(Clone, Copy, Debug)]
pub struct Compare {
    /// When the earlier run began and ended.
    pub started: Timestamp,
    /// See `started`.
    pub finished: Timestamp,
    /// Trust no metadata.
    pub force_read: bool,
    /// The file system has no stable ctimes.
    pub ignore_ctime: bool,
    /// The file system has no stable inode numbers.
    pub ignore_inode: bool,
    /// The earlier run could not read everything: what its entries say of attributes may not be all.
    pub was_partial: bool,
}

impl Compare {
    /// How `now` differs from `before`, which stood at the same path.
    pub fn change(&self, before: &Entry, now: &Stat) -> Change {
        let (meta, content) = match (&before.kind, now.kind) {
            (Kind::File(content), NodeKind::File) => (&before.meta, Some(content)),
            (Kind::Directory, NodeKind::Directory) | (Kind::Symlink(_), NodeKind::Symlink) => {
                (&before.meta, None)
            }
            (Kind::Fifo, NodeKind::Fifo) | (Kind::Socket, NodeKind::Socket) => (&before.meta, None),
            (Kind::CharDevice(a), NodeKind::CharDevice(b)) if *a == b => (&before.meta, None),
            (Kind::BlockDevice(a), NodeKind::BlockDevice(b)) if *a == b => (&before.meta, None),
            _ => return Change::Content,
        };
        let same_inode = self.ignore_inode || meta.inode == now.inode;
        let same_ctime = self.ignore_ctime || meta.ctime == now.ctime;
        let same = same_inode && same_ctime && meta.mtime == now.mtime;
        let in_doubt = self.force_read || !same || self.is_racy(now);
        match content {
            Some(content) if in_doubt || content.size != now.size => Change::Content,
            // Read while it changed: what was stored is not what it came to be.
            Some(content) if content.changed_while_read => Change::Content,
            // Without ctimes nothing tells that attributes or a link's target changed.
            _ if in_doubt || self.ignore_ctime || self.was_partial => Change::Metadata,
            _ => Change::None,
        }
    }

    /// Whether a change after the earlier run's look could have left the times as they are.
    fn is_racy(&self, now: &Stat) -> bool {
        let from = self.started.plus_seconds(-RACY_SECONDS);
        let to = self.finished.plus_seconds(RACY_SECONDS);
        let racy_ctime = !self.ignore_ctime && now.ctime >= from;
        // Anyone may set an mtime to the far future; with ctimes to go by, only the run's own time is in doubt.
        let racy_mtime = now.mtime >= from && (self.ignore_ctime || now.mtime <= to);
        racy_ctime || racy_mtime
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContentHash, FileContent, Meta};

    fn stat() -> Stat {
        Stat {
            kind: NodeKind::File,
            mode: 0o644,
            uid: 1,
            gid: 1,
            size: 3,
            mtime: Timestamp { secs: 100, nanos: 1 },
            ctime: Timestamp { secs: 101, nanos: 2 },
            inode: 7,
            device: 1,
            mount: None,
            links: 1,
            allocated: 512,
        }
    }

    fn entry(s: &Stat) -> Entry {
        let content =
            FileContent { size: 3, hash: ContentHash([0; 32]), extents: vec![], changed_while_read: false };
        let meta = Meta { inode: s.inode, mtime: s.mtime, ctime: s.ctime, ..Meta::default() };
        Entry { depth: 1, name: None, meta, kind: Kind::File(content) }
    }

    fn compare(started: i64) -> Compare {
        let time = |secs| Timestamp { secs, nanos: 0 };
        Compare {
            started: time(started),
            finished: time(started + 10),
            force_read: false,
            ignore_ctime: false,
            ignore_inode: false,
            was_partial: false,
        }
    }

    #[test]
    fn each_difference_counts() {
        let before = entry(&stat());
        assert_eq!(compare(200).change(&before, &stat()), Change::None);
        let later = Timestamp { secs: 102, nanos: 0 };
        for now in [
            Stat { size: 4, ..stat() },
            Stat { mtime: later, ..stat() },
            Stat { ctime: later, ..stat() },
            Stat { inode: 8, ..stat() },
            Stat { kind: NodeKind::Symlink, ..stat() },
        ] {
            assert_eq!(compare(200).change(&before, &now), Change::Content, "{now:?}");
        }
        assert_eq!(Compare { force_read: true, ..compare(200) }.change(&before, &stat()), Change::Content);
        // Attributes may be missing; the content is not.
        assert_eq!(Compare { was_partial: true, ..compare(200) }.change(&before, &stat()), Change::Metadata);
        let lax = Compare { ignore_ctime: true, ignore_inode: true, ..compare(200) };
        assert_eq!(lax.change(&before, &Stat { ctime: later, inode: 8, ..stat() }), Change::Metadata);
        assert_eq!(lax.change(&before, &Stat { size: 4, ..stat() }), Change::Content);
    }

    #[test]
    fn racy_times_are_read_again() {
        let before = entry(&stat());
        assert_eq!(compare(102).change(&before, &stat()), Change::Content);
        assert_eq!(compare(103).change(&before, &stat()), Change::Content, "within two seconds of the start");
        assert_eq!(compare(104).change(&before, &stat()), Change::None);
        assert_eq!(compare(90).change(&before, &stat()), Change::Content, "changed during or after the run");
        let future = Stat { mtime: Timestamp { secs: 1 << 32, nanos: 0 }, ..stat() };
        assert_eq!(
            compare(200).change(&entry(&future), &future),
            Change::None,
            "an mtime of 2106 is no doubt"
        );
    }
}
