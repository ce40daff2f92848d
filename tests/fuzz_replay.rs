#![cfg(test)]
//! Replays the inputs that fuzzing kept (`tests/fuzz/corpus`), and mutates them for a moment, under a cap on memory.
//!
//! A folder there is a target: its inputs are what together reaches most of the code, and every input that once showed
//! a fault. `tests/fuzz/README.md` says how the fuzzer itself is run.

#[path = "fuzz/drivers/mod.rs"]
mod drivers;

use drivers::{
    Driver, Recipe, Rng, TARGETS, first_age_files, first_sealed, giants, hostile_age_files, mutate_bytes,
    mutate_recipe, reader, sealed_giants,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};
use weekvault::format::Keys;
use weekvault::format::keys::{Identities, ReadFile, SealedReadFile};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
/// Address space that an input may take beyond what the test had when it began, in bytes.
const CAP: u64 = 256 << 20;
/// What an age file may take, which has 1 MiB at most: some copies of it, as text too; and where its header is good, a chunk and a
/// block of the largest kind.
const BEFORE_A_HEADER: u64 = 12 << 20;
const BEHIND_A_HEADER: u64 = BEFORE_A_HEADER + (16 << 20) + (32 << 20);
/// A target has no more than so many kept inputs, and they have no more than so many bytes.
const MOST: (usize, u64) = (60, 200 << 10);

/// One test at a time, and from the first on none that takes too much memory: an allocation beyond ends the process.
fn capped() -> MutexGuard<'static, bool> {
    static CAPPED: Mutex<bool> = Mutex::new(false);
    let mut capped = CAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*capped {
        limit_addresses(CAP);
        *capped = true;
    }
    capped
}

/// Leaves so many bytes of addresses beyond those that the process has.
fn limit_addresses(more: u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find_map(|l| l.strip_prefix("VmSize:")?.strip_suffix("kB")).unwrap();
    let current = Some(size.trim().parse::<u64>().unwrap() * 1024 + more);
    let maximum = getrlimit(Resource::As).maximum;
    setrlimit(Resource::As, Rlimit { current, maximum }).unwrap();
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
        let (inputs, mut rng) = (inputs(target), Rng::new(2025));
        (0..ROUNDS).for_each(|_| run_mutated(target, *driver, &inputs, &mut rng));
    }
}

/// Others each time, for as long as one wants: of the targets in `WEEKVAULT_FUZZ`, with spaces between them, so many seconds
/// each as `WEEKVAULT_FUZZ_SECONDS` says.
#[test]
#[ignore = "takes minutes, and other inputs each time"]
fn mutated_inputs_hold_for_longer() {
    let _capped = capped();
    let named = std::env::var("WEEKVAULT_FUZZ").unwrap_or_default();
    let seconds = std::env::var("WEEKVAULT_FUZZ_SECONDS").map_or(120, |seconds| seconds.parse().unwrap());
    for target in named.split_whitespace() {
        let start = Instant::now();
        let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let (inputs, mut rng, mut rounds) = (inputs(target), Rng::new(seed), 0);
        while start.elapsed().as_secs() < seconds {
            run_mutated(target, driver(target), &inputs, &mut rng);
            rounds += 1;
        }
        println!("{target}: {rounds} inputs in {seconds} s, from seed {seed}");
    }
}

/// Runs a driver on a mutation of one of its inputs.
fn run_mutated(target: &str, driver: Driver, inputs: &[(PathBuf, Vec<u8>)], rng: &mut Rng) {
    let (path, mut data) = rng.pick(inputs).clone();
    let seed = rng.next();
    let mut own = Rng::new(seed);
    for _ in 0..1 + own.below(4) {
        if matches!(target, "manifest" | "sealed") {
            let mut bytes = Rng::new(own.next());
            data = mutate_recipe(&data, &mut own, &mut |data| mutate_bytes(data, &mut bytes));
        } else {
            mutate_bytes(&mut data, &mut own);
        }
    }
    run(driver, &data, &|| format!("{target}, {} with seed {seed}", path.display()));
}

/// Mutations of each target.
const ROUNDS: usize = 400;

