//! What a source has to be like, and what becomes of a run when one is not.

use crate::archive::Archive;
use crate::model::{
    ArchivePath, Counters, Counts, Observer, Patience, Problem, PvcName, Shown, Summary, is_passing,
};
use crate::ops::{Error, Run};
use crate::tree::{SourceRoot, StorePlace};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A directory tree to protect, and its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Its name.
    pub pvc: PvcName,
    /// Where it is mounted.
    pub path: PathBuf,
}

/// Which sources a run may do without, and what it takes for a mistake.
#[derive(Clone, Default, Debug)]
pub struct SourceRules {
    /// Sources that may be missing: the others are published without them.
    pub optional: Vec<PvcName>,
    /// A source that takes longer is left out, and the others are published.
    pub timeout: Option<Duration>,
    /// Back up a source that is empty though it was not before.
    pub allow_empty: bool,
    /// Back up another folder than before, though it has little of what was there.
    pub allow_other: bool,
}

/// A source that a run has been done without.
#[derive(Debug)]
pub struct MissingSource {
    /// Which.
    pub source: Source,
    /// What is wrong with it.
    pub reason: String,
    /// The same, for a run that has no other source.
    pub(super) error: Error,
}

impl SourceRules {
    /// What a run goes on without, where `error` is of a kind that these rules allow for.
    ///
    /// # Errors
    /// `error`, if it is not.
    fn forgive(&self, source: &Source, error: Error) -> Result<MissingSource, Error> {
        let is_optional = self.optional.contains(&source.pvc);
        let reason = match &error {
            Error::SourceTimeout { limit, .. } => format!("took longer than {limit:#}"),
            Error::Source { error, .. } if is_optional => error.to_string(),
            Error::BadSource { reason, .. } if is_optional => reason.clone(),
            Error::EmptySource { .. } if is_optional => {
                "is empty, and its last manifest is not: is the volume mounted?".to_owned()
            }
            _ => return Err(error),
        };
        Ok(MissingSource { source: source.clone(), reason, error })
    }

    /// Does a source's part of a run; a source that these rules can do without is told of and left out.
    ///
    /// # Errors
    /// Of `work`.
    pub(super) fn within<T>(
        &self,
        source: &Source,
        run: Run<'_>,
        work: impl FnOnce(Run<'_>) -> Result<T, Error>,
    ) -> Result<Result<T, MissingSource>, Error> {
        let observer = run.observer;
        let end = self.timeout.and_then(|limit| Instant::now().checked_add(limit));
        let until = Until { observer, end };
        let error = match work(Run { observer: &until, ..run }) {
            Ok(done) => return Ok(Ok(done)),
            Err(Error::Cancelled) if until.is_over() && !observer.cancelled() => {
                let limit = self.timeout.unwrap_or_default();
                let limit = jiff::SignedDuration::try_from(limit).unwrap_or(jiff::SignedDuration::MAX);
                Error::SourceTimeout { pvc: source.pvc.clone(), limit }
            }
            Err(error) => error,
        };
        let missing = self.forgive(source, error)?;
        observer.warn(&format!(
            "source \"{}\" at {} is left out: it {}",
            source.pvc,
            Shown::path(&source.path),
            missing.reason
        ));
        Ok(Err(missing))
    }
}

/// An observer that asks to stop when the time is over.
struct Until<'a> {
    observer: &'a dyn Observer,
    end: Option<Instant>,
}

impl Until<'_> {
    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }
}

impl Observer for Until<'_> {
    fn counters(&self) -> &Counters {
        self.observer.counters()
    }

    fn phase(&self, what: &str, total: Option<u64>) {
        self.observer.phase(what, total);
    }

    fn problem(&self, problem: &Problem) {
        self.observer.problem(problem);
    }

    fn warn(&self, message: &str) {
        self.observer.warn(message);
    }

    fn change(&self, path: &ArchivePath, what: &str) {
        self.observer.change(path, what);
    }

    fn cancelled(&self) -> bool {
        self.is_over() || self.observer.cancelled()
    }
}

/// Refuses what can be refused before anything is written.
///
/// # Errors
/// As [`check_source_folders`].
pub(super) fn check_sources(sources: &[Source], rules: &SourceRules, archive: &Archive) -> Result<(), Error> {
    check_source_folders(sources, rules, &archive.place(), &archive.location())
}

