//! Looking at the objects' folders.

use crate::archive::error::ArchiveError;
use crate::archive::layout;
use crate::archive::listing::{Listing, ObjectFile, ObjectFolder};
use crate::archive::open::Archive;
use crate::model::ObjectId;
use crate::store::{Item, ItemKind, Key, Listed};
use std::sync::PoisonError;

/// Whether a folder is one of these, which the folder above it holds.
fn is_folder_of(items: &[Item], folder: &Key) -> bool {
    items.iter().any(|item| item.kind == ItemKind::Folder && item.name == folder.name())
}

impl Archive {
    /// Looks at `objects/`.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn list_objects(&self) -> Result<Listing, ArchiveError> {
        let are_there = self.list(&Key::new(layout::OBJECTS))?;
        let look = |folder: Key| match is_folder_of(&are_there, &folder) {
            true => self.objects.get(self.store.as_ref(), &folder, || self.list_folder(&folder)),
            false => Ok(ObjectFolder::default()),
        };
        let folders = layout::object_folders(&Key::root()).map(look).collect::<Result<_, _>>()?;
        let listing = Listing::new(folders);
        *self.last_listing.lock().unwrap_or_else(PoisonError::into_inner) = Some(listing.clone());
        Ok(listing)
    }

    /// What the last look at `objects/` of this process showed; without one, it looks.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub(in crate::archive) fn last_listing(&self) -> Result<Listing, ArchiveError> {
        let last = self.last_listing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.map_or_else(|| self.list_objects(), Ok)
    }

    /// The objects below a folder of the trash.
    pub(in crate::archive) fn list_objects_below(&self, base: &Key) -> Result<Vec<ObjectFile>, ArchiveError> {
        let mut objects = Vec::new();
        let are_there = self.list(&base.child(layout::OBJECTS))?;
        for folder in layout::object_folders(base).filter(|folder| is_folder_of(&are_there, folder)) {
            objects.extend_from_slice(&self.list_folder(&folder)?.files);
        }
        Ok(objects)
    }

    fn list_folder(&self, folder: &Key) -> Result<ObjectFolder, ArchiveError> {
        let (mut files, mut strange) = (Vec::new(), Vec::new());
        self.store.each(folder, &mut |listed| match listed {
            Listed::Anew => {
                files.clear();
                strange.clear();
            }
            Listed::Item(name, ItemKind::Other) => strange.push(folder.child(name)),
            Listed::Item(_, ItemKind::Folder) => {}
            Listed::Item(name, ItemKind::File { length, .. }) => {
                // An object in another's folder is not where a reader looks for it.
                let is_here = |id: &ObjectId| folder.as_str().ends_with(layout::object_folder(id).as_str());
                let id = layout::parse_object(name).filter(is_here);
                files.extend(id.map(|id| ObjectFile::new(id, length)));
            }
        })?;
        files.sort_unstable();
        Ok(ObjectFolder { files: files.into(), strange: strange.into() })
    }
}
