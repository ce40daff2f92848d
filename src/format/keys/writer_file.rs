//! The writer file: all that a backup into a sealed store needs, as one text.

use super::age_file::ARMOR;
use super::text::{from_decimal, shown_name};
use super::{CompareKey, KeyError, NameKey, ReadFile, ReadRecipient, SealedReadFile, WriterId, WriterSecret};
use crate::format::{ChunkSizes, FormatError};
use crate::model::StoreId;
use std::fmt::{self, Write};
use zeroize::Zeroizing;

/// The most bytes that a writer file may have: a Kubernetes Secret takes no more.
pub const MAX_WRITER_FILE: usize = 1 << 20;

const PART: &str = "the writer file";
const VERSION: u32 = 1;

/// What one writer holds: it can name, encrypt and sign what it writes, and cannot read it.
///
/// There is no place in it for a key that opens an object, and there must not be one: the pod that has this file is the one that
/// the store must be safe from. The compare key opens the private blocks of this writer's own manifests, which are also encrypted
/// to it, and nothing else; a blind writer has not even that. The read file in it is for its recipients, who are elsewhere.
pub struct WriterFile {
    store: StoreId,
    chunks: ChunkSizes,
    read: ReadRecipient,
    name_key: NameKey,
    sign: WriterSecret,
    compare: Option<CompareKey>,
    trusted: Vec<WriterId>,
    read_file: SealedReadFile,
}

impl WriterFile {
    /// The file of a writer that `read_file` knows; `sealed` is the same for its recipients. Without a compare key it is blind.
    ///
    /// # Errors
    /// [`KeyError::Change`] when the read file does not know the writer, or has revoked it, or `compare` is a read key.
    pub fn new(
        read_file: &ReadFile,
        sealed: SealedReadFile,
        chunks: ChunkSizes,
        sign: WriterSecret,
        compare: Option<CompareKey>,
    ) -> Result<Self, KeyError> {
        let reads = |key: &CompareKey| {
            let compare = key.recipient();
            read_file.read_keys().iter().any(|key| key.recipient().recipient() == compare.recipient())
        };
        if compare.as_ref().is_some_and(reads) {
            return Err(KeyError::Change("its read key is given as a compare key".into()));
        }
        let name_key = read_file.name_key().copy();
        let (store, read) = (read_file.store(), read_file.read_recipient().clone());
        let trusted = Vec::new();
        let mut file =
            Self { store, chunks, read, name_key, sign, compare, trusted, read_file: sealed.clone() };
        file.renew(read_file, sealed)?;
        Ok(file)
    }

    /// Takes what changed from a newer read file: the read recipient, whom to trust, and the read file itself, which the next
    /// manifests carry.
    ///
    /// # Errors
    /// [`KeyError::Change`] when it is of another store, does not know the writer, or has revoked it.
    pub fn renew(&mut self, read_file: &ReadFile, sealed: SealedReadFile) -> Result<(), KeyError> {
        let refused = |reason: String| Err(KeyError::Change(reason));
        if read_file.store() != self.store || *read_file.name_key() != self.name_key {
            return refused(format!(
                "it is of store {}, the writer file of {}",
                read_file.store(),
                self.store
            ));
        }
        let trusted: Vec<WriterId> = read_file.trusted().collect();
        if !trusted.contains(&self.id()) {
            return refused(format!("writer {} is revoked, or not known", self.id()));
        }
        self.read = read_file.read_recipient().clone();
        self.trusted = trusted;
        self.read_file = sealed;
        Ok(())
    }

