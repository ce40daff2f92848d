//! The disk of the model: each operation is one step under a mutex, recorded with its effect.

use super::fault::{Fate, Faults, Kind};
use super::image::{Content, Edit, Effect, Image, Node, NodeId};
use rustix::io::Errno;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use weekvault::model::Timestamp;
use weekvault::store::{Disk, DiskFile, DiskLock, HeldFile, LockMode, Seen, SeenKind};

/// No write takes more bytes at once, so that files are torn in their middle too. Of long ones, such as sealed objects are, it
/// takes two thirds: more pieces would only make more of the same states.
const MAX_WRITE: usize = 700;

/// A handle on the disk, as one process has it.
#[derive(Clone)]
pub(crate) struct ModelDisk {
    state: Arc<Mutex<State>>,
    process: u64,
}

pub(crate) struct State {
    /// What there was before the log.
    pub(crate) start: Image,
    pub(crate) live: Image,
    pub(crate) log: Vec<Effect>,
    pub(crate) faults: Faults,
    /// What no program should do, whatever its disk does.
    pub(crate) wrongs: Vec<String>,
    pub(crate) clock: Timestamp,
    /// Called once, before the operation of this number.
    pub(crate) between: Option<(u64, Box<dyn FnOnce() + Send>)>,
    /// Operations so far, those that only read too.
    pub(crate) operations: u64,
    processes: u64,
    /// Files of which a sync or close has failed.
    suspect: HashSet<NodeId>,
    /// Folders whose sync has failed in a process.
    unsynced: HashSet<(u64, NodeId)>,
}

impl ModelDisk {
    /// A disk on which all that the image has is durable.
    pub(crate) fn new(start: Image, clock: Timestamp) -> Self {
        let state = State {
            live: start.clone(),
            start,
            log: Vec::new(),
            faults: Faults::default(),
            wrongs: Vec::new(),
            clock,
            between: None,
            operations: 0,
            processes: 0,
            suspect: HashSet::new(),
            unsynced: HashSet::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), process: 0 }
    }

    /// The same after a power cut: no process has the number of one from before.
    pub(crate) fn rebooted(left: Image, clock: Timestamp) -> Self {
        let disk = Self::new(left, clock);
        disk.state().processes = 1000;
        disk
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as a process sees it that begins now.
    pub(crate) fn of_new_process(&self) -> Self {
        let mut state = self.state();
        state.processes += 1;
        Self { state: Arc::clone(&self.state), process: state.processes }
    }

    pub(crate) fn process(&self) -> u64 {
        self.process
    }

    /// Does an operation, or fails it, as the faults have it.
    fn run<T>(
        &self,
        kind: Kind,
        path: &Path,
        operation: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state();
        state.operations += 1;
        if state.between.as_ref().is_some_and(|(at, _)| *at == state.operations) {
            let between = state.between.take();
            drop(state);
            if let Some((_, between)) = between {
                between();
            }
            state = self.state();
        }
        let log = state.log.len();
        match state.faults.meet(kind, &path.to_string_lossy(), log) {
            Fate::Done => operation(&mut state),
            Fate::Failed(error) => {
                self.remember_failure(&mut state, kind, path);
                Err(error)
            }
            Fate::DoneButFailed(error) => {
                let done = operation(&mut state);
                self.remember_failure(&mut state, kind, path);
                done.and(Err(error))
            }
        }
    }

    fn remember_failure(&self, state: &mut State, kind: Kind, path: &Path) {
        let Some(node) = state.live.find(path) else { return };
        match kind {
            Kind::Sync | Kind::Close => drop(state.suspect.insert(node)),
            Kind::SyncFolder => drop(state.unsynced.insert((self.process, node))),
            _ => {}
        }
    }
}

fn errno<T>(error: Errno) -> io::Result<T> {
    Err(error.into())
}

impl State {
    pub(crate) fn record(&mut self, effect: Effect) {
        self.live.apply(&effect);
        self.log.push(effect);
    }

