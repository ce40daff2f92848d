//! Making, moving and removing what has no content of its own.

use super::error::{Result, taken};
use super::handle::Target;
use crate::model::{ArchivePath, Name};
use crate::tree::SourceError;
use crate::tree::stat::stat_at;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use std::os::fd::AsFd;

impl Target {
    /// Moves what stands at `path` to a new name beside it, and returns that.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn move_aside(&mut self, path: &ArchivePath) -> Result<ArchivePath> {
        let (folder, name) = self.parent_to_change(path, "move aside")?;
        let failed = |e| SourceError::new(path, "move aside", e);
        for number in 1.. {
            let mut aside = name.as_bytes().to_vec();
            aside.extend_from_slice(format!(".stale-{number}").as_bytes());
            let Ok(aside) = Name::new(&aside) else { break };
            match stat_at(folder.as_fd(), aside.as_bytes()) {
                Ok(_) => continue,
                Err(Errno::NOENT) => {}
                Err(e) => return Err(failed(e)),
            }
            let (from, to) = (name.as_bytes(), aside.as_bytes());
            rustix::fs::renameat(folder.as_fd(), from, folder.as_fd(), to).map_err(failed)?;
            return Ok(path.parent().unwrap_or_default().child(&aside));
        }
        Err(failed(Errno::NAMETOOLONG))
    }

    /// Makes a folder, for now accessible to its owner alone.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn make_folder(&mut self, path: &ArchivePath) -> Result<()> {
        let (folder, name) = self.parent_to_change(path, "open the folder of")?;
        rustix::fs::mkdirat(folder.as_fd(), name.as_bytes(), Mode::RWXU)
            .map_err(|e| taken(path, "make", e))?;
        self.outside.note(path.clone());
        self.own.add(folder.as_fd(), name.as_bytes());
        Ok(())
    }

    /// Makes `path` another name of what stands at `existing`.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn make_hard_link(&mut self, existing: &ArchivePath, path: &ArchivePath) -> Result<()> {
        let failed = |e| SourceError::new(path, "link", e);
        let (from, old) = self.parent(existing).map_err(failed)?;
        let (to, new) = self.parent_to_change(path, "link")?;
        let linked =
            rustix::fs::linkat(from.as_fd(), old.as_bytes(), to.as_fd(), new.as_bytes(), AtFlags::empty());
        linked.map_err(failed)
    }

    /// Makes `path` another name of what stands at the same path of another tree.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn link_from(&mut self, tree: &mut Self, path: &ArchivePath) -> Result<()> {
        let failed = |e| SourceError::new(path, "link", e);
        let (from, name) = tree.parent(path).map_err(failed)?;
        let (to, _) = self.parent_to_change(path, "link")?;
        let name = name.as_bytes();
        rustix::fs::linkat(from.as_fd(), name, to.as_fd(), name, AtFlags::empty()).map_err(failed)
    }

    /// Removes what stands at `path`: a folder only if it is empty.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn remove(&mut self, path: &ArchivePath, is_folder: bool) -> Result<()> {
        let failed = |e| SourceError::new(path, "remove", e);
        let (folder, name) = self.parent_to_change(path, "remove")?;
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        self.steps.forget(path);
        rustix::fs::unlinkat(folder.as_fd(), name.as_bytes(), flags).map_err(failed)
    }
}
