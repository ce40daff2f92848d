//! Keys of sealed stores, as the options of every command give them: an operator's opens the read file that counts, a writer's is
//! held against the store.

mod files;
mod identity;
mod recipients;
mod told;

pub(super) use files::{check_new, create, read_secret, read_writer_file, replace};
pub(super) use identity::Given;
pub(super) use recipients::RecipientArgs;
pub(super) use told::{is_secret, refused, told};

use super::context::Context;
use super::failure::Failure;
use crate::archive::Archive;
use crate::format::Keys;
use crate::format::keys::{Chosen, ReadFile, ReadNumber, ReadRecipient, SealedReadFile, WriterFile, choose};
use crate::model::Shown;
use std::sync::Arc;

/// A read file, and where it was found.
pub(super) struct Found {
    /// Below the store's root: itself, or the manifest that carries it.
    pub(super) place: String,
    /// What its name says, in `keys/`.
    pub(super) number: Option<ReadNumber>,
    pub(super) sealed: SealedReadFile,
}

/// The store's keys, opened by what `--identity` gives.
pub(super) struct OpenKeys {
    /// The read file that counts.
    pub(super) file: ReadFile,
    /// Where it was found.
    pub(super) place: String,
    /// What has been given.
    pub(super) given: Given,
    /// What has been found.
    pub(super) found: Vec<Found>,
}

impl OpenKeys {
    /// The read file that counts, as it is stored: none where an operator's own age has opened one that is nowhere in the store.
    pub(super) fn sealed(&self) -> Option<&SealedReadFile> {
        let here = self.found.iter().find(|found| found.place == self.place);
        let named = || self.found.iter().find(|found| found.number == Some(self.file.number()));
        here.or_else(named).map(|found| &found.sealed)
    }
}

impl Context {
    /// For who reads: the read file that counts, opened by `--identity`. None where none is given; what is stored then stays
    /// closed.
    ///
    /// # Errors
    /// [`Failure::Refused`] for a store that is plain, identities that open nothing, read files that are not of one history or not
    /// the one that `--expect` says; [`Failure::Usage`].
    fn read_file(&self, archive: &Archive) -> Result<Option<Arc<ReadFile>>, Failure> {
        let Some(OpenKeys { file, place, .. }) = self.open_keys(archive)? else { return Ok(None) };
        let recipient = file.read_recipient();
        self.progress.note(&match self.global.expect {
            Some(_) => format!("opened by {place}, whose newest read recipient is {recipient}, as --expect says"),
            None => format!(
                "opened by {place}, whose newest read recipient is {recipient}: not pinned, compare it with your kit, or give \
                 --expect"
            ),
        });
        Ok(Some(Arc::new(file)))
    }

    /// The archive as an operator sees it, where `--identity` is given: what is sealed can be read.
    ///
    /// # Errors
    /// As [`Context::read_file`].
    pub(super) fn for_reader(&self, archive: Archive) -> Result<Archive, Failure> {
        let file = self.read_file(&archive)?;
        Ok(file.map_or(archive.clone(), |file| archive.with_keys(Keys::Reader(file))))
    }

    /// The archive as its writer sees it: what is written to a sealed one is sealed.
    ///
    /// # Errors
    /// As [`Context::writer_file`].
    pub(super) fn for_writer(&self, archive: Archive) -> Result<Archive, Failure> {
        let file = self.writer_file(&archive)?;
        Ok(file.map_or(archive.clone(), |file| archive.with_keys(Keys::Writer(file))))
    }

    /// The same with all that was found on the way, and without a note.
    pub(super) fn open_keys(&self, archive: &Archive) -> Result<Option<OpenKeys>, Failure> {
        if self.global.identity.is_empty() {
            return match self.expected_recipient()? {
                Some(_) => {
                    Err(Failure::Usage("--expect says what --identity must open: give that as well".into()))
                }
                None => Ok(None),
            };
        }
        self.check_sealed(archive)?;
        let given = self.identities()?;
        self.open_with(archive, given, self.found(archive)?).map(Some)
    }

