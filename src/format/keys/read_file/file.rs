//! What a read file says, and how the next one comes from it.

use crate::format::keys::text::from_decimal;
use crate::format::keys::{
    Identities, KeyError, NameKey, OperatorRecipient, ReadKey, ReadRecipient, SealedReadFile, WriterId,
};
use crate::model::{Digest, PvcName, StoreId, Week};
use std::collections::BTreeSet;
use std::fmt;

/// The number of a read file: they count up, and of a store's the highest counts for all weeks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadNumber {
    /// The read epoch, from 1: so many read keys there have been.
    pub epoch: u32,
    /// The how-manieth of its epoch it is, from 1; numbers may be left out.
    pub n: u32,
}

impl ReadNumber {
    const FIRST: Self = Self { epoch: 1, n: 1 };

    /// The file's name in `keys/`: `read-1-1.age`.
    pub fn file_name(&self) -> String {
        format!("read-{self}.age")
    }

    /// The number that a file's name says, if it is one.
    pub fn of_file_name(name: &str) -> Option<Self> {
        let (epoch, n) = name.strip_prefix("read-")?.strip_suffix(".age")?.split_once('-')?;
        Some(Self { epoch: from_decimal(epoch)?, n: from_decimal(n)? })
    }
}

impl fmt::Display for ReadNumber {
    /// `1-1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.n)
    }
}

/// A writer that a store's operators know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownWriter {
    /// Who it is.
    pub id: WriterId,
    /// Its manifests are restored only when named by week, with a warning; writers never use them.
    pub revoked: bool,
}

/// A manifest from before the store was sealed, which may be opened though nobody signed it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PlainManifest {
    /// The week of it.
    pub week: Week,
    /// The source.
    pub pvc: PvcName,
    /// The hash in its trailer.
    pub digest: Digest,
}

/// The plaintext of a read file. It has read keys, which open everything: it is for operators, and a writer never sees one.
///
/// A change makes the next one: the old file stays as it is, and the higher number counts.
pub struct ReadFile {
    pub(super) store: StoreId,
    pub(super) number: ReadNumber,
    pub(super) name_key: NameKey,
    pub(super) writers: Vec<KnownWriter>,
    pub(super) plain: BTreeSet<PlainManifest>,
    /// One an epoch, oldest first; never empty.
    pub(super) read_keys: Vec<ReadKey>,
    /// The last of them, apart.
    pub(super) newest: ReadRecipient,
}

