//! Directories of a store: making them, and making the names in them durable.

use super::state::LocalStore;
use crate::store::StoreOperation as Op;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Whether a file system has no fsync of directories: CIFS before Linux 4.17, 9p, AFS and others say so in these ways.
fn cannot_sync_folders(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const WAYS: [Errno; 5] = [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS, Errno::NOTTY, Errno::BADF];
    error.raw_os_error().is_some_and(|code| WAYS.iter().any(|way| way.raw_os_error() == code))
}

impl LocalStore {
    pub(super) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        match self.waited(|| self.disk().sync_folder(folder)) {
            // A folder that was deleted since has no names left to lose.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) if cannot_sync_folders(&e) => {
                if !self.shared.unsynced.swap(true, Ordering::Relaxed) {
                    let folder = folder.display();
                    tracing::warn!(
                        "{folder}: this file system cannot fsync directories ({e}); going on without"
                    );
                }
                Ok(())
            }
            synced => synced,
        }
    }

    /// Makes a folder, if it is missing, and its name durable, with those of the folders above it: what is moved into
    /// it would be lost with it, and with its old name gone that would be for good.
    pub(super) fn anchor(&self, operation: Op, folder: &Path) -> Result<(), (Op, io::Error)> {
        let loose: Vec<PathBuf> = {
            let folders = self.folders();
            let below_root = folder.ancestors().take_while(|a| *a != self.root && a.starts_with(&self.root));
            below_root.take_while(|a| !folders.rooted.contains(*a)).map(Path::to_path_buf).collect()
        };
        if loose.is_empty() {
            return Ok(());
        }
        let made = self.patiently(|| self.look(folder)).and_then(|seen| match seen {
            None => self.make_folder(folder),
            Some(_) => Ok(()),
        });
        made.map_err(|e| (operation, e))?;
        for above in loose.iter().filter_map(|f| f.parent()) {
            self.sync_folder(above).map_err(|e| (Op::Sync, e))?;
        }
        self.folders().rooted.extend(loose);
        Ok(())
    }
}
