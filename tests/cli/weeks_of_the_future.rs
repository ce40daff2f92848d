//! A week later than now is a mistake, or a clock's: it is wanted by nobody who does not say so, and pushes nothing out.

use crate::common::{Ran, Vault};
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

#[test]
fn a_copy_of_a_week_later_than_now_is_imported_only_with_force() {
    let field = Field::new();
    let farm = field.source.join("farm");
    let now: Week = clock::week_of(clock::now());
    for week in [&now.to_string(), FAR] {
        fs::create_dir_all(farm.join(week).join("html")).unwrap();
        fs::write(farm.join(week).join("html/file"), week).unwrap();
    }
    let import = |more: &[&str]| {
        let arguments = ["import", "--rsync-root", farm.to_str().unwrap()];
        field.vault.run(arguments.iter().chain(more))
    };
    import(&["--dry-run"]).expect(1).says("later than now");
    import(&[]).expect(1).says(FAR).says("later than now").says("--force");
    assert_eq!(field.weeks(), [now.to_string()], "the others are imported");
    import(&["--force"]).expect(0);
    assert_eq!(field.weeks(), [now.to_string(), FAR.to_owned()]);
}

#[test]
fn weeks_of_the_future_push_nothing_out() {
    let field = Field::new();
    let past: Vec<String> = (1..=8).map(|n| format!("2025-{n:02}")).collect();
    past.iter().for_each(|week| drop(field.backup(week, &["--keep", "8"]).expect(0)));
    let future: Vec<String> = (10..18).map(|n| format!("2999-{n}")).collect();
    for week in &future {
        let ran = field.backup(week, &["--keep", "8", "--force", "--json"]).expect(0);
        let ran = ran.says("later than now").says("weekvault forget 2999-10/html");
        assert_eq!(ran.json()["retired"].as_array().unwrap().len(), 0, "{}", ran.stdout);
    }
    assert_eq!(field.weeks(), [past.clone(), future.clone()].concat());
    field.vault.run(["retain", "--keep", "8"]).expect(0).says("nothing to retire").says("later than now");
    // The ninth week still goes on time.
    let ran = field.backup("2025-09", &["--keep", "8", "--json"]).expect(0);
    assert_eq!(ran.json()["retired"], serde_json::json!(["2025-01/html.manifest"]));
}

#[test]
fn the_latest_week_is_none_that_has_not_begun() {
    let field = Field::new();
    field.backup("2025-01", &[]).expect(0);
    field.backup("2025-02", &[]).expect(0);
    field.backup(FAR, &["--force"]).expect(0);
    let cat = |week: &str| field.vault.run(["cat", "--week", week, "--pvc", "html", "file"]).expect(0);
    for (week, is) in [("latest", "2025-02"), ("previous", "2025-01")] {
        let ran = cat(week).says("2999-10 is later than now");
        assert_eq!(ran.stdout, format!("content of {is}"));
    }
    let ran = cat(FAR);
    assert!(ran.stdout.contains(FAR) && !ran.stderr.contains("later than now"), "who names it gets it");
    let target = field._folder.path().join("out");
    field.vault.restore("latest", "html", &target, &[]).expect(0).says("later than now");
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "content of 2025-02");
    let all = field._folder.path().join("all");
    let ran = field.vault.run(["materialize", "--all", "--week", "latest", all.to_str().unwrap()]).expect(0);
    ran.says("later than now");
    assert!(all.join("2025-02/html").is_dir() && !all.join(FAR).exists());
    field.vault.run(["verify", "--week", "latest"]).expect(0).says("1 manifest checked");
    field.vault.run(["verify"]).expect(0).says("2999-10 is later than now");
    let report = field.vault.run(["verify", "--json"]).expect(0).json();
    assert_eq!(report["future_weeks"], serde_json::json!([format!("{FAR}/html.manifest")]));
    field.vault.run(["list"]).expect(0).says("later than now");
    field.vault.run(["forget", &format!("{FAR}/html")]).expect(0);
    let ran = field.vault.run(["list"]).expect(0);
    assert!(!ran.stderr.contains("later than now"), "{}", ran.stderr);
}
