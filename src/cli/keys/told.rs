//! Errors of keys as messages.

use crate::cli::failure::Failure;
use crate::format::keys::KeyError;
use std::fmt::Display;

/// An error of keys on one line.
pub(in crate::cli) fn told(error: &KeyError) -> String {
    error.to_string().replace(":\n  ", ": ").replace("\n  ", ", ").replace('\n', ". ")
}

/// Keys that cannot be used as they are. `of` is where they are, for the message.
pub(in crate::cli) fn refused(of: impl Display) -> impl Fn(KeyError) -> Failure {
    move |error| Failure::Refused(format!("{of}: {}", told(&error)))
}

/// Whether a text that was given for something public, or for the name of a file, is a secret key: it must not be shown.
pub(in crate::cli) fn is_secret(text: &str) -> bool {
    text.to_ascii_uppercase().contains("AGE-SECRET-KEY-")
}