impl ReadFile {
    /// The first read file of a store, with new keys. `writer` is the first writer, `plain` the manifests that the store has from
    /// before.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn new(
        store: StoreId,
        writer: WriterId,
        plain: impl IntoIterator<Item = PlainManifest>,
    ) -> Result<Self, KeyError> {
        let key = ReadKey::generate()?;
        let newest = key.recipient();
        Ok(Self {
            store,
            number: ReadNumber::FIRST,
            name_key: NameKey::generate()?,
            writers: vec![KnownWriter { id: writer, revoked: false }],
            plain: plain.into_iter().collect(),
            read_keys: vec![key],
            newest,
        })
    }

    /// The store that it is of.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// Which one it is.
    pub fn number(&self) -> ReadNumber {
        self.number
    }

    /// The store's naming key.
    pub fn name_key(&self) -> &NameKey {
        &self.name_key
    }

    /// All writers that were ever known, those that were revoked too, in the order of joining.
    pub fn writers(&self) -> &[KnownWriter] {
        &self.writers
    }

    /// Those whose manifests count.
    pub fn trusted(&self) -> impl Iterator<Item = WriterId> {
        self.writers.iter().filter(|writer| !writer.revoked).map(|writer| writer.id)
    }

    /// Manifests from before the store was sealed, by week, pvc and digest.
    pub fn plain(&self) -> impl Iterator<Item = &PlainManifest> {
        self.plain.iter()
    }

    /// Whether a plain manifest may be opened.
    pub fn lists(&self, manifest: &PlainManifest) -> bool {
        self.plain.contains(manifest)
    }

    /// The read keys, one an epoch, oldest first.
    pub fn read_keys(&self) -> &[ReadKey] {
        &self.read_keys
    }

    /// What new objects are encrypted to: the newest read key's public half. Kits have it, and `--expect` is compared with it.
    pub fn read_recipient(&self) -> &ReadRecipient {
        &self.newest
    }

    /// What opens the store's objects and private blocks.
    pub fn identities(&self) -> Identities {
        Identities::of(self.read_keys.iter().rev().map(|key| key.identity().clone()))
    }

    /// Encrypts it for operators.
    ///
    /// # Errors
    /// [`KeyError::Format`] for more than [`crate::format::keys::MAX_PLAIN`] bytes or 31 recipients, for no recipient, and for
    /// post-quantum ones beside others; [`KeyError::Recipient`] for one that is given twice.
    pub fn seal(&self, recipients: &[OperatorRecipient]) -> Result<SealedReadFile, KeyError> {
        SealedReadFile::seal(&self.encode()?, recipients)
    }

    /// Opens a read file.
    ///
    /// # Errors
    /// [`KeyError::NotForUs`] when no identity is a recipient; [`KeyError::Format`] when it is damaged, or no read file.
    pub fn open(sealed: &SealedReadFile, identities: &Identities) -> Result<Self, KeyError> {
        Ok(Self::decode(&sealed.plain_text(identities)?)?)
    }

    /// The same under the next number, for other recipients.
    ///
    /// # Errors
    /// [`KeyError::Change`] after 4 billion changes of an epoch.
    pub fn renumbered(mut self) -> Result<Self, KeyError> {
        let n =
            self.number.n.checked_add(1).ok_or_else(|| KeyError::Change("its number is the last".into()))?;
        self.number.n = n;
        Ok(self)
    }

    /// The next one, with one more writer.
    ///
    /// # Errors
    /// [`KeyError::Change`] when the writer is known, revoked or not.
    pub fn with_writer(mut self, id: WriterId) -> Result<Self, KeyError> {
        match self.writers.iter().find(|writer| writer.id == id) {
            Some(KnownWriter { revoked: true, .. }) => {
                Err(KeyError::Change(format!("writer {id} was revoked")))
            }
            Some(_) => Err(KeyError::Change(format!("writer {id} is known"))),
            None => {
                self.writers.push(KnownWriter { id, revoked: false });
                self.renumbered()
            }
        }
    }

    /// The next one, in which a writer is revoked.
    ///
    /// # Errors
    /// [`KeyError::Change`] when the writer is not known, or is revoked.
    pub fn without_writer(mut self, id: &WriterId) -> Result<Self, KeyError> {
        match self.writers.iter_mut().find(|writer| writer.id == *id) {
            Some(writer) if !writer.revoked => writer.revoked = true,
            Some(_) => return Err(KeyError::Change(format!("writer {id} is revoked"))),
            None => return Err(KeyError::Change(format!("writer {id} is not known"))),
        }
        self.renumbered()
    }

    /// The next one, which lists only those plain manifests that are to be kept.
    ///
    /// # Errors
    /// Those of [`ReadFile::renumbered`].
    pub fn keeping_plain(mut self, keep: impl FnMut(&PlainManifest) -> bool) -> Result<Self, KeyError> {
        self.plain.retain(keep);
        self.renumbered()
    }

    /// The first of the next epoch: what is written from now on is for a new read key. All older keys are kept.
    ///
    /// # Errors
    /// [`KeyError::Random`]; [`KeyError::Change`] after 4 billion epochs.
    pub fn rotated(mut self) -> Result<Self, KeyError> {
        let epoch = self.number.epoch.checked_add(1);
        let epoch = epoch.ok_or_else(|| KeyError::Change("its epoch is the last".into()))?;
        let key = ReadKey::generate()?;
        self.newest = key.recipient();
        self.read_keys.push(key);
        self.number = ReadNumber { epoch, n: 1 };
        Ok(self)
    }

    /// Whether the other one can have come before this one: it is of the same store, no number is used twice, and this one has
    /// all of its read keys. Who was removed knows old read keys, but cannot make one that passes for a later epoch's.
    pub fn continues(&self, other: &Self) -> bool {
        let keys = self.read_keys.iter().zip(&other.read_keys);
        let same_keys = keys.filter(|(key, earlier)| key.recipient() == earlier.recipient()).count();
        let same_place = self.number != other.number || self.says_the_same(other);
        self.store == other.store
            && self.name_key == other.name_key
            && self.number >= other.number
            && same_keys == other.read_keys.len()
            && same_place
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.newest == other.newest && self.writers == other.writers && self.plain == other.plain
    }
}