/// The golden manifests go through a recipe and back, so that mutations begin with what the program makes.
#[test]
fn recipes_make_manifests() {
    let mut seen = 0;
    for (manifest, keys) in golden_manifests() {
        let recipe = Recipe::of(&manifest, &keys).unwrap();
        assert_eq!(Recipe::parse(&recipe.to_bytes()), recipe);
        let again = match keys {
            Keys::Plain => Recipe::of(&recipe.build(), &Keys::Plain).unwrap(),
            _ => Recipe::of(&recipe.build_sealed(), reader().keys()).unwrap(),
        };
        assert_eq!(again, recipe);
        seen += 1;
    }
    assert!(seen > 0 || !Path::new(GOLDEN).exists());
}

/// A few bytes on disk that would be a great many in memory.
#[test]
fn giants_stay_small() {
    let _capped = capped();
    for (name, recipe) in giants() {
        run(driver("manifest"), &recipe.to_bytes(), &|| name.clone());
    }
    for (name, recipe) in sealed_giants() {
        run(driver("sealed"), &recipe.to_bytes(), &|| name.clone());
    }
}

fn driver(target: &str) -> Driver {
    TARGETS.iter().find(|(name, _)| *name == target).unwrap().1
}

/// Age files that ask for more than there is cost no more than their own length, and what is behind a good header no more than
/// what is asked of it: the largest chunk, and the largest block.
#[test]
fn hostile_age_files_stay_small() {
    let mut capped = capped();
    *capped = false;
    // What is made once does not count.
    driver("age")(&[]);
    for (name, file) in hostile_age_files() {
        let is_behind = file[0] == 1;
        limit_addresses(if is_behind { BEHIND_A_HEADER } else { BEFORE_A_HEADER });
        run(driver("age"), &file, &|| name.clone());
    }
}

/// Each with what opens it.
fn golden_manifests() -> Vec<(Vec<u8>, Keys)> {
    let (mut folders, mut manifests) = (vec![PathBuf::from(GOLDEN)], Vec::new());
    let sealed = Keys::Reader(Arc::new(golden_read_file()));
    while let Some(folder) = folders.pop() {
        let Ok(items) = fs::read_dir(folder) else { continue };
        for item in items.map(|item| item.unwrap().path()) {
            if item.extension().is_none_or(|e| e != "manifest") {
                folders.push(item);
                continue;
            }
            let manifest = fs::read(item).unwrap();
            // The version, after the mark.
            let keys = if manifest[8] == 2 { sealed.clone() } else { Keys::Plain };
            manifests.push((manifest, keys));
        }
    }
    manifests
}

/// The newest read file of the golden store that is sealed.
fn golden_read_file() -> ReadFile {
    let file = |path: &str| fs::read(Path::new(GOLDEN).join("v2-sealed").join(path)).unwrap();
    let identities = Identities::parse(&file("keys/operator.key")).unwrap();
    ReadFile::open(&SealedReadFile::from_bytes(&file("store/keys/read-2-1.age")).unwrap(), &identities)
        .unwrap()
}

/// Writes inputs to begin a new corpus with into `tests/fuzz/corpus`, for targets that have none: what the golden stores and the
/// documents' examples have.
#[test]
#[ignore = "writes files; only for a new corpus"]
fn make_first_inputs() {
    let is_new = |target: &str| !Path::new(CORPUS).join(target).exists();
    let new: Vec<&str> = TARGETS.iter().map(|(target, _)| *target).filter(|target| is_new(target)).collect();
    let write = |target: &str, name: String, data: &[u8]| {
        let folder = Path::new(CORPUS).join(target);
        if new.contains(&target) {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), data).unwrap();
        }
    };
    for (number, (manifest, keys)) in golden_manifests().iter().enumerate() {
        let recipe = Recipe::of(manifest, keys).unwrap().to_bytes();
        if matches!(keys, Keys::Plain) {
            write("manifest_file", format!("golden-{number}"), manifest);
            write("manifest", format!("golden-{number}"), &recipe);
        } else if recipe.len() < 20_000 {
            write("sealed", format!("golden-{number}"), &recipe);
        }
    }
    for (name, recipe) in first_sealed() {
        write("sealed", name.clone(), &recipe.to_bytes());
        write("sealed_file", name, &recipe.build_sealed());
    }
    first_age_files().into_iter().for_each(|(name, file)| write("age", name, &file));
}
