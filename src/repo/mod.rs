//! The archive: what a store's files mean, and who may add, publish and retire them.

mod archive;
mod error;
mod layout;
mod lock;
mod manifests;
mod objects;
mod publish;
mod reader;
mod retire;
mod seen;
mod strange;
mod trash;

pub use archive::{Archive, NewStore};
pub use error::RepoError;
pub use layout::is_own;
pub use lock::{StoreLock, lock};
pub use manifests::{Manifest, ManifestId, ManifestRef, StoredFile};
pub use objects::{Claim, Inventory, Listing};
pub use publish::{PendingManifest, look_again};
pub use reader::{Copies, Damage, ObjectReader, SharedTrash};
pub use retire::{Collected, GcOptions, Retention, Retired, collect, retain};
pub use trash::{Trash, Trashed, TrashedObjects};
