//! Holds `docs/format-sealed.md`, `docs/read_store.py` and the program to each other.
//!
//! What age makes is another file each time, so that the document's examples are those of one small store, whose files are
//! kept in `docs/sealed-example/`. The tests take them apart by hand, as the document says, and by the program.

use crate::common::skip;
use crate::format_doc::{self, CHUNK, STORE_ID, assert_refused, examples_of, listing, put, small_tree};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use weekvault::format::keys::{Identities, ReadFile, SealedReadFile, WriterFile};
use weekvault::format::{
    ChunkSizes, Keys, ManifestReader, ManifestWriter, Seal, Seals, Section, StoreConfig, decode_store,
    encode_store,
};
use weekvault::model::{Digest, Lineage, ObjectRow, Summary};

const DOC: &str = include_str!("../../docs/format-sealed.md");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sealed-example");

// Known to everybody. The identity is the age project's example, the signing key the first one of RFC 8032.
const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
const READ_KEY: &str = "AGE-SECRET-KEY-1E3UDT4FNWGRJGL4N38TURJ94VPV2G7SR30EDDSX8ECCPT0P9WMLSZYL62T";
const COMPARE_KEY: &str = "AGE-SECRET-KEY-1TXY2D33DPJ3TLLSU4D7H0VSMXF3A48KZGGX9X3VFA8TV0532TRNS3XR9MK";
const NAME_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SIGN: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const WRITER: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// A file of the example store, or beside it.
fn file(path: &str) -> Vec<u8> {
    let path = Path::new(EXAMPLE).join(path);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn manifest() -> Vec<u8> {
    file("store/2025-14/enigma.manifest")
}

/// The only object's file.
fn object() -> PathBuf {
    let found = walkdir::WalkDir::new(Path::new(EXAMPLE).join("store/objects")).into_iter();
    let mut found = found.map(|entry| entry.unwrap().into_path()).filter(|path| path.is_file());
    found.next().unwrap()
}

/// The bytes of the example with this name, or of all that begin so.
fn example(prefix: &str) -> Vec<u8> {
    let mut all = Vec::new();
    for (language, _, body) in examples_of(DOC).into_iter().filter(|(_, name, _)| name.starts_with(prefix)) {
        match language {
            "hex" => {
                let digits = body.lines().flat_map(|line| line.split('#').next().unwrap().split_whitespace());
                all.extend(digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()));
            }
            _ => all.extend_from_slice(body.as_bytes()),
        }
    }
    assert!(!all.is_empty(), "format-sealed.md has no example {prefix}");
    all
}

fn text(name: &str) -> String {
    String::from_utf8(example(name)).unwrap()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
        .collect()
}

/// What an age file holds, by the age library alone.
fn decrypted(stored: &[u8], identity: &str) -> Vec<u8> {
    let identity: age::x25519::Identity = identity.parse().unwrap();
    age::decrypt(&identity, stored).unwrap()
}

/// What is derived of the naming key for a use that the document has.
fn derived(context: &str) -> [u8; 32] {
    assert!(DOC.contains(&format!("`{context}`")), "{context}");
    blake3::derive_key(context, &bytes_of(NAME_KEY))
}

/// The smallest Padmé length of so many bytes or more.
fn padme(length: usize) -> usize {
    let order = length.ilog2();
    let mask = (1 << (order - (order.ilog2() + 1))) - 1;
    (length + mask) & !mask
}

fn reader() -> Arc<ReadFile> {
    let sealed = SealedReadFile::from_bytes(&file("store/keys/read-1-1.age")).unwrap();
    Arc::new(ReadFile::open(&sealed, &Identities::parse(&file("identity.key")).unwrap()).unwrap())
}

fn open(manifest: Vec<u8>, keys: Keys) -> ManifestReader<format_doc::InMemory> {
    ManifestReader::open(format_doc::InMemory(manifest), &Seals::with_keys(keys)).unwrap()
}

