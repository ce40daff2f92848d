//! Moving files where storage has no rename: in steps, between which other processes do theirs.
//!
//! A model of one object, one backup, two gcs and a retention, with each step on its own and each process allowed to die, loses
//! nothing under three rules, and an object without any one of them (`tests/protocol/interleavings` has each of these losses):
//!
//! 1. What comes back is copied. Nothing but age deletes from the trash.
//! 2. An object is deleted only when a copy of it was read back and found whole. What is not whole stays.
//! 3. That copy is in a folder of the trash which this run alone writes to.
//!
//! A file that may be replaced by another is never deleted: a conditional put has an empty file take its place, if it still is
//! the one that was copied. An empty file counts as none.

use super::contract::copy_file;
use super::{Key, Over, Store, StoreError, StoreOperation, Version};
use std::io;

/// The steps that such storage has; each is one request.
pub trait Steps: Store {
    /// The version of a file; none where there is none, or an empty one.
    ///
    /// # Errors
    /// [`StoreError`].
    fn version(&self, key: &Key) -> Result<Option<Version>, StoreError>;

    /// Copies a file over whatever stands at `to`, without reading it.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::is_not_found`] where there is none.
    fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError>;

    /// Puts an empty file in the place of this version.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::is_taken`] where another one stands there.
    fn clear(&self, key: &Key, version: &Version) -> Result<(), StoreError>;
}

/// See [`super::Store::retire`].
///
/// # Errors
/// [`StoreError`].
pub fn retire(
    steps: &impl Steps,
    object: &Key,
    place: &Key,
    is_whole: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<bool, StoreError> {
    steps.copy(object, place)?;
    let copied = match steps.get(place, u64::MAX) {
        Err(error) if error.is_not_found() => return Ok(false),
        copied => copied?,
    };
    let is_whole = is_whole(&copied);
    if is_whole {
        steps.delete(object)?;
    }
    Ok(is_whole)
}

/// See [`super::Store::withdraw`].
///
/// # Errors
/// [`StoreError`].
pub fn withdraw(steps: &impl Steps, key: &Key, place: &Key) -> Result<(), StoreError> {
    let missing =
        || StoreError::new(StoreOperation::Retire, &steps.location(), key, io::ErrorKind::NotFound.into());
    let version = steps.version(key)?.ok_or_else(missing)?;
    steps.copy(key, place)?;
    steps.clear(key, &version)
}

/// See [`super::Store::republish`].
///
/// # Errors
/// [`StoreError`].
pub fn republish(steps: &impl Steps, place: &Key, key: &Key, over: &Over) -> Result<(), StoreError> {
    copy_file(steps, place, key, over)
}

/// See [`super::Store::keep`].
///
/// # Errors
/// [`StoreError`].
pub fn keep(steps: &impl Steps, key: &Key, place: &Key) -> Result<Option<Version>, StoreError> {
    let Some(version) = steps.version(key)? else { return Ok(None) };
    if steps.version(place)?.is_some() {
        let taken = io::ErrorKind::AlreadyExists.into();
        return Err(StoreError::new(StoreOperation::Keep, &steps.location(), place, taken));
    }
    // Should another have taken its place before this, then what it is kept for, its replacement, is refused.
    match steps.copy(key, place) {
        Err(error) if error.is_not_found() => Ok(None),
        copied => copied.map(|()| Some(version)),
    }
}
