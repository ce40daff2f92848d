//! Writing a window of files: each object is fetched once, and its slices go to where they belong.
//!
//! A file gets its name once its content has the hash that the manifest gives for it, so that the objects need not be hashed
//! too. Files that have another are written once more, of objects that are compared with their names: of a damaged object
//! there may be another copy, and if all of them are whole it is the manifest that lies.

use super::proof::{Proof, Written};
use super::report::Report;
use crate::archive::{ArchiveError, ObjectReader, SharedTrash};
use crate::data::{Placement, Window};
use crate::model::{ArchivePath, FileContent, Meta, ObjectRow, Problem};
use crate::ops::parallel::{Queue, with_threads};
use crate::ops::{Error, Run};
use crate::tree::{Inode, NewFile, SourceError, Target};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A file that is to be written.
struct Job {
    path: ArchivePath,
    meta: Meta,
    size: u64,
    /// What stands there and is to be replaced.
    looked: Option<Inode>,
    /// What its content is to be.
    proof: Proof,
    /// It has no slice at all. Not to be told from `left`, which another thread brings to 0 meanwhile.
    empty: bool,
    /// Slices still to come.
    left: AtomicU32,
    failed: AtomicBool,
    /// It came to another hash, of objects that were not compared with their names.
    doubtful: AtomicBool,
    /// Whether the temporary file is there; taken while it is made.
    made: Mutex<bool>,
}

impl Job {
    /// Begins anew, with so many slices to come.
    fn again(&mut self, slices: u32) {
        (self.left, self.doubtful) = (AtomicU32::new(slices), AtomicBool::new(false));
        self.made = Mutex::new(false);
    }
}

/// The objects of a window by their rows, each with its slices.
type Objects = Vec<(u32, Vec<Placement>)>;

/// Jobs that take so much memory are not kept waiting. As much may be being written at the same time.
const MAX_WEIGHT: usize = 16 << 20;

/// Gathers files into windows and hands those on, so that what comes next is looked at while a window is written.
pub(super) struct Writer<'a> {
    writing: &'a Writing<'a>,
    to_write: Queue<Filled>,
    window: Window,
    jobs: Vec<Job>,
    /// Bytes of memory that the jobs take, about.
    weight: usize,
    /// Counts the temporary files of this run.
    handed_on: u64,
}

/// A window on its way to be written.
pub(super) struct Filled {
    objects: Objects,
    jobs: Vec<Job>,
    /// The number of the first job's temporary file.
    first: u64,
    /// Dropped once the window is written.
    _done: Sender<()>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(writing: &'a Writing<'a>, to_write: Queue<Filled>) -> Self {
        Self { writing, to_write, window: Window::default(), jobs: Vec::new(), weight: 0, handed_on: 0 }
    }

    /// Adds a file; hands on what is there once enough has come together.
    /// It will replace `looked`, what was found at its path, and nothing else.
    pub(super) fn add(
        &mut self,
        path: ArchivePath,
        meta: Meta,
        content: &FileContent,
        looked: Option<Inode>,
    ) {
        let (_, slices) = self.window.add(&content.extents);
        let (left, size) = (AtomicU32::new(slices), content.size);
        let (failed, doubtful, made) = (AtomicBool::new(false), AtomicBool::new(false), Mutex::new(false));
        let (proof, empty) = (Proof::new(content), slices == 0);
        self.weight += path.as_bytes().len() + meta.weight() + proof.weight() + size_of::<Job>();
        self.jobs.push(Job { path, meta, size, looked, proof, empty, left, failed, doubtful, made });
        if self.window.is_full() || self.weight >= MAX_WEIGHT {
            self.hand_on();
        }
    }

    /// Hands on what is there; waits while another window waits. What is returned ends when it is written.
    fn hand_on(&mut self) -> Receiver<()> {
        let (filled, done) = self.fill();
        // Who writes has panicked where it is gone, which `check` tells.
        let _ = self.to_write.send(filled);
        done
    }