#[test]
fn store_json_says_that_a_store_is_sealed() {
    let documented = example("store.json");
    assert_eq!(decode_store(&documented).unwrap(), config());
    let stored: Value = serde_json::from_slice(&file("store/store.json")).unwrap();
    assert_eq!(stored, serde_json::from_slice::<Value>(&documented).unwrap());
    let with = |from: &str, to: &str| {
        let text = text("store.json");
        assert!(text.contains(from), "{from}");
        decode_store(text.replacen(from, to, 1).as_bytes())
    };
    for (from, to) in [
        ("\"version\": 2", "\"version\": 1"),
        ("\"version\": 2", "\"version\": 3"),
        ("\"age\"", "\"zstd\""),
        ("\"blake3-keyed\"", "\"blake3\""),
        (STORE_ID, "9d3f"),
    ] {
        assert!(with(from, to).is_err(), "{to}");
    }
}

#[test]
fn a_read_file_is_an_identity_file_with_a_mac() {
    let documented = text("read-file") + "\n";
    let stored = file("store/keys/read-1-1.age");
    assert_eq!(String::from_utf8(decrypted(&stored, IDENTITY)).unwrap(), documented);
    assert_eq!(*reader().encode().unwrap(), documented);
    let (lines, mac) = documented.rsplit_once("# mac ").unwrap();
    assert_eq!(mac.trim_end(), mac_of(lines));
    let refused = |lines: &str, why: &str| {
        let text = format!("{lines}# mac {}\n", mac_of(lines));
        assert_refused(ReadFile::decode(text.as_bytes()), why);
    };
    for line in ["# store", "# number", "# name-key"] {
        let without: String =
            lines.lines().filter(|l| !l.starts_with(line)).map(|l| format!("{l}\n")).collect();
        refused(&without, line);
    }
    refused(&lines.replace("# store", "# weekvault-later 1\n# store"), "not known");
    refused(&lines.replace("# number 1 1", "# number 2 1"), "one an epoch");
    // What has no meaning is passed over.
    let more = lines.replace("# store", "# of my own\n# store");
    assert!(ReadFile::decode(format!("{more}# mac {}\n", mac_of(&more)).as_bytes()).is_ok());
    assert!(ReadFile::decode(documented.replacen("2025-13", "2025-12", 1).as_bytes()).is_err());
}

fn mac_of(lines: &str) -> String {
    let context = "weekvault 2026 v2 read file mac";
    assert!(DOC.contains(context));
    let (_, key) = bech32::decode(READ_KEY).unwrap();
    blake3::keyed_hash(&blake3::derive_key(context, &key), lines.as_bytes()).to_string()
}

#[test]
fn a_writers_file_has_a_line_for_each_value() {
    let stored = String::from_utf8(file("writer.key")).unwrap();
    let documented = text("writer-file") + "\n";
    let armor = stored.strip_prefix(&documented).expect("it begins as documented");
    assert!(armor.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));
    let writer = WriterFile::decode(stored.as_bytes()).unwrap();
    assert_eq!(writer.read_file().as_bytes(), file("store/keys/read-1-1.age"));
    assert_eq!(*writer.encode().unwrap(), stored);
    let read = documented.lines().find_map(|line| line.strip_prefix("read ")).unwrap();
    assert_eq!(read, READ_KEY.parse::<age::x25519::Identity>().unwrap().to_public().to_string());
    for line in documented.lines().skip(1).filter(|line| !line.starts_with("trust")) {
        let without = stored.replacen(&format!("{line}\n"), "", 1);
        assert!(WriterFile::decode(without.as_bytes()).is_err(), "without {line}");
    }
    assert_refused(WriterFile::decode(stored.replacen("store ", "later 1\nstore ", 1).as_bytes()), "later");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a file of the example's chunk is called.
fn name_of(stored: &[u8]) -> String {
    let chunk = blake3::keyed_hash(&derived("weekvault 2026 v2 object id"), CHUNK);
    let sum = blake3::hash(stored).as_bytes()[..16].to_vec();
    let tag_key = derived("weekvault 2026 v2 object tag");
    let tag = blake3::keyed_hash(&tag_key, &[chunk.as_bytes().as_slice(), &sum].concat());
    format!("{chunk}.{}.{}.age", hex(&sum), hex(&tag.as_bytes()[..8]))
}

