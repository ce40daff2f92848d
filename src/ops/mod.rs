//! One use case a file: what the commands do.

pub mod backup;
pub mod browse;
pub mod clock;
mod error;
pub mod forget;
pub mod gc;
pub mod import;
pub mod materialize;
mod parallel;
pub mod restore;
mod run;
pub mod undelete;
pub mod verify;

pub use error::Error;
pub use run::{Run, TOOL};
