//! What no store makes, but stands in one: symbolic links, fifos, sockets and devices, and files where directories should
//! be. None of it is followed or opened.

use super::error::ArchiveError;
use super::layout;
use super::listing::Listing;
use super::open::Archive;
use crate::model::Week;
use crate::store::{Item, ItemKind, Key};

/// Whether something stands at a place of the store's own that is not of the kind which that place has.
fn is_strange(item: &Item) -> bool {
    let is_directory_name = matches!(item.name.as_str(), layout::OBJECTS | layout::KEYS | "trash" | "tmp")
        || item.name.parse::<Week>().is_ok();
    match item.kind {
        ItemKind::Other => true,
        ItemKind::File { .. } => is_directory_name,
        ItemKind::Folder => matches!(item.name.as_str(), "store.json" | "lock"),
    }
}

impl Archive {
    /// Where in the store something stands that is passed over because it is neither a regular file nor a directory, or
    /// not the one of them that the place has. `listing` is a look at the objects.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn strange(&self, listing: &Listing) -> Result<Vec<String>, ArchiveError> {
        let other = |folder: &Key, items: &[Item]| -> Vec<Key> {
            items.iter().filter(|i| i.kind == ItemKind::Other).map(|i| folder.child(&i.name)).collect()
        };
        let root = self.list(&Key::root())?;
        let mut found: Vec<Key> =
            root.iter().filter(|item| is_strange(item)).map(|item| Key::root().child(&item.name)).collect();
        for item in root.iter().filter(|item| item.kind == ItemKind::Folder) {
            if let Ok(week) = item.name.parse() {
                let week = layout::week_below(&Key::root(), week);
                found.extend(other(&week, &self.list(&week)?));
            }
        }
        for folder in [layout::trash(), layout::tmp(), layout::keys(), Key::new(layout::OBJECTS)] {
            found.extend(other(&folder, &self.list(&folder)?));
        }
        found.extend(listing.strange().cloned());
        found.sort();
        Ok(found.iter().map(ToString::to_string).collect())
    }
}
