//! What has happened before a page is opened, and what must be the case after it was followed.

use super::world::{BUNDLE, FARM, NEW, OLD, World, damage};
use std::fs;
use std::path::Path;

type Act = fn(&mut World<'_>);
/// A section's title, what happens before it, and what is looked at after it.
type Section = (&'static str, Act, Act);

pub(crate) struct Situation {
    pub(crate) page: &'static str,
    /// Size of the store's file system, if it has one of its own.
    pub(crate) store_size: Option<&'static str>,
    pub(crate) begin: Act,
    pub(crate) sections: &'static [Section],
}

impl Situation {
    pub(crate) fn section(&self, title: &str) -> Section {
        let found = self.sections.iter().find(|section| section.0 == title);
        *found.unwrap_or_else(|| panic!("{}: nothing brings about {title:?}, so nothing runs it", self.page))
    }

    pub(crate) fn titles(&self) -> Vec<&'static str> {
        self.sections.iter().map(|section| section.0).collect()
    }
}

pub(crate) const SITUATIONS: &[Situation] = &[
    Situation {
        page: "README.md",
        store_size: None,
        begin: |world| world.two_weeks(),
        sections: &[("Where to type it", |_| {}, |world| world.check_running())],
    },
    Situation {
        page: "restore-roundcube.md",
        store_size: None,
        begin: |world| world.two_weeks(),
        sections: &[
            ("Restore Roundcube", break_program, |world| world.check_started(NEW)),
            ("One file or folder", break_configuration, |world| {
                world.check_started_with(NEW, "html", "config");
                world.reset(NEW);
            }),
            ("One user's keyring", lose_keyring, |world| {
                world.check_started_with(NEW, "enigma", ".");
                world.reset(NEW);
            }),
            (
                "The last backup has the damage already",
                |world| {
                    let good = world.sandbox.path("good");
                    fs::rename(world.truth(NEW), &good).unwrap();
                    lose_keyring(world);
                    world.back_up(NEW);
                    fs::remove_dir_all(world.truth(NEW)).unwrap();
                    fs::rename(&good, world.truth(NEW)).unwrap();
                },
                |world| world.check_started(NEW),
            ),
            (
                "From the offsite copy",
                |world| {
                    break_program(world);
                    lose_keyring(world);
                    world.lose_store();
                },
                |world| world.check_started(NEW),
            ),
            (
                "From a sealed store",
                |world| {
                    world.two_sealed_weeks();
                    break_program(world);
                },
                |world| {
                    world.check_started(NEW);
                    world.check_sealed_weeks();
                },
            ),
            ("From a sealed store, where you may not attach", lose_keyring, |world| {
                world.check_started_with(NEW, "enigma", ".");
                world.check_no_identity();
                world.reset(NEW);
            }),
        ],
    },
    Situation {
        page: "verify-failed.md",
        store_size: None,
        begin: |world| {
            world.back_up("2025-12");
            let before = world.objects();
            // What only a week that is past has.
            let upload = world.volume("html").join("temp/upload");
            fs::create_dir_all(upload.parent().unwrap()).unwrap();
            fs::write(&upload, noise(2 << 20)).unwrap();
            world.back_up(OLD);
            let mut new = world.objects();
            new.retain(|object| !before.contains(object));
            new.sort_by_key(|object| object.metadata().unwrap().len());
            fs::write(world.sandbox.path("past"), new.last().unwrap().to_str().unwrap()).unwrap();
            world.install("new");
            world.back_up(NEW);
            world.mirror();
            world.start_pushgateway();
        },
        sections: &[
            (
                "Verify failed",
                |world| {
                    damage_object_of(world, BUNDLE);
                    assert_eq!(world.run_cron("roundcube-verify"), 4);
                    assert_eq!(world.metric("backup_verify_damaged_objects"), Some(1.0));
                },
                |world| {
                    // The alert's end.
                    assert_eq!(world.metric("backup_verify_damaged_objects"), Some(0.0));
                    assert_eq!(world.metric("backup_verify_last_status"), Some(0.0));
                    world.check_running();
                    world.check_week(OLD);
                    world.check_backed_up();
                },
            ),
            (
                "The source does not have it any more",
                |world| {
                    let object = fs::read_to_string(world.sandbox.path("past")).unwrap();
                    damage(Path::new(&object));
                },
                |world| world.check_week(OLD),
            ),
            (
                "A manifest is damaged",
                |world| damage(&world.store().join(OLD).join("html.manifest")),
                |world| world.check_week(OLD),
            ),
            (
                "In a sealed store",
                |world| {
                    world.two_sealed_weeks();
                    // The one of what no file system makes smaller, which is in both weeks.
                    let largest = world.objects().into_iter().max_by_key(|o| o.metadata().unwrap().len());
                    damage(&largest.unwrap());
                    assert_eq!(world.run_cron("roundcube-verify"), 4);
                    assert_eq!(world.metric("backup_verify_damaged_objects"), Some(1.0));
                },
                |world| {
                    assert_eq!(world.metric("backup_verify_damaged_objects"), Some(0.0));
                    world.check_running();
                    world.check_sealed_weeks();
                    world.check_backed_up();
                },
            ),
        ],
    },
    Situation {
        page: "backup-stale.md",
        store_size: None,
        begin: |world| {
            world.two_weeks();
            world.start_pushgateway();
        },
        sections: &[
            (
                "A backup is missing",
                |world| {
                    world.cluster.patch_cron("roundcube-backup", &suspend(true));
                },
                |world| {
                    assert_eq!(world.metric("backup_last_status"), Some(0.0));
                    assert!(world.metric("backup_last_success_timestamp").is_some());
                    world.check_running();
                    world.check_backed_up();
                },
            ),
            (
                "A source is empty",
                |world| {
                    let html = world.volume("html");
                    fs::rename(&html, world.sandbox.path("html")).unwrap();
                    fs::create_dir(&html).unwrap();
                    assert_eq!(world.run_cron("roundcube-backup"), 1);
                    assert_eq!(world.metric("backup_last_status"), Some(1.0));
                    fs::remove_dir(&html).unwrap();
                    fs::rename(world.sandbox.path("html"), &html).unwrap();
                },
                |world| {
                    assert_eq!(world.metric("backup_last_status"), Some(0.0));
                    world.check_running();
                    world.check_backed_up();
                },
            ),
        ],
    },
    Situation {
        page: "store-full.md",
        store_size: Some("48m"),
        begin: |world| {
            for week in ["2025-08", "2025-09", "2025-10", "2025-11", "2025-12", "2025-13"] {
                let upload = world.volume("html").join("temp/upload");
                fs::create_dir_all(upload.parent().unwrap()).unwrap();
                fs::write(upload, noise(5 << 20)).unwrap();
                world.back_up(week);
            }
        },
        sections: &[(
            "The store is full",
            |world| {
                fs::write(world.volume("html").join("temp/upload"), noise(12 << 20)).unwrap();
                assert_eq!(world.run_cron("roundcube-backup"), 1);
            },
            |world| {
                world.check_running();
                world.check_week(OLD);
                world.check_backed_up();
            },
        )],
    },
    Situation {
        page: "lost-store.md",
        store_size: None,
        begin: |world| world.two_weeks(),
        sections: &[
            (
                "The store is lost",
                |world| world.lose_store(),
                |world| {
                    world.check_running();
                    world.check_week(OLD);
                    world.check_week(NEW);
                    world.check_backed_up();
                },
            ),
            (
                "Only store.json is lost",
                |world| {
                    fs::remove_file(world.store().join("store.json")).unwrap();
                    assert_eq!(world.run_cron("roundcube-backup"), 1);
                },
                |world| {
                    world.check_week(NEW);
                    world.check_backed_up();
                },
            ),
            (
                "There is no copy",
                |world| world.lose_store(),
                |world| {
                    world.check_running();
                    world.check_backed_up();
                },
            ),
            (
                "A sealed store is lost",
                |world| {
                    world.two_sealed_weeks();
                    world.lose_store();
                },
                |world| {
                    world.check_running();
                    world.check_sealed_weeks();
                    world.check_backed_up();
                },
            ),
            (
                "Only keys/ is lost",
                |world| {
                    fs::remove_dir_all(world.store().join("keys")).unwrap();
                    assert_eq!(world.run_cron("roundcube-backup"), 0);
                },
                |world| {
                    assert!(world.store().join("keys/read-1-1.age").exists());
                    world.check_sealed_weeks();
                },
            ),
            (
                "There is no copy of a sealed store",
                |world| world.lose_store(),
                |world| {
                    world.check_running();
                    world.check_no_identity();
                    world.check_backed_up();
                    assert!(world.store().join("keys/read-1-1.age").exists());
                },
            ),
        ],
    },
    Situation {
        page: "migrate-from-rsync.md",
        store_size: None,
        begin: |world| world.live_with_rsync(),
        sections: &[
            ("1. See what there is", nothing, nothing),
            ("2. Stop the old CronJob", nothing, |world| {
                assert!(world.cluster.is_suspended("roundcube-backup"))
            }),
            ("3. Import", nothing, |world| FARM.iter().for_each(|week| world.check_week(&world.week(*week)))),
            ("4. Compare a week with its copy", nothing, nothing),
            (
                "5. The new CronJob",
                |world| world.cluster.patch_cron("roundcube-backup", &suspend(false)),
                |world| {
                    assert!(world.cluster.jobs.is_empty());
                    world.check_backed_up();
                },
            ),
            ("7. Delete the old copies", nothing, |world| {
                assert!(!world.store().join(world.week(FARM[0])).join("html").exists());
                FARM[..2].iter().for_each(|week| world.check_week(&world.week(*week)));
            }),
            ("The way back", nothing, |world| assert!(!world.sandbox.inside("/tmp/old").exists())),
            (
                "Into a sealed store",
                |world| {
                    world.start_sealed();
                    world.live_with_rsync();
                },
                |world| {
                    world.sealed = true;
                    world.check_no_identity();
                    FARM[..2].iter().for_each(|week| world.check_week(&world.week(*week)));
                    world.check_backed_up();
                },
            ),
        ],
    },
    Situation {
        page: "sealed-keys.md",
        store_size: None,
        begin: |world| {
            world.two_weeks();
            world.meet_operators();
        },
        sections: &[
            ("Seal a store that is there", nothing, |world| {
                world.sealed = true;
                world.write_newest();
                world.check_running();
                world.check_sealed_weeks();
                world.check_backed_up();
            }),
            ("Make a kit", nothing, |world| {
                world.check_running();
                world.check_no_identity();
                world.check_newest_keys();
            }),
            ("Try a kit", |world| world.type_kit(), |world| assert!(!world.hand("kit.key").exists())),
            (
                "Restore from the kit alone",
                |world| {
                    world.mirror();
                    world.type_kit();
                    world.put_away();
                },
                |world| {
                    world.check_restored("latest");
                    assert!(!world.hand("kit.key").exists());
                    world.take_back();
                },
            ),
            ("Rotate", nothing, |world| {
                world.write_newest();
                world.check_newest_keys();
                world.check_backed_up();
            }),
            ("An identity is lost or stolen", nothing, |world| {
                world.write_newest();
                world.check_newest_keys();
                world.check_backed_up();
                world.check_who_left();
            }),
            (
                "A writer's file is lost or stolen",
                |world| fs::remove_file(world.hand("writer.key")).unwrap(),
                |world| {
                    world.check_running();
                    world.check_no_identity();
                    world.check_newest_keys();
                    world.check_backed_up();
                    world.check_sealed_weeks();
                },
            ),
        ],
    },
];

fn nothing(_: &mut World<'_>) {}

pub(crate) fn suspend(suspend: bool) -> serde_json::Value {
    serde_json::json!({ "spec": { "suspend": suspend } })
}

/// What an intruder, or a plugin's update that went wrong, leaves.
fn break_program(world: &mut World<'_>) {
    let html = world.volume("html");
    fs::remove_dir_all(html.join("plugins/enigma")).unwrap();
    fs::write(html.join("index.php"), "<?php system($_GET['c']);\n").unwrap();
    fs::write(html.join("shell.php"), "<?php system($_GET['c']);\n").unwrap();
}

fn break_configuration(world: &mut World<'_>) {
    fs::write(world.volume("html").join("config/config.inc.php"), "").unwrap();
}

fn lose_keyring(world: &mut World<'_>) {
    fs::remove_dir_all(world.volume("enigma").join("anna@example.org")).unwrap();
}

/// Damages an object that a file of the newest week needs.
fn damage_object_of(world: &World<'_>, path: &str) {
    for object in world.objects() {
        damage(&object);
        let report = world.vault().run(["verify", "--week", NEW, "--json"]).json();
        let hurts = report["damaged_objects"][0]["hurts"].to_string();
        if hurts.contains(path) {
            return;
        }
        // The same bit again.
        damage(&object);
    }
    panic!("no object of {path}");
}

/// Bytes that nothing makes smaller, and that are others each time.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let random = fs::File::open("/dev/urandom").unwrap();
    std::io::Read::read_exact(&mut &random, &mut bytes).unwrap();
    bytes
}
