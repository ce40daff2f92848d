//! Noticing that a sealed store is in an older state, by what a verifier remembers of it.
//!
//! Manifests of a writer and pvc are numbered, and each names the digests of 64 before it. So the manifest that stands for a week, and
//! the one of a writer's highest number, must be those that stood at the last look, or come after them. Weeks that are older than those
//! that are kept may go: whether retention or somebody else took them, no key tells.

use crate::archive::StandingHead;
use crate::format::RememberedHead;
use crate::format::keys::WriterId;
use crate::model::{Digest, MAX_BEFORE, PvcName, Week};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How a store is not what it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeadChange {
    /// What is remembered; of a new writer, its newest manifest.
    pub then: RememberedHead,
    /// What became of it.
    pub kind: HeadChangeKind,
}

/// What became of a manifest that is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadChangeKind {
    /// Nothing stands in its place.
    Missing,
    /// One of a lower number stands in its place.
    Older(u64),
    /// Another one has the same number.
    Another,
    /// One of a higher number does not come after it.
    Apart(u64),
    /// One of a higher number has more than 64 manifests between itself and it.
    Unseen(u64),
    /// Nothing stands in its place, which retention explains if writers are genuine that were never seen before.
    PushedOut,
    /// Its writer was never seen before.
    NewWriter,
}

/// What that means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum HeadVerdict {
    /// It may be well: a person looks at it.
    Note,
    /// It cannot be told.
    Untold,
    /// The store is in an older state, or in one of another history.
    RolledBack,
}

impl HeadChange {
    /// What it means.
    pub fn verdict(&self) -> HeadVerdict {
        match self.kind {
            HeadChangeKind::NewWriter => HeadVerdict::Note,
            HeadChangeKind::Unseen(_) | HeadChangeKind::PushedOut => HeadVerdict::Untold,
            _ => HeadVerdict::RolledBack,
        }
    }
}

impl fmt::Display for HeadChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RememberedHead { pvc, week, writer, sequence, .. } = &self.then;
        let was = format!("{week}/{pvc} was manifest {sequence} of writer {writer}");
        match self.kind {
            HeadChangeKind::Missing => write!(f, "{was}, and is gone"),
            HeadChangeKind::Older(now) => write!(f, "{was}, and is manifest {now} again"),
            HeadChangeKind::Another => write!(f, "{was}, and another manifest has that number now"),
            HeadChangeKind::Apart(now) => write!(f, "{was}, and manifest {now} does not come after it"),
            HeadChangeKind::Unseen(now) => write!(
                f,
                "{was}, and whether manifest {now} comes after it cannot be told: more than {MAX_BEFORE} lie between the two"
            ),
            HeadChangeKind::PushedOut => write!(
                f,
                "{was}, and is gone: whether it was retired cannot be told, since newer weeks are of a writer never seen before"
            ),
            HeadChangeKind::NewWriter => write!(
                f,
                "{week}/{pvc} is of writer {writer}, who was never seen before: `weekvault key list` names those of the store"
            ),
        }
    }
}

/// What a verifier knows beside what it remembers.
#[derive(Clone, Debug)]
pub struct HeadRules {
    /// Writers that are known from elsewhere.
    pub known: BTreeSet<WriterId>,
    /// So many weeks of each pvc must not be gone.
    pub keep: usize,
    /// The week that it is.
    pub this_week: Week,
}