    fn fill(&mut self) -> (Filled, Receiver<()>) {
        let (objects, jobs, first) = (self.window.take(), std::mem::take(&mut self.jobs), self.handed_on);
        self.weight = 0;
        self.handed_on += jobs.len() as u64;
        let (_done, done) = bounded(0);
        (Filled { objects, jobs, first, _done }, done)
    }

    /// Waits until all that was added is written.
    pub(super) fn flush(&mut self) {
        // It never sends anything: its end is what is waited for.
        let _ = self.hand_on().recv();
    }

    /// Asked between two entries: what comes after a panic is not written, nor kept.
    ///
    /// # Errors
    /// [`Error::Bug`].
    pub(super) fn check(&self) -> Result<(), Error> {
        self.writing.check()
    }

    /// Waits until all that was added is written, and ends.
    ///
    /// # Errors
    /// [`Error::Bug`].
    pub(super) fn close(&mut self) -> Result<(), Error> {
        self.flush();
        self.check()
    }
}

/// The stage that writes windows.
pub(super) struct Writing<'a> {
    run: Run<'a>,
    objects: &'a [ObjectRow],
    target: Target,
    sparse: bool,
    report: &'a Report<'a>,
    trash: SharedTrash,
    threads: usize,
    /// A thread has panicked.
    bug: OnceLock<String>,
}

/// Bytes that objects may take which are fetched at once, of the longest that there are.
const FETCHED: usize = 64 << 20;

impl<'a> Writing<'a> {
    pub(super) fn new(
        run: Run<'a>,
        objects: &'a [ObjectRow],
        target: Target,
        sparse: bool,
        report: &'a Report<'a>,
    ) -> Self {
        let (trash, bug) = (SharedTrash::default(), OnceLock::new());
        // An object in memory is what was stored, and the chunk in it.
        let longest = 2 * run.archive.config().chunks.max as usize;
        let at_once = run.archive.requests_at_once().min(FETCHED / longest.max(1));
        let threads = run.threads.max(at_once);
        Self { run, objects, target, sparse, report, trash, threads, bug }
    }

    fn check(&self) -> Result<(), Error> {
        self.bug.get().map_or(Ok(()), |said| Err(Error::Bug(said.clone())))
    }

    /// Writes a window.
    pub(super) fn write(&self, mut filled: Filled) {
        if filled.jobs.is_empty() || self.check().is_err() {
            return;
        }
        let objects = std::mem::take(&mut filled.objects);
        let mut passed = self.pass(&objects, &filled, false);
        let doubtful = doubtful(objects, &mut filled.jobs);
        if !doubtful.is_empty() && passed.is_ok() {
            passed = self.pass(&doubtful, &filled, true);
        }
        if let Err(bug) = passed {
            let said = if let Error::Bug(said) = bug { said } else { bug.to_string() };
            self.bug.get_or_init(|| said);
        }
    }

    /// Writes the slices of some objects.
    fn pass(&self, objects: &Objects, filled: &Filled, by_name: bool) -> Result<(), Error> {
        let Filled { jobs, first, .. } = filled;
        let (next, next_empty, hashers) = (AtomicU32::new(0), AtomicU32::new(0), AtomicUsize::new(0));
        let passed = with_threads(|threads| {
            let (next, next_empty, hashers) = (&next, &next_empty, &hashers);
            let work = move || {
                let target = self.target.clone();
                let mut hand = Hand { writing: self, target, jobs, first: *first, hashers, by_name };
                hand.work(objects, next, next_empty);
            };
            // This thread does its part, so that all is written even where there are no others; and no more than have something
            // to do.
            let needed = self.threads.min(objects.len().max(jobs.len()));
            let _ = threads.start_some("write", (1..needed).map(|_| work));
            work();
            Ok(())
        });
        // A run that was told to stop leaves files half written: they go.
        for (number, job) in (0..).zip(jobs) {
            let made = *job.made.lock().unwrap_or_else(PoisonError::into_inner);
            if made && job.left.load(Ordering::Acquire) > 0 {
                self.target.abandon(first + number);
            }
        }
        passed
    }
}

