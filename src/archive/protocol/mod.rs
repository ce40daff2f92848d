//! Publishing and giving up, in an order that loses nothing; see `docs/reliability.md`.

mod bring_back;
mod lineage;
mod publish;
mod retain;
mod retire;

pub use publish::{FinishedManifest, PendingManifest, look_again};
pub use retain::{Given, Retention, Retired, move_to_trash, retain, told_of_future};
pub use retire::{Collected, GcOptions, collect};