#[test]
fn an_object_has_its_name_by_the_naming_key() {
    let path = object();
    let stored = fs::read(&path).unwrap();
    let name = name_of(&stored);
    assert_eq!(path.file_name().unwrap().to_str().unwrap(), name);
    assert_eq!(name.len(), 118);
    let place = format!("objects/{}/{name}", &name[..1]);
    assert!(path.ends_with(&place) && DOC.contains(&place), "{place}");
    let seals = Seals::with_keys(Keys::Reader(reader()));
    let row = open(manifest(), Keys::Reader(reader())).objects().unwrap()[0];
    assert!(seals.is_named(CHUNK, &row.id) && !seals.is_named(b"other", &row.id));
    assert_eq!(format!("{}.{}.age", row.id, hex(&seals.tag(&row.id).unwrap())), name);
    for other in ["weekvault 2026 v2 gear", "weekvault 2026 v2 cut", "weekvault 2026 v2 same"] {
        derived(other);
    }
}

#[test]
fn an_object_is_a_frame_and_zeros_in_an_age_file() {
    let stored = fs::read(object()).unwrap();
    assert!(stored.starts_with(&example("object/header")), "the header of the age file is as documented");
    let payload = decrypted(&stored, READ_KEY);
    let documented = example("object/payload");
    let (frame, padding) = documented.split_at(documented.len() - 8);
    assert!(payload.starts_with(&documented));
    assert_eq!(zstd::decode_all(frame).unwrap(), CHUNK);
    assert_eq!(padding[..4], [0x50, 0x2a, 0x4d, 0x18]);
    let zeros = &payload[documented.len()..];
    assert_eq!(u32::from_le_bytes(padding[4..].try_into().unwrap()) as usize, zeros.len());
    assert!(zeros.iter().all(|byte| *byte == 0));
    assert!(stored.len() >= 32 << 10 && padme(stored.len()) == stored.len(), "{} bytes", stored.len());
    let mut opener = Seals::with_keys(Keys::Reader(reader())).opener().unwrap();
    let mut chunk = Vec::new();
    opener.object(Seal::Age, &stored, 18, "it", &mut chunk).unwrap();
    assert_eq!(chunk, CHUNK);
    assert!(opener.object(Seal::Age, &stored, 17, "it", &mut chunk).is_err() && chunk.is_empty());
}

#[test]
fn padded_lengths_are_as_documented() {
    let table = DOC.split("| bytes | padded |\n| --- | --- |\n").nth(1).unwrap();
    let rows = table.lines().map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    let number = |text: &str| text.replace(',', "").parse::<usize>().unwrap();
    let rows: Vec<(usize, usize)> = rows.map(|(length, padded)| (number(length), number(padded))).collect();
    assert_eq!(rows.len(), 4);
    for (length, padded) in rows {
        assert_eq!(padme(length), padded, "{length}");
        // By its lowest bits, as the text has it.
        let order = padded.ilog2();
        assert_eq!(padded % (1 << (order - order.ilog2() - 1)), 0, "{padded}");
    }
}

/// An age file for the read key and as many others as `more` says.
fn encrypted(payload: &[u8], more: usize) -> Vec<u8> {
    let mut to: Vec<_> = (0..more).map(|_| age::x25519::Identity::generate().to_public()).collect();
    to.push(READ_KEY.parse::<age::x25519::Identity>().unwrap().to_public());
    let mut file = Vec::new();
    let encryptor = age::Encryptor::with_recipients(to.iter().map(|to| to as &dyn age::Recipient)).unwrap();
    let mut out = encryptor.wrap_output(&mut file).unwrap();
    out.write_all(payload).unwrap();
    out.finish().unwrap();
    file
}