    /// Takes a new compare key: the old one opens nothing that is written from now on. A blind writer stays blind.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn renew_compare_key(&mut self) -> Result<(), KeyError> {
        if self.compare.is_some() {
            self.compare = Some(CompareKey::generate()?);
        }
        Ok(())
    }

    /// The store that it is for.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// Where the store's content streams are cut.
    pub fn chunks(&self) -> ChunkSizes {
        self.chunks
    }

    /// What objects and private blocks are encrypted to.
    pub fn read_recipient(&self) -> &ReadRecipient {
        &self.read
    }

    /// The store's naming key.
    pub fn name_key(&self) -> &NameKey {
        &self.name_key
    }

    /// What the writer signs with.
    pub fn secret(&self) -> &WriterSecret {
        &self.sign
    }

    /// Who the writer is.
    pub fn id(&self) -> WriterId {
        self.sign.id()
    }

    /// What opens the private blocks of the writer's own manifests. None of a blind writer.
    pub fn compare_key(&self) -> Option<&CompareKey> {
        self.compare.as_ref()
    }

    /// Writers whose manifests it may use.
    pub fn trusted(&self) -> &[WriterId] {
        &self.trusted
    }

    /// Whether it may use a writer's manifests: its own always.
    pub fn trusts(&self, writer: &WriterId) -> bool {
        *writer == self.id() || self.trusted.contains(writer)
    }

    /// The read file that its manifests carry.
    pub fn read_file(&self) -> &SealedReadFile {
        &self.read_file
    }

    /// The text of the file.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] for more than [`MAX_WRITER_FILE`] bytes.
    pub fn encode(&self) -> Result<Zeroizing<String>, KeyError> {
        let armor = self.read_file.to_armor()?;
        // With all the room from the start no copy of it stays behind: fewer than 600 bytes stand once, 71 are a writer's.
        let room = 1024 + 80 * self.trusted.len() + armor.len();
        let mut text = Zeroizing::new(String::with_capacity(room));
        // A String takes whatever is written.
        let _ = self.write_lines(&mut text);
        text.push_str(&armor);
        if text.len() > MAX_WRITER_FILE {
            let (size, limit) = (text.len() as u64, MAX_WRITER_FILE as u64);
            return Err(FormatError::TooLarge { what: PART.into(), size, limit }.into());
        }
        Ok(text)
    }

    fn write_lines(&self, text: &mut String) -> fmt::Result {
        let ChunkSizes { min, avg, max } = self.chunks;
        writeln!(text, "weekvault-writer {VERSION}\nstore {}", self.store)?;
        writeln!(text, "chunking {min} {avg} {max}\nread {}", self.read)?;
        writeln!(text, "name-key {}\nsign {}", *self.name_key.to_hex(), *self.sign.to_hex())?;
        match &self.compare {
            Some(key) => writeln!(text, "compare {}", *key.to_text())?,
            None => writeln!(text, "blind")?,
        }
        self.trusted.iter().try_for_each(|writer| writeln!(text, "trust {writer}"))
    }

    /// Reads a writer file.
    ///
    /// # Errors
    /// [`FormatError::Version`] for a newer one; others, naming the line and showing nothing of its value, for what is not such a
    /// file.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() > MAX_WRITER_FILE {
            let (size, limit) = (bytes.len() as u64, MAX_WRITER_FILE as u64);
            return Err(FormatError::TooLarge { what: PART.into(), size, limit });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| FormatError::invalid(PART, "it is not text"))?;
        check_version(text)?;
        let (lines, armor) = text.find(ARMOR).and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""));
        let mut parts = Parts::default();
        for (number, line) in (1..).zip(lines.split_terminator('\n')).skip(1) {
            parts
                .take(line)
                .map_err(|reason| FormatError::invalid(PART, format!("line {number}: {reason}")))?;
        }
        if armor.is_empty() || !lines.ends_with('\n') {
            return Err(FormatError::invalid(PART, format!("it has no read file: no line `{ARMOR}`")));
        }
        let read_file = SealedReadFile::from_bytes(armor.as_bytes())?;
        parts.finish(read_file).map_err(|reason| FormatError::invalid(PART, reason))
    }
}

impl fmt::Debug for WriterFile {
    /// Shows what is public of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriterFile({}, {})", self.store, self.id())
    }
}

fn check_version(text: &str) -> Result<(), FormatError> {
    let first = text.split('\n').next().unwrap_or_default();
    let Some(version) = first.strip_prefix("weekvault-writer ") else {
        let hint = "its first line is not `weekvault-writer 1`: give the file that `weekvault init` or `weekvault key writer` made";
        return Err(FormatError::invalid(PART, hint));
    };
    match from_decimal(version) {
        Some(VERSION) => Ok(()),
        Some(found) if found > VERSION => Err(FormatError::Version { part: PART, found, known: VERSION }),
        _ => Err(FormatError::invalid(PART, "its first line has no version that there is")),
    }
}

