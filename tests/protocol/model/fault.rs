//! Which operation fails, how, and for how long.

use rustix::io::Errno;
use std::io;

/// What is done to a disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Kind {
    Open,
    Look,
    Read,
    List,
    Create,
    Write,
    Sync,
    Close,
    Rename,
    Link,
    MakeFolder,
    RemoveFile,
    RemoveFolder,
    SyncFolder,
    Lock,
}

impl Kind {
    pub(crate) fn only_reads(self) -> bool {
        matches!(self, Self::Open | Self::Look | Self::Read | Self::List)
    }

    pub(crate) fn changes_names(self) -> bool {
        matches!(self, Self::Rename | Self::Link | Self::MakeFolder | Self::RemoveFile | Self::RemoveFolder)
    }

    /// What a server says to a request that it gets for the second time.
    pub(crate) fn answer_to_a_repeat(self) -> Errno {
        if matches!(self, Self::MakeFolder | Self::Link) { Errno::EXIST } else { Errno::NOENT }
    }
}

/// One operation of a run. Named by what it does to which path for the how-manieth time, since threads make its number
/// among all operations differ from run to run.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Site {
    pub(crate) kind: Kind,
    pub(crate) path: String,
    pub(crate) nth: u32,
}

/// How long a fault lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    Once,
    /// All operations of this kind fail from then on: no space is left, or nothing can be made durable.
    Kind,
    /// Everything fails from then on: the share is gone.
    Everything,
}

#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) at: Site,
    pub(crate) error: Errno,
    /// It is done all the same.
    pub(crate) done: bool,
    pub(crate) reach: Reach,
}

/// What is to become of an operation.
pub(crate) enum Fate {
    Done,
    Failed(io::Error),
    DoneButFailed(io::Error),
}

#[derive(Default)]
pub(crate) struct Faults {
    /// How often each operation came by, in the order of their first coming.
    pub(crate) sites: Vec<Site>,
    counts: std::collections::HashMap<(Kind, String), u32>,
    pub(crate) fault: Option<Fault>,
    /// How many operations were made to fail.
    pub(crate) hits: u64,
    /// Length of the log at the first of them.
    pub(crate) first_hit: Option<usize>,
}

impl Faults {
    pub(crate) fn meet(&mut self, kind: Kind, path: &str, log: usize) -> Fate {
        let path = without_chance(path);
        let count = self.counts.entry((kind, path.clone())).or_default();
        *count += 1;
        let site = Site { kind, path, nth: *count };
        let fate = match &self.fault {
            Some(fault) if self.strikes(fault, &site) => {
                let error = fault.error.into();
                let done = fault.done;
                self.hits += 1;
                self.first_hit.get_or_insert(log);
                if done { Fate::DoneButFailed(error) } else { Fate::Failed(error) }
            }
            _ => Fate::Done,
        };
        self.sites.push(site);
        fate
    }

    fn strikes(&self, fault: &Fault, site: &Site) -> bool {
        match fault.reach {
            _ if self.hits == 0 => fault.at == *site,
            Reach::Once => false,
            Reach::Kind => fault.at.kind == site.kind,
            Reach::Everything => true,
        }
    }
}

/// Replaced manifests go to the folder of the day by the clock, and no two files of a sealed store's chunk are alike: the day,
/// and the file's sum and tag, are no part of a site's name.
fn without_chance(path: &str) -> String {
    let path = match path.split_once("/trash/") {
        Some((before, after)) => {
            let rest = after.split_once('/').map_or("", |(_, rest)| rest);
            format!("{before}/trash/*/{rest}")
        }
        None => path.to_owned(),
    };
    without_sum(&path)
}

/// A path in which a sealed object's file is called after its chunk alone.
pub(crate) fn without_sum(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name.split_once('.') {
        Some((chunk, rest)) if folder.contains("/objects/") && rest.ends_with(".age") => {
            format!("{folder}/{chunk}.age")
        }
        _ => path.to_owned(),
    }
}
