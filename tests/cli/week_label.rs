//! A week is what `date +%Y-%W` calls it: every day, and in every time zone.

use crate::common::{Vault, skip, system};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use weekvault::model::Timestamp;
use weekvault::ops::clock;

/// What `date` prints for each line of `dates`, asked once for all.
fn date(dates: &str, zone: Option<&str>) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dates");
    fs::write(&file, dates).unwrap();
    let mut date = Command::new("date");
    in_zone(&mut date, zone).arg("-f").arg(&file).arg("+%Y-%W");
    system(&mut date).lines().map(str::to_owned).collect()
}

fn in_zone<'a>(command: &'a mut Command, zone: Option<&str>) -> &'a mut Command {
    match zone {
        Some(zone) => command.env("TZ", zone),
        None => command.env_remove("TZ"),
    }
}

/// Time zones in all the ways of writing them; `None` is whatever the machine is set to.
fn zones() -> Vec<Option<&'static str>> {
    let mut zones = vec![
        None,
        Some(""),
        Some("UTC0"),
        Some("CET-1CEST,M3.5.0,M10.5.0/3"),
        Some("NZST-12NZDT,M9.5.0,M4.1.0/3"),
        Some("<+0545>-5:45"),
        // Two days apart: whatever the moment, one of them is on another day than UTC.
        Some("<+24>-24"),
        Some("<-24>24"),
    ];
    let named = [
        "UTC",
        "Europe/Berlin",
        ":Europe/Berlin",
        "/usr/share/zoneinfo/America/St_Johns",
        "Pacific/Kiritimati",
        "Pacific/Apia",
        "Antarctica/Troll",
        "Africa/Casablanca",
    ];
    for name in named {
        let file = Path::new("/usr/share/zoneinfo").join(name.trim_start_matches(':'));
        if file.is_file() {
            zones.push(Some(name));
        } else {
            skip(name, "this machine does not know the time zone");
        }
    }
    zones
}

#[test]
fn every_day_from_1970_to_2100() {
    let first = jiff::civil::date(1970, 1, 1);
    let days: Vec<_> = first.series(jiff::Span::new().days(1)).take_while(|d| d.year() <= 2100).collect();
    assert_eq!(days.len(), 131 * 365 + 32, "32 of the 131 years have another day");
    let text: String = days.iter().map(|d| format!("{d} 12:00\n")).collect();
    let expected = date(&text, Some("UTC0"));
    assert_eq!(expected.len(), days.len());
    for (day, expected) in days.iter().zip(expected) {
        assert_eq!(clock::week_of_date(*day).to_string(), expected, "{day}");
    }
}

/// Moments in which a week may change somewhere, and others.
fn moments() -> Vec<i64> {
    const DAY: i64 = 86_400;
    let monday = 4 * DAY;
    let mut moments = Vec::new();
    for week in (0..6_800).step_by(7) {
        // Each hour about midnight between Sunday and Monday, in every zone there is.
        moments.extend((-24..=24).step_by(3).map(|hour| monday + week * 7 * DAY + hour * 3_600));
    }
    for year in 1970..2101_i16 {
        let new_year = jiff::civil::date(year, 1, 1).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        let new_year = new_year.timestamp().as_second();
        moments.extend((-24..=24).flat_map(|hour| [-1, 0, 1].map(|second| new_year + hour * 3_600 + second)));
    }
    moments
}

/// Not a test by itself: the process that `every_zone` starts in another time zone.
#[test]
fn zone_child() {
    let Some(file) = std::env::var_os("WEEK_LABEL_MOMENTS") else { return };
    let mut weeks = String::new();
    for line in fs::read_to_string(&file).unwrap().lines() {
        let moment = Timestamp { secs: line.trim_start_matches('@').parse().unwrap(), nanos: 999_999_999 };
        let _ = writeln!(weeks, "{}", clock::week_of(moment));
    }
    fs::write(Path::new(&file).with_extension("weeks"), weeks).unwrap();
}

#[test]
fn every_zone() {
    let moments: String = moments().iter().map(|m| format!("@{m}\n")).collect();
    for zone in zones() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("moments");
        fs::write(&file, &moments).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        in_zone(&mut child, zone)
            .args(["--exact", "week_label::zone_child"])
            .env("WEEK_LABEL_MOMENTS", &file);
        system(&mut child);
        let weeks = fs::read_to_string(file.with_extension("weeks")).unwrap();
        let expected = date(&moments, zone);
        assert_eq!(weeks.lines().count(), expected.len());
        for ((moment, week), expected) in moments.lines().zip(weeks.lines()).zip(expected) {
            assert_eq!(week, expected, "{moment} in {zone:?}");
        }
    }
}

#[test]
fn a_backup_without_a_week_goes_into_todays() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    let today = |zone| {
        let mut date = Command::new("date");
        system(in_zone(&mut date, zone).arg("+%Y-%W")).trim().to_owned()
    };
    for (number, zone) in zones().into_iter().enumerate() {
        let vault = Vault::new(folder.path().join(format!("store-{number}")));
        let mut backup = vault.command();
        in_zone(&mut backup, zone).args(["backup", "--source"]).arg(format!("pvc={}", source.display()));
        let before = today(zone);
        system(&mut backup);
        // Midnight may pass while this runs.
        let after = today(zone);
        let there = |week: &str| vault.store.join(week).join("pvc.manifest").is_file();
        assert!(there(&before) || there(&after), "neither {before} nor {after} in {zone:?}");
    }
}
