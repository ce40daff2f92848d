//! The archive: what a store's files mean, and who may add, publish and retire them.

mod alike;
mod choose;
mod damage;
mod error;
mod foreign;
mod heads;
mod id;
mod keys;
mod layout;
mod listing;
mod lock;
mod manifest;
mod manifests;
mod objects;
mod open;
mod protocol;
mod seen;
mod strange;
mod trash;
mod trust;

pub use alike::{alike_pvcs, told_of_alike};
pub use damage::{Copies, Damage};
pub use error::ArchiveError;
pub use foreign::Foreign;
pub use heads::StandingHead;
pub use id::{ManifestId, ManifestRef};
pub use keys::{CarriedReadFile, Origins, StoredReadFile};
pub use layout::is_own;
pub use listing::Listing;
pub use lock::{StoreLock, lock, lock_alone};
pub use manifest::{Manifest, StoredFile};
pub use manifests::Weeks;
pub use objects::{Claim, ContentReader, Extents, Inventory, ObjectMap, ObjectReader, SharedTrash, Stored};
pub use open::{Archive, NewStore};
pub use protocol::{
    Collected, FinishedManifest, GcOptions, Given, PendingManifest, Retention, Retired, collect, look_again,
    move_to_trash, retain, told_of_future,
};
pub use trash::{Trash, Trashed, TrashedObjects};
