//! What a power cut may leave.
//!
//! A file's bytes are lost until its sync, a name until its folder's sync, each on its own: what came later may survive
//! what came before. Two things hold on every file system and here: a rename takes the old name away only once the
//! new one is there, and a folder goes only after what was in it.

use super::image::{Content, Edit, Effect, Image, Node, NodeId};
use std::collections::BTreeMap;
use weekvault::model::Timestamp;

/// A change of names that is not durable yet.
#[derive(Clone)]
struct Pending {
    add: Option<Edit>,
    remove: Option<Edit>,
}

/// What becomes of a pending change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Lost,
    /// Of a rename: both names are there.
    Half,
    Kept,
}

/// What becomes of the bytes of a file that was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Data {
    Whole,
    Absent,
    Zeroes,
    /// The first half.
    Torn,
    /// The first half, and then bytes of some other file.
    Garbage,
}

pub(crate) const DATA: [Data; 5] = [Data::Whole, Data::Absent, Data::Zeroes, Data::Torn, Data::Garbage];

/// What of a disk is durable after some operations, and what may be or not.
#[derive(Clone)]
pub(crate) struct Replay {
    durable: Image,
    pending: Vec<Pending>,
    unsynced: BTreeMap<NodeId, (Content, Timestamp)>,
}

impl Replay {
    pub(crate) fn new(start: &Image) -> Self {
        Self { durable: start.clone(), pending: Vec::new(), unsynced: BTreeMap::new() }
    }

    /// The state after all operations of a log.
    pub(crate) fn of(start: &Image, log: &[Effect]) -> Self {
        let mut replay = Self::new(start);
        log.iter().for_each(|effect| replay.apply(effect));
        replay
    }

    pub(crate) fn apply(&mut self, effect: &Effect) {
        self.durable.make(effect);
        let mut pend = |add, remove| self.pending.push(Pending { add, remove });
        match effect {
            Effect::CreateFile { at, .. } | Effect::CreateFolder { at } | Effect::Link { at } => {
                pend(Some(at.clone()), None);
            }
            Effect::Rename { from, to } => pend(Some(to.clone()), Some(from.clone())),
            Effect::Remove { at } => pend(None, Some(at.clone())),
            Effect::Write { file, content, modified } => {
                self.unsynced.insert(*file, (content.clone(), *modified));
            }
            Effect::SyncFile { file } => {
                if let Some((content, modified)) = self.unsynced.remove(file) {
                    self.durable.fill(*file, &content, modified);
                }
            }
            Effect::Rot { file, content } => self.durable.rot(*file, content),
            Effect::SyncFolder { folder } => {
                for i in 0..self.pending.len() {
                    self.settle(i, &|edit| edit.folder == *folder);
                }
                self.pending.retain(|p| p.add.is_some() || p.remove.is_some());
            }
        }
    }

    /// Makes durable what of the i-th change is `wanted`, and first what must have come before.
    fn settle(&mut self, i: usize, wanted: &dyn Fn(&Edit) -> bool) {
        let Pending { add, remove } = self.pending[i].clone();
        let removes = remove.filter(|edit| wanted(edit));
        if let Some(edit) = add.filter(|edit| removes.is_some() || wanted(edit)) {
            self.settle_before(i, &edit);
            self.durable.add(&edit);
            self.pending[i].add = None;
        }
        if let Some(edit) = removes {
            self.settle_before(i, &edit);
            for j in 0..i {
                self.settle(j, &|inside| inside.folder == edit.node);
            }
            self.durable.remove(&edit);
            self.pending[i].remove = None;
        }
    }

    fn settle_before(&mut self, i: usize, edit: &Edit) {
        for j in 0..i {
            self.settle(j, &|earlier| earlier.same_name(edit));
        }
    }

    /// How many changes of names may be lost or not.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The pending changes that make a name which ends so.
    pub(crate) fn naming(&self, ending: &str) -> Vec<usize> {
        let names = |i: &usize| self.pending[*i].add.as_ref().is_some_and(|edit| edit.name.ends_with(ending));
        (0..self.pending.len()).filter(names).collect()
    }