/// Compares what stands with what is remembered.
pub fn compare_heads(
    remembered: &[RememberedHead],
    standing: &[StandingHead],
    rules: &HeadRules,
) -> Vec<HeadChange> {
    let known: BTreeSet<WriterId> =
        remembered.iter().map(|then| then.writer).chain(rules.known.iter().copied()).collect();
    let pvcs: BTreeSet<&PvcName> = remembered.iter().map(|then| &then.pvc).collect();
    let mut changes = Vec::new();
    for pvc in pvcs {
        let then: Vec<&RememberedHead> = remembered.iter().filter(|then| then.pvc == *pvc).collect();
        let now: Vec<&StandingHead> = standing.iter().filter(|now| now.id.pvc == *pvc).collect();
        let of_known: Vec<&StandingHead> =
            now.iter().copied().filter(|now| known.contains(&now.writer)).collect();
        let (must, may) = (kept(&then, &of_known, rules), kept(&then, &now, rules));
        let then: Vec<&RememberedHead> = then.into_iter().filter(|then| must.contains(&then.week)).collect();
        for then in &then {
            let kind = match of_week(then, &now) {
                None if !may.contains(&then.week) => Some(HeadChangeKind::PushedOut),
                kind => kind.unwrap_or(Some(HeadChangeKind::Missing)),
            };
            changes.extend(kind.map(|kind| HeadChange { then: (*then).clone(), kind }));
        }
        changes.extend(of_writers(&then, &now));
    }
    if !remembered.is_empty() {
        changes.extend(new_writers(standing, &known));
    }
    changes
}

/// The weeks that must not be gone: the newest of those that there were and are. Weeks that have not begun push nothing out.
fn kept(then: &[&RememberedHead], now: &[&StandingHead], rules: &HeadRules) -> BTreeSet<Week> {
    let weeks = then.iter().map(|then| then.week).chain(now.iter().map(|now| now.id.week));
    let weeks: BTreeSet<Week> = weeks.collect();
    let (begun, later): (BTreeSet<Week>, BTreeSet<Week>) =
        weeks.into_iter().partition(|week| *week <= rules.this_week);
    begun.into_iter().rev().take(rules.keep).chain(later).collect()
}

/// What became of the manifest of a week: none where nothing stands in its place.
fn of_week(then: &RememberedHead, now: &[&StandingHead]) -> Option<Option<HeadChangeKind>> {
    let stands = now.iter().find(|now| now.id.week == then.week && !now.id.partial)?;
    // Another writer's run has replaced it: both were trusted, or the new one is told of.
    let same = stands.writer == then.writer;
    Some(if same { follows(then, stands, now) } else { None })
}

/// Whether, and how, a manifest of the same writer is not a remembered one, nor comes after it.
fn follows(then: &RememberedHead, stands: &StandingHead, all: &[&StandingHead]) -> Option<HeadChangeKind> {
    let sequence = stands.head.sequence;
    match sequence.cmp(&then.sequence) {
        std::cmp::Ordering::Less => Some(HeadChangeKind::Older(sequence)),
        std::cmp::Ordering::Equal => (stands.digest != then.digest).then_some(HeadChangeKind::Another),
        std::cmp::Ordering::Greater => match comes_after(stands, all, then.sequence, then.digest) {
            Some(true) => None,
            Some(false) => Some(HeadChangeKind::Apart(sequence)),
            None => Some(HeadChangeKind::Unseen(sequence)),
        },
    }
}

/// Of each writer, what stands with the highest number that is remembered, or a higher one, in other weeks than that.
fn of_writers(then: &[&RememberedHead], now: &[&StandingHead]) -> Vec<HeadChange> {
    let mut highest: BTreeMap<WriterId, &RememberedHead> = BTreeMap::new();
    for then in then {
        let entry = highest.entry(then.writer).or_insert(then);
        if then.sequence > entry.sequence {
            *entry = then;
        }
    }
    let mut changes = Vec::new();
    for (writer, then) in highest {
        let others = now.iter().filter(|now| {
            now.writer == writer
                && !now.id.partial
                && now.id.week != then.week
                && now.head.sequence >= then.sequence
        });
        for stands in others {
            let kind = follows(then, stands, now);
            changes.extend(kind.map(|kind| HeadChange { then: then.clone(), kind }));
        }
    }
    changes
}