    /// Opens the read file that counts of those that were found.
    ///
    /// # Errors
    /// As [`Context::read_file`].
    pub(super) fn open_with(
        &self,
        archive: &Archive,
        mut given: Given,
        found: Vec<Found>,
    ) -> Result<OpenKeys, Failure> {
        let expect = self.expected_recipient()?;
        let mut opened = std::mem::take(&mut given.opened);
        for Found { place, sealed, .. } in &found {
            match given.open(sealed) {
                Ok(file) => opened.extend(file.map(|file| (place.clone(), file))),
                Err(error) => self.observer().warn(&format!("{place} is passed over: {}", told(&error))),
            }
        }
        let places: Vec<String> = opened.iter().map(|(place, _)| place.clone()).collect();
        let chosen = choose(opened, expect.as_ref()).map_err(|e| Failure::Refused(told(&e)))?;
        let chosen = chosen.ok_or_else(|| opens_nothing(&found))?;
        check_store(&chosen, archive)?;
        let Chosen { file, place, passed_over } = chosen;
        for other in passed_over {
            let warning = format!("{other} is passed over: {place}, which is used, does not come after it");
            self.observer().warn(&warning);
        }
        let newer = |found: &&Found| found.number > Some(file.number()) && !places.contains(&found.place);
        for Found { place: other, .. } in found.iter().filter(newer) {
            self.observer().warn(&format!(
                "{other} is newer than {place}, which is used, and none of the identities opens it: what was written for it \
                 stays closed"
            ));
        }
        Ok(OpenKeys { file, place, given, found })
    }

    /// For who writes: what the writer's file says, held against the store. None in a plain store.
    ///
    /// # Errors
    /// [`Failure::Refused`] for a sealed store without a writer's file, a plain one with one, a file of another store or of other
    /// chunk sizes; [`Failure::Usage`] for more than one.
    fn writer_file(&self, archive: &Archive) -> Result<Option<Arc<WriterFile>>, Failure> {
        let (config, store) = (archive.config(), Shown::path(&self.global.store));
        let path = match (self.global.writer_key.as_slice(), config.sealed) {
            ([], false) => return Ok(None),
            ([], true) => {
                return Err(Failure::Refused(format!(
                    "the store at {store} is sealed: give a writer's file by --writer-key; `weekvault key writer` makes one; \
                     nothing was done"
                )));
            }
            ([path], _) => path,
            ([_, _, ..], _) => {
                return Err(Failure::Usage("--writer-key is given twice: a run has one writer".into()));
            }
        };
        let place = Shown::path(path);
        let refused =
            |why: String| Err(Failure::Refused(format!("the writer's file {place} {why}; nothing was done")));
        let writer = read_writer_file(path)?;
        if !config.sealed {
            return refused(format!(
                "is for a sealed store, and the store at {store} is plain: is another share mounted, or was its store.json \
                 replaced? `weekvault init --recipient` seals a plain store"
            ));
        }
        if writer.store().to_string() != config.id {
            return refused(format!(
                "is for store {}, and the store at {store} has the id {}: is another share mounted?",
                writer.store(),
                config.id
            ));
        }
        if writer.chunks() != config.chunks {
            return refused(
                "cuts chunks of other sizes than store.json says: one of them was changed by hand; put back what was there \
                 before"
                    .into(),
            );
        }
        Ok(Some(Arc::new(writer)))
    }

    /// Refuses a plain store, which has no keys.
    pub(super) fn check_sealed(&self, archive: &Archive) -> Result<(), Failure> {
        let config = archive.config();
        // One that has lost its description may be either.
        if config.sealed || config.id.is_empty() {
            return Ok(());
        }
        Err(Failure::Refused(format!(
            "the store at {} is plain, and has no keys: is another share mounted, or was its store.json replaced? \
             `weekvault init --recipient` seals a plain store",
            Shown::path(&self.global.store)
        )))
    }

