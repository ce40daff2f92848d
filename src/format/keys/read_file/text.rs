//! The plaintext of a read file: an age identity file, whose comment lines have the rest.

use super::file::{KnownWriter, PlainManifest, ReadFile, ReadNumber};
use crate::format::FormatError;
use crate::format::keys::text::{from_decimal, from_hex, shown_name};
use crate::format::keys::{MAX_PLAIN, NameKey, ReadKey, ReadRecipient, WriterId};
use crate::model::{Digest, StoreId};
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;
use std::str::FromStr;
use zeroize::Zeroizing;

const PART: &str = "the read file";

/// The newest version of the file that this program reads and writes.
const VERSION: u32 = 1;

/// No line of a writer or a key is longer, in bytes, nor all the lines that stand once together.
const LINE: usize = 96;
const ONCE: usize = 512;
/// A line of a plain manifest without the pvc's name.
const PLAIN_LINE: usize = 96;

impl ReadFile {
    /// The plaintext, which ends with its mac. It can also be encrypted by an operator's own age.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] for more than [`MAX_PLAIN`] bytes: a store that has so many plain manifests.
    pub fn encode(&self) -> Result<Zeroizing<String>, FormatError> {
        // With all the room from the start no copy of it stays behind.
        let mut text = Zeroizing::new(String::with_capacity(self.room()));
        // A String takes whatever is written.
        let _ = self.write_lines(&mut text);
        let mac = mac(self.read_keys.last(), &text);
        let _ = writeln!(text, "# mac {}", mac.to_hex());
        if text.len() > MAX_PLAIN {
            let what =
                "the list of plain manifests in the read file (`weekvault forget` weeks that are not needed)"
                    .into();
            return Err(FormatError::TooLarge { what, size: text.len() as u64, limit: MAX_PLAIN as u64 });
        }
        Ok(text)
    }

    /// Bytes that the plaintext takes at most.
    pub(super) fn room(&self) -> usize {
        let plain: usize = self.plain.iter().map(|plain| PLAIN_LINE + plain.pvc.as_str().len()).sum();
        ONCE + plain + LINE * (self.writers.len() + self.read_keys.len())
    }

    fn write_lines(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "# weekvault-read {VERSION}\n# store {}", self.store)?;
        writeln!(text, "# number {} {}", self.number.epoch, self.number.n)?;
        writeln!(text, "# name-key {}", *self.name_key.to_hex())?;
        for KnownWriter { id, revoked } in &self.writers {
            writeln!(text, "# writer {id}{}", if *revoked { " revoked" } else { "" })?;
        }
        for PlainManifest { week, pvc, digest } in &self.plain {
            writeln!(text, "# plain {week} {pvc} {digest}")?;
        }
        self.read_keys.iter().try_for_each(|key| writeln!(text, "{}", *key.to_text()))
    }

    /// Whether bytes are meant to be the plaintext of a read file, rather than another identity file.
    pub fn is_plain_text(bytes: &[u8]) -> bool {
        bytes.starts_with(b"# weekvault-read ")
    }

    /// Reads the plaintext of a read file. Comments that do not concern this version are passed over, and left out of the files
    /// that are made after this one.
    ///
    /// # Errors
    /// [`FormatError::Version`] for a newer one; others, naming the line, for a file that is damaged, was changed by hand, or is no
    /// read file.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() > MAX_PLAIN {
            let (size, limit) = (bytes.len() as u64, MAX_PLAIN as u64);
            return Err(FormatError::TooLarge { what: PART.into(), size, limit });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| FormatError::invalid(PART, "it is not text"))?;
        check_version(text)?;
        let lines = check_mac(text)?;
        let mut parts = Parts::default();
        for (number, line) in (1..).zip(lines.split('\n')).skip(1) {
            parts
                .take(line)
                .map_err(|reason| FormatError::invalid(PART, format!("line {number}: {reason}")))?;
        }
        parts.finish().map_err(|reason| FormatError::invalid(PART, reason))
    }
}

/// Keyed BLAKE3 of all lines before it, by the newest read key: only who can read the store can make one.
fn mac(newest: Option<&ReadKey>, lines: &str) -> blake3::Hash {
    let key = newest.map(ReadKey::mac_key).unwrap_or_default();
    blake3::keyed_hash(&key, lines.as_bytes())
}