#[test]
fn objects_are_refused_that_are_anything_else() {
    assert!(DOC.contains("does not end within 4 KiB or has more than 4\nstanzas"));
    let mut opener = Seals::with_keys(Keys::Reader(reader())).opener().unwrap();
    let mut plain = Vec::new();
    let mut open = |stored: &[u8]| {
        let opened = opener.object(Seal::Age, stored, 18, "it", &mut plain);
        assert!(opened.is_ok() || plain.is_empty(), "nothing comes out");
        opened
    };
    let payload = example("object/payload");
    let (frame, padding) = payload.split_at(payload.len() - 8);
    let zeros = |n: u8| [&padding[..4], &[n, 0, 0, 0], &vec![0; n.into()]].concat();
    let right = [frame, &zeros(5)].concat();
    assert!(open(&encrypted(&right, 0)).is_ok() && open(&encrypted(&right, 2)).is_ok());
    assert_refused(open(&encrypted(&right, 4)), "too many recipients");
    for wrong in [
        frame.to_vec(),
        [frame, frame, &zeros(0)].concat(),
        [frame, &zeros(0), &zeros(0)].concat(),
        [&zeros(0), frame, &zeros(0)].concat(),
        [frame, &padding[..4], &[1, 0, 0, 0, 7]].concat(),
    ] {
        assert!(open(&encrypted(&wrong, 0)).is_err());
    }
    let long = format!("age-encryption.org/v1\n-> X25519 {}\nx\n--- x\n", "x".repeat(4 << 10));
    assert_refused(open(long.as_bytes()), "too long");
    assert_refused(open(b"age-encryption.org/v1\n-> scrypt AAAA 1\nAAAA\n--- x\n"), "passphrase");
    let limits = "its header must end within 16\nKiB and have at most 32 stanzas, none of type `scrypt`";
    assert!(DOC.contains(limits));
    let many = encrypted(b"x", 31);
    assert_refused(SealedReadFile::from_bytes(&many), "too many recipients");
    assert!(SealedReadFile::from_bytes(&encrypted(b"x", 30)).is_ok());
}

/// A block of the example's manifest: what the index says, and the bytes in the file.
struct Stored<'a> {
    row: &'a [u8],
    bytes: &'a [u8],
}

impl Stored<'_> {
    fn number(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.row[at..at + 4].try_into().unwrap())
    }

    /// Its plain bytes, and how many items it has: from the index, or from what the block begins with.
    fn plain(&self) -> (u32, Vec<u8>) {
        if self.row[1] == 0 {
            return (self.number(4), zstd::decode_all(self.bytes).unwrap());
        }
        assert_eq!((self.row[1], self.number(4), self.number(8)), (1, 0, 0));
        assert!(self.bytes.len() >= 1024 && padme(self.bytes.len()) == self.bytes.len());
        let payload = decrypted(self.bytes, READ_KEY);
        assert_eq!(payload, decrypted(self.bytes, COMPARE_KEY), "it is for both");
        let number = |at: usize| u32::from_le_bytes(payload[at..at + 4].try_into().unwrap());
        assert_eq!((&payload[..4], number(4)), (&[0x51, 0x2a, 0x4d, 0x18][..], 8));
        let plain = zstd::decode_all(&payload[16..]).unwrap();
        assert_eq!(number(12) as usize, plain.len());
        (number(8), plain)
    }
}

/// The blocks of a manifest of version 2, taken apart by hand.
fn blocks(manifest: &[u8]) -> Vec<Stored<'_>> {
    let footer = manifest.len() - 144;
    let length = u32::from_le_bytes(manifest[footer..footer + 4].try_into().unwrap()) as usize;
    let index = &manifest[footer - length..footer];
    let digest = blake3::hash(&[&manifest[..16], index].concat());
    assert_eq!(digest.as_bytes(), &manifest[footer + 8..footer + 40]);
    let mut at = 16;
    let mut block = |row| {
        let stored = Stored { row, bytes: &[] };
        let bytes = &manifest[at..at + stored.number(12) as usize];
        assert_eq!(blake3::hash(bytes).as_bytes(), &row[16..48]);
        at += bytes.len();
        Stored { row, bytes }
    };
    let blocks = index.chunks(48).map(&mut block).collect();
    assert_eq!(at, footer - length);
    blocks
}

