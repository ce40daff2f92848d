//! Keys and bytes: where a store's files are kept. Knows nothing of chunks and manifests.

mod clock;
mod contract;
mod disk;
mod error;
pub mod in_steps;
mod key;
mod local;
mod memory;
mod os;

pub use contract::{
    Blob, HeldLock, Item, ItemKind, Listed, Lock, LockMode, Over, Stamp, Store, Upload, Version, Wait,
};
pub use disk::{Disk, DiskFile, DiskLock, HeldFile, Seen, SeenKind};
pub use error::{NoFile, StoreError, StoreErrorKind, StoreOperation};
pub use key::Key;
pub use local::LocalStore;
pub use memory::MemoryStore;