fn check_version(text: &str) -> Result<(), FormatError> {
    let first = text.split('\n').next().unwrap_or_default();
    let Some(version) = first.strip_prefix("# weekvault-read ") else {
        let hint = "its first line is not `# weekvault-read 1`: give the whole of what your age prints of a file in keys/";
        return Err(FormatError::invalid(PART, hint));
    };
    match from_decimal(version) {
        Some(VERSION) => Ok(()),
        Some(found) if found > VERSION => Err(FormatError::Version { part: PART, found, known: VERSION }),
        _ => Err(FormatError::invalid(PART, "its first line has no version that there is")),
    }
}

/// The lines that the mac covers, without the last newline, if it is right.
fn check_mac(text: &str) -> Result<&str, FormatError> {
    let invalid = |reason| FormatError::invalid(PART, reason);
    let cut = || invalid("its last line is not `# mac ...`: it is cut short, or something was added to it");
    let (lines, last) = text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n')).ok_or_else(cut)?;
    let found = from_hex(last.strip_prefix("# mac ").ok_or_else(cut)?).ok_or_else(cut)?;
    let newest = lines.rsplit('\n').find(|line| !line.starts_with('#') && !line.is_empty());
    let newest =
        newest.ok_or_else(|| invalid("it has no read key: a line that begins with AGE-SECRET-KEY-1"))?;
    let newest =
        ReadKey::parse(newest).ok_or_else(|| invalid("its last read key is damaged, or no read key"))?;
    let covered = text.get(..lines.len() + 1).unwrap_or_default();
    // Of two such hashes the comparison takes as long wherever they differ.
    match mac(Some(&newest), covered) == blake3::Hash::from_bytes(*found) {
        true => Ok(lines),
        false => Err(invalid(
            "it does not match its mac: a line was changed, added or lost. Take another copy, from keys/, a manifest or a \
             writer's file",
        )),
    }
}

/// What has been read of a file.
#[derive(Default)]
struct Parts {
    store: Option<StoreId>,
    number: Option<ReadNumber>,
    name_key: Option<NameKey>,
    writers: Vec<KnownWriter>,
    writers_seen: HashSet<WriterId>,
    plain: BTreeSet<PlainManifest>,
    read_keys: Vec<ReadKey>,
    read_keys_seen: HashSet<ReadRecipient>,
}

/// Puts a value where there may be only one.
fn once<T>(slot: &mut Option<T>, name: &str, value: Option<T>) -> Result<(), String> {
    if slot.is_some() {
        return Err(format!("a second `# {name}`"));
    }
    *slot = Some(value.ok_or_else(|| malformed(name))?);
    Ok(())
}

fn malformed(name: &str) -> String {
    format!("`# {name}` does not have the form that it must have")
}

impl Parts {
    /// Takes one line.
    fn take(&mut self, line: &str) -> Result<(), String> {
        let Some(comment) = line.strip_prefix('#') else {
            return if line.is_empty() { Ok(()) } else { self.take_key(line) };
        };
        let (name, value) =
            comment.strip_prefix(' ').unwrap_or_default().split_once(' ').unwrap_or((comment.trim(), ""));
        match name {
            "store" => once(&mut self.store, name, value.parse().ok()),
            "number" => once(&mut self.number, name, parse_number(value)),
            "name-key" => once(&mut self.name_key, name, NameKey::from_hex(value)),
            "writer" => self.take_writer(parse_writer(value).ok_or_else(|| malformed(name))?),
            "plain" => self.take_plain(parse_plain(value).ok_or_else(|| malformed(name))?),
            "mac" | "weekvault-read" => Err(format!("a second `# {name}`")),
            _ if name.starts_with("weekvault-") => {
                let shown = shown_name(name).unwrap_or("weekvault-...");
                Err(format!("`# {shown}` is not known: use a newer weekvault"))
            }
            _ => Ok(()),
        }
    }

    fn take_key(&mut self, line: &str) -> Result<(), String> {
        let key = ReadKey::parse(line).ok_or("neither a comment nor a read key (AGE-SECRET-KEY-1...)")?;
        if !self.read_keys_seen.insert(key.recipient()) {
            return Err("a read key for the second time".into());
        }
        self.read_keys.push(key);
        Ok(())
    }

    fn take_writer(&mut self, writer: KnownWriter) -> Result<(), String> {
        if !self.writers_seen.insert(writer.id) {
            return Err(format!("writer {} for the second time", writer.id));
        }
        self.writers.push(writer);
        Ok(())
    }

    fn take_plain(&mut self, plain: PlainManifest) -> Result<(), String> {
        let told = format!("{} of {} for the second time", plain.digest, plain.pvc);
        if self.plain.insert(plain) { Ok(()) } else { Err(told) }
    }

