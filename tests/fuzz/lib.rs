//! The drivers, as the fuzz targets and the replay tests use them, under a cap on memory.

#[path = "drivers/mod.rs"]
mod drivers;

use drivers::{Rng, TARGETS, mutate_recipe};
use libfuzzer_sys::fuzzer_mutate;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// No input may make the program hold more than this at once, in bytes.
const CAP: usize = 256 << 20;

/// Counts what is held, and ends the process where that is too much. zstd's own memory is not counted here; the
/// fuzzer's `-rss_limit_mb` sees it.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn add(size: usize) {
    if LIVE.fetch_add(size, Relaxed) + size > CAP {
        // No formatting and no unwinding, which would allocate.
        LIVE.store(0, Relaxed);
        eprintln!("more than 256 MiB are held at once");
        std::process::abort();
    }
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Runs a target's driver.
pub fn run(target: &str, data: &[u8]) {
    let (_, driver) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    driver(data);
}

/// Mutates a manifest's recipe in place, with libFuzzer's help; returns its new length.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut bytes = |data: &mut Vec<u8>| {
        let size = data.len();
        let room = (size * 2 + 64).min(max_size.max(size));
        data.resize(room, 0);
        let size = fuzzer_mutate(data, size, room);
        data.truncate(size);
    };
    let mutated = mutate_recipe(&data[..size], &mut Rng::new(seed.into()), &mut bytes);
    let size = mutated.len().min(max_size);
    data[..size].copy_from_slice(&mutated[..size]);
    size
}
