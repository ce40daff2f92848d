//! Looking at the objects' folders.

use crate::archive::error::ArchiveError;
use crate::archive::layout::{self, ObjectName};
use crate::archive::listing::{Listing, ObjectFile, ObjectFolder, ObjectFolderLook};
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
            objects.extend(self.list_folder(&folder)?.iter());
        }
        Ok(objects)
    }

    /// What an object's file is called. In a sealed store that takes a look at the objects, or the naming key; none where
    /// neither tells.
    pub(in crate::archive) fn name_of(&self, id: &ObjectId) -> Result<Option<ObjectName>, ArchiveError> {
        if id.sum().is_none() {
            return Ok(Some(ObjectName { id: *id, tag: layout::Tag::default() }));
        }
        if let Some(tag) = self.seals().tag(id) {
            return Ok(Some(ObjectName { id: *id, tag }));
        }
        let listing = self.last_listing()?;
        Ok(listing.position(id).and_then(|position| listing.at(position)).map(|file| file.name))
    }

    /// Other files that were there at the last look and are to hold an object's chunk, each with whether somebody who had the
    /// naming key has stored it; none where that takes a key to know.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn others_of(&self, id: &ObjectId) -> Result<Vec<(ObjectId, Option<bool>)>, ArchiveError> {
        let (listing, seals) = (self.last_listing()?, self.seals());
        let files = listing.of_chunk(id.chunk()).filter_map(|at| listing.at(at)).map(|file| file.name);
        let others = files.filter(|name| name.id != *id && name.id.sum().is_some());
        Ok(others.map(|name| (name.id, seals.is_tag(&name.id, &name.tag))).collect())
    }

    fn list_folder(&self, folder: &Key) -> Result<ObjectFolder, ArchiveError> {
        let mut look = ObjectFolderLook::default();
        self.store.each(folder, &mut |listed| match listed {
            Listed::Anew => look.clear(),
            Listed::Item(name, ItemKind::Other) => look.strange.push(folder.child(name)),
            Listed::Item(_, ItemKind::Folder) => {}
            Listed::Item(name, ItemKind::File { length, .. }) => {
                // An object in another's folder is not where a reader looks for it.
                let parsed = layout::parse_object(name).filter(|object| object.belongs_in(folder));
                if let Some(object) = parsed {
                    look.add(ObjectFile::new(object, length));
                }
            }
        })?;
        Ok(look.finish())
    }
}