#[test]
fn a_manifest_is_as_documented() {
    let manifest = manifest();
    assert!(DOC.contains(&format!("{} bytes", manifest.len())), "{} bytes", manifest.len());
    assert!(manifest.starts_with(&example("manifest/header")));
    assert!(manifest.ends_with(&[example("manifest/index"), example("manifest/footer")].concat()));
    let found = blocks(&manifest);
    let numbers: Vec<u8> = found.iter().map(|block| block.row[0]).collect();
    assert_eq!(numbers, [1, 3, 4, 5, 6, 7, 8]);
    // The tree is that of the plain example.
    let plain = format_doc::bytes("manifest/");
    let plain_section = |section| format_doc::section(&plain, section);
    let expected = [
        (4, plain_section(Section::Entries)),
        (1, plain_section(Section::Owners)),
        (1, example("manifest/objects")),
        (1, example("manifest/summary")),
        (1, example("manifest/private-objects")),
        (1, example("manifest/private-summary")),
        (1, file("store/keys/read-1-1.age")),
    ];
    let mut at = 16;
    for (block, (items, plain)) in found.iter().zip(&expected) {
        assert_eq!(&block.plain(), &(*items, plain.clone()), "section {}", block.row[0]);
        assert!(format_doc::says_in(DOC, &format!("at {at}")), "section {} is at {at}", block.row[0]);
        at += block.bytes.len();
    }
    let (_, entries) = found[0].plain();
    let payload = decrypted(found[0].bytes, READ_KEY);
    assert_eq!(payload[..16], example("manifest/measures")[..]);
    assert_eq!(entries.len() as u32, u32::from_le_bytes(payload[12..16].try_into().unwrap()));
}

#[test]
fn a_manifest_says_who_made_it_and_what_is_the_same() {
    let manifest = manifest();
    let footer = &manifest[manifest.len() - 144..];
    let writer: [u8; 32] = footer[40..72].try_into().unwrap();
    assert_eq!(writer.to_vec(), bytes_of(WRITER));
    let signed = [b"weekvault manifest v2\0".as_slice(), STORE_ID.as_bytes(), &footer[8..40]].concat();
    let signature = Signature::from_slice(&footer[72..136]).unwrap();
    VerifyingKey::from_bytes(&writer).unwrap().verify_strict(&signed, &signature).unwrap();
    let mut same = blake3::Hasher::new_keyed(&derived("weekvault 2026 v2 same"));
    for block in blocks(&manifest).iter().filter(|block| [1, 2, 3, 6].contains(&block.row[0])) {
        same.update(&block.plain().1);
    }
    let summary: Value = serde_json::from_slice(&example("manifest/summary")).unwrap();
    assert_eq!(summary["same"], same.finalize().to_string());
    let reader = open(manifest.clone(), Keys::Without);
    assert_eq!(reader.signed().unwrap().by.to_string(), WRITER);
    let digest = blake3::Hash::from_bytes(footer[8..40].try_into().unwrap());
    assert!(DOC.contains(&digest.to_string()), "what b3sum says of it: {digest}");
}

#[test]
fn the_program_reads_the_example_as_far_as_it_has_keys() {
    let writer = Arc::new(WriterFile::decode(&file("writer.key")).unwrap());
    for keys in [Keys::Reader(reader()), Keys::Writer(writer)] {
        let reader = open(manifest(), keys);
        let entries: Vec<_> = reader.entries().unwrap().map(|entry| entry.unwrap().1).collect();
        assert_eq!(entries, small_tree());
        assert_eq!(reader.owners().unwrap(), format_doc::owners());
        let said = reader.summary().unwrap();
        assert_eq!(Summary { head: None, ..said.clone() }, summary());
        assert_eq!(said.head.unwrap().before, [(1, before())]);
    }
    let reader = open(manifest(), Keys::Without);
    assert_eq!(reader.summary().unwrap().details, None);
    assert_eq!(reader.objects().unwrap()[0].chunk_length, 0);
    assert!(reader.entries().is_err());
    assert_eq!(reader.read_file().unwrap().unwrap(), file("store/keys/read-1-1.age"));
}

/// Blocks that are not sealed as they must be.
#[test]
fn a_manifest_is_refused_whose_index_says_anything_else_of_seals() {
    let example = manifest();
    let footer = example.len() - 144;
    let index = footer - u32::from_le_bytes(example[footer..footer + 4].try_into().unwrap()) as usize;
    let refused = |row: usize, at: usize, value: u8| {
        let mut manifest = example.clone();
        manifest[index + 48 * row + at] = value;
        let digest = blake3::hash(&[&manifest[..16], &manifest[index..footer]].concat());
        manifest[footer + 8..footer + 40].copy_from_slice(digest.as_bytes());
        let seals = Seals::with_keys(Keys::Without);
        ManifestReader::open(format_doc::InMemory(manifest), &seals).map(drop)
    };
    assert!(refused(0, 1, 1).is_ok());
    // A private block in the open, a public one that is sealed, and measures where there must be none.
    for (row, at, value) in [(0, 1, 0), (3, 1, 1), (0, 4, 1), (0, 8, 1), (4, 1, 0), (6, 1, 1)] {
        assert_refused(refused(row, at, value), "is not sealed as it must be");
    }
    assert!(refused(0, 0, 9).is_err() && refused(0, 2, 1).is_err());
}

