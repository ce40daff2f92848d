//! Manifests of version 2.

use super::*;
use crate::format::keys::{NewStore, ReadFile, ReadKey, WriterFile};
use crate::format::{ChunkSizes, FormatError, Keys};
use crate::model::{Lineage, StoreId};

/// The keys of a store, as its writer and its operators have them.
struct Store {
    writer: Arc<WriterFile>,
    reader: Arc<ReadFile>,
}

fn store(blind: bool) -> Store {
    let id: StoreId = summary().store.parse().unwrap();
    let operator = ReadKey::generate().unwrap().recipient().to_string().parse().unwrap();
    let new = NewStore::generate(id, ChunkSizes::default(), &[operator], blind, []).unwrap();
    Store { writer: Arc::new(new.writer), reader: Arc::new(new.read_file) }
}

impl Store {
    fn writer(&self) -> Seals {
        Seals::with_keys(Keys::Writer(Arc::clone(&self.writer)))
    }

    fn reader(&self) -> Seals {
        Seals::with_keys(Keys::Reader(Arc::clone(&self.reader)))
    }

    fn write(&self, entries: &[Entry], lineage: Lineage) -> Vec<u8> {
        let mut writer = ManifestWriter::new(Vec::new(), &self.writer()).unwrap();
        entries.iter().for_each(|entry| writer.entry(entry).unwrap());
        writer.problem(problem());
        writer.lineage(lineage);
        writer.finish(&owners(), sealed_table(), &summary()).unwrap().out
    }
}

/// Objects whose order of use is not that of their names.
fn sealed_table() -> Vec<ObjectRow> {
    let row = |row: ObjectRow| ObjectRow { id: ObjectId::sealed(*row.id.chunk(), [9; 16]), ..row };
    table().into_iter().rev().map(row).collect()
}

fn without_keys() -> Seals {
    Seals::with_keys(Keys::Without)
}

#[test]
fn each_sees_what_is_for_them() {
    for blind in [false, true] {
        let store = store(blind);
        let bytes = store.write(&small(), Lineage::default());
        let open = |seals: Seals| ManifestReader::open(bytes.clone(), &seals).unwrap();
        let mut sees_all = vec![store.reader()];
        let mut sees_public = vec![without_keys()];
        if blind { &mut sees_public } else { &mut sees_all }.push(store.writer());
        for seals in sees_all {
            let reader = open(seals);
            let entries: Vec<Entry> = reader.entries().unwrap().map(|entry| entry.unwrap().1).collect();
            assert_eq!((entries, reader.objects().unwrap()), (small(), sealed_table()));
            let said = reader.summary().unwrap();
            assert_eq!(Summary { head: None, ..said.clone() }, summary());
            let head = said.head.unwrap();
            assert_eq!((head.sequence, head.since.secs, head.before), (1, summary().started.secs, vec![]));
            assert_eq!((reader.owners().unwrap(), reader.problems().unwrap()), (owners(), vec![problem()]));
        }
        for seals in sees_public {
            let reader = open(seals);
            let said = reader.summary().unwrap();
            assert_eq!((said.details, said.pvc, said.store), (None, summary().pvc, summary().store));
            let mut rows = sealed_table();
            rows.sort_by_key(|row| row.id);
            rows.iter_mut().for_each(|row| (row.chunk_length, row.used) = (0, 0));
            assert_eq!(reader.objects().unwrap(), rows);
            reader.check_all_blocks().unwrap();
            for hidden in [reader.entries().err(), reader.owners().err(), reader.problems().err()] {
                assert!(matches!(hidden, Some(ReadError::Format(FormatError::NoKey(_)))));
            }
        }
        let reader = open(without_keys());
        let signed = reader.signed().unwrap();
        let id = summary().store.parse().unwrap();
        assert!(signed.by == store.writer.id() && signed.by.verify(&id, &reader.digest(), &signed.signature));
        assert_eq!(reader.read_file().unwrap().unwrap(), store.writer.read_file().as_bytes());
    }
}

#[test]
fn numbers_go_on_and_states_are_known_again() {
    let store = store(false);
    let head = |bytes: &[u8]| {
        let reader = ManifestReader::open(bytes.to_vec(), &store.reader()).unwrap();
        (reader.digest(), reader.summary().unwrap().head.unwrap())
    };
    let first = store.write(&small(), Lineage::default());
    let (digest, of_first) = head(&first);
    let again = store.write(&small(), Lineage::after(digest, &of_first));
    let (_, of_again) = head(&again);
    assert_eq!((of_again.sequence, of_again.same, of_again.since), (2, of_first.same, of_first.since));
    assert_eq!(of_again.before, [(1, digest)]);
    let long = Lineage { before: (1..=64).rev().map(|n| (n, digest)).collect(), last: None };
    let (digest, of_long) = head(&store.write(&small(), long));
    let (_, of_next) = head(&store.write(&small()[..1], Lineage::after(digest, &of_long)));
    assert_eq!((of_next.sequence, of_next.before.len(), of_next.before[0].0), (66, 64, 65));
    assert_ne!(of_next.same, of_first.same);
}

#[test]
fn no_block_is_readable_without_a_key_that_need_not_be() {
    let bytes = store(false).write(&small(), Lineage::default());
    let reader = ManifestReader::open(bytes.clone(), &without_keys()).unwrap();
    for block in reader.blocks() {
        let is_public = [4, 5, 8].contains(&block.number);
        let stored = &bytes[block.offset as usize..][..block.stored_length as usize];
        assert_eq!(stored.starts_with(b"age-encryption.org/v1\n"), !is_public, "section {}", block.number);
        assert_eq!(block.items == 0 && block.plain_length == 0, !is_public);
    }
}

/// Another block is sealed than must be, and the index says so: neither a block in plain nor a public one that is encrypted.
#[test]
fn a_sealed_manifest_is_not_talked_out_of_its_seals() {
    let bytes = store(false).write(&small(), Lineage::default());
    let length = bytes.len();
    let index = u32::from_le_bytes(*bytes[length - 144..].first_chunk().unwrap()) as usize;
    for row in 0..index / 48 {
        let mut other = bytes.clone();
        let at = length - 144 - index + row * 48 + 1;
        other[at] ^= 1;
        let digest = blake3::Hasher::new()
            .update(&other[..16])
            .update(&other[length - 144 - index..length - 144])
            .finalize();
        other[length - 144 + 8..][..32].copy_from_slice(digest.as_bytes());
        let error = ManifestReader::open(other, &without_keys()).err().unwrap().to_string();
        assert!(error.contains("not sealed as it must be"), "row {row}: {error}");
    }
}
