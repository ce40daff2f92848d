//! What sealed stores have besides: age files of every kind, and manifests of version 2.
//!
//! The keys are those of the example in the documents, `docs/sealed-example`: mutations of its files begin with what opens.

use super::manifest::{InMemory, Side, check_with, polite as polite_read};
#[cfg(test)]
use super::recipe::{Block, Recipe};
use std::io::Write;
use std::sync::{Arc, LazyLock};
use weekvault::format::keys::{Identities, MAX_PLAIN, MAX_WRITER_FILE, ReadFile, SealedReadFile, WriterFile};
use weekvault::format::{Keys, MAX_CHUNK_LENGTH, ManifestReader, Measures, Seal, Seals, Section, Version};

const IDENTITY: &[u8] = include_bytes!("../../../docs/sealed-example/identity.key");
const WRITER: &[u8] = include_bytes!("../../../docs/sealed-example/writer.key");
const READ_FILE: &[u8] = include_bytes!("../../../docs/sealed-example/store/keys/read-1-1.age");

/// The store of the example.
pub(super) const STORE: &str = "9d3f6a0c5b1e48729f04c7d2a86e13b5";

/// The most plain bytes of a block.
const MAX_BLOCK: u32 = 32 << 20;

/// What there is to open and to write with.
pub(super) struct SealedKeys {
    pub(super) writer: Arc<WriterFile>,
    pub(super) reader: Arc<ReadFile>,
    identities: Identities,
}

pub(super) static KEYS: LazyLock<SealedKeys> = LazyLock::new(|| {
    let identities = Identities::parse(IDENTITY).unwrap();
    let read_file = ReadFile::open(&SealedReadFile::from_bytes(READ_FILE).unwrap(), &identities).unwrap();
    let writer = WriterFile::decode(WRITER).unwrap();
    SealedKeys { writer: Arc::new(writer), reader: Arc::new(read_file), identities }
});

/// What opens everything.
pub(crate) fn reader() -> Seals {
    Seals::with_keys(Keys::Reader(Arc::clone(&KEYS.reader)))
}

fn writer() -> Seals {
    Seals::with_keys(Keys::Writer(Arc::clone(&KEYS.writer))).at_level(1)
}

/// Reads a manifest with all keys, and as whoever has none sees it.
pub(super) fn check(file: &[u8]) {
    check_with(file, &Side { reader: reader(), writer: writer() });
    check_public(file);
}

/// Whether a manifest is one of the store's, signed by its writer.
pub(super) fn is_right(reader: &ManifestReader<InMemory<'_>>) -> bool {
    let store = STORE.parse().unwrap();
    let is_here = reader.summary().is_ok_and(|summary| summary.store == STORE);
    let (writer, digest) = (KEYS.writer.id(), reader.digest());
    let signed = reader.signed().filter(|signed| signed.by == writer);
    is_here && signed.is_some_and(|signed| writer.verify(&store, &digest, &signed.signature))
}

/// What there is without a key: all that looking after a store takes, and nothing else.
fn check_public(file: &[u8]) {
    let Ok(manifest) = ManifestReader::open(InMemory(file), &Seals::with_keys(Keys::Without)) else { return };
    let read = |error| polite_read(&error);
    let objects = manifest.objects().map_err(read).unwrap_or_default();
    assert!(objects.iter().all(|row| (row.chunk_length, row.used) == (0, 0) || row.id.sum().is_none()));
    let _ = manifest.read_file().map_err(read);
    let _ = manifest.check_all_blocks().map_err(read);
    let summary = manifest.summary().map_err(read);
    if manifest.version() == Version::Sealed {
        assert!(summary.is_ok_and(|summary| summary.details.is_none()) || manifest.summary().is_err());
        for section in [Section::Entries, Section::Missing, Section::Owners] {
            let blocks = manifest.blocks().iter().filter(|block| block.section == section);
            for block in blocks.take(3) {
                assert!(manifest.block_entries(block).map_err(read).is_err());
            }
        }
    }
}