/// The slices of files that are to be written once more.
fn doubtful(objects: Objects, jobs: &mut [Job]) -> Objects {
    let mut slices = vec![0; jobs.len()];
    let mut again = objects;
    again.retain_mut(|(_, placements)| {
        placements.retain(|place| {
            let file = place.file as usize;
            let is_doubtful = jobs.get(file).is_some_and(|job| job.doubtful.load(Ordering::Relaxed));
            if is_doubtful && let Some(slices) = slices.get_mut(file) {
                *slices += 1;
            }
            is_doubtful
        });
        !placements.is_empty()
    });
    for (job, slices) in jobs.iter_mut().zip(slices).filter(|(_, slices)| *slices > 0) {
        job.again(slices);
    }
    again
}

/// One thread's part in writing a window.
struct Hand<'a, 'b> {
    writing: &'a Writing<'b>,
    target: Target,
    jobs: &'a [Job],
    /// The number of the first job's temporary file.
    first: u64,
    /// Files that are hashed piece by piece.
    hashers: &'a AtomicUsize,
    /// Objects are compared with their names.
    by_name: bool,
}

impl Hand<'_, '_> {
    fn work(&mut self, objects: &[(u32, Vec<Placement>)], next: &AtomicU32, next_empty: &AtomicU32) {
        let observer = self.writing.run.observer;
        // Files without a slice, empty or all holes, need no object.
        while !self.by_name
            && let Some((number, job)) = take(self.jobs, next_empty)
        {
            if job.empty && !observer.cancelled() {
                self.finish(number as u32, job);
            }
        }
        let reader = ObjectReader::new(self.writing.run.archive, Arc::clone(&self.writing.trash));
        let Ok(mut reader) = reader else {
            return self.writing.report.problem(Problem {
                path: ArchivePath::root(),
                operation: "prepare decompression for".into(),
                error: "out of memory".into(),
            });
        };
        while let Some((_, (row, placements))) = take(objects, next) {
            if observer.cancelled() {
                return;
            }
            let before = reader.bytes_read();
            let Some(object) = self.writing.objects.get(*row as usize) else { continue };
            let fetched = match self.by_name || self.is_by_names(placements) {
                true => reader.fetch(&object.id, object.chunk_length),
                false => reader.fetch_unproven(&object.id, object.chunk_length),
            };
            match fetched {
                Ok(chunk) => self.place(chunk, placements),
                Err(error) => self.lost(&error, placements),
            }
            observer.counters().objects_read.add(1);
            observer.counters().store_read.add(reader.bytes_read() - before);
        }
    }

    fn unique(&self, number: u32) -> u64 {
        self.first + u64::from(number)
    }

    /// Whether a file that takes a part of an object has no other proof than the object's name.
    fn is_by_names(&self, placements: &[Placement]) -> bool {
        let job = |place: &Placement| self.jobs.get(place.file as usize);
        placements.iter().filter_map(job).any(|job| job.proof.is_by_names())
    }

    /// Writes an object's slices, those of one file after each other.
    fn place(&mut self, chunk: &[u8], placements: &[Placement]) {
        for of_file in placements.chunk_by(|a, b| a.file == b.file) {
            let Some(&Placement { file, .. }) = of_file.first() else { continue };
            let Some(job) = self.jobs.get(file as usize) else { continue };
            if !job.failed.load(Ordering::Relaxed)
                && let Err(error) = self.write(file, job, chunk, of_file)
            {
                self.fail(file, job, &error);
            }
        }
    }

