//! System calls that the store and the outside file system share.

mod beneath;
mod remote;

pub use beneath::{is_blocked, open_beneath, open_within, refresh};
pub use remote::is_remote;
