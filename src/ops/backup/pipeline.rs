//! The stages between a source and its manifest, joined by bounded channels.

use super::collect::Collected;
use super::copies::Copy;
use super::cut::Cutting;
use super::known::KnownContents;
use super::options::{BackupOptions, Origin};
use super::pack::{Memory, Packer, Packing};
use super::previous::Previous;
use super::put::{Putter, ToPut};
use super::read::Reading;
use super::scan::{self, Pieces, Scan};
use crate::archive::{Inventory, PendingManifest, SharedTrash};
use crate::data::{Compare, CutKey, CutSizes};
use crate::model::Completeness;
use crate::ops::parallel::{Bounds, Output, Pool, Room, Threads, ordered, shared, with_threads};
use crate::ops::{Error, Run};
use crate::tree::{SourceReader, SourceRoot, Walk, WalkOptions};
use std::sync::Arc;

/// Files that are read at once where each answer takes a network's time: that is nearly all waiting.
const REMOTE_READERS: usize = 8;
/// Bytes that objects may take which wait to be put, or are being put.
const PUT_ROOM: usize = 8 << 20;

/// One source on its way into a manifest.
pub(super) struct Pipeline<'a> {
    pub(super) run: Run<'a>,
    pub(super) inventory: &'a Inventory,
    pub(super) root: &'a SourceRoot,
    pub(super) previous: Option<&'a Previous>,
    pub(super) origin: &'a Origin,
    pub(super) options: &'a BackupOptions,
}

/// What the stages hand around, and how many threads they have.
struct Setup {
    sizes: CutSizes,
    /// In a sealed store.
    cut_key: Option<CutKey>,
    readers: usize,
    packers: usize,
    putters: usize,
    read_buffers: Pool,
    chunk_buffers: Pool,
    object_buffers: Pool,
    put_room: Room,
}

impl Pipeline<'_> {
    /// Takes the source through all stages; its entries go to `manifest`, if there is one.
    pub(super) fn run(&self, manifest: Option<&mut PendingManifest>) -> Result<Collected, Error> {
        let setup = self.setup();
        // More readers than cores are there to wait: for small pieces, each of little memory, and the walk likewise.
        let is_waiting = setup.readers > setup.packers;
        let pieces = if is_waiting { Pieces::SMALL } else { Pieces::LARGE };
        let scouts = if is_waiting { setup.readers } else { 0 };
        let place = Arc::new(self.run.archive.place());
        let walk = WalkOptions { scouts, ..self.options.walk.clone() };
        let walk = || Walk::new(self.root, walk.clone()).beside(Arc::clone(&place));
        let copy = match self.origin {
            Origin::Live => None,
            Origin::Copy { .. } => Some(Copy::look(walk(), self.previous, self.run.observer)),
        };
        let scan = Scan {
            previous: self.previous,
            compare: self.compare(),
            copy,
            pieces,
            observer: self.run.observer,
        };
        with_threads(|threads| self.join(threads, &setup, walk(), scan, manifest))
    }

    fn setup(&self) -> Setup {
        let chunks = self.run.archive.config().chunks;
        let sizes = CutSizes { min: chunks.min as usize, avg: chunks.avg as usize, max: chunks.max as usize };
        let packers = self.run.threads;
        let waiting = if self.root.is_remote() { packers.max(REMOTE_READERS) } else { packers };
        let readers = self.options.readers.unwrap_or(waiting).max(1);
        let putters = self.run.archive.requests_at_once();
        Setup {
            sizes,
            cut_key: self.run.archive.seals().cut_key().map(|(gear, key)| CutKey { gear, key }),
            readers,
            packers,
            putters,
            put_room: Room::new(PUT_ROOM),
            read_buffers: Pool::new(2 * sizes.avg, 2 * readers + 4),
            chunk_buffers: Pool::new(sizes.max, 2 * packers + 4),
            object_buffers: Pool::new(
                self.run.archive.seals().seal().stored_bound(sizes.max),
                packers + putters,
            ),
        }
    }

    fn compare(&self) -> Option<Compare> {
        self.previous.map(|p| Compare {
            started: p.summary.started,
            finished: p.summary.finished,
            force_read: self.options.trust.force_read,
            ignore_ctime: self.options.trust.ignore_ctime,
            ignore_inode: self.options.trust.ignore_inode,
            was_partial: p.summary.completeness != Completeness::Complete,
        })
    }

    /// Starts all stages but the last, which is done here.
    fn join<'scope>(
        &'scope self,
        threads: &Threads<'scope, '_>,
        setup: &'scope Setup,
        walk: Walk,
        scan: Scan<'scope>,
        manifest: Option<&mut PendingManifest>,
    ) -> Result<Collected, Error> {
        let (run, previous) = (self.run, self.previous);
        let observer = run.observer;
        // A writer of a sealed store cannot open what it would compare with.
        let comparable = previous.filter(|_| !run.archive.seals().is_sealed());
        let known = comparable.map(|previous| KnownContents::new(run.archive, self.inventory, previous));
        let known = known.transpose()?;
        let walk = scan::walk_ahead(threads, walk, observer)?;
        let readers = (0..setup.readers).map(|_| {
            let (source, pool) = (SourceReader::of(self.root), &setup.read_buffers);
            let mut reading = Reading { source, large: setup.sizes.avg, pool, observer };
            move |steps, output: Output<_>| reading.work(steps, &output)
        });
        let under_way = 2 * setup.readers;
        let bounds = Bounds { waiting: under_way, pieces: under_way, ahead: 1 };
        let (to_read, read) = ordered(threads, "read", bounds, readers.collect())?;
        let putter = Putter { inventory: self.inventory, dry_run: self.options.dry_run, observer };
        let putters = (0..setup.putters)
            .map(|_| move |object: ToPut<'scope>| putter.work(object, &setup.object_buffers));
        let to_put = shared(threads, "put", 0, putters.collect())?;
        let trash = SharedTrash::default();
        let memory =
            Memory { chunks: &setup.chunk_buffers, objects: &setup.object_buffers, room: &setup.put_room };
        let packers = (0..setup.packers).map(|_| {
            let packer = Packer::new(run, self.inventory, self.options, &trash)?;
            let mut packing = Packing::new(packer, memory, to_put.clone());
            Ok(move |piece, output| packing.work(piece, output))
        });
        let packers = packers.collect::<Result<Vec<_>, Error>>()?;
        drop(to_put);
        let bounds = Bounds { waiting: 2 * setup.packers, pieces: 4 * setup.packers + 4, ahead: 1 };
        let (to_pack, packed) = ordered(threads, "pack", bounds, packers)?;
        let scanning = threads.start("scan", move || scan.run(walk, &to_read))?;
        let cutting = threads.start("cut", move || {
            let spare = || setup.chunk_buffers.take();
            Cutting::new((setup.sizes, setup.cut_key.as_ref()), known, &to_pack, &setup.read_buffers, &spare)
                .run(read, observer)
        })?;
        let mut collected = Collected::after(previous, self.inventory);
        let result = collected.run(packed, previous, manifest, observer);
        // Each stage ends when its neighbour is gone; the first that failed of its own is the cause.
        let (cut, scanned) = (cutting.join(), scanning.join());
        result?;
        cut??;
        let scanned = scanned??;
        collected.counts.skipped = scanned.skipped;
        collected.counts.vanished += scanned.vanished;
        collected.counts.removed = scanned.removed;
        collected.left_out = scanned.left_out.list();
        Ok(collected)
    }
}
