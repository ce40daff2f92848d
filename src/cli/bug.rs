//! The border where a panic becomes a failure like others: with a message, an exit code, and metrics.

use super::failure::Failure;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How the first panic went; those that follow are mostly its consequence.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// From now on panics are remembered, not printed; with `RUST_BACKTRACE` set they are printed too.
pub(super) fn listen() {
    let print = take_hook();
    let wanted = std::env::var_os("RUST_BACKTRACE").is_some_and(|v| !v.is_empty() && v != "0");
    set_hook(Box::new(move |panic| {
        // The cache is given up with a panic of its own, which changes nothing but the time that a command takes.
        if thread::current().name().is_some_and(|name| name == "cache" || name.starts_with("sled")) {
            return;
        }
        FIRST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| describe(panic));
        if wanted {
            print(panic);
        }
    }));
}

/// One line: what was said, and where.
fn describe(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("a panic");
    match panic.location() {
        Some(place) => format!("{message} ({}:{})", place.file(), place.line()),
        None => message.to_owned(),
    }
}

/// Runs `work`; a panic of it, or of a thread that it waits for, is a failure.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(bug()))
}

/// The failure that a panic is.
pub(super) fn bug() -> Failure {
    let first = FIRST.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Failure::Bug(first.unwrap_or_else(|| "a stage of the work ended without a word".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_also_that_of_a_thread() {
        let here = caught::<()>(|| panic!("no"));
        let there = caught::<()>(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| panic!("no"));
            });
            Ok(())
        });
        for failure in [here, there].map(Result::unwrap_err) {
            assert_eq!(failure.code(), 1);
            assert!(failure.to_string().contains("bug in weekvault"), "{failure}");
        }
    }
}