    /// What `--expect` says.
    pub(super) fn expected_recipient(&self) -> Result<Option<ReadRecipient>, Failure> {
        let Some(text) = &self.global.expect else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|e| Failure::Usage(format!("--expect: {}", told(&e))))
    }

    /// The read files of the store: those in `keys/`, and of those that manifests carry the ones that are not there.
    pub(super) fn found(&self, archive: &Archive) -> Result<Vec<Found>, Failure> {
        let stored = archive.read_files(|error| self.observer().warn(&format!("passed over: {error}")))?;
        let mut found: Vec<Found> = stored
            .into_iter()
            .map(|file| Found { place: file.place, number: Some(file.number), sealed: file.sealed })
            .collect();
        for carried in archive.carried_read_files()? {
            if !found.iter().any(|found| found.sealed == carried.sealed) {
                found.push(Found {
                    place: carried.manifest.to_string(),
                    number: None,
                    sealed: carried.sealed,
                });
            }
        }
        Ok(found)
    }
}

fn check_store(chosen: &Chosen, archive: &Archive) -> Result<(), Failure> {
    let (theirs, ours) = (chosen.file.store().to_string(), &archive.config().id);
    // One that has lost its description does not say.
    if ours.is_empty() || theirs == *ours {
        return Ok(());
    }
    Err(Failure::Refused(format!(
        "{} is of store {theirs}, and store.json says that this is {ours}: is another share mounted, or was something replaced?",
        chosen.place
    )))
}

