//! `verify --head`: what a verifier remembers of a sealed store, and what it makes of what it finds.

use super::context::Context;
use super::failure::{DAMAGED, DONE, FAILED, Failure, UNCHECKED};
use super::files::{replace_whole, write_new};
use super::human::count;
use crate::archive::{Archive, StandingHead};
use crate::format::keys::WriterId;
use crate::format::{Keys, MAX_REMEMBERED, Remembered};
use crate::model::{Shown, StoreId};
use crate::ops::clock;
use crate::ops::verify::{HeadChange, HeadRules, HeadVerdict, compare_heads, remember_heads};
use crate::tree::StorePlace;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// What `verify` remembers.
#[derive(Args, Debug)]
pub(super) struct HeadArgs {
    /// Of a sealed store: remember its manifests in this file, outside of the store, and tell where the store has gone back to an
    /// older state since the last time
    #[arg(long, env = "WEEKVAULT_HEAD", value_name = "FILE")]
    head: Option<PathBuf>,
    /// With --head: remember what there is now, whatever was there before, as after a forget or an undelete
    #[arg(long, env = "WEEKVAULT_ACCEPT", requires = "head")]
    accept: bool,
    /// With --head: so many weeks of each pvc must not be gone; no more than the backups keep
    #[arg(long, env = "WEEKVAULT_KEEP", default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
}

/// What came of the comparison.
pub(super) struct Heads {
    file: PathBuf,
    /// How many manifests were remembered before; none where nothing was.
    before: Option<usize>,
    /// How many are remembered now; none where that stays as it was.
    now: Option<usize>,
    changes: Vec<HeadChange>,
    is_accepted: bool,
    /// Why what there is could not be read.
    unread: Option<String>,
    /// Why what there is could not be remembered.
    pub(super) unwritten: Option<String>,
}

/// What is remembered, before anything is checked.
pub(super) struct Memory {
    file: PathBuf,
    store: StoreId,
    remembered: Option<Remembered>,
}

/// Reads what is remembered, so that a file that makes no sense ends a check before it begins.
pub(super) fn open(context: &Context, archive: &Archive, args: &HeadArgs) -> Result<Option<Memory>, Failure> {
    let Some(file) = &args.head else { return Ok(None) };
    let store = &context.global.store;
    if StorePlace::at(store).contains(&std::path::absolute(file).unwrap_or_else(|_| file.clone())) {
        return Err(Failure::Usage(format!(
            "--head {file:?} is inside the store {}: whoever puts an older state back would put that back too; give another place",
            Shown::path(store)
        )));
    }
    let remembered = read(file)?;
    let store = identify(context, archive, file, remembered.as_ref())?;
    Ok(Some(Memory { file: file.clone(), store, remembered }))
}

/// Compares the store with what is remembered, and remembers what there is, unless there is something to be looked at.
pub(super) fn compare(memory: Memory, archive: &Archive, args: &HeadArgs) -> Heads {
    let Memory { file, store, remembered } = memory;
    let then = remembered.as_ref().map(|remembered| remembered.heads.as_slice());
    let mut heads = Heads {
        file,
        before: then.map(<[_]>::len),
        now: None,
        changes: Vec::new(),
        is_accepted: args.accept,
        unread: None,
        unwritten: None,
    };
    let standing = match archive.heads() {
        Ok(standing) => standing,
        Err(error) => {
            heads.unread = Some(error.to_string());
            return heads;
        }
    };
    heads.changes = compare_heads(then.unwrap_or_default(), &standing, &rules(archive, args));
    if args.accept || heads.verdict() < HeadVerdict::Untold {
        match remember(&heads, store, &standing) {
            Ok(count) => heads.now = Some(count),
            Err(failure) => heads.unwritten = Some(failure.to_string()),
        }
    }
    heads
}

fn rules(archive: &Archive, args: &HeadArgs) -> HeadRules {
    let known: BTreeSet<WriterId> = match archive.seals().keys() {
        Keys::Reader(keys) => keys.writers().iter().map(|writer| writer.id).collect(),
        _ => BTreeSet::new(),
    };
    HeadRules { known, keep: args.keep as usize, this_week: clock::week_of(clock::now()) }
}

