//! One folder of a live tree: its names, and what stands at each.

use super::stat::stat_at;
use super::store_place::{STORE_JSON, StorePlace};
use crate::model::{Name, Patience, Stat, is_passing};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use walkdir::WalkDir;

/// What a look at a folder showed.
#[derive(Default, Debug)]
pub(super) struct Folder {
    /// Sorted by raw bytes.
    pub(super) children: Vec<Child>,
    /// Why names may be missing.
    pub(super) errors: Vec<io::Error>,
    /// It is the store's root: nothing in it is of the tree.
    pub(super) is_store: bool,
}

/// A name in a folder.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: Name,
    pub(super) stat: io::Result<Stat>,
}

/// Lists a folder, which may be no symbolic link, and looks at each name by way of the folder: the kernel then need not
/// go all the way from the root.
pub(super) fn list(path: &Path, patience: &Patience, store: &StorePlace) -> Folder {
    let mut folder = Folder::default();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
    let handle = match patience.run(std::thread::sleep, is_passing, open) {
        Ok(handle) => handle,
        Err(error) => {
            folder.errors.push(error);
            return folder;
        }
    };
    let below = WalkDir::new(path).min_depth(1).max_depth(1).follow_root_links(false);
    for entry in below.sort_by(|a, b| a.file_name().as_bytes().cmp(b.file_name().as_bytes())) {
        match entry {
            Ok(entry) => {
                // What the kernel lists is a name.
                let Ok(name) = Name::new(entry.file_name().as_bytes()) else { continue };
                let look = || Ok(stat_at(handle.as_fd(), name.as_bytes())?);
                let stat = patience.run(std::thread::sleep, is_passing, look);
                folder.children.push(Child { name, stat });
            }
            Err(error) => {
                let message = error.to_string();
                folder.errors.push(error.into_io_error().unwrap_or_else(|| io::Error::other(message)));
            }
        }
    }
    let describes = |child: &Child| child.name.as_bytes() == STORE_JSON;
    if folder.children.iter().any(describes) && store.is_described_in(handle.as_fd()) {
        return Folder { is_store: true, ..Folder::default() };
    }
    folder
}