/// What has been read of a file.
#[derive(Default)]
struct Parts {
    store: Option<StoreId>,
    chunks: Option<ChunkSizes>,
    read: Option<ReadRecipient>,
    name_key: Option<NameKey>,
    sign: Option<WriterSecret>,
    /// None within for `blind`.
    compare: Option<Option<CompareKey>>,
    trusted: Vec<WriterId>,
}

/// Puts a value where there may be only one.
fn once<T>(slot: &mut Option<T>, name: &str, value: Option<T>) -> Result<(), String> {
    if slot.is_some() {
        return Err(format!("`{name}` for the second time"));
    }
    *slot = Some(value.ok_or_else(|| malformed(name))?);
    Ok(())
}

fn malformed(name: &str) -> String {
    format!("what `{name}` says does not have the form that it must have")
}

impl Parts {
    /// Takes one line.
    fn take(&mut self, line: &str) -> Result<(), String> {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        match name {
            "store" => once(&mut self.store, name, value.parse().ok()),
            "chunking" => once(&mut self.chunks, name, parse_chunks(value)),
            "read" => once(&mut self.read, name, value.parse().ok()),
            "name-key" => once(&mut self.name_key, name, NameKey::from_hex(value)),
            "sign" => once(&mut self.sign, name, WriterSecret::from_hex(value)),
            "compare" => once(&mut self.compare, "compare` or `blind", CompareKey::parse(value).map(Some)),
            "blind" => once(&mut self.compare, "compare` or `blind", (line == "blind").then_some(None)),
            "trust" => self.take_trusted(value.parse().map_err(|_| malformed(name))?),
            _ if line.contains("AGE-SECRET-KEY-") => {
                Err("a secret key that is not this writer's: take it out, and see that it is kept elsewhere"
                    .into())
            }
            _ => Err(match shown_name(name) {
                Some(name) => format!("`{name}` is not known: it is misspelt, or use a newer weekvault"),
                None => "no name that is known".into(),
            }),
        }
    }

    fn take_trusted(&mut self, writer: WriterId) -> Result<(), String> {
        if self.trusted.contains(&writer) {
            return Err(format!("`trust` of writer {writer} for the second time"));
        }
        self.trusted.push(writer);
        Ok(())
    }

    /// The file, if nothing is missing.
    fn finish(self, read_file: SealedReadFile) -> Result<WriterFile, String> {
        let missing = |name: &str| format!("it has no line `{name}`");
        let read = self.read.ok_or_else(|| missing("read"))?;
        let compare = self.compare.ok_or_else(|| missing("compare` or `blind"))?;
        if compare.as_ref().is_some_and(|key| key.recipient().recipient() == read.recipient()) {
            return Err("`compare` is the store's read key: a writer must not have it".into());
        }
        Ok(WriterFile {
            store: self.store.ok_or_else(|| missing("store"))?,
            chunks: self.chunks.ok_or_else(|| missing("chunking"))?,
            read,
            name_key: self.name_key.ok_or_else(|| missing("name-key"))?,
            sign: self.sign.ok_or_else(|| missing("sign"))?,
            compare,
            trusted: self.trusted,
            read_file,
        })
    }
}

