//! What may follow what in the entries section: asked by the reader and, before a byte is written, by the writer.

use super::Section;
use crate::format::FormatError;
use crate::format::wire::MAX_PATH;
use crate::model::{ArchivePath, Entry, Extent, Kind, PathStack};

/// Where a sequence of entries has come to.
#[derive(Default)]
pub(super) struct Sequence {
    path: PathStack,
    /// The last entry's path, and whether it is a folder.
    last: Option<(ArchivePath, bool)>,
    /// The one before that.
    before: Option<(ArchivePath, bool)>,
    /// Something was lost: what comes next need not follow on what came before.
    broken: bool,
}

impl Sequence {
    /// The path that it has come to.
    pub(super) fn path(&self) -> &ArchivePath {
        self.path.path()
    }

    /// Whether it has no entry yet, and none was lost.
    pub(super) fn is_at_start(&self) -> bool {
        self.last.is_none() && !self.broken
    }

    /// Notes that entries were lost.
    pub(super) fn break_off(&mut self) {
        self.broken = true;
    }

    /// Begins anew in a folder, if entries were lost before.
    pub(super) fn resume(&mut self, folder: &ArchivePath) {
        if self.broken {
            self.path = PathStack::at(folder);
        }
    }

    /// Checks the next entry against its place, and takes it. `slice` checks what an extent needs of an object. One that
    /// is refused changes nothing.
    pub(super) fn take(
        &mut self,
        entry: &Entry,
        slice: impl FnMut(&ArchivePath, u32, u64) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        match self.check(entry, slice) {
            Ok(path) => {
                self.before = self.last.replace((path, entry.kind == Kind::Directory));
                Ok(())
            }
            Err(error) => {
                self.stand_at_last();
                Err(error)
            }
        }
    }

    /// Takes back the entry that was taken last, once.
    pub(super) fn take_back(&mut self) {
        self.last = self.before.take();
        self.stand_at_last();
    }

    fn stand_at_last(&mut self) {
        self.path = self.last.as_ref().map_or_else(PathStack::default, |(at, _)| PathStack::at(at));
    }

    fn check(
        &mut self,
        entry: &Entry,
        mut slice: impl FnMut(&ArchivePath, u32, u64) -> Result<(), FormatError>,
    ) -> Result<ArchivePath, FormatError> {
        let refuse = |why: &str, path: &ArchivePath| Err(invalid(format!("{path} {why}")));
        if !self.path.enter(entry.depth, entry.name.as_ref()) {
            return refuse("is followed by an entry that skips a level", self.path.path());
        }
        let path = self.path.path().clone();
        if path.as_bytes().len() > MAX_PATH {
            return Err(invalid(format!("a path has more than {MAX_PATH} bytes, the limit")));
        }
        match &self.last {
            None if !self.broken && (entry.depth > 0 || entry.kind != Kind::Directory) => {
                return refuse("comes first, and is not a root folder", &path);
            }
            Some((last, _)) if *last >= path => return refuse("is out of order", &path),
            Some((last, false)) if path.is_within(last) => {
                return refuse("is below something that is no folder", &path);
            }
            _ => {}
        }
        match &entry.kind {
            Kind::File(content) => {
                for extent in &content.extents {
                    if let Extent::Slice { object, offset, length } = *extent {
                        slice(&path, object, u64::from(offset) + u64::from(length))?;
                    }
                }
            }
            Kind::HardLink(target) if *target >= path => {
                return refuse("is a hard link to a later path", &path);
            }
            _ => {}
        }
        Ok(path)
    }
}

/// Checks that an object of so many bytes has all that is needed of it.
pub(super) fn check_slice(path: &ArchivePath, object: u32, end: u64, chunk: u32) -> Result<(), FormatError> {
    if end <= u64::from(chunk) {
        return Ok(());
    }
    Err(invalid(format!("{path} needs the bytes up to {end} of object {object}, which has {chunk}")))
}

pub(super) fn invalid(reason: impl Into<String>) -> FormatError {
    FormatError::invalid(Section::Entries.part(), reason)
}
