//! What goes wrong with an archive.

use crate::format::{FormatError, ReadError};
use crate::model::{ObjectId, PvcName, Week, WeekRef};
use crate::store::StoreError;

/// Something in the store is missing, damaged or cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
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
    /// There is no store.
    #[error("no store at {0}: there is no store.json; the first `weekvault backup` makes one")]
    NoStore(String),
    /// The place where a store should be made has something else in it.
    #[error(
        "{0} is no weekvault store, and it is not empty: it has {1:?}; give an empty folder, or one with a store.json"
    )]
    NotEmpty(String, String),
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
    /// An object is gone or does not hold its chunk.
    #[error("object {id} is {damage}")]
    Object {
        /// Its name.
        id: ObjectId,
        /// What is wrong with it.
        damage: super::Damage,
    },
    /// Objects that a manifest just published needs went missing while the run lasted, and are not in the trash.
    #[error(
        "{missing} objects that the new manifests need are gone from the store, {example} for one: something else \
         deletes from it; run the backup again, it will store them anew"
    )]
    Vanished {
        /// How many.
        missing: usize,
        /// One of them.
        example: ObjectId,
    },
}

impl RepoError {
    /// A reading error of the file at `path`.
    pub fn read(path: String, error: ReadError) -> Self {
        match error {
            ReadError::Format(source) => Self::Format { path, source },
            ReadError::Io(source) => {
                Self::Store(StoreError { operation: crate::store::StoreOperation::Read, path, source })
            }
        }
    }
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