impl fmt::Debug for ReadFile {
    /// Shows what is public of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, number, newest, .. } = self;
        write!(f, "ReadFile({store}, {number}, {newest})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::keys::samples::{IDENTITY, OTHER_WRITER, RECIPIENT, WRITER, read_file};

    fn writer() -> WriterId {
        OTHER_WRITER.parse().unwrap()
    }

    fn plain(week: &str) -> PlainManifest {
        PlainManifest { week: week.parse().unwrap(), pvc: "html".parse().unwrap(), digest: Digest([1; 32]) }
    }

    #[test]
    fn file_names_have_one_form() {
        let number = ReadNumber { epoch: 2, n: 10 };
        assert_eq!(number.file_name(), "read-2-10.age");
        assert_eq!(ReadNumber::of_file_name("read-2-10.age"), Some(number));
        for bad in [
            "read-2.age",
            "read-02-1.age",
            "read-2-0.age",
            "read-2-1-1.age",
            "read-2-1.age.tmp",
            "xread-2-1.age",
        ] {
            assert_eq!(ReadNumber::of_file_name(bad), None, "{bad}");
        }
        assert!(ReadNumber { epoch: 2, n: 1 } > ReadNumber { epoch: 1, n: 9 });
        assert!(ReadNumber { epoch: 1, n: 10 } > ReadNumber { epoch: 1, n: 9 });
    }

    #[test]
    fn each_change_has_the_next_number() {
        let file = read_file().renumbered().unwrap();
        assert_eq!(file.number().to_string(), "1-2");
        let file = file.with_writer(writer()).unwrap();
        assert_eq!(file.number().to_string(), "1-3");
        assert_eq!(file.trusted().count(), 2);
        let file = file.without_writer(&writer()).unwrap();
        assert_eq!(file.number().to_string(), "1-4");
        assert_eq!(file.trusted().collect::<Vec<_>>(), [WRITER.parse().unwrap()]);
        assert_eq!(file.writers().len(), 2);
        let file = file.rotated().unwrap();
        assert_eq!((file.number().to_string().as_str(), file.read_keys().len()), ("2-1", 2));
        assert_eq!(*file.read_recipient(), file.read_keys()[1].recipient());
        assert_eq!(file.read_keys()[0].recipient(), *read_file().read_recipient());
        assert_eq!(file.name_key(), read_file().name_key());
    }

    #[test]
    fn changes_that_make_no_sense_are_refused() {
        let known = || read_file().with_writer(writer()).unwrap();
        let revoked = || known().without_writer(&writer()).unwrap();
        let mut last = read_file();
        last.number = ReadNumber { epoch: u32::MAX, n: u32::MAX };
        for (made, reason) in [
            (known().with_writer(writer()), "is known"),
            (revoked().with_writer(writer()), "was revoked"),
            (revoked().without_writer(&writer()), "is revoked"),
            (read_file().without_writer(&writer()), "is not known"),
            (last.renumbered(), "number is the last"),
        ] {
            let error = made.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let mut last = read_file();
        last.number.epoch = u32::MAX;
        assert!(last.rotated().is_err());
    }

    #[test]
    fn plain_manifests_are_listed_until_they_are_dropped() {
        let new = |weeks: &[&str]| {
            ReadFile::new(read_file().store(), writer(), weeks.iter().map(|week| plain(week))).unwrap()
        };
        let file = new(&["2025-14", "2025-13", "2025-14"]);
        assert!(file.lists(&plain("2025-13")) && !file.lists(&plain("2025-12")));
        assert!(!file.lists(&PlainManifest { digest: Digest([2; 32]), ..plain("2025-13") }));
        assert_eq!(file.plain().count(), 2);
        let file = file.keeping_plain(|plain| plain.week.to_string() == "2025-14").unwrap();
        assert_eq!((file.plain().count(), file.number().n), (1, 2));
        assert!(!file.lists(&plain("2025-13")));
    }

    #[test]
    fn opens_for_its_recipients_and_opens_the_store() {
        let identities = Identities::parse(IDENTITY.as_bytes()).unwrap();
        let file = read_file().rotated().unwrap();
        let old = age::encrypt(file.read_keys()[0].recipient().recipient(), b"old").unwrap();
        let new = age::encrypt(file.read_recipient().recipient(), b"new").unwrap();
        let sealed = file.seal(&[RECIPIENT.parse().unwrap()]).unwrap();
        let opened = ReadFile::open(&sealed, &identities).unwrap();
        assert_eq!(*opened.encode().unwrap(), *file.encode().unwrap());
        for (object, content) in [(&old, "old"), (&new, "new")] {
            let keys = opened.identities();
            let mut keys = keys.iter();
            assert!(keys.any(|key| {
                let decryptor = age::Decryptor::new_buffered(object.as_slice()).unwrap();
                let opened = decryptor.decrypt(std::iter::once(key));
                opened.is_ok_and(|opened| std::io::read_to_string(opened).unwrap() == content)
            }));
        }
        // The read keys are no recipients of the read file.
        assert!(matches!(ReadFile::open(&sealed, &opened.identities()), Err(KeyError::NotForUs(_))));
        let other = SealedReadFile::from_bytes(
            &age::encrypt(&RECIPIENT.parse::<age::x25519::Recipient>().unwrap(), b"something else").unwrap(),
        );
        assert!(matches!(ReadFile::open(&other.unwrap(), &identities), Err(KeyError::Format(_))));
        let text = file.encode().unwrap();
        assert!(ReadFile::is_plain_text(text.as_bytes()) && !ReadFile::is_plain_text(IDENTITY.as_bytes()));
        assert_eq!(Identities::parse(text.as_bytes()).unwrap().recipients().len(), 2);
        assert!(!format!("{file:?}").contains(&file.read_keys()[0].to_text()[16..24]));
    }
}