    /// The file, if nothing is missing.
    fn finish(self) -> Result<ReadFile, String> {
        let missing = |name: &str| format!("it has no line `# {name}`");
        let number = self.number.ok_or_else(|| missing("number"))?;
        let newest = self.read_keys.last().map(ReadKey::recipient).ok_or("it has no read key")?;
        if u32::try_from(self.read_keys.len()) != Ok(number.epoch) {
            let (epoch, keys) = (number.epoch, self.read_keys.len());
            return Err(format!(
                "it is of epoch {epoch} and has {keys} read keys: there must be one an epoch"
            ));
        }
        Ok(ReadFile {
            store: self.store.ok_or_else(|| missing("store"))?,
            number,
            name_key: self.name_key.ok_or_else(|| missing("name-key"))?,
            writers: self.writers,
            plain: self.plain,
            read_keys: self.read_keys,
            newest,
        })
    }
}

fn parse_number(value: &str) -> Option<ReadNumber> {
    let (epoch, n) = value.split_once(' ')?;
    Some(ReadNumber { epoch: from_decimal(epoch)?, n: from_decimal(n)? })
}

fn parse_writer(value: &str) -> Option<KnownWriter> {
    let (id, revoked) = match value.strip_suffix(" revoked") {
        Some(id) => (id, true),
        None => (value, false),
    };
    Some(KnownWriter { id: WriterId::from_str(id).ok()?, revoked })
}

