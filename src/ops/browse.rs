//! Looking into a store: its weeks, a manifest's tree, one file.

use super::{Error, Run};
use crate::archive::{Archive, ArchiveError, ContentReader, Extents, Manifest, ManifestId};
use crate::cache::Cache;
use crate::model::{ArchivePath, Entry, Kind, Owners, Shown, Summary};
use std::io::Write;

/// One manifest, as `list` shows it.
#[derive(Debug)]
pub struct Listed {
    /// Which.
    pub id: ManifestId,
    /// Bytes of its file.
    pub length: u64,
    /// What it says about itself, or why that cannot be told.
    pub summary: Result<Summary, NoSummary>,
}

/// Why a manifest's summary cannot be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoSummary {
    /// It is damaged, in this way.
    Damaged(String),
    /// It is a foreign copy of another one, as this tells.
    Foreign(String),
    /// The storage did not let us read it, for this reason: it may be whole.
    Unreadable(String),
}

/// All manifests, oldest week first. One that is damaged is listed as such, unless the cache still knows its summary.
///
/// # Errors
/// [`Error`] when the store cannot be listed.
pub fn list(archive: &Archive, cache: Option<&Cache>) -> Result<Vec<Listed>, Error> {
    let all = archive.manifests()?;
    let why = |id: &ManifestId, error: ArchiveError| match archive.as_foreign(id, &all) {
        _ if error.is_access() => NoSummary::Unreadable(error.to_string()),
        Ok(Some(foreign)) => NoSummary::Foreign(foreign.to_string()),
        _ => NoSummary::Damaged(error.to_string()),
    };
    let list = |m: &crate::archive::ManifestRef| {
        let summary = archive.summary_of(m, cache).map_err(|error| why(&m.id, error));
        Listed { id: m.id.clone(), length: m.length, summary }
    };
    Ok(all.iter().map(list).collect())
}

/// Refuses a store that has objects and not one manifest, published or in the trash: it is not all there.
///
/// # Errors
/// [`crate::archive::ArchiveError::NoManifests`]; [`Error`] when the store cannot be listed.
pub fn check_manifests(archive: &Archive) -> Result<(), Error> {
    let listed = archive.manifests()?;
    // Most stores have manifests: no more is asked of them.
    if listed.is_empty() && archive.lacks_manifests(&listed, &archive.list_objects()?)? {
        return Err(crate::archive::ArchiveError::NoManifests(archive.location()).into());
    }
    Ok(())
}

/// How much of a tree to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// What is directly in the folder, or the path itself where it is no folder.
    Children,
    /// All that is below.
    All,
}

/// Hands the entries at and below `path` to `show`, in path order.
///
/// # Errors
/// [`Error::NoSuchPath`] when the manifest has no such path; what `show` returns.
pub fn ls(
    manifest: &Manifest,
    path: &ArchivePath,
    depth: Depth,
    mut show: impl FnMut(&ArchivePath, &Entry, &Owners) -> Result<(), Error>,
) -> Result<(), Error> {
    let owners = manifest.owners()?;
    let itself = find(manifest, path)?;
    if itself.kind != Kind::Directory {
        return show(path, &itself, &owners);
    }
    if depth == Depth::Children {
        for entry in manifest.children(path)? {
            let (at, entry) = entry?;
            show(&at, &entry, &owners)?;
        }
        return Ok(());
    }
    for entry in manifest.entries_from(path)? {
        let (at, entry) = entry?;
        // What is below a path follows it at once.
        if at > *path && !at.is_within(path) {
            break;
        }
        if at >= *path && !at.is_root() {
            show(&at, &entry, &owners)?;
        }
    }
    Ok(())
}

fn no_such_path(manifest: &Manifest, path: &ArchivePath) -> Error {
    Error::NoSuchPath(format!("{} has no path {path}; see `weekvault ls`", manifest.id()))
}

/// Bytes that are written at once.
const READ: usize = 256 << 10;

/// Writes the content of one file to `out`, each chunk verified before any of it is written.
///
/// # Errors
/// [`Error`] when there is no such file, when an object is damaged, or what `out` returns.
pub fn cat(run: Run<'_>, manifest: &Manifest, path: &ArchivePath, out: &mut dyn Write) -> Result<(), Error> {
    let mut entry = find(manifest, path)?;
    if let Kind::HardLink(first) = &entry.kind {
        entry = find(manifest, first)?;
    }
    let Kind::File(content) = entry.kind else {
        let what = match entry.kind {
            Kind::Directory => "a folder, not a file; `weekvault ls` shows what is in it".to_owned(),
            Kind::Symlink(target) => format!("a symbolic link to {}", Shown(&target)),
            _ => "no regular file".to_owned(),
        };
        return Err(Error::WrongKind { path: path.clone(), what });
    };
    run.archive.check_trusted(manifest)?;
    run.archive.check_readable(manifest)?;
    let mut reader = ContentReader::new(run.archive, manifest.objects()?)?;
    let (file, mut buffer, mut at) = (Extents::new(&content), vec![0; READ], 0);
    let failed = Error::system("write the output");
    loop {
        run.go_on()?;
        let read = reader.read_at(&file, at, &mut buffer)?;
        if read == 0 && at < file.length() {
            return Err(Error::Bug(format!("{path} ends after {at} of {} bytes", file.length())));
        }
        if read == 0 {
            return out.flush().map_err(failed);
        }
        out.write_all(buffer.get(..read).unwrap_or_default()).map_err(&failed)?;
        at += read as u64;
    }
}

fn find(manifest: &Manifest, path: &ArchivePath) -> Result<Entry, Error> {
    manifest.find(path)?.ok_or_else(|| no_such_path(manifest, path))
}