    /// Changes a byte of a file behind everybody's back.
    pub(crate) fn rot(&mut self, path: &Path) {
        let Some(file) = self.live.find(path) else { panic!("no {}", path.display()) };
        let mut bytes = self.live.content(path).unwrap().bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        self.record(Effect::Rot { file, content: Content::new(bytes) });
    }

    /// Lets time go by; each operation takes a little of its own.
    fn tick(&mut self) -> Timestamp {
        let nanos = self.clock.nanos + 1_000_000;
        self.clock = Timestamp {
            secs: self.clock.secs + i64::from(nanos / 1_000_000_000),
            nanos: nanos % 1_000_000_000,
        };
        self.clock
    }

    /// The folder and name of a path, with what it leads to.
    fn place(&self, path: &Path) -> io::Result<(Edit, Option<NodeId>)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
            return errno(Errno::BUSY);
        };
        let Some(folder) = self.live.find(parent) else { return errno(Errno::NOENT) };
        let Some(names) = self.live.names(folder) else { return errno(Errno::NOTDIR) };
        let node = names.get(name).copied();
        Ok((Edit { folder, name: name.into(), node: node.unwrap_or(self.live.nodes.len()) }, node))
    }

    fn there(&self, path: &Path) -> io::Result<(Edit, NodeId)> {
        match self.place(path)? {
            (edit, Some(node)) => Ok((edit, node)),
            _ => errno(Errno::NOENT),
        }
    }

    fn seen(&self, node: NodeId) -> Seen {
        let (kind, length, modified) = match &self.live.nodes[node] {
            Node::File { content, modified } => (SeenKind::File, content.bytes.len() as u64, *modified),
            Node::Folder(_) => (SeenKind::Folder, 0, Timestamp::default()),
        };
        Seen { kind, id: (1, node as u64), length, modified }
    }

    fn create(&mut self, path: &Path) -> io::Result<NodeId> {
        let (at, node) = self.place(path)?;
        if node.is_some() {
            return errno(Errno::EXIST);
        }
        let node = at.node;
        let modified = self.tick();
        self.record(Effect::CreateFile { at, modified });
        Ok(node)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_edit, node) = self.there(from)?;
        let (mut to_edit, target) = self.place(to)?;
        if self.suspect.contains(&node) {
            self.wrongs.push(format!("{} was renamed after its sync or close had failed", from.display()));
        }
        // POSIX: of two names of one file neither goes.
        if target == Some(node) {
            return Ok(());
        }
        if matches!(self.live.nodes[node], Node::Folder(_))
            || target.is_some_and(|t| self.live.names(t).is_some())
        {
            return errno(Errno::ISDIR);
        }
        to_edit.node = node;
        self.record(Effect::Rename { from: from_edit, to: to_edit });
        Ok(())
    }

    fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (_, node) = self.there(from)?;
        match self.place(to)? {
            (_, Some(_)) => errno(Errno::EXIST),
            (at, None) => {
                self.record(Effect::Link { at: Edit { node, ..at } });
                Ok(())
            }
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, Seen)>> {
        let Some(node) = self.live.find(folder) else { return errno(Errno::NOENT) };
        let Some(names) = self.live.names(node) else { return errno(Errno::NOTDIR) };
        // Some order that is not the names'.
        Ok(names.iter().rev().map(|(name, node)| (name.to_string(), self.seen(*node))).collect())
    }
}

struct Advice;

impl HeldFile for Advice {
    fn hold_alone(&self) -> io::Result<bool> {
        Ok(true)
    }
}