fn parse_plain(value: &str) -> Option<PlainManifest> {
    let (week, rest) = value.split_once(' ')?;
    let (pvc, digest) = rest.split_once(' ')?;
    let digest = Digest(*from_hex(digest)?);
    Some(PlainManifest { week: week.parse().ok()?, pvc: pvc.parse().ok()?, digest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::keys::samples::{
        IDENTITY, NAME_KEY, OTHER_WRITER, READ_KEY, SECOND_READ_KEY, STORE, WRITER, read_lines, with_mac,
    };
    use proptest::prelude::*;

    /// One of each line.
    fn full_lines() -> String {
        let digest = "ab".repeat(32);
        format!(
            "# weekvault-read 1\n# store {STORE}\n# number 2 7\n# name-key {NAME_KEY}\n# writer {WRITER}\n\
             # writer {OTHER_WRITER} revoked\n# plain 2025-13 html {digest}\n# plain 2025-14 a-b.c {digest}\n\
             {READ_KEY}\n{SECOND_READ_KEY}\n"
        )
    }

    fn decode(text: &str) -> Result<ReadFile, String> {
        ReadFile::decode(text.as_bytes()).map_err(|error| error.to_string())
    }

    /// What is said of lines whose mac is right.
    fn refusal(lines: &str) -> String {
        decode(&with_mac(lines)).unwrap_err()
    }

    #[test]
    fn golden_text() {
        let text = with_mac(&full_lines());
        let file = decode(&text).unwrap();
        assert_eq!(*file.encode().unwrap(), text);
        assert!(text.len() <= file.room());
        assert_eq!(file.store().to_string(), STORE);
        assert_eq!(file.number(), ReadNumber { epoch: 2, n: 7 });
        assert_eq!(file.name_key().to_hex().as_str(), NAME_KEY);
        let writers: Vec<_> = file.writers().iter().map(|w| (w.id.to_string(), w.revoked)).collect();
        assert_eq!(writers, [(WRITER.to_owned(), false), (OTHER_WRITER.to_owned(), true)]);
        assert_eq!(file.trusted().collect::<Vec<_>>(), [WRITER.parse().unwrap()]);
        let plain: Vec<_> = file.plain().map(|p| format!("{} {} {}", p.week, p.pvc, p.digest)).collect();
        assert_eq!(
            plain,
            [format!("2025-13 html {}", "ab".repeat(32)), format!("2025-14 a-b.c {}", "ab".repeat(32))]
        );
        let keys: Vec<_> = file.read_keys().iter().map(|key| key.to_text().to_string()).collect();
        assert_eq!(keys, [READ_KEY, SECOND_READ_KEY]);
        assert_eq!(*file.read_recipient(), file.read_keys()[1].recipient());
        // What Python's blake3 gives as well: a change here would make another format.
        insta::assert_snapshot!(text.lines().last().unwrap(), @"# mac 017b4697469b15fb4b4651b2e930b273f05c745add4afc9cc2c9e90ce1187b4c");
    }

    #[test]
    fn a_change_of_any_line_is_found() {
        let text = with_mac(&full_lines());
        let lines: Vec<&str> = text.lines().collect();
        let join = |lines: &[&str]| lines.join("\n") + "\n";
        for at in 0..lines.len() {
            let mut without = lines.clone();
            without.remove(at);
            assert!(decode(&join(&without)).is_err(), "without {}", lines[at]);
            let mut twice = lines.clone();
            twice.insert(at, lines[at]);
            assert!(decode(&join(&twice)).is_err(), "twice {}", lines[at]);
            let mut swapped = lines.clone();
            swapped.swap(at, (at + 1) % lines.len());
            assert!(decode(&join(&swapped)).is_err(), "moved {}", lines[at]);
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(ReadFile::decode(&bytes).is_err(), "{at}");
            assert!(ReadFile::decode(&text.as_bytes()[..at]).is_err(), "cut at {at}");
        }
        assert!(decode(&format!("{text}\n")).is_err() && decode(&format!("{text}# more\n")).is_err());
        assert!(decode(&text.replace('\n', "\r\n")).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, reason) in [
            (String::new(), "its first line"),
            (format!("{IDENTITY}\n"), "its first line"),
            (with_mac(&full_lines()).replacen("read 1", "read 2", 1), "newer weekvault"),
            (with_mac(&full_lines()).replacen("read 1", "read 0", 1), "no version"),
            (full_lines(), "`# mac ...`"),
            (with_mac(&full_lines()).replacen("# mac ", "# mac 0", 1), "`# mac ...`"),
            (with_mac(&full_lines()).replacen("revoked", "", 1), "does not match its mac"),
            ("# weekvault-read 1\n# mac ".to_owned() + &"0".repeat(64) + "\n", "no read key"),
            ("# weekvault-read 1\nx\n# mac ".to_owned() + &"0".repeat(64) + "\n", "its last read key"),
            ("x".repeat(MAX_PLAIN + 1), "too large"),
        ] {
            let error = decode(&text).unwrap_err();
            assert!(error.contains(reason), "{reason}: {error}");
        }
        assert!(ReadFile::decode(&[0xff]).unwrap_err().to_string().contains("not text"));
    }

    /// Of files that somebody with the read key made.
    #[test]
    fn lines_that_do_not_belong_are_named() {
        let full = full_lines();
        let line = |start: &str| full.lines().find(|line| line.starts_with(start)).unwrap();
        for name in ["# store", "# number", "# name-key"] {
            let error = refusal(&full.replacen(&format!("{}\n", line(name)), "", 1));
            assert!(error.contains(&format!("no line `{name}`")), "{error}");
            let error = refusal(&format!("{full}{}\n", line(name)));
            assert!(error.contains(&format!("line 11: a second `{name}`")), "{error}");
        }
        for (start, reason) in [
            ("# writer", "line 11: writer d75a"),
            ("# plain", "line 11: abab"),
            ("AGE-", "line 11: a read key for the second time"),
            ("# weekvault-read", "line 11: a second `# weekvault-read`"),
        ] {
            let error = refusal(&format!("{full}{}\n", line(start)));
            assert!(error.contains(reason), "{error}");
        }
        let upper = NAME_KEY.to_uppercase();
        for (from, to, reason) in [
            ("# number 2", "# number 1", "2 read keys"),
            ("# number 2", "# number 3", "2 read keys"),
            ("# number 2 7", "# number 2 0", "line 3: `# number`"),
            ("# number 2 7", "# number 2", "line 3: `# number`"),
            ("# number 2 7", "# number 2 7 1", "line 3: `# number`"),
            ("# number 2 7", "# number 4294967296 7", "line 3: `# number`"),
            (STORE, "0", "line 2: `# store`"),
            (NAME_KEY, &upper, "line 4: `# name-key`"),
            (" revoked", " removed", "line 6: `# writer`"),
            (OTHER_WRITER, &OTHER_WRITER[2..], "line 6: `# writer`"),
            ("2025-13", "2025-54", "line 7: `# plain`"),
            ("html", ".html", "line 7: `# plain`"),
            ("html ", "html abc ", "line 7: `# plain`"),
            (
                "# writer",
                "# weekvault-limit 3\n# writer",
                "line 5: `# weekvault-limit` is not known: use a newer",
            ),
            ("# writer", "#weekvault-limit\n# writer", "line 5: `# weekvault-limit`"),
            ("# writer", "# weekvault-KEY7 3\n# writer", "line 5: `# weekvault-...`"),
            ("# writer", "AGE-SECRET-KEY-1QQ\n# writer", "line 5: neither"),
            ("# writer", " # writer", "line 5: neither"),
        ] {
            assert!(full.contains(from), "{from}");
            let error = refusal(&full.replacen(from, to, 1));
            assert!(error.contains(reason), "{from} → {to}: {error}");
            assert!(!error.contains(&READ_KEY[16..24]) && !error.contains(&NAME_KEY[20..30]), "{error}");
        }
    }

    #[test]
    fn other_comments_are_passed_over() {
        let lines = read_lines().replacen("# writer", "# created 2026-01-05\n#\n\n# writer", 1);
        let file = decode(&with_mac(&lines)).unwrap();
        assert_eq!(*file.encode().unwrap(), with_mac(&read_lines()));
        // The mac covers them.
        assert!(decode(&with_mac(&lines).replacen("created", "changed", 1)).is_err());
    }

    #[test]
    fn too_many_plain_manifests_are_told_before_anything_is_written() {
        let listed = |count: usize| {
            let mut file = decode(&with_mac(&read_lines())).unwrap();
            file.plain = (0..count)
                .map(|n| {
                    let digest = Digest::of(&n.to_le_bytes());
                    PlainManifest { week: "2025-14".parse().unwrap(), pvc: "html".parse().unwrap(), digest }
                })
                .collect();
            file.encode()
        };
        let text = listed(6000).unwrap();
        assert!(text.len() <= MAX_PLAIN && ReadFile::decode(text.as_bytes()).is_ok());
        assert!(listed(6200).unwrap_err().to_string().contains("weekvault forget"));
    }

    /// Many keys of one file are compared once each.
    #[test]
    fn a_file_full_of_keys_is_read_in_time() {
        let mut lines = read_lines();
        while lines.len() < MAX_PLAIN - 200 {
            lines.push_str(READ_KEY);
            lines.push('\n');
        }
        assert!(refusal(&lines).contains("second time"));
    }

    #[test]
    fn the_longest_lines_fit_in_the_room() {
        let mut file = decode(&with_mac(&read_lines())).unwrap();
        file.number = ReadNumber { epoch: u32::MAX, n: u32::MAX };
        let pvc: crate::model::PvcName = "x".repeat(200).parse().unwrap();
        let plain = PlainManifest { week: "2025-14".parse().unwrap(), pvc, digest: Digest([0; 32]) };
        file.plain.insert(plain);
        file.writers.iter_mut().for_each(|writer| writer.revoked = true);
        assert!(file.encode().unwrap().len() <= file.room());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            n in 1..u32::MAX,
            store: [u8; 16],
            writers in proptest::collection::vec(any::<bool>(), 0..4),
            plain in proptest::collection::vec(("20[0-9]{2}-[0-4][0-9]", "[a-z0-9_-][a-z0-9._-]{0,20}[a-z]", any::<[u8; 32]>()), 0..5),
            rotations in 0..3,
        ) {
            let mut file = decode(&with_mac(&read_lines())).unwrap();
            for _ in 0..rotations {
                file = file.rotated().unwrap();
            }
            (file.number.n, file.store) = (n, StoreId(store));
            for revoked in writers {
                let id = crate::format::keys::WriterSecret::generate().unwrap().id();
                file.writers.push(KnownWriter { id, revoked });
            }
            let parsed = plain.iter().filter_map(|(week, pvc, digest)| {
                Some(PlainManifest { week: week.parse().ok()?, pvc: pvc.parse().ok()?, digest: Digest(*digest) })
            });
            file.plain.extend(parsed);
            let text = file.encode().unwrap();
            let read = ReadFile::decode(text.as_bytes()).unwrap();
            prop_assert_eq!(&*read.encode().unwrap(), &*text);
            prop_assert_eq!(read.writers(), file.writers());
            prop_assert!(read.plain().eq(file.plain()) && text.len() <= file.room());
        }

        #[test]
        fn any_text_is_taken(lines in "((# (store|number|writer|plain|mac|weekvault-)|AGE-SECRET-KEY-1|)\\PC{0,80}\n){0,9}") {
            prop_assert!(decode(&lines).is_err());
            let begun = format!("# weekvault-read 1\n{lines}");
            prop_assert!(decode(&begun).is_err());
            let signed = with_mac(&format!("# weekvault-read 1\n{lines}{READ_KEY}\n"));
            prop_assert!(decode(&signed).is_err());
        }
    }
}
