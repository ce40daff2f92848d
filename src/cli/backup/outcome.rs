//! What a backup came to, retention and gc with it.

use crate::archive::{Archive, ArchiveError, ManifestId, StoreLock};
use crate::cli::context::Context;
use crate::cli::failure::{DONE, Failure, PARTIAL};
use crate::model::{Completeness, PvcName, Week};
use crate::ops::Error;
use crate::ops::backup::{BackedUp, MissingSource};
use crate::ops::gc::{CleanedUp, clean_up};
use std::time::Duration;

/// What a run came to.
pub(super) struct Outcome {
    pub(super) archive: Archive,
    /// The store's id, where this run has made it.
    pub(super) created: Option<String>,
    pub(super) week: Week,
    pub(super) sources: Vec<BackedUp>,
    /// Sources that the run was done without.
    pub(super) missing: Vec<MissingSource>,
    /// Complete manifests of a past week that complete ones of this run have replaced.
    pub(super) replaced: Vec<ManifestId>,
    pub(super) cleaned: CleanedUp,
    /// Why retention or gc ended early: what was published stands.
    pub(super) trouble: Option<Failure>,
    pub(super) took: Duration,
}

impl Outcome {
    pub(super) fn code(&self) -> u8 {
        match &self.trouble {
            Some(failure) => failure.code(),
            None if self.is_complete() => DONE,
            None => PARTIAL,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.sources.iter().all(|s| s.completeness == Completeness::Complete)
    }
}

impl Outcome {
    /// Says which complete manifests of a past week are no longer in place.
    pub(super) fn tell_replaced(&mut self, context: &Context, dry_run: bool) {
        // One that says the same is no loss.
        let is_complete = |s: &&BackedUp| {
            s.completeness == Completeness::Complete && s.counts.changed + s.counts.new + s.counts.removed > 0
        };
        let complete: Vec<&PvcName> = self.sources.iter().filter(is_complete).map(|s| &s.pvc).collect();
        self.replaced.retain(|id| complete.contains(&&id.pvc));
        for id in &self.replaced {
            let is = if dry_run { "would be" } else { "is" };
            context.progress.note(&format!(
                "week {} is past, and its complete manifest of {} {is} replaced; `weekvault undelete --week {} --pvc {}` takes \
                 that back while the old one is in the trash",
                id.week, id.pvc, id.week, id.pvc
            ));
        }
    }

    /// Retention and gc.
    pub(super) fn clean_up(&mut self, context: &Context, keep: u32, held: Option<StoreLock>) {
        context.observer().phase("retiring what is old", None);
        let run = context.run(&self.archive);
        match clean_up(run, &self.sources, self.week, keep as usize, held, &mut self.cleaned) {
            Ok(()) => {}
            Err(Error::Busy(_)) => {
                context.progress.note("another run is at work on the store: garbage is left to the next run");
            }
            // The backup is none the worse for it.
            Err(Error::Archive(error @ ArchiveError::Clock { .. })) => {
                context.observer().warn(&format!("nothing was retired: {error}"));
            }
            Err(error) => {
                const LEFT: &str = "the backup is published; what is old is left to the next run";
                self.trouble = Some(context.failure(error, LEFT));
            }
        }
    }
}