impl Disk for ModelDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let node = self.run(Kind::Open, path, |s| match s.there(path)? {
            (_, node) if s.live.names(node).is_none() => Ok(node),
            _ => errno(Errno::ISDIR),
        })?;
        Ok(Box::new(ModelFile { disk: self.clone(), path: path.into(), node }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let node = self.run(Kind::Create, path, |s| s.create(path))?;
        Ok(Box::new(ModelFile { disk: self.clone(), path: path.into(), node }))
    }

    fn list(&self, folder: &Path, found: &mut dyn FnMut(&str, Seen)) -> io::Result<()> {
        let listed = self.run(Kind::List, folder, |s| s.list(folder))?;
        listed.iter().for_each(|(name, seen)| found(name, *seen));
        Ok(())
    }

    fn look(&self, path: &Path) -> io::Result<Seen> {
        self.run(Kind::Look, path, |s| match s.live.find(path) {
            Some(node) => Ok(s.seen(node)),
            None => errno(Errno::NOENT),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Kind::Rename, from, |s| s.rename(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Kind::Link, to, |s| s.link(from, to))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.run(Kind::MakeFolder, path, |s| match s.place(path)? {
            (_, Some(_)) => errno(Errno::EXIST),
            (at, None) => {
                s.record(Effect::CreateFolder { at });
                Ok(())
            }
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.run(Kind::RemoveFile, path, |s| match s.there(path)? {
            (_, node) if s.live.names(node).is_some() => errno(Errno::ISDIR),
            (at, _) => {
                s.record(Effect::Remove { at });
                Ok(())
            }
        })
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.run(Kind::RemoveFolder, path, |s| {
            let (at, node) = s.there(path)?;
            match s.live.names(node) {
                None => errno(Errno::NOTDIR),
                Some(names) if !names.is_empty() => errno(Errno::NOTEMPTY),
                Some(_) => {
                    s.record(Effect::Remove { at });
                    Ok(())
                }
            }
        })
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        if let (Some(folder), mut state) = {
            let s = self.state();
            (s.live.find(path), s)
        } && state.unsynced.contains(&(self.process, folder))
        {
            state.wrongs.push(format!("{} was synced once more after that had failed", path.display()));
        }
        self.run(Kind::SyncFolder, path, |s| match s.live.find(path) {
            Some(folder) if s.live.names(folder).is_some() => {
                s.record(Effect::SyncFolder { folder });
                Ok(())
            }
            Some(_) => errno(Errno::NOTDIR),
            None => errno(Errno::NOENT),
        })
    }

    fn lock(&self, path: &Path, _: LockMode) -> io::Result<DiskLock> {
        self.run(Kind::Lock, path, |s| {
            if s.place(path)?.1.is_none() {
                s.create(path)?;
            }
            // The lock is advice; nothing may depend on it.
            Ok(DiskLock::Held(Box::new(Advice)))
        })
    }

    fn pause(&self, duration: Duration) {
        let mut state = self.state();
        state.clock = state.clock.plus_seconds(duration.as_secs() as i64);
    }
}

struct ModelFile {
    disk: ModelDisk,
    path: Box<Path>,
    node: NodeId,
}

impl DiskFile for ModelFile {
    fn look(&self) -> io::Result<Seen> {
        self.disk.run(Kind::Look, &self.path, |s| Ok(s.seen(self.node)))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.run(Kind::Read, &self.path, |s| {
            let Node::File { content, .. } = &s.live.nodes[self.node] else { return errno(Errno::ISDIR) };
            let part = content.bytes.get(offset as usize..).and_then(|rest| rest.get(..buffer.len()));
            part.map_or(Err(io::ErrorKind::UnexpectedEof.into()), |part| {
                buffer.copy_from_slice(part);
                Ok(())
            })
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.run(Kind::Write, &self.path, |s| {
            let part = &bytes[..bytes.len().min(MAX_WRITE.max(bytes.len() * 2 / 3))];
            let Node::File { content, .. } = &s.live.nodes[self.node] else { return errno(Errno::ISDIR) };
            let content = Content::new([content.bytes.as_slice(), part].concat());
            let modified = s.tick();
            s.record(Effect::Write { file: self.node, content, modified });
            Ok(part.len())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let suspect = self.disk.state().suspect.contains(&self.node);
        if suspect {
            let wrong = format!("{} was synced once more after that had failed", self.path.display());
            self.disk.state().wrongs.push(wrong);
        }
        self.disk.run(Kind::Sync, &self.path, |s| {
            s.record(Effect::SyncFile { file: self.node });
            Ok(())
        })
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        self.disk.run(Kind::Close, &self.path, |_| Ok(()))
    }
}
