//! Reading the objects, on several threads: each is checked, and the contents in it are hashed.

use super::contents::{Contents, Feed, Order, Plan, hash_zeros, slice};
use super::objects::Objects;
use super::options::VerifyOptions;
use super::result::Damaged;
use crate::archive::{Damage, ObjectReader, SharedTrash};
use crate::model::{ObjectId, ObjectRow};
use crate::ops::parallel::{Panics, with_threads};
use crate::ops::{Error, Run};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What has been read so far.
#[derive(Default)]
pub(super) struct Reading {
    /// By number of the object: whether it was read.
    read: Vec<bool>,
    pub(super) damage: Damaged,
    trash: SharedTrash,
    /// Objects that were checked, and bytes that were read.
    pub(super) checked: u64,
    pub(super) bytes: u64,
}

/// An object to be read.
struct Step {
    object: Object,
    /// Whether this is the first time, and it is among those that are to be checked.
    counts: bool,
    singles: Range<usize>,
    feeds: Vec<Feed>,
    /// Its place among the steps that feed.
    turn: u64,
}

enum Object {
    Needed(ObjectRow),
    Orphan(ObjectId),
}

/// Where the steps come from.
struct Steps<'a> {
    plan: &'a Plan,
    order: Order,
    objects: &'a Objects,
    options: &'a VerifyOptions,
    read: &'a mut Vec<bool>,
    singles: HashMap<u32, Range<usize>>,
    /// Objects that were not read for contents of more than one slice.
    rest: std::vec::IntoIter<u32>,
    orphans: std::vec::IntoIter<u32>,
    turns: u64,
}

impl Steps<'_> {
    fn next(&mut self) -> Option<Step> {
        let (number, feeds) = match self.planned() {
            Some(step) => step,
            None => match self.remaining() {
                Some(number) => (number, Vec::new()),
                None => return self.orphan(),
            },
        };
        let row = self.objects.get(number)?;
        let counts = !self.was_read(number) && self.options.slice.is_none_or(|slice| slice.contains(&row.id));
        if let Some(read) = self.read.get_mut(number as usize) {
            *read = true;
        }
        let singles = self.singles.remove(&number).unwrap_or_default();
        let turn = self.turns;
        self.turns += u64::from(!feeds.is_empty());
        Some(Step { object: Object::Needed(row), counts, singles, feeds, turn })
    }

    fn remaining(&mut self) -> Option<u32> {
        let (read, singles) = (&self.read, &self.singles);
        let was_read = |number: u32| read.get(number as usize).copied().unwrap_or(false);
        self.rest.find(|number| !was_read(*number) || singles.contains_key(number))
    }

    fn planned(&mut self) -> Option<(u32, Vec<Feed>)> {
        let read = &self.read;
        let was_read = |number: u32| read.get(number as usize).copied().unwrap_or(false);
        self.order.step(self.plan, self.objects, was_read)
    }

    fn orphan(&mut self) -> Option<Step> {
        let number = self.orphans.next()?;
        let object = Object::Orphan(self.objects.id(number)?);
        Some(Step { object, counts: true, singles: 0..0, feeds: Vec::new(), turn: 0 })
    }

    fn was_read(&self, number: u32) -> bool {
        self.read.get(number as usize).copied().unwrap_or(false)
    }
}

/// Contents of more than one slice, whose bytes must come in order.
struct Line {
    turn: u64,
    /// None where a part could not be read: there is nothing to compare.
    hashers: Vec<Option<blake3::Hasher>>,
    /// Chunks that were read before their turn, with what is to be done with them.
    parked: BTreeMap<u64, (Option<Vec<u8>>, Vec<Feed>)>,
    wrong: Vec<u64>,
}

/// Chunks that are kept until it is their turn.
const PARKED: usize = 4;

struct Shared<'a> {
    run: Run<'a>,
    steps: Mutex<Steps<'a>>,
    plan: &'a Plan,
    line: Mutex<Line>,
    moved: Condvar,
    found: Mutex<Vec<(ObjectId, Damage, Option<ObjectRow>)>>,
    trash: SharedTrash,
}

impl Reading {
    /// Reads what the contents that came together need; with `last`, the rest of the objects too, these unreferenced ones
    /// among them.
    pub(super) fn read(
        &mut self,
        run: Run<'_>,
        contents: &mut Contents,
        objects: &Objects,
        last: Option<(Vec<u32>, Vec<u32>)>,
        options: &VerifyOptions,
    ) -> Result<(), Error> {
        self.read.resize(objects.len(), false);
        let (plan, order) = (contents.plan(), contents.order());
        let singles = plan.singles();
        let (others, orphans) = last.unwrap_or_default();
        let mut is_rest = vec![false; objects.len()];
        for number in singles.keys().chain(&others) {
            if let Some(is_rest) = is_rest.get_mut(*number as usize) {
                *is_rest = true;
            }
        }
        let is_rest = |number: &u32| is_rest.get(*number as usize).copied().unwrap_or(false);
        let rest: Vec<u32> = objects.named().filter(is_rest).collect();
        let (read, rest, orphans) = (&mut self.read, rest.into_iter(), orphans.into_iter());
        let steps = Steps { plan: &plan, order, objects, options, read, singles, rest, orphans, turns: 0 };
        let hashers = (0..Plan::SLOTS).map(|_| Some(blake3::Hasher::new())).collect();
        let shared = Shared {
            run,
            steps: Mutex::new(steps),
            plan: &plan,
            line: Mutex::new(Line { turn: 0, hashers, parked: BTreeMap::new(), wrong: Vec::new() }),
            moved: Condvar::new(),
            found: Mutex::default(),
            trash: Arc::clone(&self.trash),
        };
        let (checked, bytes) = with_threads(|threads| {
            let (shared, panics) = (&shared, threads.panics());
            let work = || {
                let panics = threads.panics();
                move || shared.work(&panics)
            };
            // This thread does its part, so that all is checked even where there are no others.
            let others = threads.start_some("check", (1..run.threads).map(|_| work())).unwrap_or_default();
            let mine = shared.work(&panics);
            others.into_iter().fold(mine, |so_far, thread| {
                let ((checked, bytes), (theirs, read)) = (so_far?, thread.join()??);
                Ok((checked + theirs, bytes + read))
            })
        })?;
        let Shared { line, found, steps, .. } = shared;
        for (id, damage, row) in found.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.damage.insert(id, (damage, row));
        }
        let line = line.into_inner().unwrap_or_else(PoisonError::into_inner);
        let steps = steps.into_inner().unwrap_or_else(PoisonError::into_inner);
        contents.account(&steps.order, line.wrong);
        self.checked += checked;
        self.bytes += bytes;
        Ok(())
    }
}

