//! The keys of sealed stores, and the files that hold them.
//!
//! ```text
//! operators' recipients R1..Rn
//!       | read file: an age file for R1..Rn
//! read key r / R          opens, and is what everything is encrypted to
//! naming key N            names of objects, tags, where to cut
//! compare key c / R(c)    one a writer: opens that writer's private blocks, unless it is blind
//! signing key S           one a writer: signs manifests
//! ```
//!
//! A [`ReadFile`] has r and N, and is for operators; a [`WriterFile`] has R, N, c and S, and cannot read. Bytes go in, bytes come
//! out: who opens files, asks for a passphrase or prints is elsewhere. Secrets are wiped when they are dropped, and neither errors
//! nor `Debug` show them.

mod age_file;
mod age_key;
mod error;
mod identities;
mod name_key;
mod new_store;
mod paper_key;
mod read_file;
mod recipient;
mod sealed;
mod signing;
mod text;
mod writer_file;

pub use age_file::MAX_PLAIN;
pub(super) use age_file::{HeaderLimits, header};
pub use age_key::{CompareKey, CompareRecipient, ReadKey, ReadRecipient};
pub use error::KeyError;
pub use identities::{Identities, MAX_WORK_FACTOR};
pub use name_key::NameKey;
pub use new_store::NewStore;
pub use paper_key::PaperKey;
pub use read_file::{Chosen, KnownWriter, PlainManifest, ReadFile, ReadNumber, choose};
pub use recipient::OperatorRecipient;
pub use sealed::SealedReadFile;
pub use signing::{InvalidWriter, WriterId, WriterSecret};
pub use writer_file::{MAX_WRITER_FILE, WriterFile};

#[cfg(test)]
mod interop;
#[cfg(test)]
mod samples;
