//! Why an operation failed.

use crate::archive::ArchiveError;
use crate::model::{ArchivePath, PvcName, Shown, Week};
use crate::tree::SourceError;
use std::path::PathBuf;

/// Why an operation failed. Nothing was published then, unless it is [`Error::Published`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store: something is missing, damaged, or cannot be reached.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A source as a whole.
    #[error("source \"{pvc}\": {error}")]
    Source {
        /// Which.
        pvc: PvcName,
        /// What went wrong.
        error: SourceError,
    },
    /// There is no such folder.
    #[error("source \"{pvc}\": {} {reason}; nothing was published", Shown::path(path))]
    BadSource {
        /// Which.
        pvc: PvcName,
        /// Where it should be.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The source is empty, and the manifest before was not.
    #[error(
        "source \"{pvc}\" at {} is empty, and its last manifest {}: is the volume mounted? \
         Nothing was published; --allow-empty backs up the empty folder",
        Shown::path(path),
        if *entries == u64::MAX { "cannot be read".to_owned() } else { format!("has {entries} entries") }
    )]
    EmptySource {
        /// Which.
        pvc: PvcName,
        /// Where.
        path: PathBuf,
        /// Entries of the previous manifest; `u64::MAX` where there are only unreadable ones.
        entries: u64,
    },
    /// Another folder than before, which has little of what was there.
    #[error(
        "source \"{pvc}\" is {} now, and was {} in its last manifest (on the host {}), of whose {entries} paths it has \
         {remaining}: is it the right folder? Nothing was published; --force backs it up all the same",
        Shown::path(path), Shown::path(folder), Shown(host.as_bytes())
    )]
    SuspiciousSource {
        /// Which.
        pvc: PvcName,
        /// Where it is now.
        path: PathBuf,
        /// Where it was.
        folder: PathBuf,
        /// The machine that made the manifest.
        host: String,
        /// Paths of that manifest, without the root.
        entries: u64,
        /// How many of them are there.
        remaining: u64,
    },
    /// A source took longer than it may.
    #[error("source \"{pvc}\" took longer than the {limit:#} of --source-timeout; nothing was published")]
    SourceTimeout {
        /// Which.
        pvc: PvcName,
        /// How long it may take.
        limit: jiff::SignedDuration,
    },
    /// No source has the name of one that is to be optional.
    #[error("--optional {0}: no --source has that name")]
    NoSuchSource(PvcName),
    /// A folder that has nothing to import.
    #[error("{} {reason}", Shown::path(path))]
    Farm {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Two sources have one name.
    #[error("two sources are called \"{0}\": give each its own name")]
    TwiceNamed(PvcName),
    /// Store and source, or store and target, lie in each other.
    #[error("{inner} is inside {outer}: {reason}")]
    Nested {
        /// The inner folder, with what it is.
        inner: String,
        /// The outer one.
        outer: String,
        /// Why that cannot be.
        reason: &'static str,
    },
    /// Something of a target.
    #[error("target {}: {reason}", Shown::path(path))]
    Target {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No entry matches a path that was asked for.
    #[error("{0}")]
    NoSuchPath(String),
    /// Others are at work on the store.
    #[error(
        "another run is at work on the store: {0} now would only waste its work; try again when it is done"
    )]
    Busy(&'static str),
    /// The trash is to be emptied, and nobody can tell whether another run is at work.
    #[error(
        "the storage has no locks, so whether a backup is running cannot be told, and what it builds on may be in the trash: \
         nothing was deleted; without --empty-trash the trash is emptied in time"
    )]
    NoLocks,
    /// The storage did not let files be moved or deleted.
    #[error(
        "{files} of the store's files could not be moved or deleted, as the warnings say (are they immutable, or somebody \
         else's?); all else was done"
    )]
    Stuck {
        /// How many.
        files: u64,
    },
    /// The clocks do not agree on what week it is.
    #[error(
        "this machine's clock says that it is week {ours}, the store's says {store}: mend the clock that is wrong, or \
         give the week with --week"
    )]
    WhichWeek {
        /// By our clock.
        ours: Week,
        /// By the store's.
        store: Week,
    },
    /// A week that has not begun.
    #[error(
        "week {week} is later than now, which is week {this}: nothing was published; if that is the week that is meant, \
         give --force"
    )]
    FutureWeek {
        /// The week that was named.
        week: Week,
        /// The week that it is.
        this: Week,
    },
    /// A path is not what the command needs.
    #[error("{path} is {what}")]
    WrongKind {
        /// Which.
        path: ArchivePath,
        /// What it is, and what helps.
        what: String,
    },
    /// Memory or threads could not be had, or an output not be written.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Something failed after a manifest was published, or in publishing it.
    #[error("{} published, but: {error}", if *surely { format!("{what} is") } else { format!("{what} may be") })]
    Published {
        /// What was published.
        what: String,
        /// Whether it surely was.
        surely: bool,
        /// What failed.
        error: Box<Error>,
    },
    /// The program itself is wrong: a thread panicked, or something came out that cannot be.
    #[error("this is a bug in weekvault, please report it: {0}")]
    Bug(String),
    /// A signal, or the observer, asked to stop.
    #[error("interrupted: nothing was published")]
    Cancelled,
}

impl Error {
    /// What failed, however far things had come.
    pub fn cause(&self) -> &Self {
        match self {
            Self::Published { error, .. } => error.cause(),
            error => error,
        }
    }

    pub(super) fn published(what: String, surely: bool) -> impl FnOnce(ArchiveError) -> Self {
        move |error| Self::Published { what, surely, error: Box::new(error.into()) }
    }

    pub(super) fn system(operation: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::System { operation, source }
    }
}
