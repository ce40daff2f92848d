//! What is neither a source nor a store: the Pushgateway, and the operating system's signals.
//!
//! Nothing here decides how a run ends: the caller warns of a push that failed, and stops for a signal.

mod metrics;
mod push;
mod resolver;
mod signals;

pub use metrics::{BackupReport, EncodeError, Gauge, SourceReport, StoreReport, VerifyReport, encode};
pub use push::{PUSH_BUDGET, PushError, push};
pub use signals::Interrupt;