/// Refuses sources of one name, missing ones that `rules` do not allow for, a store inside a source and a source inside of
/// what the store keeps, where the store is or would be at `place`, for messages `location`.
///
/// # Errors
/// [`Error`] naming the source.
pub fn check_source_folders(
    sources: &[Source],
    rules: &SourceRules,
    place: &StorePlace,
    location: &str,
) -> Result<(), Error> {
    if let Some(name) = rules.optional.iter().find(|name| !sources.iter().any(|s| s.pvc == **name)) {
        return Err(Error::NoSuchSource(name.clone()));
    }
    for (i, source) in sources.iter().enumerate() {
        if sources.iter().take(i).any(|s| s.pvc == source.pvc) {
            return Err(Error::TwiceNamed(source.pvc.clone()));
        }
        if let Err(error) = check_folder(source) {
            // Told when its turn comes.
            rules.forgive(source, error)?;
            continue;
        }
        let path = &source.path;
        let store = format!("the store {location}");
        let source = format!("source \"{}\" ({})", source.pvc, Shown::path(&source.path));
        let nested = |inner, outer| {
            let reason = "a backup would back itself up; give a store outside of every source";
            Err(Error::Nested { inner, outer, reason })
        };
        if place.is_within(path) {
            return nested(store, source);
        }
        if place.keeps(path) {
            return nested(source, store);
        }
    }
    Ok(())
}

fn bad(source: &Source, reason: String) -> Error {
    Error::BadSource { pvc: source.pvc.clone(), path: source.path.clone(), reason }
}

/// Refuses a source that is not there, or is no folder.
pub(super) fn check_folder(source: &Source) -> Result<(), Error> {
    match source.path.metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(bad(source, "is no folder".into())),
        Err(e) => Err(bad(source, format!("cannot be opened: {e}"))),
    }
}

/// Refuses what was read where the source's path leads to something else by now, or to nothing: what was found below the
/// handle may be an old state, or what is left of one.
pub(super) fn check_still_there(root: &SourceRoot, source: &Source) -> Result<(), Error> {
    // A server that does not answer for a moment is no source that went away.
    let looked = Patience::default().run(std::thread::sleep, is_passing, || root.is_still_there());
    let reason = match looked {
        Ok(true) => return Ok(()),
        Ok(false) => {
            "was replaced while it was read (moved away, or something else is mounted there)".to_owned()
        }
        Err(error) => format!("went away while it was read ({error})"),
    };
    Err(bad(source, format!("{reason}; run the backup again when it is there to stay")))
}

/// Of fewer paths than these none need remain: they tell nothing of whose they were.
const FEW: u64 = 3;

/// Refuses what was read where its root could not be, or where it is likely to be another volume than the one that the
/// manifest before was made of, and says so where it may be.
pub(super) fn check_likely(
    source: &Source,
    rules: &SourceRules,
    counts: &Counts,
    problems: &[Problem],
    before: Before<'_>,
    observer: &dyn Observer,
) -> Result<(), Error> {
    if let Some(problem) = problems.iter().find(|p| p.path.is_root()) {
        // Without the root's names the source would look empty.
        return Err(bad(source, format!("cannot be read ({}: {})", problem.operation, problem.error)));
    }
    let (pvc, path) = (source.pvc.clone(), source.path.clone());
    if counts.entries <= 1 && before.entries() > 1 && !rules.allow_empty {
        return Err(Error::EmptySource { pvc, path, entries: before.entries() });
    }
    let Before::Read(Summary { details: Some(before), .. }) = before else { return Ok(()) };
    // The root itself is always there.
    let (entries, removed) = (before.counts.entries.saturating_sub(1), counts.removed);
    let remaining = entries.saturating_sub(removed);
    let is_other = recorded(&path) != before.source && !before.source.as_os_str().is_empty();
    if is_other && entries >= FEW && remaining < entries.div_ceil(2) && !rules.allow_other {
        let (folder, host) = (before.source.clone(), before.host.clone());
        return Err(Error::SuspiciousSource { pvc, path, folder, host, entries, remaining });
    }
    if !is_other && entries >= 10 && remaining == 0 && counts.entries > 1 {
        observer.warn(&format!(
            "source \"{pvc}\" at {} has none of the {entries} paths of its last manifest: is it the right volume? \
             `weekvault undelete` and earlier weeks have what was there",
            Shown::path(&path)
        ));
    }
    Ok(())
}

/// What is known of the manifest before.
pub(super) enum Before<'a> {
    /// There is none.
    Nothing,
    /// There are only such as cannot be read: they may have had anything.
    Unreadable,
    /// What it says of itself.
    Read(&'a Summary),
}

impl Before<'_> {
    /// How many entries it has, `u64::MAX` where nobody knows.
    fn entries(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Unreadable => u64::MAX,
            Self::Read(summary) => match (&summary.details, &summary.head) {
                (Some(details), _) => details.counts.entries,
                (None, Some(head)) if head.is_empty => 1,
                (None, _) => u64::MAX,
            },
        }
    }
}

/// A source's folder as manifests record it.
pub(super) fn recorded(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
