//! What the program's commands do, on a model disk: each run is a process of its own.

use super::disk::ModelDisk;
use super::image::{Image, store};
use super::keys::{self, STAFF, as_reader, as_writer};
use super::sources::{self, Tree};
use crate::common::StoreKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weekvault::archive::{
    Archive, ArchiveError, Collected, GcOptions, NewStore, Retention, Retired, StoreLock, collect, lock,
    retain,
};
use weekvault::format::ChunkSizes;
use weekvault::format::keys::ReadNumber;
use weekvault::model::{ObjectId, PvcName, RunId, Silent, Timestamp, Week, WeekRef};
use weekvault::ops::backup::{BackedUp, BackupOptions, Labels, Source, Trust, backup};
use weekvault::ops::restore::{Owner, RestoreOptions, restore};
use weekvault::ops::undelete::{Undeleted, undelete};
use weekvault::ops::verify::{Repair, Verified, VerifyOptions, verify};
use weekvault::ops::{Error, Run};
use weekvault::store::{LocalStore, LockMode, StoreError, StoreOperation};

pub(crate) const DAY: i64 = 86_400;

/// The store's id.
pub(crate) const STORE: &str = "0123456789abcdef0123456789abcdef";
/// It cuts very small chunks.
pub(crate) const CHUNKS: ChunkSizes = ChunkSizes { min: 64, avg: 256, max: 1024 };

fn local(disk: &ModelDisk) -> Arc<LocalStore> {
    let process = disk.of_new_process();
    let run = RunId(process.process());
    Arc::new(LocalStore::on(Box::new(process), store(), run))
}

fn new_store() -> NewStore {
    let created = Timestamp { secs: 1_700_000_000, nanos: 0 };
    NewStore { chunks: CHUNKS, created, created_by: "a test".into(), id: STORE.into() }
}

/// What a disk has before the first run: nothing, since that makes a plain store, or a sealed one.
pub(crate) fn before_the_first_run(kind: StoreKind) -> Image {
    if kind == StoreKind::Plain {
        return Image::empty();
    }
    let disk = ModelDisk::new(Image::empty(), Timestamp::default());
    let archive = Archive::to_be_sealed(local(&disk), &new_store()).unwrap();
    archive.add_read_file(ReadNumber { epoch: 1, n: 1 }, &STAFF.sealed).unwrap();
    archive.seal().unwrap();
    disk.state().live.clone()
}

/// Opens the store to back up, or makes a plain one.
pub(crate) fn open_or_create(disk: &ModelDisk) -> Result<Archive, ArchiveError> {
    Archive::open_or_create(local(disk), &new_store()).map(as_writer)
}

/// Opens the store as those do who look after it: without a key.
pub(crate) fn open(disk: &ModelDisk) -> Result<Archive, ArchiveError> {
    Archive::open(local(disk))
}

/// Opens the store to back up.
pub(crate) fn open_to_write(disk: &ModelDisk) -> Result<Archive, ArchiveError> {
    open(disk).map(as_writer)
}

fn options() -> BackupOptions {
    // The states of a source are trees of their own.
    let trust = Trust { force_read: false, ignore_ctime: true, ignore_inode: true };
    BackupOptions { trust, ..BackupOptions::default() }
}

/// What a backup is told.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) week: Week,
    pub(crate) sources: Vec<Source>,
    pub(crate) keep: usize,
    pub(crate) now: Timestamp,
}

/// What came of a run: of the backup, and then of what follows it.
pub(crate) struct Ended {
    pub(crate) published: Result<Vec<BackedUp>, Error>,
    pub(crate) cleaned: Option<Result<(Vec<Retired>, Collected), ArchiveError>>,
}

impl Ended {
    pub(crate) fn is_done(&self) -> bool {
        self.published.is_ok() && self.cleaned.as_ref().is_some_and(Result::is_ok)
    }

    pub(crate) fn told(&self) -> String {
        let of = |e: &dyn std::error::Error| e.to_string();
        match (&self.published, &self.cleaned) {
            (Err(e), _) => of(e),
            (_, Some(Err(e))) => of(e),
            _ => "done".into(),
        }
    }
}

/// `backup`, with retention and gc.
pub(crate) fn run(disk: &ModelDisk, job: &Job) -> Ended {
    let failed = |e| Ended { published: Err(e), cleaned: None };
    let archive = match open_or_create(disk) {
        Ok(archive) => archive,
        Err(e) => return failed(e.into()),
    };
    match back_up(&archive, job) {
        Err(e) => failed(e),
        published => Ended { published, cleaned: Some(clean_up(&archive, job)) },
    }
}

pub(crate) fn back_up(archive: &Archive, job: &Job) -> Result<Vec<BackedUp>, Error> {
    let _guard = lock(archive, LockMode::Shared)?;
    let observer = Silent::default();
    let run = Run::new(archive, &observer);
    Ok(backup(run, &job.sources, &Labels::of(job.week), &options())?.sources)
}

