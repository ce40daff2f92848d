//! The root of a target.

use crate::archive::Archive;
use crate::model::Shown;
use crate::ops::Error;
use crate::tree::StorePlace;
use std::path::Path;

/// Refuses a target inside the store, and a store inside a target from which extra files would be deleted.
pub(super) fn check_target(
    target: &Path,
    archive: &Archive,
    place: &StorePlace,
    delete: bool,
) -> Result<(), Error> {
    let nested = |inner: String, outer: String, reason| Err(Error::Nested { inner, outer, reason });
    let (t, s) = (format!("the target {}", Shown::path(target)), format!("the store {}", archive.location()));
    if place.contains(target) {
        return nested(t, s, "restoring there would write into the store; give a target outside of it");
    }
    if delete && place.is_within(target) {
        return nested(s, t, "--delete would delete the store; leave it out, or give another target");
    }
    if target.exists() && !target.is_dir() {
        return Err(Error::Target { path: target.to_path_buf(), reason: "it is no folder".into() });
    }
    Ok(())
}

/// Makes the target, for now accessible to its owner alone; the folders above it as usual.
pub(super) fn make_root(target: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |e: std::io::Error| Error::Target {
        path: target.to_path_buf(),
        reason: format!("cannot make it: {e}"),
    };
    if let Some(parent) = target.parent() {
        // Whatever the umask: what is restored below is not for everybody to exchange.
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed)?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(target).map_err(failed)
}