#[test]
fn age_and_zstd_open_the_example() {
    if Command::new("age").arg("--version").output().is_err() {
        return skip("the example by standard tools", "no age here");
    }
    // The commands of the document, as they stand there.
    let lines =
        DOC.lines().skip_while(|line| *line != "```console").skip(1).take_while(|line| *line != "```");
    let commands: String = lines.map(|line| format!("{}\n", line.strip_prefix("$ ").unwrap())).collect();
    assert!(commands.contains("cd docs/sealed-example") && commands.contains("zstd -dc"), "{commands}");
    let folder = tempfile::tempdir().unwrap();
    let script = commands.replace("read.key", &folder.path().join("read.key").display().to_string());
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", &script]).current_dir(root).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, CHUNK, "{script}");
}

/// Runs `docs/read_store.py` on week 2025-14 of `enigma`; none where a program is missing that it needs.
fn script(store: &Path, more: &[&OsStr]) -> Option<Result<Vec<u8>, String>> {
    if Command::new("age").arg("--version").output().is_err() {
        skip("read_store.py on a sealed store", "no age here");
        return None;
    }
    let mut args: Vec<&OsStr> = vec![store.as_ref(), "2025-14".as_ref(), "enigma".as_ref()];
    args.extend(more);
    Some(format_doc::try_run("/usr/bin/python3", [format_doc::SCRIPT.as_ref()].into_iter().chain(args), b""))
}

#[test]
fn the_script_reads_the_example() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let copy = || {
        let _ = fs::remove_dir_all(&store);
        let from = Path::new(EXAMPLE).join("store");
        for path in walkdir::WalkDir::new(&from).into_iter().map(|entry| entry.unwrap().into_path()) {
            if path.is_file() {
                put(store.join(path.strip_prefix(&from).unwrap()), &fs::read(path).unwrap());
            }
        }
    };
    let identity = Path::new(EXAMPLE).join("identity.key");
    let keyed = |path: Option<&str>| {
        let more = ["--identity".as_ref(), identity.as_os_str()];
        script(&store, &more.into_iter().chain(path.map(OsStr::new)).collect::<Vec<_>>())
    };
    copy();
    let Some(listed) = keyed(None) else { return };
    let names = ["", "greeting", "hello", "latest"].map(str::as_bytes);
    assert_eq!(String::from_utf8(listed.unwrap()).unwrap(), listing(names));
    for path in ["greeting", "hello"] {
        assert_eq!(keyed(Some(path)).unwrap().unwrap(), CHUNK);
    }
    let checked = String::from_utf8(script(&store, &[]).unwrap().unwrap()).unwrap();
    assert!(checked.starts_with("1 objects are as they were stored"), "{checked}");
    assert!(script(&store, &["greeting".as_ref()]).unwrap().unwrap_err().contains("--identity"));
    // The read file of the manifest does, too.
    fs::remove_dir_all(store.join("keys")).unwrap();
    assert_eq!(keyed(Some("greeting")).unwrap().unwrap(), CHUNK);
    // Damage, of which the first kind is found without a key.
    let damage = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let object = store.join(object().strip_prefix(Path::new(EXAMPLE).join("store")).unwrap());
    damage(&object, 20_000);
    assert!(script(&store, &[]).unwrap().unwrap_err().contains("damaged: "));
    assert!(keyed(Some("greeting")).unwrap().unwrap_err().contains("damaged: "));
    copy();
    damage(&store.join("2025-14/enigma.manifest"), 300);
    assert!(script(&store, &[]).unwrap().unwrap_err().contains("damaged: "));
    copy();
    // A file that somebody made who has no naming key, and one that stands in for what is lost.
    let wrong_tag = object.with_file_name(object.file_name().unwrap().to_str().unwrap().replace(".age", "x"));
    let name = wrong_tag.file_name().unwrap().to_str().unwrap();
    let flipped = if name.ends_with("0x") { "1.age" } else { "0.age" };
    fs::rename(&object, object.with_file_name(format!("{}{flipped}", &name[..name.len() - 2]))).unwrap();
    assert!(keyed(Some("greeting")).unwrap().unwrap_err().contains("damaged: "));
    copy();
    let payload = decrypted(&fs::read(&object).unwrap(), READ_KEY);
    let again = encrypted(&payload, 0);
    fs::remove_file(&object).unwrap();
    put(object.with_file_name(name_of(&again)), &again);
    assert_eq!(keyed(Some("greeting")).unwrap().unwrap(), CHUNK);
}

