//! The archive: what a store's files mean, and who may add, publish and retire them.

mod alike;
mod archive;
mod choose;
mod error;
mod foreign;
mod layout;
mod lock;
mod manifests;
mod objects;
mod publish;
mod reader;
mod retain;
mod retire;
mod seen;
mod strange;
mod trash;

pub use alike::{alike_pvcs, told_of_alike};
pub use archive::{Archive, NewStore};
pub use error::RepoError;
pub use foreign::Foreign;
pub use layout::is_own;
pub use lock::{StoreLock, lock, lock_alone};
pub use manifests::{Manifest, ManifestId, ManifestRef, StoredFile, Weeks};
pub use objects::{Claim, Inventory, Listing};
pub use publish::{PendingManifest, look_again};
pub use reader::{Copies, Damage, ObjectReader, SharedTrash};
pub use retain::{Given, Retention, Retired, move_to_trash, retain, told_of_future};
pub use retire::{Collected, GcOptions, collect};
pub use trash::{Trash, Trashed, TrashedObjects};
