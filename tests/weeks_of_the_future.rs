//! A week later than now is a mistake, or a clock's: it is wanted by nobody who does not say so, and pushes nothing out.
#![cfg(test)]

mod common;

use common::{Ran, Vault};
use std::fs;
use std::path::PathBuf;
use weekvault::model::Week;
use weekvault::ops::clock;

/// A week that no machine's clock shows.
const FAR: &str = "2999-10";

struct Field {
    _folder: tempfile::TempDir,
    vault: Vault,
    source: PathBuf,
}

impl Field {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (vault, source) = (Vault::new(folder.path().join("store")), folder.path().join("source"));
        fs::create_dir(&source).unwrap();
        Self { _folder: folder, vault, source }
    }

    /// Backs the week's name up into the week.
    fn backup(&self, week: &str, more: &[&str]) -> Ran {
        fs::write(self.source.join("file"), format!("content of {week}")).unwrap();
        let source = format!("html={}", self.source.display());
        let arguments = ["backup", "--week", week, "--source", &source];
        self.vault.run(arguments.iter().chain(more))
    }

    fn weeks(&self) -> Vec<String> {
        let json = self.vault.run(["list", "--json"]).expect(0).json();
        json.as_array().unwrap().iter().map(|m| m["week"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn a_week_later_than_now_wants_force() {
    let field = Field::new();
    for more in [&[][..], &["--dry-run"]] {
        let ran = field.backup(FAR, more).expect(2);
        ran.says(FAR).says("later than now").says("--force").says("nothing was published");
        assert!(field.weeks().is_empty());
    }
    let now: Week = clock::week_of(clock::now());
    field.backup(&now.to_string(), &[]).expect(0);
    field.backup(FAR, &["--force"]).expect(0);
    assert_eq!(field.weeks(), [now.to_string(), FAR.to_owned()]);
}
