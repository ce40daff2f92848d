//! Places and stores with the keys of sealed stores.

use super::{Place, Vault};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weekvault::archive::Archive;
use weekvault::format::Keys;
use weekvault::format::keys::{Identities, PaperKey, ReadFile, SealedReadFile, WriterFile};
use weekvault::model::RunId;
use weekvault::store::LocalStore;

/// Who there is: `ann` and `bob` are recipients of all stores, `eve` of none.
pub(crate) const OPERATORS: [&str; 3] = ["ann", "bob", "eve"];

/// Makes a sealed store of the place, whose writer's file is `writer.key`.
pub(crate) const INIT: &str = "init --recipients-file {}/all.txt --writer-key {}/writer.key";

/// What kind of store a test has: most of what holds for the one holds for the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoreKind {
    Plain,
    Sealed,
}

/// Makes the identities of operators as `ann.key`, their recipients as `ann.txt`, and `all.txt` with the recipients of a sealed
/// store.
fn make_operators(folder: &Path) {
    let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
    let mut all = String::from("# who can open the store\n\n");
    for name in OPERATORS {
        let key = PaperKey::generate().unwrap();
        write(&format!("{name}.key"), format!("# of {name}\n{}\n", *key.to_text()));
        write(&format!("{name}.txt"), key.recipient().to_string());
        if name != "eve" {
            all.push_str(&format!("{}\n", key.recipient()));
        }
    }
    write("all.txt", all);
}

impl Place {
    /// With the identities of operators as `ann.key`, their recipients as `ann.txt`, `all.txt` with the recipients of a sealed store,
    /// and no store.
    pub(crate) fn with_operators() -> Self {
        let place = Self::new();
        make_operators(place.folder.path());
        place
    }

    /// The same with a sealed store, whose writer's file is `writer.key`.
    pub(crate) fn sealed() -> Self {
        let place = Self::with_operators();
        place.say(INIT).expect(0);
        place
    }

    /// Backs the directory `pvc` up into a sealed store as the source `pvc`.
    #[track_caller]
    pub(crate) fn backup_sealed(&self, week: &str, pvc: &str) -> serde_json::Value {
        let line =
            format!("backup --json --week {week} --source {pvc}={{}}/{pvc} --writer-key {{}}/writer.key");
        self.say(&line).expect(0).json()
    }

    /// The objects' files of a sealed store.
    pub(crate) fn objects_sealed(&self) -> std::collections::BTreeSet<std::path::PathBuf> {
        self.files("objects")
            .into_iter()
            .filter(|path| path.extension().is_some_and(|e| e == "age"))
            .collect()
    }
}

impl Vault {
    /// The same store, sealed if it is to be; the files of who writes and reads are put into this folder.
    pub(crate) fn of_kind(mut self, kind: StoreKind, keys: &Path) -> Self {
        if kind == StoreKind::Plain {
            return self;
        }
        fs::create_dir_all(keys).unwrap();
        make_operators(keys);
        let [all, writer] = ["all.txt", "writer.key"].map(|name| keys.join(name).into_os_string());
        let init: [OsString; 5] =
            ["init".into(), "--recipients-file".into(), all, "--writer-key".into(), writer];
        self.run(init).expect(0);
        self.keys = Some(keys.to_path_buf());
        self
    }

    /// A command's arguments with the keys that it takes in a sealed store: to back up those of a writer, to read an operator's, and
    /// to keep the store none.
    pub(crate) fn with_keys<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Vec<OsString> {
        let mut all: Vec<OsString> = arguments.into_iter().map(|a| a.as_ref().to_owned()).collect();
        let command = all.first().and_then(|first| first.to_str());
        let option = match (command, &self.keys) {
            (Some("backup"), Some(keys)) => Some(("--writer-key", keys.join("writer.key"))),
            (Some("restore" | "materialize" | "ls" | "cat"), Some(keys)) => {
                Some(("--identity", keys.join("ann.key")))
            }
            _ => None,
        };
        all.extend(option.into_iter().flat_map(|(name, file)| [name.into(), file.into()]));
        all
    }

    /// The store as those see it who look after it, and need no key.
    pub(crate) fn archive(&self) -> Archive {
        Archive::open(Arc::new(LocalStore::new(&self.store, RunId(1)))).unwrap()
    }

    /// The store as an operator sees it.
    pub(crate) fn reader(&self) -> Archive {
        let Some(keys) = &self.keys else { return self.archive() };
        let identities = Identities::parse(&fs::read(keys.join("ann.key")).unwrap()).unwrap();
        let sealed = WriterFile::decode(&fs::read(keys.join("writer.key")).unwrap()).unwrap();
        let sealed: &SealedReadFile = sealed.read_file();
        self.archive().with_keys(Keys::Reader(Arc::new(ReadFile::open(sealed, &identities).unwrap())))
    }

    /// The store as whoever backs up sees it.
    pub(crate) fn writer(&self) -> Archive {
        let Some(keys) = &self.keys else { return self.archive() };
        let file = WriterFile::decode(&fs::read(keys.join("writer.key")).unwrap()).unwrap();
        self.archive().with_keys(Keys::Writer(Arc::new(file)))
    }

    /// The files of its objects, in their places; what is no file is none.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let all = walkdir::WalkDir::new(self.store.join("objects")).sort_by_file_name();
        let files = all.into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
        files.map(walkdir::DirEntry::into_path).collect()
    }
}