    fn write(
        &mut self,
        number: u32,
        job: &Job,
        chunk: &[u8],
        placements: &[Placement],
    ) -> Result<(), SourceError> {
        let unique = self.unique(number);
        let mut new = {
            let mut made = job.made.lock().unwrap_or_else(PoisonError::into_inner);
            let new = match *made {
                true => self.target.reopen(&job.path, unique)?,
                false => {
                    let is_all = placements.len() as u32 == job.left.load(Ordering::Relaxed);
                    self.target.create(&job.path, unique, is_all && job.looked.is_none())?
                }
            };
            *made = true;
            new
        };
        let mut written = Vec::with_capacity(placements.len());
        for place in placements {
            let bytes = chunk.get(place.offset as usize..).and_then(|b| b.get(..place.length as usize));
            // The manifest's reader has checked that slices are within their chunks.
            let bytes = bytes.unwrap_or_default();
            write_slice(&mut new, bytes, place.at, self.writing.sparse)
                .map_err(|e| SourceError::new(&job.path, "write", e))?;
            self.writing.run.observer.counters().bytes_restored.add(bytes.len() as u64);
            if place.at == 0 && bytes.starts_with(DATABASE) {
                self.writing.report.note_database(&job.path);
            }
            written.push(Written { at: place.at, bytes });
        }
        job.proof
            .written(&new, &written, self.hashers)
            .map_err(|e| SourceError::new(&job.path, "read back", e))?;
        let done = placements.len() as u32;
        if job.left.fetch_sub(done, Ordering::AcqRel) == done && !job.failed.load(Ordering::Acquire) {
            self.put_in_place(number, new, job)?;
        }
        Ok(())
    }

    fn finish(&mut self, number: u32, job: &Job) {
        let unique = self.unique(number);
        let finished = self
            .target
            .create(&job.path, unique, job.looked.is_none())
            .and_then(|new| self.put_in_place(number, new, job));
        if let Err(error) = finished {
            self.fail(number, job, &error);
        }
    }

    fn put_in_place(&mut self, number: u32, new: NewFile, job: &Job) -> Result<(), SourceError> {
        let holds = job.proof.holds(&new, self.hashers);
        let holds = holds.map_err(|e| SourceError::new(&job.path, "read back", e))?;
        if !holds && !self.by_name && !job.empty {
            job.doubtful.store(true, Ordering::Relaxed);
            self.target.abandon(self.unique(number));
            return Ok(());
        }
        if !holds {
            let error = "its content is not the one whose hash the manifest gives; another week may have it";
            return Err(SourceError::new(&job.path, "restore", std::io::Error::other(error)));
        }
        let unrestored = self.target.finish(new, &job.path, job.size, &job.meta, job.looked)?;
        self.writing.report.unrestored(&unrestored);
        self.writing.run.observer.counters().files_restored.add(1);
        Ok(())
    }

    fn fail(&mut self, number: u32, job: &Job, error: &SourceError) {
        if !job.failed.swap(true, Ordering::AcqRel) {
            self.writing.report.lost(Problem::from(error));
        }
        job.proof.forget(self.hashers);
        self.target.abandon(self.unique(number));
    }

    /// An object is not to be had: the files that need it are left as they are.
    fn lost(&mut self, error: &ArchiveError, placements: &[Placement]) {
        for of_file in placements.chunk_by(|a, b| a.file == b.file) {
            let Some(&Placement { file, .. }) = of_file.first() else { continue };
            let Some(job) = self.jobs.get(file as usize) else { continue };
            if !job.failed.swap(true, Ordering::AcqRel) {
                let (path, operation) = (job.path.clone(), "restore".to_owned());
                self.writing.report.lost(Problem { path, operation, error: error.to_string() });
            }
            let made = job.made.lock().unwrap_or_else(PoisonError::into_inner);
            if *made {
                self.target.abandon(self.unique(file));
            }
        }
    }
}

/// With what a database of SQLite begins (<https://www.sqlite.org/fileformat.html>).
const DATABASE: &[u8] = b"SQLite format 3\0";

