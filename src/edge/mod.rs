//! What is neither a source nor a store: the Pushgateway, the operating system's signals, and what it says of mounts.
//!
//! Nothing here decides how a run ends: the caller warns of a push that failed, and stops for a signal.

mod metrics;
mod nfs;
mod push;
mod resolver;
mod signals;

pub use metrics::{BackupReport, EncodeError, Gauge, SourceReport, StoreReport, VerifyReport, encode};
pub use nfs::SoftMount;
pub use push::{PUSH_BUDGET, PushError, push};
pub use signals::Interrupt;
