//! The border where errors become messages and exit codes.

use super::bug;
use super::human::document_line;
use crate::archive::ArchiveError;
use crate::format::FormatError;
use crate::ops::Error;
use serde_json::json;
use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Done.
pub(super) const DONE: u8 = 0;
/// Failed, nothing published.
pub(super) const FAILED: u8 = 1;
/// The command line is wrong.
pub(super) const USAGE: u8 = 2;
/// Published, but some files could not be read.
pub(super) const PARTIAL: u8 = 3;
/// Verify found damage.
pub(super) const DAMAGED: u8 = 4;
/// Something could not be read, so whether it is whole cannot be told.
pub(super) const UNCHECKED: u8 = 5;
/// The program itself is wrong; sysexits.h calls this number `EX_SOFTWARE`.
pub(super) const BUG: u8 = 70;

/// Why a command ends without its result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The engine says why.
    Ops(Error),
    /// The command line makes no sense.
    Usage(String),
    /// Things are not as the command needs them. Nothing was done.
    Refused(String),
    /// A signal asked to stop. `left` says what that leaves.
    Interrupted {
        /// Its number.
        signal: i32,
        /// In what state things are now.
        left: &'static str,
    },
    /// What was done is not all that was asked for. The result has been printed already.
    Incomplete(String),
    /// Verify cannot even open the store, because that is damaged.
    DamagedStore(ArchiveError),
    /// The program itself is wrong: where, and how.
    Bug(String),
    /// A file that the command is to make cannot be written.
    File(String, io::Error),
    /// Stdout cannot be written.
    Output(io::Error),
}

impl Failure {
    /// Runs `work`; a panic of it is a failure like others: with a message, an exit code, and metrics.
    pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Self>) -> Result<T, Self> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Self::bug("a panic".to_owned())))
    }

    /// The failure that a bug is: that of the first panic, with its place, or `what` where nothing has panicked.
    pub(super) fn bug(what: String) -> Self {
        Self::Bug(bug::first().unwrap_or(what))
    }

    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Ops(
                Error::TwiceNamed(_)
                | Error::NoSuchSource(_)
                | Error::Nested { .. }
                | Error::FutureWeek { .. },
            )
            | Self::Usage(_) => USAGE,
            Self::Ops(_) | Self::Incomplete(_) | Self::Refused(_) | Self::File(..) => FAILED,
            Self::Bug(_) => BUG,
            Self::Interrupted { signal, .. } => 128u8.saturating_add(u8::try_from(*signal).unwrap_or(0)),
            Self::DamagedStore(_) => DAMAGED,
            Self::Output(_) if self.is_broken_pipe() => DONE,
            Self::Output(_) => FAILED,
        }
    }

    /// Whether whoever read our output has left, which is nothing to complain about.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Prints the document for `--json`, unless there is one on stdout already.
    pub(super) fn print_json(&self) {
        if self.is_broken_pipe() || matches!(self, Self::Incomplete(_)) {
            return;
        }
        let mut document =
            json!({ "error": self.to_string(), "exit_code": self.code(), "hint": self.hint() });
        if let (
            Self::Ops(Error::SuspiciousSource { pvc, path, folder, host, entries, remaining }),
            Some(members),
        ) = (self, document.as_object_mut())
        {
            let source = json!({
                "pvc": pvc.as_str(),
                "folder": path.display().to_string(),
                "earlier_folder": folder.display().to_string(),
                "earlier_host": host,
                "earlier_paths": entries,
                "remaining_paths": remaining,
            });
            members.insert("suspicious_source".to_owned(), source);
        }
        // Where stdout cannot be written there is nobody to tell.
        let _ = io::stdout().write_all(document_line(&document).as_bytes());
    }

    /// What helps, where the error alone does not say.
    pub(super) fn hint(&self) -> Option<&'static str> {
        let Self::Ops(error) = self else { return None };
        match error.cause() {
            Error::Archive(ArchiveError::Store(e)) if e.is_full() => Some(
                "free some space in the store's file system and run again; nothing that was published is touched",
            ),
            Error::Archive(ArchiveError::Object { damage, .. }) if damage.is_verdict() => Some(
                "`weekvault verify --repair` says what it hurts, and takes it out of the way: the next backup stores it again, \
                 if the source still has it",
            ),
            Error::Archive(error) if error.is_no_key() => Some(
                "give by --identity the file of an identity that opens the store; `weekvault key list` says which read files there are",
            ),
            Error::Archive(ArchiveError::Clock { .. }) => {
                Some("mend the clock that is wrong; --ignore-clock goes on by this machine's")
            }
            _ => None,
        }
    }

    /// For verify: an error in opening the store, told as damage where it is that.
    pub(super) fn in_opening(self) -> Self {
        match self {
            // A newer program's store is not damaged.
            Self::Ops(Error::Archive(ArchiveError::Format {
                source: FormatError::Version { .. }, ..
            })) => self,
            Self::Ops(Error::Archive(
                error @ (ArchiveError::Format { .. } | ArchiveError::Undescribed(_)),
            )) => Self::DamagedStore(error),
            failure => failure,
        }
    }
}

/// What helps where a manifest cannot be read: it could need anything, so nothing goes until it is gone.
pub(super) fn way_out(error: &Error) -> &'static str {
    match error {
        Error::Archive(ArchiveError::Format { .. }) => {
            "; nothing is given up while a manifest cannot be read: restore what it still has, then `weekvault forget` it, or \
             take its file out of the store"
        }
        _ => "",
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ops(error) => error.fmt(f),
            Self::Usage(message) | Self::Refused(message) | Self::Incomplete(message) => f.write_str(message),
            Self::Interrupted { signal: 15, left } => write!(f, "terminated (SIGTERM); {left}"),
            Self::Interrupted { signal: 1, left } => write!(f, "hung up (SIGHUP); {left}"),
            Self::Interrupted { left, .. } => write!(f, "interrupted (SIGINT); {left}"),
            Self::Bug(what) => write!(f, "this is a bug in weekvault, please report it: {what}"),
            Self::DamagedStore(error) => write!(f, "the store is damaged: {error}"),
            Self::File(what, error) => write!(f, "cannot {what}: {error}"),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::System { operation: "write the output", source } => Self::Output(source),
            Error::Bug(what) => Self::bug(what),
            error => Self::Ops(error),
        }
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        Self::Ops(error.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_also_that_of_a_thread() {
        let here = Failure::caught::<()>(|| panic!("no"));
        let there = Failure::caught::<()>(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| panic!("no"));
            });
            Ok(())
        });
        for failure in [here, there].map(Result::unwrap_err) {
            assert_eq!(failure.code(), 70);
            assert!(failure.to_string().contains("bug in weekvault"), "{failure}");
        }
    }
}
