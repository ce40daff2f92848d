//! Places with the keys of sealed stores.

use super::Place;
use weekvault::format::keys::PaperKey;

/// Who there is: `ann` and `bob` are recipients of all stores, `eve` of none.
pub(crate) const OPERATORS: [&str; 3] = ["ann", "bob", "eve"];

/// Makes a sealed store of the place, whose writer's file is `writer.key`.
pub(crate) const INIT: &str = "init --recipients-file {}/all.txt --writer-key {}/writer.key";

impl Place {
    /// With the identities of operators as `ann.key`, their recipients as `ann.txt`, `all.txt` with the recipients of a sealed store,
    /// and no store.
    pub(crate) fn with_operators() -> Self {
        let place = Self::new();
        let mut all = String::from("# who can open the store\n\n");
        for name in OPERATORS {
            let key = PaperKey::generate().unwrap();
            place.write(&format!("{name}.key"), format!("# of {name}\n{}\n", *key.to_text()));
            place.write(&format!("{name}.txt"), key.recipient().to_string());
            if name != "eve" {
                all.push_str(&format!("{}\n", key.recipient()));
            }
        }
        place.write("all.txt", all);
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
