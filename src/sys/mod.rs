//! System calls that the store, the outside file system and the command line share.

mod beneath;
mod remote;
mod secrets;
mod terminal;

pub use beneath::{is_blocked, open_beneath, open_within, refresh};
pub use remote::is_remote;
pub use secrets::keep_memory_private;
pub use terminal::ask_hidden;