fn config() -> StoreConfig {
    StoreConfig {
        id: STORE_ID.into(),
        chunks: ChunkSizes::default(),
        created: "2025-04-08T03:10:00Z".into(),
        created_by: "weekvault 0.1.0".into(),
        sealed: true,
    }
}

/// What the example's summary says, but for what comes before it.
fn summary() -> Summary {
    let mut summary = format_doc::summary();
    let details = summary.details.as_mut().unwrap();
    details.compared_with = Some(before());
    details.counts.new_stored_bytes = 32 << 10;
    summary
}

/// The digest of the manifest before.
fn before() -> Digest {
    Digest(*blake3::hash(b"the manifest of 2025-13").as_bytes())
}

/// Makes `docs/sealed-example`, whose files are others each time: the document's examples go with them.
#[test]
#[ignore = "makes the example anew, and the document's examples wrong"]
fn make_sealed_example() {
    let place = Path::new(EXAMPLE);
    let operator = Identities::parse(IDENTITY.as_bytes()).unwrap();
    put(place.join("identity.key"), format!("# of an example: known to everybody\n{IDENTITY}\n").as_bytes());
    let plain = before();
    let lines = format!(
        "# weekvault-read 1\n# store {STORE_ID}\n# number 1 1\n# name-key {NAME_KEY}\n# writer {WRITER}\n\
         # plain 2025-13 enigma {plain}\n{READ_KEY}\n"
    );
    let read_file = ReadFile::decode(format!("{lines}# mac {}\n", mac_of(&lines)).as_bytes()).unwrap();
    let sealed = read_file.seal(&operator.recipients()).unwrap();
    put(place.join("store/keys/read-1-1.age"), sealed.as_bytes());
    put(place.join("store/store.json"), &encode_store(&config()).unwrap());
    let writer = format!(
        "weekvault-writer 1\nstore {STORE_ID}\nchunking 262144 1048576 4194304\nread {}\nname-key {NAME_KEY}\n\
         sign {SIGN}\ncompare {COMPARE_KEY}\ntrust {WRITER}\n{}",
        read_file.read_recipient(),
        sealed.to_armor().unwrap()
    );
    put(place.join("writer.key"), writer.as_bytes());

    let seals = Seals::with_keys(Keys::Writer(Arc::new(WriterFile::decode(writer.as_bytes()).unwrap())));
    let (mut sealer, mut stored) = (seals.sealer().unwrap(), Vec::new());
    let name = sealer.name(CHUNK);
    let id = sealer.object(&name, CHUNK, &mut stored).unwrap();
    let tag: String = seals.tag(&id).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let _ = fs::remove_dir_all(place.join("store/objects"));
    put(place.join(format!("store/objects/{}/{id}.{tag}.age", &id.to_string()[..1])), &stored);

    let mut writer = ManifestWriter::new(Vec::new(), &seals).unwrap();
    small_tree().iter().for_each(|entry| writer.entry(entry).unwrap());
    writer.lineage(Lineage { before: vec![(1, before())], last: None });
    let row = ObjectRow { id, chunk_length: 18, stored_length: stored.len() as u32, used: 18 };
    let written = writer.finish(&format_doc::owners(), [row], &summary()).unwrap();
    put(place.join("store/2025-14/enigma.manifest"), &written.out);
}
