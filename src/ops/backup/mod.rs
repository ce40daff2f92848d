//! Backing sources up: one way through the house.
//!
//! ```text
//! walk ─ scan ─┬ unchanged: keep extents ────────────────────────┐
//!              └ read ─ cut ─ pack (hash, known? no: compress, put) ┴ collect ─ publish
//! ```
//!
//! Each stage runs on threads of its own; bounded channels between them bound the memory. Whatever fails in the
//! store ends the run before anything is published.

mod collect;
mod copies;
mod cut;
mod known;
mod mend;
mod pack;
mod previous;
mod read;
mod scan;
mod sources;

use super::Error;
use super::clock::now;
use super::parallel::{Bounds, Pool, ordered, start};
use crate::data::{Compare, CutSizes};
use crate::model::{
    ArchivePath, Completeness, Counts, ObjectRow, Observer, Owners, Problem, PvcName, Summary, Timestamp,
    Week,
};
use crate::repo::{Archive, Inventory, Manifest, ManifestId, PendingManifest, SharedTrash, look_again};
use crate::tree::{OwnerNames, SourceReader, SourceRoot, Walk, WalkOptions, is_remote};
use collect::Collected;
use copies::Copy;
use cut::Cutting;
use known::KnownContents;
use pack::{Packer, Packing};
use previous::Previous;
use read::Reading;
use scan::Pieces;
use sources::{Before, check_folder, check_likely, check_sources, check_still_there, recorded};
pub use sources::{MissingSource, Source, SourceRules, check_source_folders};
use std::path::PathBuf;
use std::sync::Arc;

/// Files that are read at once where each answer takes a network's time: that is nearly all waiting.
const REMOTE_READERS: usize = 8;

/// What the sources are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// What is to be protected, as it is now.
    Live,
    /// Copies of that in a farm of hard links. They stay as they are, and so do the weeks that they become: nothing of an
    /// object is moved elsewhere because the rest of it is not needed any more.
    Copy {
        /// Where it was mounted; empty where nobody knows.
        of: PathBuf,
    },
}

/// How to back up.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// The week that the manifests stand for.
    pub week: Week,
    /// What the sources are.
    pub origin: Origin,
    /// Patterns of what to leave out, for the manifests to tell.
    pub excludes: Vec<String>,
    /// What of the sources to walk.
    pub walk: WalkOptions,
    /// zstd's level.
    pub compression: i32,
    /// Trust no metadata: read every file.
    pub force_read: bool,
    /// The sources' file systems have no stable ctimes.
    pub ignore_ctime: bool,
    /// The sources' file systems have no stable inode numbers.
    pub ignore_inode: bool,
    /// Which sources may be missing, and what counts as a mistake.
    pub rules: SourceRules,
    /// Read and compare, but write nothing.
    pub dry_run: bool,
    /// Threads that pack chunks.
    pub threads: usize,
    /// Threads that read files; none for as many as suit the source's file system.
    pub readers: Option<usize>,
    /// For the manifests: this machine.
    pub host: String,
    /// For the manifests: this program.
    pub tool: String,
}

/// What became of one source.
#[derive(Clone, Debug)]
pub struct BackedUp {
    /// Which.
    pub pvc: PvcName,
    /// What was found and done.
    pub counts: Counts,
    /// Whether everything could be read.
    pub completeness: Completeness,
    /// Up to 10,000 paths that could not be read.
    pub problems: Vec<Problem>,
    /// Bytes of the manifest; 0 in a dry run.
    pub manifest_bytes: u64,
    /// Bytes of the manifest and of all objects that it needs, new or not; 0 in a dry run.
    pub output_bytes: u64,
    /// When its walk began, and when its manifest was done.
    pub started: Timestamp,
    /// See `started`.
    pub finished: Timestamp,
}

/// What became of a run.
#[derive(Debug)]
pub struct Backup {
    /// The sources that were published, or would be.
    pub sources: Vec<BackedUp>,
    /// Those that the run was done without.
    pub missing: Vec<MissingSource>,
}