/// Any bytes as an age file for the store's readers.
pub(super) fn encrypted(payload: &[u8]) -> Vec<u8> {
    let to = std::iter::once(KEYS.reader.read_recipient().recipient() as &dyn age::Recipient);
    let mut out = age::Encryptor::with_recipients(to).unwrap().wrap_output(Vec::new()).unwrap();
    out.write_all(payload).unwrap();
    out.finish().unwrap()
}

/// A private block that says of itself what `said` has, items and plain length, and holds `frame`.
pub(super) fn block(said: [u32; 2], frame: &[u8]) -> Vec<u8> {
    let mut payload = b"\x51\x2a\x4d\x18\x08\0\0\0".to_vec();
    payload.extend(said.map(u32::to_le_bytes).as_flattened());
    payload.extend_from_slice(frame);
    payload.extend(b"\x50\x2a\x4d\x18\x05\0\0\0\0\0\0\0\0");
    encrypted(&payload)
}

/// A public row of the object table.
pub(super) fn sealed_row(id: u8, stored_length: u32) -> Vec<u8> {
    [vec![id; 48], stored_length.to_le_bytes().to_vec()].concat()
}

/// The first byte says what the rest is, the next three how long a chunk is to be.
pub(super) fn age(data: &[u8]) {
    let (&[what, a, b, c], rest) = data.split_first_chunk().unwrap_or((&[0; 4], &[]));
    let length = u32::from_le_bytes([a, b, c, 0]).min(MAX_CHUNK_LENGTH);
    match what % 4 {
        0 => opens_or_says_why(rest, length),
        1 => opens_or_says_why(&encrypted(rest), length),
        2 => read_file(rest),
        _ => writer_file(rest),
    }
}

fn polite(error: &dyn std::fmt::Display) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < 2000 && !text.chars().any(char::is_control), "{text:?}");
    // Not even a part of one. What all keys of age begin with is no secret.
    let secrets = [IDENTITY, WRITER].into_iter().flat_map(|file| file.split(|byte| b" \n".contains(byte)));
    let secrets = secrets.filter(|word| word.starts_with(b"AGE-SECRET-KEY-1")).map(|word| &word[16..]);
    let told = |part: &[u8]| text.as_bytes().windows(part.len()).any(|window| window == part);
    assert!(!secrets.flat_map(|secret| secret.windows(16)).any(told), "a message has a secret");
}

/// An age file as an object, as a block and as a read file.
fn opens_or_says_why(stored: &[u8], length: u32) {
    let (mut opener, mut plain) = (reader().opener().unwrap(), vec![7; 3]);
    match opener.object(Seal::Age, stored, length, "it", &mut plain) {
        Ok(()) => {
            assert_eq!(plain.len(), length as usize);
            let mut sealer = writer().sealer().unwrap();
            let (mut again, mut opened) = (Vec::new(), Vec::new());
            let id = sealer.object(&sealer.name(&plain), &plain, &mut again).unwrap();
            assert!(again.len() <= Seal::Age.stored_bound(plain.len()));
            opener.object(Seal::Age, &again, length, "it", &mut opened).unwrap();
            assert!(plain == opened && reader().is_named(&opened, &id));
        }
        Err(error) => {
            polite(&error);
            assert!(plain.is_empty(), "something comes out of what is refused");
        }
    }
    let most = Measures { items: 0, length: MAX_BLOCK };
    match opener.block(Seal::Age, stored, most, "it", &mut plain) {
        Ok(_) => assert!(plain.len() <= MAX_BLOCK as usize),
        Err(error) => {
            polite(&error);
            assert!(plain.is_empty(), "something comes out of what is refused");
        }
    }
    // Without a key that fits nothing opens.
    let mut without = Seals::with_keys(Keys::Without).opener().unwrap();
    assert!(without.object(Seal::Age, stored, length, "it", &mut plain).is_err());
    match SealedReadFile::from_bytes(stored) {
        Ok(sealed) => {
            assert_eq!(
                SealedReadFile::from_bytes(sealed.to_armor().unwrap().as_bytes()).as_ref(),
                Ok(&sealed)
            );
            match sealed.plain_text(&KEYS.identities) {
                Ok(text) => assert!(text.len() <= MAX_PLAIN),
                Err(error) => polite(&error),
            }
        }
        Err(error) => polite(&error),
    }
    if let Err(error) = Identities::parse(stored) {
        polite(&error);
    }
}