    pub(crate) fn has_unsynced_data(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// What is left when these are the fates; `data` is asked with a number of each file.
    pub(crate) fn image(&self, fate: impl Fn(usize) -> Fate, data: impl Fn(usize) -> Data) -> Image {
        let mut image = self.durable.clone();
        let mut fates: Vec<Fate> = (0..self.pending.len()).map(fate).collect();
        for i in (0..fates.len()).rev() {
            let Pending { add: None, remove: Some(gone) } = &self.pending[i] else { continue };
            if fates[i] == Fate::Kept {
                let inside = |edit: &Option<Edit>| edit.as_ref().is_some_and(|e| e.folder == gone.node);
                for (fate, earlier) in fates.iter_mut().zip(&self.pending).take(i) {
                    if inside(&earlier.add) || inside(&earlier.remove) {
                        *fate = Fate::Kept;
                    }
                }
            }
        }
        for (pending, fate) in self.pending.iter().zip(fates) {
            if let Some(edit) = pending.add.as_ref().filter(|_| fate != Fate::Lost) {
                image.add(edit);
            }
            if let Some(edit) = pending.remove.as_ref().filter(|_| fate == Fate::Kept) {
                image.remove(edit);
            }
        }
        for (number, (file, (content, modified))) in self.unsynced.iter().enumerate() {
            let length = content.bytes.len();
            let head = &content.bytes[..length / 2];
            let bytes = match data(number) {
                Data::Whole => content.bytes.to_vec(),
                Data::Absent => Vec::new(),
                Data::Zeroes => vec![0; length],
                Data::Torn => head.to_vec(),
                Data::Garbage => {
                    head.iter().copied().chain(std::iter::repeat_n(0xa5, length - head.len())).collect()
                }
            };
            if matches!(image.nodes[*file], Node::File { .. }) {
                image.fill(*file, &Content::new(bytes), *modified);
            }
        }
        image
    }

    /// Only what is durable.
    pub(crate) fn least(&self) -> Image {
        self.image(|_| Fate::Lost, |_| Data::Absent)
    }

    /// Hands out states that a power cut may leave now, with what makes them.
    pub(crate) fn states(&self, seed: u64, mut each: impl FnMut(Image, &dyn Fn() -> String)) {
        let n = self.pending.len();
        let all: &[Data] = if self.unsynced.is_empty() { &DATA[..1] } else { &DATA };
        for &data in all {
            for fate in [Fate::Lost, Fate::Half, Fate::Kept] {
                each(self.image(|_| fate, |_| data), &|| format!("all names {fate:?}, all data {data:?}"));
            }
        }
        for one in 0..n {
            let data = all[one % all.len()];
            for (fate, others) in [
                (Fate::Lost, Fate::Kept),
                (Fate::Half, Fate::Kept),
                (Fate::Half, Fate::Lost),
                (Fate::Kept, Fate::Lost),
            ] {
                let is_rename = self.pending[one].remove.is_some() && self.pending[one].add.is_some();
                if fate == Fate::Half && !is_rename {
                    continue;
                }
                let image = self.image(|i| if i == one { fate } else { others }, |_| data);
                each(image, &|| {
                    format!("{:?} {fate:?}, other names {others:?}, all data {data:?}", self.pending[one])
                });
            }
        }
        // With fewer changes than this, the above have been most of them.
        for round in 0..if n > 2 { n.min(24) as u64 } else { 0 } {
            let draw = |what: u64, i: usize, of: usize| {
                let hash = blake3::hash([seed, round, what, i as u64].map(u64::to_le_bytes).as_flattened());
                usize::from(hash.as_bytes()[0]) % of
            };
            let image = self.image(
                |i| [Fate::Lost, Fate::Kept, Fate::Half, Fate::Lost, Fate::Kept][draw(0, i, 5)],
                |i| DATA[draw(1, i, DATA.len())],
            );
            each(image, &|| format!("seed {seed}, round {round}"));
        }
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |edit: &Option<Edit>| edit.as_ref().map_or("-".into(), |e| e.name.to_string());
        write!(f, "{} -> {}", name(&self.remove), name(&self.add))
    }
}
