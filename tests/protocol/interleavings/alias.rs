//! Sealed objects of processes that are run again and again.
//!
//! No two files of a chunk are alike: each run of a process would store another one, and no two runs of it would go the
//! same way. So all runs of a process are taken to have made the file that the first of them made: that is what the store holds,
//! and what others see of it. The process itself sees its own file in its place.

use super::super::model::keys::STAFF;
use super::replay::Bytes;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use weekvault::format::{Keys, ManifestReader, ManifestWriter, RandomRead, Seals, sum_of};
use weekvault::model::{Lineage, ObjectId, ObjectRow, RunId};
use weekvault::store::Key;

/// A sealed object's file.
#[derive(Clone)]
pub(crate) struct File {
    name: String,
    bytes: Bytes,
}

impl File {
    fn id(&self) -> ObjectId {
        let (chunk, _) = self.name.split_once('.').unwrap();
        ObjectId::sealed(chunk.parse().unwrap(), sum_of(&self.bytes))
    }
}

/// By process and chunk: the file that the first run made.
#[derive(Default)]
pub(crate) struct FirstFiles(Mutex<HashMap<(u64, String), File>>);

/// The files of one run that stand for others.
#[derive(Clone, Default)]
pub(crate) struct Aliases(Vec<Alias>);

#[derive(Clone)]
struct Alias {
    own: File,
    first: File,
}

impl Aliases {
    /// Takes note of a file that a run is about to store, and gives the one that is stored.
    pub(crate) fn put(&mut self, run: RunId, firsts: &FirstFiles, key: &Key, bytes: &Bytes) -> (Key, Bytes) {
        let own = File { name: key.name().to_owned(), bytes: Arc::clone(bytes) };
        let Some((chunk, _)) = own.name.split_once('.').filter(|_| own.name.ends_with(".age")) else {
            return (key.clone(), self.manifest(bytes, |alias| (&alias.own, &alias.first)));
        };
        let mut firsts = firsts.0.lock().unwrap();
        let first = firsts.entry((run.0, chunk.to_owned())).or_insert_with(|| own.clone()).clone();
        if first.name != own.name {
            self.0.push(Alias { own, first: first.clone() });
        }
        (key.parent().child(&first.name), first.bytes)
    }

    /// Where the store has a file that the run calls so.
    pub(crate) fn key(&self, key: &Key) -> Key {
        let alias = self.0.iter().find(|alias| alias.own.name == key.name());
        alias.map_or(key.clone(), |alias| key.parent().child(&alias.first.name))
    }

    /// What the run calls a file of the store.
    pub(crate) fn name(&self, name: &str) -> String {
        let alias = self.0.iter().rev().find(|alias| alias.first.name == name);
        alias.map_or(name, |alias| &alias.own.name).to_owned()
    }

    /// What the run reads in a file of the store.
    pub(crate) fn read(&self, bytes: &Bytes) -> Bytes {
        match self.0.iter().rev().find(|alias| alias.first.bytes == *bytes) {
            Some(alias) => Arc::clone(&alias.own.bytes),
            None => self.manifest(bytes, |alias| (&alias.first, &alias.own)),
        }
    }

    /// A manifest that names others of the files; anything else stays what it is.
    fn manifest(&self, bytes: &Bytes, pair: impl Fn(&Alias) -> (&File, &File)) -> Bytes {
        if self.0.is_empty() {
            return Arc::clone(bytes);
        }
        let ids: HashMap<ObjectId, ObjectId> =
            self.0.iter().map(pair).map(|(from, to)| (from.id(), to.id())).collect();
        renamed(bytes, &ids).unwrap_or_else(|| Arc::clone(bytes))
    }
}

struct Slice<'a>(&'a [u8]);

impl RandomRead for Slice<'_> {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let part = self.0.get(offset as usize..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The same manifest with other files of its chunks, if it is one that names any of these.
fn renamed(bytes: &[u8], ids: &HashMap<ObjectId, ObjectId>) -> Option<Bytes> {
    let seals = Seals::with_keys(Keys::Reader(Arc::clone(&STAFF.reader)));
    let reader = ManifestReader::open(Slice(bytes), &seals).ok()?;
    let mut rows = reader.objects().unwrap();
    let is_concerned = |row: &ObjectRow| ids.contains_key(&row.id);
    if !rows.iter().any(is_concerned) {
        return None;
    }
    rows.iter_mut().for_each(|row| row.id = ids.get(&row.id).copied().unwrap_or(row.id));
    let (summary, seals) =
        (reader.summary().unwrap(), Seals::with_keys(Keys::Writer(Arc::clone(&STAFF.writer))));
    let mut writer = ManifestWriter::new(Vec::new(), &seals).unwrap();
    reader.entries().unwrap().for_each(|entry| writer.entry(&entry.unwrap().1).unwrap());
    let head = summary.head.clone().unwrap();
    writer.lineage(Lineage { before: head.before, last: Some((head.same, head.since)) });
    Some(Arc::new(writer.finish(&reader.owners().unwrap(), rows, &summary).unwrap().out))
}