/// Whether a manifest comes after the one of this number and digest, as far as it and those before it that stand tell.
fn comes_after(stands: &StandingHead, all: &[&StandingHead], sequence: u64, digest: Digest) -> Option<bool> {
    let mut before: BTreeMap<u64, Digest> = stands.head.before.iter().copied().collect();
    // A full list has an end that is not the beginning.
    let mut is_cut = stands.head.before.len() >= MAX_BEFORE;
    let mut of_writer: Vec<&&StandingHead> = all.iter().filter(|now| now.writer == stands.writer).collect();
    of_writer.sort_by_key(|now| std::cmp::Reverse(now.head.sequence));
    for now in of_writer {
        if before.get(&now.head.sequence) == Some(&now.digest) {
            before.extend(now.head.before.iter().copied());
            is_cut = now.head.before.len() >= MAX_BEFORE;
        }
    }
    match before.get(&sequence) {
        Some(found) => Some(*found == digest),
        None if is_cut && before.keys().next().is_some_and(|lowest| sequence < *lowest) => None,
        None => Some(false),
    }
}

fn new_writers(standing: &[StandingHead], known: &BTreeSet<WriterId>) -> Vec<HeadChange> {
    let mut newest: BTreeMap<(WriterId, &PvcName), &StandingHead> = BTreeMap::new();
    // Oldest week first.
    for now in standing.iter().filter(|now| !known.contains(&now.writer)) {
        newest.insert((now.writer, &now.id.pvc), now);
    }
    let change = |now: &StandingHead| HeadChange { then: remember(now), kind: HeadChangeKind::NewWriter };
    newest.into_values().map(change).collect()
}

fn remember(now: &StandingHead) -> RememberedHead {
    RememberedHead {
        pvc: now.id.pvc.clone(),
        week: now.id.week,
        writer: now.writer,
        sequence: now.head.sequence,
        digest: now.digest,
    }
}

