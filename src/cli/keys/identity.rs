//! What `--identity` gives.

use super::files::read_secret;
use super::told::{is_secret, refused};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::format::keys::{Identities, KeyError, MAX_PLAIN, ReadFile, SealedReadFile};
use crate::model::Shown;
use crate::sys::{ask_hidden, keep_memory_private};
use std::fs::File;
use std::io;
use std::path::Path;
use zeroize::Zeroizing;

/// What the files hold that `--identity` has named, each with its name for messages.
#[derive(Default)]
pub(in crate::cli) struct Given {
    /// Identities of operators, which open read files.
    pub(in crate::cli) operators: Vec<(String, Identities)>,
    /// Read files that an operator's own age has opened.
    pub(in crate::cli) opened: Vec<(String, ReadFile)>,
}

impl Given {
    /// Opens a read file; none where it is for others.
    pub(in crate::cli) fn open(&self, sealed: &SealedReadFile) -> Result<Option<ReadFile>, KeyError> {
        for (_, identities) in &self.operators {
            match ReadFile::open(sealed, identities) {
                Err(KeyError::NotForUs(_)) => {}
                opened => return opened.map(Some),
            }
        }
        Ok(None)
    }
}

/// An identity file that is encrypted is twice as long at most.
const MAX_IDENTITY_FILE: usize = 2 * MAX_PLAIN;

impl Context {
    /// Reads what `--identity` names.
    ///
    /// # Errors
    /// [`Failure::Usage`] for standard input named twice and for an identity in place of a file's name; [`Failure::Refused`] for
    /// a file that is no identity file.
    pub(in crate::cli) fn identities(&self) -> Result<Given, Failure> {
        let paths = &self.global.identity;
        if paths.iter().filter(|path| is_stdin(path)).count() > 1 {
            return Err(Failure::Usage("--identity - is given twice: there is one standard input".into()));
        }
        if paths.iter().any(|path| is_secret(&path.to_string_lossy())) {
            return Err(Failure::Usage(
                "--identity takes the name of a file, and was given an identity, which others can see in the list of processes: \
                 write it into a file, or pipe it in with --identity -"
                    .into(),
            ));
        }
        let mut given = Given::default();
        for path in paths {
            keep_memory_private();
            self.add_given(path, &mut given)?;
        }
        Ok(given)
    }

    fn add_given(&self, path: &Path, given: &mut Given) -> Result<(), Failure> {
        let (place, read) = match is_stdin(path) {
            true => ("standard input".to_owned(), read_secret(io::stdin().lock(), MAX_IDENTITY_FILE)),
            false => {
                let read = File::open(path).and_then(|file| read_secret(file, MAX_IDENTITY_FILE));
                (Shown::path(path).to_string(), read)
            }
        };
        let bytes = read.map_err(|e| Failure::File(format!("read the identity file {place}"), e))?;
        if ReadFile::is_plain_text(&bytes) {
            let file = ReadFile::decode(&bytes).map_err(|e| refused(&place)(e.into()))?;
            given.opened.push((place, file));
            return Ok(());
        }
        let identities = match Identities::parse(&bytes) {
            Err(KeyError::Locked) => Identities::decrypt(&bytes, &self.passphrase(&place)?),
            parsed => parsed,
        };
        let identities = identities.map_err(refused(&place))?;
        given.operators.push((place, identities));
        Ok(())
    }

    fn passphrase(&self, place: &str) -> Result<Zeroizing<String>, Failure> {
        self.progress.finish();
        let stop = || self.interrupt.received().is_some();
        ask_hidden(&format!("Passphrase of {place}: "), &stop).map_err(|error| {
            match self.interrupt.received() {
                Some(signal) => Failure::Interrupted { signal, left: "nothing was done" },
                None => Failure::Refused(format!(
                    "{place} is encrypted with a passphrase, and there is no terminal to ask for it ({error}): open it with \
                     your own age, `age -d FILE | weekvault ... --identity -`"
                )),
            }
        })
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}