fn opens_nothing(found: &[Found]) -> Failure {
    let places: Vec<&str> = found.iter().map(|found| found.place.as_str()).take(5).collect();
    Failure::Refused(match places.as_slice() {
        [] => "the store has no read file, neither in keys/ nor in a manifest: put one back, from a mirror or a writer's file"
            .to_owned(),
        places => format!(
            "none of the identities opens a read file of this store ({}): its recipients are others; give the identity of one \
             of them by --identity",
            places.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::NewStore;
    use crate::cli::commands::Cli;
    use crate::format::ChunkSizes;
    use crate::format::keys::{NewStore as NewKeys, OperatorRecipient, PaperKey};
    use crate::model::{StoreId, Timestamp};
    use crate::store::MemoryStore;
    use clap::Parser;
    use std::path::Path;

    const ID: &str = "00112233445566778899aabbccddeeff";

    /// A folder with the files of an operator and of writers, and a sealed store in memory.
    struct Scene {
        folder: tempfile::TempDir,
        archive: Archive,
        keys: NewKeys,
        recipient: OperatorRecipient,
    }

    fn new_store() -> NewStore {
        let (created, created_by) = (Timestamp::default(), "test".to_owned());
        NewStore { chunks: ChunkSizes::default(), created, created_by, id: ID.to_owned() }
    }

    fn new_keys(id: &str, chunks: ChunkSizes, recipient: &OperatorRecipient) -> NewKeys {
        let id: StoreId = id.parse().unwrap();
        NewKeys::generate(id, chunks, std::slice::from_ref(recipient), false, []).unwrap()
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (operator, other) = (PaperKey::generate().unwrap(), PaperKey::generate().unwrap());
            for (name, key) in [("operator", &operator), ("other", &other)] {
                std::fs::write(folder.path().join(name), key.to_text().as_bytes()).unwrap();
            }
            let recipient = operator.recipient();
            let keys = new_keys(ID, ChunkSizes::default(), &recipient);
            let archive = Archive::to_be_sealed(Arc::new(MemoryStore::default()), &new_store()).unwrap();
            archive.add_read_file(keys.read_file.number(), &keys.sealed).unwrap();
            let scene = Self { folder, archive: archive.seal().unwrap(), keys, recipient };
            scene.write("writer", &scene.keys.writer);
            scene
        }

        fn plain() -> Archive {
            Archive::open_or_create(Arc::new(MemoryStore::default()), &new_store()).unwrap()
        }

        fn path(&self, name: &str) -> String {
            self.folder.path().join(name).display().to_string()
        }

        fn write(&self, name: &str, writer: &WriterFile) {
            std::fs::write(self.path(name), writer.encode().unwrap().as_bytes()).unwrap();
        }

        /// What a command line with these options goes by; `{}` stands for the folder.
        fn context(&self, line: &str) -> Context {
            let words =
                line.split_whitespace().map(|word| word.replace("{}", self.path("").trim_end_matches('/')));
            let words =
                ["weekvault", "--store", "/nowhere", "list"].map(str::to_owned).into_iter().chain(words);
            Context::new(Cli::parse_from(words).global).unwrap()
        }

        /// What is said of them.
        fn refusal<T>(&self, opened: Result<T, Failure>) -> String {
            let Err(error) = opened else { panic!("no error") };
            let text = error.to_string();
            assert!(
                !text.contains('\n') && !text.to_ascii_uppercase().contains("AGE-SECRET-KEY-1"),
                "{text}"
            );
            text
        }
    }

    #[test]
    fn an_operator_opens_the_newest_read_file() {
        let scene = Scene::new();
        let open = |line: &str| scene.context(line).read_file(&scene.archive);
        assert!(open("").unwrap().is_none());
        let first = open("--identity {}/operator").unwrap().unwrap();
        assert_eq!(first.number().to_string(), "1-1");
        let again = ReadFile::decode(first.encode().unwrap().as_bytes()).unwrap();
        let next = again.rotated().unwrap();
        let sealed = next.seal(std::slice::from_ref(&scene.recipient)).unwrap();
        scene.archive.add_read_file(next.number(), &sealed).unwrap();
        for line in [
            "--identity {}/operator",
            "--identity {}/other --identity {}/operator",
            &format!("--identity {{}}/operator --expect {}", next.read_recipient()),
        ] {
            assert_eq!(open(line).unwrap().unwrap().number().to_string(), "2-1", "{line}");
        }
        // What an operator's own age has opened is as good, also where nothing else is at hand.
        std::fs::write(scene.path("opened"), first.encode().unwrap().as_bytes()).unwrap();
        assert_eq!(open("--identity {}/opened").unwrap().unwrap().number().to_string(), "1-1");
        assert_eq!(
            open("--identity {}/opened --identity {}/operator").unwrap().unwrap().number().to_string(),
            "2-1"
        );
        let pinned = open(&format!("--identity {{}}/operator --expect {}", first.read_recipient()));
        assert_eq!(pinned.unwrap().unwrap().number().to_string(), "1-1");
    }

    #[test]
    fn what_opens_nothing_is_refused_with_the_way_out() {
        let scene = Scene::new();
        let read_key = scene.keys.read_file.read_keys()[0].to_text();
        std::fs::write(scene.path("bare"), read_key.as_bytes()).unwrap();
        std::fs::write(scene.path("plugin"), "AGE-PLUGIN-YUBIKEY-1QQPQGQYZQ8CPZ\n").unwrap();
        let stranger = new_keys(ID, ChunkSizes::default(), &scene.recipient);
        let expected = stranger.read_file.read_recipient();
        for (line, said) in [
            ("--identity {}/other", "keys/read-1-1.age"),
            ("--identity {}/bare", "keys/read-1-1.age"),
            ("--identity {}/plugin", "--identity -"),
            ("--identity {}/nothing", "No such file"),
            ("--identity {}/writer", "no identity"),
            ("--identity - --identity -", "given twice"),
            (&format!("--identity {}", *read_key), "takes the name of a file"),
            (&format!("--identity {{}}/operator --expect {expected}"), "as its newest recipient"),
            (&format!("--identity {{}}/operator --expect {}", *read_key), "--expect"),
            (&format!("--expect {expected}"), "give that as well"),
        ] {
            let text = scene.refusal(scene.context(line).read_file(&scene.archive));
            assert!(text.contains(said), "{line}: {text}");
        }
        let text = scene.refusal(scene.context("--identity {}/operator").read_file(&Scene::plain()));
        assert!(text.contains("is plain") && text.contains("weekvault init --recipient"), "{text}");
        // Whoever knows the recipients can make a read file of the same store and number.
        let number = crate::format::keys::ReadNumber { epoch: 1, n: 2 };
        scene.archive.add_read_file(number, &stranger.sealed).unwrap();
        let text = scene.refusal(scene.context("--identity {}/operator").read_file(&scene.archive));
        assert!(text.contains("keys/read-1-2.age") && text.contains("--expect"), "{text}");
        let other = new_keys("ffffffffffffffffffffffffffffffff", ChunkSizes::default(), &scene.recipient);
        std::fs::write(scene.path("elsewhere"), other.read_file.encode().unwrap().as_bytes()).unwrap();
        let line = format!("--identity {{}}/elsewhere --expect {}", other.read_file.read_recipient());
        let text = scene.refusal(scene.context(&line).read_file(&scene.archive));
        assert!(text.contains("is of store ffff"), "{text}");
    }

    #[test]
    fn a_writer_is_held_against_the_store() {
        let scene = Scene::new();
        let open = |line: &str| scene.context(line).writer_file(&scene.archive);
        assert_eq!(open("--writer-key {}/writer").unwrap().unwrap().id(), scene.keys.writer.id());
        assert!(scene.context("").writer_file(&Scene::plain()).unwrap().is_none());
        let other = new_keys("ffffffffffffffffffffffffffffffff", ChunkSizes::default(), &scene.recipient);
        scene.write("other-store", &other.writer);
        let large = ChunkSizes::around(4 << 20).unwrap();
        scene.write("other-sizes", &new_keys(ID, large, &scene.recipient).writer);
        for (line, said) in [
            ("", "--writer-key"),
            ("--writer-key {}/writer --writer-key {}/writer", "given twice"),
            ("--writer-key {}/other-store", "is for store ffff"),
            ("--writer-key {}/other-sizes", "other sizes"),
            ("--writer-key {}/operator", "its first line"),
            ("--writer-key {}/nothing", "No such file"),
        ] {
            let text = scene.refusal(open(line));
            assert!(text.contains(said), "{line}: {text}");
        }
        let text = scene.refusal(scene.context("--writer-key {}/writer").writer_file(&Scene::plain()));
        assert!(text.contains("is plain") && text.contains("store.json"), "{text}");
    }

    #[test]
    fn a_writers_file_is_replaced_as_a_whole() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
        let scene = Scene::new();
        let path = scene.path("writer");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink("writer", scene.path("link")).unwrap();
        let before = std::fs::metadata(&path).unwrap();
        let mut writer = read_writer_file(Path::new(&path)).unwrap();
        writer.renew_compare_key().unwrap();
        replace(Path::new(&scene.path("link")), &writer).unwrap();
        let after = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!((after.mode(), after.uid()), (before.mode(), before.uid()));
        assert_ne!(after.ino(), before.ino());
        assert!(std::fs::symlink_metadata(scene.path("link")).unwrap().is_symlink());
        let read = read_writer_file(Path::new(&path)).unwrap();
        assert_eq!(read.encode().unwrap().as_str(), writer.encode().unwrap().as_str());
        assert_eq!(std::fs::read_dir(scene.folder.path()).unwrap().count(), 4, "nothing is left behind");
        // Never over another file.
        assert!(create(Path::new(&path), &writer).is_err());
        assert!(check_new(Path::new(&path), Path::new("/nowhere")).is_err());
        assert!(check_new(Path::new(&scene.path("new")), scene.folder.path()).is_err(), "in the store");
        check_new(Path::new(&scene.path("new")), Path::new("/nowhere")).unwrap();
    }
}
