//! How the first panic went, for the message that it ends with.

use std::panic::{PanicHookInfo, set_hook, take_hook};
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

/// One line: what was said, where, and by which thread.
fn describe(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("a panic");
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    match panic.location() {
        Some(place) => format!("{message} ({}:{}, thread {thread})", place.file(), place.line()),
        None => format!("{message} (thread {thread})"),
    }
}

/// The first panic, with its place, if there has been one.
pub(super) fn first() -> Option<String> {
    FIRST.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
