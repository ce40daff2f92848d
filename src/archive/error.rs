//! What goes wrong with an archive.

use super::damage::Damage;
use super::id::ManifestId;
use crate::format::{FormatError, ReadError};
use crate::model::{ObjectId, PvcName, Timestamp, Week, WeekRef};
use crate::store::{StoreError, StoreOperation};

/// Something in the store is missing, damaged or cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the store is not what it should be.
    #[error("{path}: {source}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A manifest was not made by anybody whom this store's keys trust.
    #[error("{path} is not used: {reason}")]
    NotTrusted {
        /// The file.
        path: String,
        /// Who made it, and why that is not enough.
        reason: String,
    },
    /// A manifest is of a sealed store, and the store is described as a plain one.
    #[error(
        "{0} is of a sealed store, and store.json says that this one is plain: it was replaced, or is a copy from before; put the \
         right one back, from a mirror"
    )]
    SealedInPlain(String),
    /// A manifest of a sealed store is plain, so that nobody has signed it.
    #[error("{0} is plain, and in a sealed store a backup relies on signed manifests alone")]
    PlainInSealed(String),
    /// The store is sealed, and what is to be written takes a writer's keys.
    #[error("{0} is a sealed store: a backup takes the keys of one of its writers; nothing was written")]
    NoWriter(String),
    /// There is no store.
    #[error(
        "no store at {0}: there is no store.json; is its share mounted? `weekvault init`, or a first `weekvault backup`, \
         makes a store"
    )]
    NoStore(String),
    /// The store's description is lost.
    #[error(
        "{0}/store.json is lost, though the store has manifests: put it back, from a mirror or as docs/format.md lays it \
         down; until then the store can be read, but not written"
    )]
    Undescribed(String),
    /// The place where a store should be made has something else in it.
    #[error(
        "{0} is no weekvault store, and it is not empty: it has {1:?}; give an empty folder, or one with a \
         store.json, or move that elsewhere"
    )]
    NotEmpty(String, String),
    /// Something else stands where a week's directory should be.
    #[error(
        "{0} is not a directory, and is not followed: which objects that week needs cannot be told, so nothing is given \
         up; put a directory in its place, or move it out of the store"
    )]
    NoWeek(String),
    /// There are objects, or retired ones, and nothing that says what they are for.
    #[error(
        "{0} has objects and not one manifest, published or in the trash: either the store is not all there (is it a copy \
         that is not complete, or are its directories hidden?), or its first backup never came to its end; nothing is given up. \
         Bring the manifests back, or run a backup"
    )]
    NoManifests(String),
    /// A new pvc's name differs from another's only in case.
    #[error(
        "the pvc name \"{new}\" differs from \"{other}\" only in case: where the storage ignores case, one would take the \
         other's place; nothing was published; give it another name"
    )]
    AlikeNames {
        /// The new one.
        new: PvcName,
        /// The other.
        other: PvcName,
    },
    /// No manifest of that name.
    #[error("{}", no_manifest(.week, .pvc, .weeks, .pvcs))]
    NoManifest {
        /// The week asked for.
        week: WeekRef,
        /// The source asked for.
        pvc: PvcName,
        /// The weeks that this pvc has.
        weeks: Vec<Week>,
        /// The pvcs that this week has, or the store where no week was named.
        pvcs: Vec<PvcName>,
    },
    /// No manifest of that name in the trash.
    #[error(
        "the trash has no manifest of week {week}, pvc \"{pvc}\"; {}",
        if have.is_empty() { "it has none at all".to_owned() } else { format!("it has: {}", have.join(", ")) }
    )]
    NotInTrash {
        /// The week asked for.
        week: Week,
        /// The source asked for.
        pvc: PvcName,
        /// What there is.
        have: Vec<String>,
    },
    /// The store's clock and ours do not agree.
    #[error(
        "this machine's clock says {}, the store's {}: what is old cannot be told while they disagree by more than an \
         hour",
        rfc3339(.ours),
        rfc3339(.store)
    )]
    Clock {
        /// Ours.
        ours: Timestamp,
        /// The store's.
        store: Timestamp,
    },
    /// An object is gone or does not hold its chunk.
    #[error("object {id} is {damage}")]
    Object {
        /// Its name.
        id: ObjectId,
        /// What is wrong with it.
        damage: Damage,
    },
    /// A manifest that was published is gone again.
    #[error(
        "{0} is in the trash: another run retired it meanwhile; `weekvault undelete {week}/{pvc}` brings it back",
        week = .0.week,
        pvc = .0.pvc
    )]
    Withdrawn(ManifestId),
    /// Objects that a manifest needs are gone, from the trash too.
    #[error(
        "{missing} of the objects that are needed are neither in the store nor in its trash, {example} for one; a backup \
         stores again what its source still has"
    )]
    Vanished {
        /// How many.
        missing: usize,
        /// One of them.
        example: ObjectId,
    },
}

impl ArchiveError {
    /// Whether all that is missing is a key.
    pub fn is_no_key(&self) -> bool {
        matches!(self, Self::Format { source: FormatError::NoKey(_), .. })
    }

    /// Whether the storage did not let us read: no verdict on what is stored.
    pub fn is_access(&self) -> bool {
        match self {
            Self::Store(error) => error.is_access(),
            Self::Object { damage, .. } => !damage.is_verdict(),
            _ => false,
        }
    }

    /// Whether the store is gone, or has not answered for so long that nobody should ask it for more.
    pub fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Store(error) => error.is_out_of_reach(),
            Self::Object { damage, .. } => matches!(damage, Damage::Unreachable(_)),
            _ => false,
        }
    }

    /// A reading error of the file at `path`.
    pub fn read(path: String, error: ReadError) -> Self {
        match error {
            ReadError::Format(source) => Self::Format { path, source },
            ReadError::Io(source) => Self::Store(StoreError::at(StoreOperation::Read, path, source)),
        }
    }
}

fn rfc3339(moment: &Timestamp) -> String {
    moment.rfc3339()
}

fn no_manifest(week: &WeekRef, pvc: &PvcName, weeks: &[Week], pvcs: &[PvcName]) -> String {
    fn join<T: ToString>(items: &[T]) -> String {
        items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
    match week {
        WeekRef::Exact(week) if !pvcs.is_empty() && !weeks.is_empty() => format!(
            "week {week} has no manifest for pvc \"{pvc}\"; it has: {}; this pvc has weeks: {}",
            join(pvcs),
            join(weeks)
        ),
        WeekRef::Exact(week) if !pvcs.is_empty() => {
            format!("week {week} has no manifest for pvc \"{pvc}\"; it has: {}", join(pvcs))
        }
        _ if !weeks.is_empty() => {
            format!("pvc \"{pvc}\" has no manifest for week {week}; it has: {}", join(weeks))
        }
        _ if !pvcs.is_empty() => format!("no manifest for pvc \"{pvc}\"; the store has: {}", join(pvcs)),
        _ => format!("no manifest for pvc \"{pvc}\": the store has no manifests yet"),
    }
}
