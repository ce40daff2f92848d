//! The entries of a manifest, looked at on several threads and handed on in their order.

use super::apply::Restoring;
use super::look::{Batch, Looking, Worker};
use super::select::Selection;
use crate::archive::Manifest;
use crate::model::Kind;
use crate::ops::parallel::{Bounds, Output, Room, Work, ordered, with_threads};
use crate::ops::{Error, Run};

/// Entries in one piece of work, and bytes of memory that they come to; a single one may be larger.
const BATCH: usize = 128;
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of memory that all entries may take that are being looked at.
const ROOM: usize = 8 << 20;

/// Looks at all selected entries on several threads, and hands them to `restoring` in path order.
pub(super) fn look_and_apply(
    run: Run<'_>,
    manifest: &Manifest,
    looking: Looking<'_>,
    restoring: &mut Restoring<'_, '_, '_>,
) -> Result<(), Error> {
    let pieces = 4 * run.threads;
    let bounds = Bounds { waiting: pieces, pieces, ahead: 1 };
    let mut selection = restoring.options.selection.clone();
    let feed = Feed { run, manifest, looking, selection: selection.clone() };
    let room = Room::new(ROOM);
    let workers = (0..run.threads).map(|_| Worker::new(looking)).collect::<Result<Vec<_>, Error>>()?;
    with_threads(|threads| {
        let workers =
            workers.into_iter().map(|mut worker| move |batch, output: Output<_>| worker.work(batch, &output));
        let (work, looked) = ordered(threads, "look", bounds, workers.collect())?;
        let room = &room;
        let feeding = threads.start("feed", move || feed.run(&work, room))?;
        for (looked, place) in looked {
            for looked in looked {
                let selected = selection.selects(&looked.path);
                restoring.apply(looked, selected);
                restoring.writer.check()?;
            }
            drop(place);
        }
        feeding.join()?
    })
}

/// Where the entries come from.
struct Feed<'a> {
    run: Run<'a>,
    manifest: &'a Manifest,
    looking: Looking<'a>,
    selection: Selection,
}

impl Feed<'_> {
    fn run<'p, R: Send>(mut self, work: &Work<Batch<'p>, R>, room: &'p Room) -> Result<(), Error> {
        let (mut entries, mut bytes) = (Vec::with_capacity(BATCH), 0);
        let report = self.looking.report;
        for entry in self.manifest.readable(|error| report.damaged(error))? {
            let (path, entry) = entry?;
            // Folders are looked at even on the way: they may have to be made.
            if self.selection.selects(&path) || entry.kind == Kind::Directory {
                bytes += path.as_bytes().len() + entry.weight();
                entries.push((path, entry));
            }
            if entries.len() == BATCH || bytes >= BATCH_BYTES {
                self.run.go_on()?;
                let place = room.take(std::mem::take(&mut bytes));
                if work.send(Batch { entries: std::mem::take(&mut entries), place }).is_err() {
                    return Ok(());
                }
            }
        }
        self.run.go_on()?;
        let _ = work.send(Batch { entries, place: room.take(bytes) });
        Ok(())
    }
}
