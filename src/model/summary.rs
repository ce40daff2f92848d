//! What a manifest says about itself.

use super::{ArchivePath, Digest, PvcName, Timestamp, Week};
use std::path::PathBuf;

/// Who, when, what and how much: readable without the manifest's entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The week the manifest stands for.
    pub week: Week,
    /// The source's name.
    pub pvc: PvcName,
    /// The id of the store that it was made for; empty where that was not recorded.
    pub store: String,
    /// When the walk began; change detection measures raciness against it.
    pub started: Timestamp,
    /// When the last entry was written.
    pub finished: Timestamp,
    /// Whether everything could be read.
    pub completeness: Completeness,
    /// What a sealed store keeps from whoever has no key; none without one.
    pub details: Option<Details>,
    /// Of a sealed store: where it stands among the manifests of its writer and pvc.
    pub head: Option<Head>,
}

/// Where a manifest of a sealed store stands among those of its writer and pvc: what tells, without a key, that one is missing or
/// was replaced by an older one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Counted from 1.
    pub sequence: u64,
    /// The manifests before it, newest first: their sequence numbers and digests; at most 64.
    pub before: Vec<(u64, Digest)>,
    /// A keyed hash of what it says of the source: that of another manifest that says the same.
    pub same: [u8; 32],
    /// When the first run began that recorded this state.
    pub since: Timestamp,
    /// Whether the source had nothing in it.
    pub is_empty: bool,
}

/// The manifests that a new one of a writer and pvc comes after.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Lineage {
    /// Newest first: their sequence numbers and digests.
    pub before: Vec<(u64, Digest)>,
    /// Of the newest one: [`Head::same`] and [`Head::since`].
    pub last: Option<([u8; 32], Timestamp)>,
}

impl Lineage {
    /// That of a manifest that comes after one with this digest.
    pub fn after(digest: Digest, head: &Head) -> Self {
        let before = std::iter::once((head.sequence, digest)).chain(head.before.iter().copied());
        Self { before: before.take(MAX_BEFORE).collect(), last: Some((head.same, head.since)) }
    }

    /// Where a manifest stands that comes next.
    pub fn head(&self, same: [u8; 32], summary: &Summary) -> Head {
        let last = self.last.filter(|(last, _)| *last == same);
        Head {
            sequence: self.before.first().map_or(0, |(sequence, _)| *sequence).saturating_add(1),
            before: self.before.clone(),
            same,
            since: last.map_or(summary.started, |(_, since)| since),
            is_empty: summary.counts().is_some_and(|counts| counts.entries <= 1),
        }
    }
}

/// So many manifests before it a manifest of a sealed store names at most.
pub const MAX_BEFORE: usize = 64;

/// What a manifest says about its source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Details {
    /// Where the source was mounted; the default target of a restore. Empty where that is not known.
    pub source: PathBuf,
    /// The machine that made the manifest.
    pub host: String,
    /// `weekvault` and its version.
    pub tool: String,
    /// Patterns of what was left out on request.
    pub excludes: Vec<String>,
    /// The manifest that this one was compared with, if any.
    pub compared_with: Option<Digest>,
    /// What the run found and did.
    pub counts: Counts,
}

impl Summary {
    /// What the run found and did, where that can be read.
    pub fn counts(&self) -> Option<&Counts> {
        self.details.as_ref().map(|details| &details.counts)
    }
}

/// Whether a manifest holds all of its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completeness {
    /// Every path was read.
    Complete,
    /// Some paths could not be read; the manifest lists them.
    Partial {
        /// How many.
        missing: u64,
    },
}

/// Something of a source that could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where.
    pub path: ArchivePath,
    /// What was tried: `open`, `read`, `stat`, …
    pub operation: String,
    /// What the operating system said.
    pub error: String,
}

/// A place of a source that was not looked at, for a reason that the excludes do not tell. What the manifest has not of
/// it, or of anything below it, is not known to be absent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LeftOut {
    /// Where.
    pub path: ArchivePath,
    /// Why.
    pub reason: LeftOutReason,
}

/// Why a place of a source was left out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LeftOutReason {
    /// There are more places than are listed. Said of the root alone.
    Unlisted,
    /// It is a cache directory, of which the tag alone is in the manifest.
    Cache,
    /// It is a mount point or the root of another file system. A directory is in the manifest, what is in it is not; of
    /// anything else nothing is.
    Mount,
    /// It is the store, or a directory of it. The directory is in the manifest, what is in it is not.
    Store,
    /// It is what a killed restore left behind.
    Leftover,
    /// A later version's reason.
    Other(u32),
}

/// What a run found in a source and did for it. Sizes in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Entries of every kind, the root included.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Folders, the root included.
    pub folders: u64,
    /// Sum of the regular files' sizes, hard links counted once.
    pub bytes: u64,
    /// Files whose content and metadata are as before.
    pub unchanged: u64,
    /// Files that were there before and differ.
    pub changed: u64,
    /// Files at paths that had none before.
    pub new: u64,
    /// Paths that the manifest compared with has and this one has not.
    pub removed: u64,
    /// Bytes read from files.
    pub bytes_read: u64,
    /// Objects that this run added to the store.
    pub new_objects: u64,
    /// Bytes of those objects' chunks.
    pub new_chunk_bytes: u64,
    /// Bytes of those objects' files.
    pub new_stored_bytes: u64,
    /// Paths left out on request (excludes, other file systems, cache folders).
    pub skipped: u64,
    /// Files that went away between being listed and being read.
    pub vanished: u64,
    /// Files that changed during each attempt to read them.
    pub changed_while_read: u64,
}
