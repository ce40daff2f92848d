//! A game: who sees a sealed store and no key guesses whether a file that they know is in it.
//!
//! Half of the stores have the known file, the other half one of the same length and compressibility in its place, both among others. The
//! player sees the lengths of the objects' files, and may make stores of their own to practise. `WEEKVAULT_GAME=1000` plays the whole
//! game, which takes some twenty minutes; without that a short one is played.

use super::sealed::{STORE, back_up};
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use weekvault::archive::{Archive, NewStore as NewArchive};
use weekvault::format::keys::{NewStore, OperatorRecipient, ReadKey, WriterFile};
use weekvault::format::{ChunkSizes, Keys};
use weekvault::model::RunId;
use weekvault::ops::clock::now;
use weekvault::store::LocalStore;

const LENGTH: usize = 20 << 20;

/// Bytes that compress to about three quarters, others for each seed.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_derive_key("weekvault test fingerprint")
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes.iter_mut().for_each(|byte| *byte = 32 + (*byte & 63));
    bytes
}

/// How a store is written.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Sealed,
    /// As others do it: cut by a public table, encrypted as it is compressed.
    Unprotected,
}

/// The lengths of the files that a store has for a source, sorted.
fn lengths(kind: Kind, seed: u64, source: &Path) -> Vec<u64> {
    let folder = tempfile::tempdir_in(source.parent().unwrap()).unwrap();
    let root = folder.path().join("store");
    let new = NewArchive {
        chunks: ChunkSizes::default(),
        created: now(),
        created_by: "test".into(),
        id: STORE.into(),
    };
    let archive = Archive::open_or_create(Arc::new(LocalStore::new(root.clone(), RunId(1))), &new).unwrap();
    let operator = ReadKey::generate().unwrap().recipient().to_string();
    let archive = match kind {
        Kind::Unprotected => archive,
        Kind::Sealed => {
            let recipient: OperatorRecipient = operator.parse().unwrap();
            let keys =
                NewStore::generate(STORE.parse().unwrap(), new.chunks, &[recipient], false, []).unwrap();
            // The naming key tells where to cut: this one is the same each time the game is played.
            let key = format!("name-key {}", blake3::hash(&seed.to_le_bytes()).to_hex());
            let text = keys.writer.encode().unwrap();
            let lines =
                text.lines().map(|line| if line.starts_with("name-key ") { key.as_str() } else { line });
            let text = lines.collect::<Vec<_>>().join("\n") + "\n";
            archive.with_keys(Keys::Writer(Arc::new(WriterFile::decode(text.as_bytes()).unwrap())))
        }
    };
    back_up(&archive, source, "2025-14").unwrap();
    let recipient = age::x25519::Recipient::from_str(&operator).unwrap();
    let files =
        walkdir::WalkDir::new(root.join("objects")).into_iter().flatten().filter(|e| e.file_type().is_file());
    let mut lengths: Vec<u64> = files
        .map(|file| match kind {
            Kind::Sealed => file.metadata().unwrap().len(),
            Kind::Unprotected => {
                age::encrypt(&recipient, &fs::read(file.path()).unwrap()).unwrap().len() as u64
            }
        })
        .collect();
    lengths.sort_unstable();
    lengths
}

/// What a player looks at: how many lengths of the known file's pieces there are, how many objects, how many bytes.
fn looks(lengths: &[u64], known: &[u64]) -> [f64; 3] {
    // An age file has a stanza of random length.
    let near = |wanted: u64| {
        let at = lengths.partition_point(|length| *length + 300 < wanted);
        lengths.get(at).is_some_and(|length| *length < wanted + 300)
    };
    let found = known.iter().filter(|length| near(**length)).count();
    [found as f64, lengths.len() as f64, lengths.iter().sum::<u64>() as f64]
}

/// Plays: how many of `stores` guesses are right.
fn play(kind: Kind, stores: u64) -> u64 {
    let place = crate::common::quick_folder(400 << 20, 1000);
    let source = place.path().join("src");
    fs::create_dir(&source).unwrap();
    let known_file = text(0, LENGTH);
    fs::write(source.join("file"), &known_file).unwrap();
    let known = lengths(Kind::Unprotected, 0, &source);
    let look = |seed: u64, has_it: bool| {
        let file = if has_it { known_file.clone() } else { text(seed * 2 + 1, LENGTH) };
        fs::write(source.join("file"), file).unwrap();
        fs::write(source.join("others"), text(seed * 2 + 2, 6 << 20)).unwrap();
        looks(&lengths(kind, seed, &source), &known)
    };
    // Stores of the player's own, to practise: the mean of each look, with and without the file.
    let practice = (stores / 4).max(4);
    let mean = |has_it: bool| {
        let all: Vec<[f64; 3]> =
            (0..practice).map(|n| look(1_000_000 + n * 2 + u64::from(has_it), has_it)).collect();
        [0, 1, 2].map(|at| all.iter().map(|look| look[at]).sum::<f64>() / all.len() as f64)
    };
    let (with, without) = (mean(true), mean(false));
    // Each look counts by how much it differs, in units that make them alike: a piece, an object, 100 KiB.
    let distance = |look: &[f64; 3], mean: &[f64; 3]| {
        let units = [1.0, 1.0, 100.0 * 1024.0];
        (0..3).map(|at| ((look[at] - mean[at]) / units[at]).powi(2)).sum::<f64>()
    };
    let right = (0..stores).filter(|n| {
        let has_it = blake3::hash(&n.to_le_bytes()).as_bytes()[0].is_multiple_of(2);
        let look = look(*n, has_it);
        (distance(&look, &with) < distance(&look, &without)) == has_it
    });
    right.count() as u64
}

#[test]
fn a_known_file_is_not_told_from_another_one() {
    let stores = std::env::var("WEEKVAULT_GAME").ok().map_or(12, |stores| stores.parse().unwrap());
    let (sealed, unprotected) = (play(Kind::Sealed, stores), play(Kind::Unprotected, stores));
    eprintln!(
        "of {stores} guesses {sealed} are right of sealed stores, and {unprotected} of unprotected ones"
    );
    assert!(unprotected * 10 >= stores * 9, "the player is no good: {unprotected} of {stores}");
    // Of few guesses more may be right by chance: one game in a thousand fails.
    let chance = 3.1 * (stores as f64).sqrt() / 2.0;
    let most = if stores >= 1000 { stores as f64 * 0.55 } else { stores as f64 / 2.0 + chance };
    assert!(sealed as f64 <= most, "{sealed} of {stores}");
}