/// What is to be remembered of what stands.
pub fn remember_heads(standing: &[StandingHead]) -> Vec<RememberedHead> {
    let mut heads: Vec<RememberedHead> =
        standing.iter().filter(|now| !now.id.partial).map(remember).collect();
    heads.sort();
    heads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::ManifestId;
    use crate::model::{Head, Timestamp};

    const A: WriterId = WriterId([1; 32]);
    const B: WriterId = WriterId([2; 32]);

    /// The history of a writer: manifest N has digest `[N; 32]`, or in another history of the same writer `[N + 100; 32]`.
    fn standing(week: &str, writer: WriterId, sequence: u8, fork: u8) -> StandingHead {
        let before = (1..sequence).rev().take(MAX_BEFORE);
        let before = before.map(|n| (n.into(), Digest([if n > 5 { n + fork } else { n }; 32]))).collect();
        let since = Timestamp::default();
        let head = Head { sequence: sequence.into(), before, same: [0; 32], since, is_empty: false };
        let id = ManifestId { week: week.parse().unwrap(), pvc: "p".parse().unwrap(), partial: false };
        StandingHead { id, writer, digest: Digest([sequence + fork; 32]), head }
    }

    fn of(weeks: &[(&str, WriterId, u8)]) -> Vec<StandingHead> {
        weeks.iter().map(|(week, writer, sequence)| standing(week, *writer, *sequence, 0)).collect()
    }

    fn compare(then: &[StandingHead], now: &[StandingHead], keep: usize) -> Vec<HeadChangeKind> {
        let rules = HeadRules { known: BTreeSet::new(), keep, this_week: "2025-20".parse().unwrap() };
        let changes = compare_heads(&remember_heads(then), now, &rules);
        assert!(changes.iter().all(|change| change.to_string().contains("/p ")));
        changes.into_iter().map(|change| change.kind).collect()
    }

    #[test]
    fn a_history_that_goes_on_is_well() {
        let then = of(&[("2025-13", A, 3), ("2025-14", A, 9)]);
        for now in [
            then.clone(),
            of(&[("2025-13", A, 3), ("2025-14", A, 12)]),
            of(&[("2025-13", A, 3), ("2025-14", A, 9), ("2025-15", A, 40)]),
            // A week that is past is made anew.
            of(&[("2025-13", A, 11), ("2025-14", A, 9)]),
            // Retention keeps two weeks.
            of(&[("2025-14", A, 9), ("2025-15", A, 10)]),
            of(&[("2025-15", A, 10), ("2025-16", A, 11)]),
        ] {
            assert_eq!(compare(&then, &now, 2), [], "{now:?}");
        }
        // What is damaged, or has been retired, was remembered; what is new was not.
        assert_eq!(compare(&[], &then, 2), []);
    }

    #[test]
    fn an_older_state_is_named() {
        let then = of(&[("2025-13", A, 3), ("2025-14", A, 9)]);
        let gone = compare(&then, &of(&[("2025-13", A, 3)]), 8);
        assert_eq!(gone, [HeadChangeKind::Missing]);
        let older = compare(&then, &of(&[("2025-13", A, 3), ("2025-14", A, 7)]), 8);
        assert_eq!(older, [HeadChangeKind::Older(7)]);
        let older_week = compare(&then, &of(&[("2025-13", A, 2), ("2025-14", A, 9), ("2025-15", A, 10)]), 8);
        assert_eq!(older_week, [HeadChangeKind::Older(2)]);
        let gap = compare(&then, &of(&[("2025-14", A, 9), ("2025-15", A, 10)]), 8);
        assert_eq!(gap, [HeadChangeKind::Missing]);
        assert_eq!(compare(&then, &[], 8), [HeadChangeKind::Missing; 2]);
        // Weeks that have not begun push nothing out.
        let later = of(&[("2026-01", A, 10), ("2026-02", A, 11)]);
        assert_eq!(compare(&then, &later, 2), [HeadChangeKind::Missing; 2]);
    }

    #[test]
    fn another_history_is_named() {
        let then = of(&[("2025-13", A, 3), ("2025-14", A, 9)]);
        let fork = |week, sequence| standing(week, A, sequence, 100);
        let keep = of(&[("2025-13", A, 3)]);
        let with = |more: &[StandingHead]| [&keep, more].concat();
        assert_eq!(compare(&then, &with(&[fork("2025-14", 9)]), 8), [HeadChangeKind::Another]);
        assert_eq!(compare(&then, &with(&[fork("2025-14", 12)]), 8), [HeadChangeKind::Apart(12)]);
        // The week is what it was, and the writer has gone on from an older state.
        let beside = with(&[then[1].clone(), fork("2025-15", 9)]);
        assert_eq!(compare(&then, &beside, 8), [HeadChangeKind::Another]);
        let beside = with(&[then[1].clone(), fork("2025-15", 10)]);
        assert_eq!(compare(&then, &beside, 8), [HeadChangeKind::Apart(10)]);
    }

    #[test]
    fn what_64_manifests_do_not_reach_cannot_be_told() {
        let then = of(&[("2025-14", A, 9)]);
        assert_eq!(compare(&then, &of(&[("2025-14", A, 73)]), 8), []);
        assert_eq!(compare(&then, &of(&[("2025-14", A, 75)]), 8), [HeadChangeKind::Unseen(75)]);
        // What stands in between reaches further.
        let now = of(&[("2025-14", A, 40), ("2025-15", A, 95)]);
        assert_eq!(compare(&then, &now, 8), []);
    }

    #[test]
    fn a_new_writer_is_a_note() {
        let then = of(&[("2025-13", A, 3), ("2025-14", A, 9)]);
        let taken = of(&[("2025-13", A, 3), ("2025-14", B, 1)]);
        assert_eq!(compare(&then, &taken, 8), [HeadChangeKind::NewWriter]);
        // One week more is no reason for an older one to be gone, as long as nobody knows who made it.
        let pushed = of(&[("2025-14", A, 9), ("2025-15", B, 1)]);
        let found = compare(&then, &pushed, 2);
        assert_eq!(found, [HeadChangeKind::PushedOut, HeadChangeKind::NewWriter]);
        let rules = HeadRules { known: [B].into(), keep: 2, this_week: "2025-20".parse().unwrap() };
        assert_eq!(compare_heads(&remember_heads(&then), &pushed, &rules), []);
        let verdicts = [HeadChangeKind::NewWriter, HeadChangeKind::PushedOut, HeadChangeKind::Missing]
            .map(|kind| HeadChange { then: remember_heads(&then).remove(0), kind }.verdict());
        assert_eq!(verdicts, [HeadVerdict::Note, HeadVerdict::Untold, HeadVerdict::RolledBack]);
    }
}
