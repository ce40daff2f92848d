//! The outside file system: walking a source, reading it, and writing a restored tree.

mod error;
mod exclude;
mod farm;
mod ids;
mod leftover;
mod list;
mod owners;
mod read;
mod root;
mod scouts;
mod stat;
mod steps;
mod store_place;
mod target;
mod walk;
mod xattrs;

pub use error::SourceError;
pub use exclude::{CACHE_TAG, Excludes, InvalidGlob};
pub use farm::{Farm, PassedOver, WeeklyCopy};
pub use ids::{OwnerId, ids_in};
pub use owners::{OwnerMap, OwnerNames};
pub use read::{ContentSink, ReadContent, Restart, SourceReader};
pub use root::SourceRoot;
pub use stat::is_mount_point;
pub use store_place::StorePlace;
pub use target::{IN_STORE, Inode, NewFile, Target, Unrestored};
pub use walk::{Found, Skip, Walk, WalkOptions, Walked};