pub(crate) fn clean_up(archive: &Archive, job: &Job) -> Result<(Vec<Retired>, Collected), ArchiveError> {
    archive.check_clock(job.now)?;
    let retired = retire(archive, job)?;
    Ok((retired, garbage(archive, job)?))
}

pub(crate) fn retire(archive: &Archive, job: &Job) -> Result<Vec<Retired>, ArchiveError> {
    let pvcs: Vec<PvcName> = job.sources.iter().map(|s| s.pvc.clone()).collect();
    let limits = Retention { keep: job.keep, pvcs: Some(&pvcs), never: Some(job.week), dry_run: false };
    let given = retain(archive, &archive.manifests()?, limits, job.now, &Silent::default())?;
    succeeded(given.stuck)?;
    Ok(given.retired)
}

/// Files that could not be moved are warned of, and the rest goes on, but the run fails in the end.
fn succeeded(stuck: u64) -> Result<(), ArchiveError> {
    if stuck == 0 {
        return Ok(());
    }
    let source = std::io::ErrorKind::PermissionDenied.into();
    Err(StoreError::at(StoreOperation::Retire, format!("{stuck} files"), source).into())
}

pub(crate) fn garbage(archive: &Archive, job: &Job) -> Result<Collected, ArchiveError> {
    let guard = lock(archive, LockMode::Exclusive)?;
    assert!(!matches!(guard, StoreLock::Busy), "nobody else has the lock");
    archive.clean_tmp(job.now)?;
    let options = GcOptions { dry_run: false, trash_days: 7, empty_trash: false, now: job.now };
    let collected = collect(archive, &archive.weeks()?, options, &Silent::default())?;
    succeeded(collected.stuck)?;
    Ok(collected)
}

pub(crate) fn check(disk: &ModelDisk) -> Result<Verified, Error> {
    checked(disk, false)
}

/// `verify --repair`.
pub(crate) fn repair(disk: &ModelDisk) -> Result<Verified, Error> {
    let verified = checked(disk, true)?;
    let stuck = verified.repaired.values().filter(|repair| **repair == Repair::Stuck).count();
    succeeded(stuck as u64)?;
    Ok(verified)
}

fn checked(disk: &ModelDisk, repair: bool) -> Result<Verified, Error> {
    let options = VerifyOptions { repair, ..VerifyOptions::default() };
    verify(Run::new(&open(disk)?, &Silent::default()), &options)
}

pub(crate) fn bring_back(disk: &ModelDisk, slot: &str) -> Result<Undeleted, Error> {
    let (week, pvc) = slot.split_once('/').unwrap();
    undelete(Run::new(&open(disk)?, &Silent::default()), week.parse().unwrap(), &pvc.parse().unwrap())
}

/// An object of which this manifest uses all, and its file.
pub(crate) fn an_object(disk: &ModelDisk, slot: &str) -> (ObjectId, PathBuf) {
    let (week, pvc) = slot.split_once('/').unwrap();
    let archive = as_reader(open(disk).unwrap());
    let id = archive.find_manifest(WeekRef::Exact(week.parse().unwrap()), &pvc.parse().unwrap()).unwrap();
    let rows = archive.open_manifest(&id).unwrap().objects().unwrap();
    let id = rows.iter().find(|row| row.used == row.chunk_length).unwrap().id;
    (id, store().join(format!("objects/{}/{}", &id.to_string()[..1], keys::file_name(&id))))
}

/// Says what is wrong with a store of which nothing should be.
pub(crate) fn unclean(disk: &ModelDisk) -> Option<String> {
    match check(disk) {
        Ok(verified) if verified.is_clean() && verified.displaced.is_empty() => None,
        Ok(verified) => Some(format!("verify finds {verified:?}")),
        Err(e) => Some(format!("verify fails: {e}")),
    }
}

/// Restores a manifest to a folder of the system, and reads that.
pub(crate) fn restored(disk: &ModelDisk, slot: &str, target: &Path) -> Result<Tree, String> {
    let (week, pvc) = slot.split_once('/').unwrap();
    let archive = as_reader(open(disk).map_err(|e| e.to_string())?);
    let week = WeekRef::Exact(week.parse().unwrap());
    let manifest =
        archive.find_manifest(week, &pvc.parse().unwrap()).and_then(|id| archive.open_manifest(&id));
    let options = RestoreOptions { delete: true, owner: Owner::Nobody, ..RestoreOptions::into(target) };
    let manifest = manifest.map_err(|e| e.to_string())?;
    let restored =
        restore(Run::new(&archive, &Silent::default()), &manifest, &options).map_err(|e| e.to_string())?;
    if restored.failed > 0 {
        return Err(format!("{restored:?}"));
    }
    Ok(sources::read(target))
}