fn parse_chunks(value: &str) -> Option<ChunkSizes> {
    let (min, rest) = value.split_once(' ')?;
    let (avg, max) = rest.split_once(' ')?;
    let sizes = ChunkSizes { min: from_decimal(min)?, avg: from_decimal(avg)?, max: from_decimal(max)? };
    sizes.is_valid().then_some(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::keys::NewStore;
    use crate::format::keys::samples::{IDENTITY, RECIPIENT, SIGN, STORE, WRITER, read_file};
    use proptest::prelude::*;

    fn sample(compare: Option<CompareKey>) -> WriterFile {
        let read_file = read_file();
        let sealed = read_file.seal(&[RECIPIENT.parse().unwrap()]).unwrap();
        let sign = WriterSecret::from_hex(SIGN).unwrap();
        WriterFile::new(&read_file, sealed, ChunkSizes::default(), sign, compare).unwrap()
    }

    fn compare_key() -> CompareKey {
        CompareKey::generate().unwrap()
    }

    fn refusal(text: &str) -> String {
        WriterFile::decode(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_text_has_a_line_for_each_part() {
        let key = compare_key();
        let secret = key.to_text();
        let file = sample(Some(key));
        let text = file.encode().unwrap();
        let expected = format!(
            "weekvault-writer 1\nstore {STORE}\nchunking 262144 1048576 4194304\nread {}\nname-key {}\nsign {SIGN}\n\
             compare {}\ntrust {WRITER}\n{}",
            read_file().read_recipient(),
            *read_file().name_key().to_hex(),
            *secret,
            file.read_file().to_armor().unwrap()
        );
        assert_eq!(*text, expected);
    }

    #[test]
    fn round_trip() {
        for compare in [Some(compare_key()), None] {
            let file = sample(compare);
            let text = file.encode().unwrap();
            let read = WriterFile::decode(text.as_bytes()).unwrap();
            assert_eq!(*read.encode().unwrap(), *text);
            assert_eq!(
                read.compare_key().map(CompareKey::recipient),
                file.compare_key().map(CompareKey::recipient)
            );
            assert_eq!((read.store(), read.id(), read.chunks()), (file.store(), file.id(), file.chunks()));
            assert_eq!(read.read_recipient(), file.read_recipient());
            assert!(read.name_key() == file.name_key() && read.read_file() == file.read_file());
            assert_eq!(read.trusted(), file.trusted());
            // What a YAML block may take away.
            assert!(WriterFile::decode(text.trim_end().as_bytes()).is_ok());
        }
    }

    #[test]
    fn lines_are_named_that_are_wrong() {
        let text = sample(None).encode().unwrap();
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        let without = |name: &str| text.replacen(&format!("{}\n", line(name)), "", 1);
        for name in ["store", "chunking", "read", "name-key", "sign", "blind"] {
            assert!(refusal(&without(name)).contains(name), "{name}");
            let twice = text.replacen("blind\n", &format!("blind\n{}\n", line(name)), 1);
            let error = refusal(&twice);
            assert!(
                error.contains(name) && error.contains("second time") && error.contains("line 8"),
                "{error}"
            );
        }
        let trust = line("trust");
        assert!(refusal(&text.replacen(&trust, &format!("{trust}\n{trust}"), 1)).contains("second time"));
        for (from, to, reason) in [
            ("weekvault-writer 1", "weekvault-writer 2", "newer weekvault"),
            ("weekvault-writer 1", "weekvault-writer 01", "no version"),
            ("weekvault-writer 1", "# weekvault-read 1", "weekvault init"),
            ("store 0", "store g", "line 2: what `store`"),
            ("chunking 262144", "chunking 262145", "line 3: what `chunking`"),
            ("read age1", "read age2", "line 4: what `read`"),
            ("name-key 0", "name-key  0", "line 5: what `name-key`"),
            ("sign 9", "sign 90", "line 6: what `sign`"),
            ("blind", "blind 1", "line 7: what `compare` or `blind`"),
            ("blind", "blind\r", "line 7: no name that is known"),
            ("blind", "Blind", "line 7: no name that is known"),
            ("blind", "blind\n", "line 8: no name that is known"),
            ("blind", "blind\nkeep 3", "line 8: `keep` is not known"),
            ("trust d7", "trust 07", "line 8: what `trust`"),
            ("-----BEGIN AGE", "-----BEGIN", "line 9: no name that is known"),
            ("-----BEGIN AGE", " -----BEGIN AGE", "line 9: no name that is known"),
        ] {
            assert!(text.contains(from), "{from}");
            let error = refusal(&text.replacen(from, to, 1));
            assert!(error.contains(reason), "{from} → {to}: {error}");
        }
        assert!(refusal(text.split(ARMOR).next().unwrap()).contains("no read file"));
        assert!(WriterFile::decode(b"").is_err() && WriterFile::decode(&[0xff; 10]).is_err());
        assert!(refusal(&"x".repeat(MAX_WRITER_FILE + 1)).contains("too large"));
    }

    #[test]
    fn errors_show_no_secret() {
        let text = sample(Some(compare_key())).encode().unwrap();
        for name in ["name-key", "sign", "compare"] {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            let value = line.split_once(' ').unwrap().1;
            let misplaced =
                [format!("{line}0"), line.to_lowercase() + "q", value.to_owned(), format!("{name}{value}")];
            for wrong in misplaced {
                let error = refusal(&text.replacen(line, &wrong, 1));
                assert!(error.contains("line ") && !error.contains(&value[20..30]), "{error}");
            }
        }
    }

    #[test]
    fn keys_that_read_are_refused() {
        let file = sample(None);
        let text = file.encode().unwrap();
        let read_key = read_file().read_keys().last().unwrap().to_text();
        for (wrong, reason) in [
            (format!("compare {}", *read_key), "read key"),
            (format!("blind\n{IDENTITY}"), "secret key"),
            (format!("blind\nidentity {IDENTITY}"), "secret key"),
        ] {
            let error = refusal(&text.replacen("blind", &wrong, 1));
            assert!(error.contains(reason) && !error.contains(IDENTITY), "{error}");
        }
        let (read_file, sign) = (read_file(), WriterSecret::from_hex(SIGN).unwrap());
        let compare = CompareKey::parse(&read_key);
        let made =
            WriterFile::new(&read_file, file.read_file().clone(), ChunkSizes::default(), sign, compare);
        assert!(made.is_err());
    }

    #[test]
    fn a_newer_read_file_renews_it() {
        let mut file = sample(Some(compare_key()));
        let recipients = [RECIPIENT.parse().unwrap()];
        let other = WriterSecret::generate().unwrap().id();
        assert!(file.trusts(&file.id()) && !file.trusts(&other));
        let newer = read_file().with_writer(other).unwrap().rotated().unwrap();
        let sealed = newer.seal(&recipients).unwrap();
        file.renew(&newer, sealed.clone()).unwrap();
        assert!(file.trusts(&other) && file.read_recipient() == newer.read_recipient());
        assert_eq!(file.read_file(), &sealed);
        let compare = file.compare_key().unwrap().recipient();
        file.renew_compare_key().unwrap();
        assert_ne!(file.compare_key().unwrap().recipient(), compare);
        let newer = newer.without_writer(&other).unwrap();
        file.renew(&newer, sealed.clone()).unwrap();
        assert!(!file.trusts(&other));
        let newer = newer.without_writer(&file.id()).unwrap();
        assert!(file.renew(&newer, sealed.clone()).unwrap_err().to_string().contains("revoked"));
        let strange = ReadFile::new(file.store(), file.id(), []).unwrap();
        assert!(file.renew(&strange, sealed).is_err());
        let mut blind = sample(None);
        blind.renew_compare_key().unwrap();
        assert!(blind.compare_key().is_none());
    }

    #[test]
    fn a_new_store_is_opened_by_each_recipient() {
        let identities = crate::format::keys::Identities::parse(IDENTITY.as_bytes()).unwrap();
        for blind in [false, true] {
            let store = STORE.parse().unwrap();
            let new = NewStore::generate(store, ChunkSizes::default(), &identities.recipients(), blind, [])
                .unwrap();
            assert_eq!(new.writer.compare_key().is_none(), blind);
            let writer = WriterFile::decode(new.writer.encode().unwrap().as_bytes()).unwrap();
            let opened = ReadFile::open(writer.read_file(), &identities).unwrap();
            assert_eq!(*opened.encode().unwrap(), *new.read_file.encode().unwrap());
            assert_eq!((opened.store(), opened.trusted().collect::<Vec<_>>()), (store, vec![writer.id()]));
            assert_eq!(opened.read_recipient(), writer.read_recipient());
            // With all that the writer has the read file stays shut.
            let own = writer.compare_key().map(|key| key.identity().clone());
            assert!(new.sealed.plain_text(&crate::format::keys::Identities::of(own)).is_err());
            assert!(!writer.encode().unwrap().contains(&*new.read_file.read_keys()[0].to_text()));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken(lines in "(( |store |chunking |read |sign |compare |blind|trust )\\PC{0,80}\n){0,9}") {
            prop_assert!(WriterFile::decode(lines.as_bytes()).is_err());
            let text = format!("weekvault-writer 1\n{lines}{ARMOR}\n");
            prop_assert!(WriterFile::decode(text.as_bytes()).is_err());
        }
    }
}