impl Shared<'_> {
    /// One thread's part; returns how many objects it checked, and how many bytes it read.
    fn work(&self, panics: &Panics) -> Result<(u64, u64), Error> {
        let (mut checked, counters) = (0, self.run.observer.counters());
        let mut reader = ObjectReader::new(self.run.archive, Arc::clone(&self.trash))
            .map_err(Error::system("prepare decompression"))?;
        loop {
            if let Some(bug) = panics.first() {
                return Err(bug);
            }
            self.run.go_on()?;
            let Some(step) = locked(&self.steps).next() else {
                return Ok((checked, reader.bytes_read()));
            };
            let mut turn = Turn { shared: self, turn: step.turn, feeds: step.feeds };
            let before = reader.bytes_read();
            let chunk = match &step.object {
                Object::Needed(row) => reader.intact(&row.id, row.chunk_length),
                Object::Orphan(id) => reader.intact_orphan(id).map(|()| None),
            };
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(damage) => {
                    if step.counts {
                        let (id, row) = match step.object {
                            Object::Needed(row) => (row.id, Some(row)),
                            Object::Orphan(id) => (id, None),
                        };
                        locked(&self.found).push((id, damage, row));
                    }
                    None
                }
            };
            if let Some(chunk) = chunk.filter(|_| !step.singles.is_empty()) {
                let wrong = self.plan.wrong_in(chunk, step.singles);
                if !wrong.is_empty() {
                    locked(&self.line).wrong.extend(wrong);
                }
            }
            self.hand_in(step.turn, chunk, std::mem::take(&mut turn.feeds));
            // What is read again is nothing of what there was to read.
            if step.counts {
                counters.objects_read.add(1);
                counters.store_read.add(reader.bytes_read() - before);
                checked += 1;
            }
        }
    }

    /// Hashes what contents have of a chunk, none where that could not be read, as soon as it is its turn.
    fn hand_in(&self, turn: u64, chunk: Option<&[u8]>, feeds: Vec<Feed>) {
        if feeds.is_empty() {
            return;
        }
        let mut line = locked(&self.line);
        if line.turn != turn && line.parked.len() < PARKED {
            line.parked.insert(turn, (chunk.map(<[u8]>::to_vec), feeds));
            return;
        }
        let waiting = |line: &mut Line| line.turn != turn;
        line = self.moved.wait_while(line, waiting).unwrap_or_else(PoisonError::into_inner);
        line.feed(chunk, &feeds, self.plan);
        let mut next = turn + 1;
        while let Some((chunk, feeds)) = line.parked.remove(&next) {
            line.feed(chunk.as_deref(), &feeds, self.plan);
            next += 1;
        }
        line.turn = next;
        drop(line);
        self.moved.notify_all();
    }
}

impl Line {
    fn feed(&mut self, chunk: Option<&[u8]>, feeds: &[Feed], plan: &Plan) {
        for feed in feeds {
            let (Feed::Slice { slot, .. } | Feed::Zeros { slot, .. } | Feed::End { slot, .. }) = *feed;
            let Some(hasher) = self.hashers.get_mut(slot as usize) else { continue };
            match *feed {
                Feed::Slice { offset, length, .. } => match (chunk, hasher.as_mut()) {
                    (Some(chunk), Some(hasher)) => {
                        // What is beyond the chunk's end is missing in the hash, which shows it.
                        hasher.update(slice(chunk, offset, length).unwrap_or_default());
                    }
                    _ => *hasher = None,
                },
                Feed::Zeros { length, .. } => {
                    if let Some(hasher) = hasher {
                        hash_zeros(hasher, length);
                    }
                }
                Feed::End { claim, hash, .. } => {
                    let found = hasher.replace(blake3::Hasher::new()).map(|hasher| hasher.finalize());
                    if found.is_some_and(|found| !plan.has_hash(found, hash)) {
                        self.wrong.push(claim);
                    }
                }
            }
        }
    }
}

/// A step's place in the line, which is given on whatever ends the step.
struct Turn<'a, 'b> {
    shared: &'a Shared<'b>,
    turn: u64,
    feeds: Vec<Feed>,
}

impl Drop for Turn<'_, '_> {
    fn drop(&mut self) {
        self.shared.hand_in(self.turn, None, std::mem::take(&mut self.feeds));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
