#![cfg(test)]
//! Replays the inputs that fuzzing kept (`tests/fuzz/corpus`), and mutates them for a moment, under a cap on memory.
//!
//! A folder there is a target: its inputs are what together reaches most of the code, and every input that once showed
//! a fault. `tests/fuzz/README.md` says how the fuzzer itself is run.

#[path = "fuzz/drivers/mod.rs"]
mod drivers;

use drivers::{Driver, Recipe, Rng, TARGETS, giants, mutate_bytes, mutate_recipe};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
/// Address space that an input may take beyond what the test had when it began, in bytes.
const CAP: u64 = 256 << 20;
/// A target has no more than so many kept inputs, and they have no more than so many bytes.
const MOST: (usize, u64) = (60, 200 << 10);

/// One test at a time, and from the first on none that takes too much memory: an allocation beyond ends the process.
fn capped() -> MutexGuard<'static, bool> {
    static CAPPED: Mutex<bool> = Mutex::new(false);
    let mut capped = CAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*capped {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|l| l.strip_prefix("VmSize:")?.strip_suffix("kB")).unwrap();
        let current = Some(size.trim().parse::<u64>().unwrap() * 1024 + CAP);
        let maximum = getrlimit(Resource::As).maximum;
        setrlimit(Resource::As, Rlimit { current, maximum }).unwrap();
        *capped = true;
    }
    capped
}

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(CORPUS).join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|f| f.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    files.into_iter().map(read).collect()
}

/// Runs a driver; where it panics, says on what.
fn run(driver: Driver, data: &[u8], what: &dyn Fn() -> String) {
    if let Err(panic) = std::panic::catch_unwind(|| driver(data)) {
        eprintln!("this was {}", what());
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn kept_inputs_hold() {
    let _capped = capped();
    for (target, driver) in TARGETS {
        let inputs = inputs(target);
        let bytes: u64 = inputs.iter().map(|(_, data)| data.len() as u64).sum();
        assert!(!inputs.is_empty() && inputs.len() <= MOST.0 && bytes <= MOST.1, "{target}: {bytes} bytes");
        for (path, data) in &inputs {
            run(*driver, data, &|| path.display().to_string());
        }
    }
}

/// The same inputs on every machine, so that a failure can be seen again.
#[test]
fn mutated_inputs_hold() {
    let _capped = capped();
    for (target, driver) in TARGETS {
        let inputs = inputs(target);
        let mut rng = Rng::new(2025);
        for round in 0..ROUNDS {
            let (path, mut data) = rng.pick(&inputs).clone();
            let seed = rng.next();
            let mut own = Rng::new(seed);
            for _ in 0..1 + own.below(4) {
                if *target == "manifest" {
                    let mut bytes = Rng::new(own.next());
                    data = mutate_recipe(&data, &mut own, &mut |data| mutate_bytes(data, &mut bytes));
                } else {
                    mutate_bytes(&mut data, &mut own);
                }
            }
            run(*driver, &data, &|| {
                format!("round {round} of {target}, {} with seed {seed}", path.display())
            });
        }
    }
}

/// Mutations of each target.
const ROUNDS: usize = 400;

/// The golden manifests go through a recipe and back, so that mutations begin with what the program makes.
#[test]
fn recipes_make_manifests() {
    let mut seen = 0;
    for manifest in golden_manifests() {
        let recipe = Recipe::of(&manifest).unwrap();
        assert_eq!(Recipe::parse(&recipe.to_bytes()), recipe);
        let again = Recipe::of(&recipe.build()).unwrap();
        assert_eq!(again, recipe);
        seen += 1;
    }
    assert!(seen > 0 || !Path::new(GOLDEN).exists());
}

/// A few bytes on disk that would be a great many in memory.
#[test]
fn giants_stay_small() {
    let _capped = capped();
    let (_, driver) = TARGETS[0];
    for (name, recipe) in giants() {
        run(driver, &recipe.to_bytes(), &|| name.clone());
    }
}

fn golden_manifests() -> Vec<Vec<u8>> {
    let (mut folders, mut manifests) = (vec![PathBuf::from(GOLDEN)], Vec::new());
    while let Some(folder) = folders.pop() {
        let Ok(items) = fs::read_dir(folder) else { continue };
        for item in items.map(|item| item.unwrap().path()) {
            match item.extension().is_some_and(|e| e == "manifest") {
                true => manifests.push(fs::read(item).unwrap()),
                false => folders.push(item),
            }
        }
    }
    manifests
}

/// Writes inputs to begin a new corpus with into `tests/fuzz/corpus`: what the golden stores have.
#[test]
#[ignore = "writes files; only for a new corpus"]
fn make_first_inputs() {
    let write = |target: &str, name: String, data: &[u8]| {
        let folder = Path::new(CORPUS).join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), data).unwrap();
    };
    for (number, manifest) in golden_manifests().iter().enumerate() {
        write("manifest_file", format!("golden-{number}"), manifest);
        write("manifest", format!("golden-{number}"), &Recipe::of(manifest).unwrap().to_bytes());
    }
}