/// The plaintext of a read file.
fn read_file(text: &[u8]) {
    match ReadFile::decode(text) {
        Ok(read) => {
            let again = read.encode().unwrap();
            assert_eq!(*ReadFile::decode(again.as_bytes()).unwrap().encode().unwrap(), *again);
            let sealed = read.seal(&KEYS.identities.recipients()).unwrap();
            assert_eq!(*ReadFile::open(&sealed, &KEYS.identities).unwrap().encode().unwrap(), *again);
        }
        Err(error) => polite(&error),
    }
}

fn writer_file(text: &[u8]) {
    match WriterFile::decode(text) {
        Ok(writer) => {
            let again = writer.encode().unwrap();
            assert!(again.len() <= MAX_WRITER_FILE);
            assert_eq!(*WriterFile::decode(again.as_bytes()).unwrap().encode().unwrap(), *again);
        }
        Err(error) => polite(&error),
    }
}

/// Inputs of [`age`] to begin with.
#[cfg(test)]
pub(crate) fn first_age_files() -> Vec<(String, Vec<u8>)> {
    let input = |what: u8, length: u32, rest: &[u8]| [&[what][..], &length.to_le_bytes()[..3], rest].concat();
    let mut frame = Vec::new();
    Seals::zstd(1).sealer().unwrap().seal_into(b"Hello, weekvault!\n", &mut frame).unwrap();
    let padding = b"\x50\x2a\x4d\x18\x05\0\0\0\0\0\0\0\0";
    let object = [&frame[..], padding].concat();
    let measures = [8u32, 1, 18].map(u32::to_le_bytes);
    let block = [&b"\x51\x2a\x4d\x18"[..], measures.as_flattened(), &object].concat();
    let read_file = KEYS.reader.encode().unwrap();
    let files = [
        ("object", input(0, 18, &encrypted(&object))),
        ("block", input(0, 18, &encrypted(&block))),
        ("read-file", input(0, 18, READ_FILE)),
        ("identity", input(0, 18, IDENTITY)),
        ("object-payload", input(1, 18, &object)),
        ("block-payload", input(1, 18, &block)),
        ("read-file-text", input(2, 0, read_file.as_bytes())),
        ("writer-file", input(3, 0, WRITER)),
    ];
    files.map(|(name, file)| (name.to_owned(), file)).into()
}

/// Manifests of sealed stores to begin with.
#[cfg(test)]
pub(crate) fn first_sealed() -> Vec<(String, Recipe)> {
    let example = include_bytes!("../../../docs/sealed-example/store/2025-14/enigma.manifest");
    let example = Recipe::of(example, reader().keys()).unwrap();
    vec![("example".into(), example), ("small".into(), super::recipe::sealed())]
}

