//! Writing a tree: relative to directory handles, never through a symbolic link.
//!
//! The tree may belong to somebody who changes it meanwhile, and who must gain nothing by it. What is made, is made in a
//! directory that only the restorer can enter, gets its owner and mode there, and is moved to its place when it is done;
//! what is changed in its place is the very inode that was looked at.

mod change;
mod error;
mod handle;
mod loosened;
mod metadata;
mod new;
mod outside;
mod own;
mod staging;

pub use error::{Inode, Unrestored};
pub use handle::Target;
pub use new::NewFile;
pub use outside::IN_STORE;
