//! What is neither a source nor a store: the Pushgateway, the operating system's signals, and what it says of mounts.
//!
//! The caller decides how a run ends: it warns of a push that failed, and stops for a signal. The process is ended from here
//! only where the run cannot end itself: at a second signal, or while the kernel waits for a server that does not answer.

mod metrics;
mod nfs;
mod push;
mod resolver;
mod signals;

pub use metrics::{
    BackupReport, EncodeError, Gauge, HeadReport, SourceReport, StoreReport, VerifyReport, encode,
};
pub use nfs::SoftMount;
pub use push::{PUSH_BUDGET, PushError, push};
pub use signals::Interrupt;