/// Backs up all sources, one after the other, each into its own manifest.
///
/// # Errors
/// [`Error`]. The first source that fails as a whole ends the run, and nothing is published, unless the rules for sources
/// allow for it.
pub fn backup(
    archive: &Archive,
    sources: &[Source],
    options: &BackupOptions,
    observer: &dyn Observer,
) -> Result<Backup, Error> {
    check_sources(sources, &options.rules, archive)?;
    let names: Vec<PvcName> = sources.iter().map(|s| s.pvc.clone()).collect();
    let inventory = Inventory::take(archive, |manifest, error| {
        observer.warn(&format!("{}: not used for deduplication: {error}", manifest.id));
    })?;
    archive.check_names(&names, inventory.manifests(), |message| observer.warn(message))?;
    // All sources are read before any manifest is published: a run that fails has published nothing.
    let (mut prepared, mut missing) = (Vec::new(), Vec::new());
    for source in sources {
        observer.phase(&format!("backing up {}", source.pvc), None);
        let work = |observer: &dyn Observer| prepare(archive, &inventory, source, options, observer);
        match options.rules.within(source, observer, work)? {
            Ok(done) => prepared.push(done),
            Err(without) => {
                // What it was about to store is there for nobody.
                inventory.give_up_claims();
                missing.push(without);
            }
        }
    }
    if prepared.is_empty()
        && let Some(missing) = missing.pop()
    {
        return Err(missing.error);
    }
    if options.dry_run {
        return Ok(Backup { sources: prepared.into_iter().map(|p| p.result).collect(), missing });
    }
    let (mut needed, mut as_before, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    for Prepared { result, manifest } in prepared {
        let Some(Ready { manifest, id, owners, objects, summary, based_on }) = manifest else { continue };
        let manifest = manifest.finish(id, &owners, &objects, &summary)?;
        let output: u64 = objects.iter().map(|o| u64::from(o.stored_length)).sum();
        let stands = based_on.is_some_and(|earlier| archive.stands(&earlier));
        if stands { &mut as_before } else { &mut needed }.extend(objects);
        ready.push((result, manifest, output));
    }
    // Every object that a manifest names is there before it is published, and still there after. What an earlier manifest
    // names, which stands, no gc can have taken for unneeded.
    if !needed.is_empty() {
        look_again(archive, &needed)?;
    }
    needed.append(&mut as_before);
    if observer.cancelled() {
        return Err(Error::Cancelled);
    }
    // From here on nothing asks whether to stop: of several manifests all are published, or the store has failed.
    let (mut published, mut names) = (Vec::new(), Vec::new());
    for (mut result, manifest, output) in ready {
        let what = format!("{}/{}", options.week, result.pvc);
        let (_, length) = manifest.publish(now()).map_err(Error::published(what.clone(), false))?;
        (result.manifest_bytes, result.output_bytes) = (length, output + length);
        observer.counters().store_written.add(length);
        published.push(result);
        names.push(what);
    }
    look_again(archive, &needed).map_err(Error::published(names.join(", "), true))?;
    Ok(Backup { sources: published, missing })
}

/// A source that has been read: its manifest waits to be published.
struct Prepared {
    result: BackedUp,
    /// None in a dry run.
    manifest: Option<Ready>,
}

struct Ready {
    manifest: PendingManifest,
    id: ManifestId,
    owners: Owners,
    objects: Vec<ObjectRow>,
    summary: Summary,
    /// The earlier manifest, where that names all of the objects.
    based_on: Option<Manifest>,
}

fn prepare(
    archive: &Archive,
    inventory: &Inventory,
    source: &Source,
    options: &BackupOptions,
    observer: &dyn Observer,
) -> Result<Prepared, Error> {
    let started = now();
    check_folder(source)?;
    let failed = |error| Error::Source { pvc: source.pvc.clone(), error };
    let io = |e| crate::tree::SourceError::new(&ArchivePath::root(), "open", e);
    let root = source.path.canonicalize().map_err(|e| failed(io(e)))?;
    let root = SourceRoot::open(&root).map_err(failed)?;
    if options.origin == Origin::Live && !options.dry_run {
        // Whether it could be flushed as a whole or not, what is read is whole.
        let _ = root.flush(started);
    }
    let mut unreadable = 0u64;
    let compact = options.origin == Origin::Live;
    let mut previous = Previous::find(archive, inventory, &source.pvc, options.week, compact, |error| {
        unreadable += 1;
        observer.warn(&format!("not compared with: {error}"));
    })?;
    // Whoever trusts nothing does not trust the objects either.
    let own = previous.as_ref().filter(|_| !options.force_read).map_or(&[][..], |p| p.table());
    inventory.next_source(own);
    if let Some(previous) = previous.as_mut().filter(|_| !options.dry_run) {
        let mut reader = SourceReader::of(&root);
        let mut packer = Packer::new(archive, inventory, options, &SharedTrash::default(), observer)?;
        mend::mend(previous, &mut reader, &mut packer, observer)?;
    }
    let previous = previous.as_ref();
    let mut manifest = match options.dry_run {
        true => None,
        false => Some(PendingManifest::begin(archive, options.compression)?),
    };
    let mut collected = Collected::default();
    let read_before = observer.counters().bytes_read.get();
    run_pipeline(&root, inventory, previous, options, observer, manifest.as_mut(), &mut collected, archive)?;
    check_still_there(&root, source)?;
    let mut counts = collected.counts;
    counts.bytes_read = observer.counters().bytes_read.get() - read_before;
    let before = match previous {
        Some(previous) => Before::Read(&previous.summary),
        None if unreadable > 0 => Before::Unreadable,
        None => Before::Nothing,
    };
    check_likely(source, &options.rules, &counts, &collected.problems, before, observer)?;
    if counts.entries == 0 {
        let error = collected.problems.first().map_or("nothing could be read".into(), |p| p.error.clone());
        return Err(failed(io(std::io::Error::other(error))));
    }
    let completeness = match collected.missing {
        0 => Completeness::Complete,
        missing => Completeness::Partial { missing },
    };
    let finished = now();
    let ready = manifest.map(|mut manifest| {
        manifest.left_out(collected.left_out);
        // Every chunk of this run is either known or stored by now, or the run has failed.
        let objects = inventory.rows(&collected.objects).ok_or(Error::Cancelled)?;
        let summary = Summary {
            week: options.week,
            pvc: source.pvc.clone(),
            source: match &options.origin {
                Origin::Live => recorded(&source.path),
                Origin::Copy { of } => of.clone(),
            },
            host: options.host.clone(),
            tool: options.tool.clone(),
            store: archive.config().id.clone(),
            excludes: options.excludes.clone(),
            started,
            finished,
            compared_with: previous.map(Previous::digest),
            completeness,
            counts,
        };
        let owners = OwnerNames::of_this_machine().of(&collected.uids, &collected.gids);
        let id = ManifestId {
            week: options.week,
            pvc: source.pvc.clone(),
            partial: completeness != Completeness::Complete,
        };
        let based_on = previous.filter(|p| p.names_all(&objects)).map(|p| p.manifest.clone());
        Ok::<_, Error>(Ready { manifest, id, owners, objects, summary, based_on })
    });
    let result = BackedUp {
        pvc: source.pvc.clone(),
        counts,
        completeness,
        problems: collected.problems,
        manifest_bytes: 0,
        output_bytes: 0,
        started,
        finished,
    };
    Ok(Prepared { result, manifest: ready.transpose()? })
}

#[expect(clippy::too_many_arguments, reason = "the stages' ends, joined here and nowhere else")]
fn run_pipeline(
    root: &SourceRoot,
    inventory: &Inventory,
    previous: Option<&Previous>,
    options: &BackupOptions,
    observer: &dyn Observer,
    manifest: Option<&mut PendingManifest>,
    collected: &mut Collected,
    archive: &Archive,
) -> Result<(), Error> {
    let chunks = archive.config().chunks;
    let sizes = CutSizes { min: chunks.min as usize, avg: chunks.avg as usize, max: chunks.max as usize };
    let compare = previous.map(|p| Compare {
        started: p.summary.started,
        finished: p.summary.finished,
        force_read: options.force_read,
        ignore_ctime: options.ignore_ctime,
        ignore_inode: options.ignore_inode,
        was_partial: p.summary.completeness != Completeness::Complete,
    });
    let threads = options.threads.max(1);
    let waiting = if is_remote(root.path()) { threads.max(REMOTE_READERS) } else { threads };
    let reader_threads = options.readers.unwrap_or(waiting).max(1);
    // More readers than cores are there to wait: for small pieces, each of little memory, and the walk likewise.
    let (pieces, scouts) =
        if reader_threads > threads { (Pieces::SMALL, reader_threads) } else { (Pieces::LARGE, 0) };
    let place = Arc::new(archive.place());
    let walk = || Walk::new(root, WalkOptions { scouts, ..options.walk.clone() }).beside(Arc::clone(&place));
    let copy = match options.origin {
        Origin::Live => None,
        Origin::Copy { .. } => Some(Copy::look(walk(), previous, observer)),
    };
    let mut readers = Vec::new();
    let mut packers = Vec::new();
    let trash = SharedTrash::default();
    for _ in 0..reader_threads {
        readers.push(SourceReader::of(root));
    }
    for _ in 0..threads {
        packers.push(Packer::new(archive, inventory, options, &trash, observer)?);
    }
    let known = match previous {
        Some(previous) => Some(KnownContents::new(archive, inventory, previous)?),
        None => None,
    };
    let read_buffers = Pool::new(2 * sizes.avg, 2 * reader_threads + 4);
    let chunk_buffers = Pool::new(sizes.max, 2 * threads + 4);
    let spare = || chunk_buffers.take();
    let (read_buffers, chunk_buffers) = (&read_buffers, &chunk_buffers);
    std::thread::scope(|scope| {
        let walk = scan::walk_ahead(scope, walk())?;
        let under_way = 2 * reader_threads;
        let reading = Bounds { waiting: under_way, pieces: under_way, ahead: 1 };
        let readers = readers.into_iter().map(|source| {
            let mut reading = Reading { source, large: sizes.avg, pool: read_buffers, observer };
            move |steps, output: &_| reading.work(steps, output)
        });
        let (to_read, fed) = ordered(scope, reading, readers)?;
        let packing = Bounds { waiting: 2 * threads, pieces: 4 * threads + 4, ahead: 1 };
        let packers = packers.into_iter().map(|packer| {
            let mut packing = Packing { packer, pool: chunk_buffers };
            move |piece, output: &_| packing.work(piece, output)
        });
        let (to_pack, packed) = ordered(scope, packing, packers)?;
        let scan = move || scan::scan(walk, previous, compare, copy, pieces, &to_read, observer);
        let scanning = start(scope, scan)?;
        let cut = move || Cutting::new(sizes, known, &to_pack, read_buffers, &spare).run(fed, observer);
        let cutting = start(scope, cut)?;
        let result = collected.run(packed, previous, manifest, observer);
        // Each stage ends when its neighbour is gone; the first that failed of its own is the cause.
        let cut = cutting.join().unwrap_or(Err(Error::Cancelled));
        let scanned = scanning.join().unwrap_or(Err(Error::Cancelled));
        result?;
        cut?;
        let scanned = scanned?;
        collected.counts.skipped = scanned.skipped;
        collected.counts.vanished += scanned.vanished;
        collected.counts.removed = scanned.removed;
        collected.left_out = scanned.left_out.list();
        Ok(())
    })
}