/// The next of some items that threads share.
fn take<'a, T>(items: &'a [T], next: &AtomicU32) -> Option<(usize, &'a T)> {
    let number = next.fetch_add(1, Ordering::Relaxed) as usize;
    items.get(number).map(|item| (number, item))
}

/// Blocks of zeros of this size become holes, where that is asked for.
const HOLE: usize = 4096;

/// Writes bytes at a place of a new file; where `sparse`, leaves out whole blocks of zeros, which a new file has anyway.
fn write_slice(new: &mut NewFile, bytes: &[u8], at: u64, sparse: bool) -> std::io::Result<()> {
    if !sparse {
        return new.write_at(bytes, at);
    }
    // Blocks are aligned in the file, not in the slice.
    let first = (HOLE as u64 - at % HOLE as u64) as usize % HOLE;
    let (head, rest) = bytes.split_at_checked(first).unwrap_or((bytes, &[]));
    let mut at = at;
    for part in std::iter::once(head).chain(rest.chunks(HOLE)) {
        if part.len() < HOLE || part.iter().any(|&b| b != 0) {
            new.write_at(part, at)?;
        }
        at += part.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Archive, Inventory, NewStore};
    use crate::format::{ChunkSizes, Seals};
    use crate::model::{ContentHash, Extent, Meta, ObjectId, Silent, Timestamp};
    use crate::store::MemoryStore;
    use crate::tree::OwnerMap;

    fn archive_of(chunk: &[u8]) -> (Archive, ObjectRow) {
        let chunks = ChunkSizes { min: 64, avg: 256, max: 1024 };
        let created = Timestamp { secs: 0, nanos: 0 };
        let new = NewStore { chunks, created, created_by: "test".into(), id: "00".repeat(16) };
        let archive = Archive::open_or_create(Arc::new(MemoryStore::default()), &new).unwrap();
        let (id, chunk_length) = (ObjectId::of(chunk), chunk.len() as u32);
        let mut stored = Vec::new();
        Seals::zstd(3).sealer().unwrap().object(id.chunk(), chunk, &mut stored).unwrap();
        Inventory::take(&archive, |_, _| ()).unwrap().store(&id, &stored).unwrap();
        (archive, ObjectRow { id, chunk_length, stored_length: stored.len() as u32, used: chunk_length })
    }

    #[test]
    fn a_thread_that_is_late_leaves_what_others_finished() {
        let (archive, row) = archive_of(b"content");
        let folder = tempfile::tempdir().unwrap();
        let target = Target::open(folder.path(), OwnerMap::Nobody).unwrap();
        let (observer, rows) = (Silent::default(), [row]);
        let report = Report::new(&observer);
        let writing = Writing::new(Run::new(&archive, &observer), &rows, target, false, &report);
        let to_write = Queue::unattended();
        let mut writer = Writer::new(&writing, to_write);
        for (name, extents) in [
            ("empty", vec![]),
            ("file", vec![Extent::Slice { object: 0, offset: 0, length: row.chunk_length }]),
        ] {
            let size = if extents.is_empty() { 0 } else { row.chunk_length.into() };
            let hash = ContentHash::of(if size == 0 { b"" } else { b"content" });
            let content = FileContent { size, hash, extents, changed_while_read: false };
            let path = ArchivePath::parse(name.as_bytes()).unwrap();
            let meta = Meta { mode: 0o644, ..Meta::default() };
            writer.add(path, meta, &content, None);
        }
        let (Filled { objects, jobs, first, .. }, _) = writer.fill();
        let next = AtomicU32::new(0);
        // The second begins with the empty files, as the first did, after that has written them all.
        for _ in 0..2 {
            let (target, hashers, by_name) = (writing.target.clone(), &AtomicUsize::new(0), false);
            let mut hand = Hand { writing: &writing, target, jobs: &jobs, first, hashers, by_name };
            hand.work(&objects, &next, &AtomicU32::new(0));
            assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"content");
            assert_eq!(std::fs::read(folder.path().join("empty")).unwrap(), b"");
        }
    }
}