/// Age files that ask for more than there is, each with a name, as inputs of [`age`]: no answer may cost more than the
/// chunk that is asked for, and the bytes that are there.
#[cfg(test)]
pub(crate) fn hostile_age_files() -> Vec<(String, Vec<u8>)> {
    let input = |what: u8, length: u32, rest: &[u8]| [&[what][..], &length.to_le_bytes()[..3], rest].concat();
    let header = |lines: &str| format!("age-encryption.org/v1\n{lines}");
    let stanza = "-> X25519 TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc\nEmECAEcKN+n/Vs9SbWiV+Hu0r+E8R77DdWYyd83nw7U\n";
    let mac = "--- Vn+54jqiiUCE+WZcEVY3f1sqHjlu/z1LCQ/T7Xm7qI0\n";
    // zstd frames that say of themselves that they hold 2^60 bytes, and take a window of 2 GiB.
    let frame = [&b"\x28\xb5\x2f\xfd\xe0"[..], &(1u64 << 60).to_le_bytes(), &[1, 0, 0]].concat();
    let window = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00".to_vec();
    let padded = |frame: &[u8]| [frame, b"\x50\x2a\x4d\x18\0\0\0\0"].concat();
    let measured = |length: u32, frame: &[u8]| {
        let measures = [8, 1, length].map(u32::to_le_bytes);
        padded(&[&b"\x51\x2a\x4d\x18"[..], measures.as_flattened(), frame].concat())
    };
    let mut files = vec![
        (
            "a line without end",
            input(0, 100, header(&format!("-> X25519 {}", "A".repeat(1 << 20))).as_bytes()),
        ),
        ("stanzas without end", input(0, 100, header(&stanza.repeat(10_000)).as_bytes())),
        ("a body without end", input(0, 100, header(&format!("-> x\n{}\n", "A".repeat(1 << 20))).as_bytes())),
        ("a passphrase", input(0, 100, header(&format!("-> scrypt AAAA 60\nAAAA\n{mac}")).as_bytes())),
        ("a frame of 2^60 bytes", input(1, MAX_CHUNK_LENGTH, &padded(&frame))),
        ("a window of 2 GiB", input(1, MAX_CHUNK_LENGTH, &padded(&window))),
        (
            "padding of 4 GiB",
            input(
                1,
                1,
                &[&b"\x28\xb5\x2f\xfd\x20\0\x01\0\0"[..], b"\x50\x2a\x4d\x18\xff\xff\xff\xff"].concat(),
            ),
        ),
        ("a block of 4 GiB", input(1, 1, &measured(u32::MAX, &frame))),
        ("a block of 32 MiB", input(1, 1, &measured(MAX_BLOCK, &frame))),
        ("measures of 4 GiB", input(1, 1, b"\x51\x2a\x4d\x18\xff\xff\xff\xff")),
        ("lines without end", input(2, 0, b"# weekvault-read 1\n".repeat(20_000).as_slice())),
        (
            "a writer's lines without end",
            input(3, 0, &[&b"weekvault-writer 1\n"[..], &b"trust 0\n".repeat(130_000)].concat()),
        ),
    ];
    let nothing = header(&format!("{stanza}{mac}"));
    files.push((
        "noise for a payload",
        input(0, MAX_CHUNK_LENGTH, &[nothing.as_bytes(), &[7; 100_000]].concat()),
    ));
    files.into_iter().map(|(name, file)| (name.to_owned(), file)).collect()
}

/// A sound manifest with as many blocks of a section as there are records, each of them `times` times in its own.
#[cfg(test)]
pub(crate) fn sealed_giants() -> Vec<(String, Recipe)> {
    use super::recipe::REPEAT;
    let sound = |section: Section, record: Vec<u8>, (at, length, times): (u32, u16, u32), count: usize| {
        let mut recipe = super::recipe::sealed();
        let at_block = recipe.blocks.iter().position(|b| b.section > section as u8);
        for _ in 0..count {
            let mut block = Block::new(section, &[], vec![record.clone()]);
            (block.repeat, block.flags) = ((at, length, times), REPEAT);
            recipe.blocks.insert(at_block.unwrap_or(recipe.blocks.len()), block);
        }
        recipe
    };
    // A path, an operation, and a text of 9 MiB.
    let text = (9u32 << 20).to_le_bytes();
    let missing = [&b"\x01x\x00\xfc"[..], &text, b"e"].concat();
    vec![
        ("missing".into(), sound(Section::Missing, missing, (8, 1, 9 << 20), 4)),
        ("left out".into(), sound(Section::Ancillary, b"\x01x\x01".to_vec(), (0, 3, 300_000), 3)),
    ]
}
