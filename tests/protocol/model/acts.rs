//! What somebody does with a store.

use super::disk::ModelDisk;
use super::runs::{self, Job};
use weekvault::ops::verify::Verified;

/// Something that is done. `Ok` is what the operator takes for success.
pub(crate) type Act = fn(&ModelDisk, &Job) -> Result<(), String>;

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub(crate) fn whole_run(disk: &ModelDisk, job: &Job) -> Result<(), String> {
    let ran = runs::run(disk, job);
    if ran.is_done() { Ok(()) } else { Err(ran.told()) }
}

pub(crate) fn backup(disk: &ModelDisk, job: &Job) -> Result<(), String> {
    runs::back_up(&runs::open_to_write(disk).map_err(text)?, job).map_err(text).map(drop)
}

pub(crate) fn clean_up(disk: &ModelDisk, job: &Job) -> Result<(), String> {
    runs::clean_up(&runs::open(disk).map_err(text)?, job).map_err(text).map(drop)
}

pub(crate) fn undelete(disk: &ModelDisk, _: &Job) -> Result<(), String> {
    runs::bring_back(disk, "2025-01/html").map_err(text).map(drop)
}

pub(crate) fn verify(disk: &ModelDisk, _: &Job) -> Result<(), String> {
    runs::unclean(disk).map_or(Ok(()), Err)
}

pub(crate) fn repair(disk: &ModelDisk, _: &Job) -> Result<(), String> {
    match runs::repair(disk) {
        // One object is damaged, and set aside.
        Ok(Verified { damaged_objects, damaged_manifests, .. })
            if damaged_objects.len() == 1 && damaged_manifests.is_empty() =>
        {
            Ok(())
        }
        found => Err(format!("{found:?}")),
    }
}
