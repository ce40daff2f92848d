//! The next read file: what most key commands come to.

use crate::archive::{Archive, ArchiveError};
use crate::cli::context::Context;
use crate::cli::failure::{DONE, Failure};
use crate::cli::human::{count, merge};
use crate::cli::keys::{Given, OpenKeys, read_writer_file, refused, replace};
use crate::format::keys::{KeyError, OperatorRecipient, ReadFile, SealedReadFile, WriterFile, WriterId};
use crate::model::Shown;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A sealed store whose keys are about to change.
pub(super) struct Changing {
    pub(super) archive: Archive,
    /// The writers' files that are to be renewed.
    writers: Vec<(PathBuf, WriterFile)>,
}

/// A read file that is in the store.
pub(super) struct Next {
    pub(super) file: ReadFile,
    pub(super) sealed: SealedReadFile,
}

/// What a command says at its end.
pub(super) struct End<'a> {
    /// What was done, on a line.
    pub(super) done: String,
    /// What follows from it, in whole lines.
    pub(super) advice: &'a str,
    /// The same for programs.
    pub(super) document: Value,
    /// The writer that was made, whose file needs no renewal.
    pub(super) made: Option<WriterId>,
    /// Whether writers are to have new compare keys.
    pub(super) compare_keys: bool,
    /// Whether it is a note: standard output has something else.
    pub(super) aside: bool,
}

impl End<'_> {
    /// What is told of a change that nothing follows from.
    pub(super) fn of(done: String) -> Self {
        Self { done, advice: "", document: json!({}), made: None, compare_keys: false, aside: false }
    }
}

impl Changing {
    /// Opens the store, and the writers' files that are to be renewed.
    pub(super) fn begin(context: &Context) -> Result<Self, Failure> {
        let archive = context.open()?;
        context.check_sealed(&archive)?;
        let mut writers = Vec::new();
        for path in &context.global.writer_key {
            let writer = read_writer_file(path)?;
            if writer.store().to_string() != archive.config().id {
                return Err(Failure::Refused(format!(
                    "the writer's file {} is for store {}, not for this one; nothing was done",
                    Shown::path(path),
                    writer.store()
                )));
            }
            writers.push((path.clone(), writer));
        }
        Ok(Self { archive, writers })
    }

    /// The keys, which a change needs.
    pub(super) fn keys(&self, context: &Context) -> Result<OpenKeys, Failure> {
        let missing =
            "give the identity of one who can open the store, by --identity: a change needs its keys";
        context.open_keys(&self.archive)?.ok_or_else(|| Failure::Usage(missing.into()))
    }

    /// Whether writers' files were given.
    pub(super) fn renews(&self) -> bool {
        !self.writers.is_empty()
    }

    /// What a change makes of a read file. Plain manifests that are gone by now are not listed any more.
    pub(super) fn changed(
        &self,
        mut file: ReadFile,
        change: impl FnOnce(ReadFile) -> Result<ReadFile, KeyError>,
    ) -> Result<ReadFile, Failure> {
        let refused = refused("the read file");
        if file.plain().next().is_some() {
            let origins = self.archive.origins()?;
            if !file.plain().all(|plain| origins.may_have(plain)) {
                file = file.keeping_plain(|plain| origins.may_have(plain)).map_err(&refused)?;
            }
        }
        change(file).map_err(refused)
    }

    /// Seals a read file for its recipients, and puts it into the store.
    pub(super) fn put(
        &self,
        context: &Context,
        file: ReadFile,
        recipients: &[OperatorRecipient],
        given: &Given,
    ) -> Result<Next, Failure> {
        let sealed = file.seal(recipients).map_err(refused("the read file"))?;
        let is_ours = given.open(&sealed).map_err(refused("the read file"))?.is_some();
        self.add(&file, &sealed)?;
        if !is_ours && !given.operators.is_empty() {
            context
                .observer()
                .warn("none of the identities that were given opens the new read file, which is for others");
        }
        Ok(Next { file, sealed })
    }

    /// Puts a read file into the store.
    pub(super) fn add(&self, file: &ReadFile, sealed: &SealedReadFile) -> Result<(), Failure> {
        let number = file.number();
        self.archive.add_read_file(number, sealed).map_err(|error| match error {
            ArchiveError::Store(error) if error.is_taken() => Failure::Refused(format!(
                "keys/{} is another read file, which was made meanwhile or is for others: run this again, with an identity that \
                 opens it; nothing was changed",
                number.file_name()
            )),
            error => error.into(),
        })
    }

    /// Renews the writers' files that were given, and tells what was done and what is left to do.
    pub(super) fn finish(self, context: &Context, next: &Next, end: &End<'_>) -> Result<u8, Failure> {
        let (mut renewed, mut failed) = (Vec::new(), Vec::new());
        let mut left: Vec<WriterId> = next.file.trusted().filter(|id| end.made != Some(*id)).collect();
        for (path, mut writer) in self.writers {
            let place = Shown::path(&path).to_string();
            match renew(&path, &mut writer, next, end.compare_keys) {
                Ok(()) => {
                    left.retain(|id| *id != writer.id());
                    renewed.push(place);
                }
                Err(error) => {
                    context.observer().warn(&error.to_string());
                    failed.push(place);
                }
            }
        }
        print(context, next, end, &renewed, &left)?;
        match failed.len() as u64 {
            0 => Ok(DONE),
            n => Err(Failure::Incomplete(format!(
                "{} could not be renewed: {}; the read file is in the store, and `weekvault key renew` takes it from there",
                count(n, "writer's file"),
                failed.join(", ")
            ))),
        }
    }
}

/// Brings a writer's file to a read file.
fn renew(path: &Path, writer: &mut WriterFile, next: &Next, compare_key: bool) -> Result<(), Failure> {
    let refused = refused(Shown::path(path));
    writer.renew(&next.file, next.sealed.clone()).map_err(&refused)?;
    if compare_key {
        writer.renew_compare_key().map_err(&refused)?;
    }
    replace(path, writer)
}

fn print(
    context: &Context,
    next: &Next,
    end: &End<'_>,
    renewed: &[String],
    left: &[WriterId],
) -> Result<(), Failure> {
    let (number, recipient) = (next.file.number(), next.file.read_recipient());
    let document = json!({
        "read_file": number.to_string(),
        "read_recipient": recipient.to_string(),
        "renewed_writer_files": renewed,
        "writers_to_renew": left.iter().map(WriterId::to_string).collect::<Vec<_>>(),
    });
    let mut text =
        format!("{}\nread file: {}\nnewest read recipient: {recipient}\n", end.done, number.file_name());
    renewed.iter().for_each(|place| text.push_str(&format!("renewed: {place}\n")));
    for id in left {
        text.push_str(&format!("not renewed: the file of writer {id}; `weekvault key renew` does it\n"));
    }
    text.push_str(end.advice);
    if end.aside {
        text.lines().for_each(|line| context.progress.note(line));
        return Ok(());
    }
    context.print(&merge(document, end.document.clone()), &text)
}