/// The id of the store, which must be sealed and the one that is remembered.
fn identify(
    context: &Context,
    archive: &Archive,
    file: &Path,
    remembered: Option<&Remembered>,
) -> Result<StoreId, Failure> {
    let (config, store, file) = (archive.config(), Shown::path(&context.global.store), Shown::path(file));
    if !config.sealed {
        return Err(Failure::Refused(match remembered {
            Some(_) => format!(
                "{file} remembers a sealed store, and store.json says that the one at {store} is plain: it was replaced, or \
                 another share is mounted"
            ),
            None => format!(
                "--head is for sealed stores, and the one at {store} is plain: nothing in it is signed"
            ),
        }));
    }
    let damaged =
        |_| Failure::Refused(format!("store.json of {store} has no id that a sealed store can have"));
    let id: StoreId = config.id.parse().map_err(damaged)?;
    match remembered {
        Some(other) if other.store != id => Err(Failure::Refused(format!(
            "{file} remembers the store {}, and the one at {store} has the id {id}: is another share mounted? One file remembers \
             one store",
            other.store
        ))),
        _ => Ok(id),
    }
}

fn read(path: &Path) -> Result<Option<Remembered>, Failure> {
    let place = Shown::path(path);
    let failed = |e| Failure::File(format!("read {place}"), e);
    let file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_REMEMBERED + 1).read_to_end(&mut bytes).map_err(failed)?;
    Remembered::decode(&bytes).map(Some).map_err(|error| {
        Failure::Refused(format!(
            "{place}: {error}; put back a copy of it, or remove it, and what there is now is remembered as it is"
        ))
    })
}

/// Writes what is to be remembered; how many manifests that is.
fn remember(heads: &Heads, store: StoreId, standing: &[StandingHead]) -> Result<usize, Failure> {
    let path = &heads.file;
    let failed = |e| Failure::File(format!("write {}", Shown::path(path)), e);
    let remembered = Remembered { store, heads: remember_heads(standing) };
    let text = remembered.encode().map_err(|error| Failure::Refused(error.to_string()))?;
    let written = match heads.before {
        Some(_) => replace_whole(path, text.as_bytes()),
        None => write_new(path, text.as_bytes()).map(drop),
    };
    written.map_err(failed)?;
    Ok(remembered.heads.len())
}

impl Heads {
    fn verdict(&self) -> HeadVerdict {
        self.changes.iter().map(HeadChange::verdict).max().unwrap_or(HeadVerdict::Note)
    }

    /// The exit code that it makes.
    pub(super) fn code(&self) -> u8 {
        match self.verdict() {
            _ if self.unread.is_some() => UNCHECKED,
            HeadVerdict::RolledBack if !self.is_accepted => DAMAGED,
            HeadVerdict::Untold if !self.is_accepted => UNCHECKED,
            _ if self.unwritten.is_some() => FAILED,
            _ => DONE,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for change in &self.changes {
            let word = match change.verdict() {
                HeadVerdict::RolledBack => "ROLLED BACK",
                HeadVerdict::Untold => "cannot be told",
                HeadVerdict::Note => "new writer",
            };
            text.push_str(&format!("{word}: {change}\n"));
        }
        if let Some(why) = &self.unread {
            text.push_str(&format!("not compared with what is remembered: {why}\n"));
        }
        let (file, manifests) = (Shown::path(&self.file), |n: usize| count(n as u64, "manifest"));
        text.push_str(&match (self.before, self.now) {
            (None, Some(now)) => format!("remembered from now on, in {file}: {}\n", manifests(now)),
            (Some(before), Some(_)) if self.code() == DONE && !self.is_accepted => {
                format!("compared with what is remembered ({}): the store has not gone back\n", manifests(before))
            }
            (_, Some(now)) => format!("accepted, and remembered from now on, in {file}: {}\n", manifests(now)),
            (_, None) if self.unread.is_some() || self.unwritten.is_some() => String::new(),
            (_, None) => "if that is what somebody has done on purpose, by forget or undelete, run it again with --accept\n".to_owned(),
        });
        text
    }

    /// For programs.
    pub(super) fn document(&self) -> Value {
        let change = |change: &HeadChange| {
            json!({
                "week": change.then.week.to_string(),
                "pvc": change.then.pvc.as_str(),
                "writer": change.then.writer.to_string(),
                "sequence": change.then.sequence,
                "verdict": match change.verdict() {
                    HeadVerdict::RolledBack => "rolled back",
                    HeadVerdict::Untold => "cannot be told",
                    HeadVerdict::Note => "new writer",
                },
                "told": change.to_string(),
            })
        };
        json!({
            "file": self.file.to_string_lossy(),
            "remembered_before": self.before,
            "remembered_now": self.now,
            "accepted": self.is_accepted,
            "unread": self.unread,
            "unwritten": self.unwritten,
            "changes": self.changes.iter().map(change).collect::<Vec<_>>(),
        })
    }
}
