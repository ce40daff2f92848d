//! The keys of the model's sealed store, and the store as those see it who hold them.

use super::runs;
use crate::common::StoreKind;
use std::io::Read;
use std::sync::{Arc, LazyLock};
use weekvault::archive::Archive;
use weekvault::format::keys::{NewStore, OperatorRecipient, ReadFile, ReadKey, SealedReadFile, WriterFile};
use weekvault::format::{Keys, sum_of};
use weekvault::model::ObjectId;

/// Of whoever looks after the model's sealed store.
pub(crate) struct Staff {
    pub(crate) sealed: SealedReadFile,
    pub(crate) writer: Arc<WriterFile>,
    pub(crate) reader: Arc<ReadFile>,
}

pub(crate) static STAFF: LazyLock<Staff> = LazyLock::new(|| {
    let operator: OperatorRecipient = ReadKey::generate().unwrap().recipient().to_string().parse().unwrap();
    let store = runs::STORE.parse().unwrap();
    let new = NewStore::generate(store, runs::CHUNKS, &[operator], false, []).unwrap();
    Staff { sealed: new.sealed, writer: Arc::new(new.writer), reader: Arc::new(new.read_file) }
});

pub(crate) fn kind_of(archive: &Archive) -> StoreKind {
    if archive.config().sealed { StoreKind::Sealed } else { StoreKind::Plain }
}

/// A store as whoever backs up sees it.
pub(crate) fn as_writer(archive: Archive) -> Archive {
    match kind_of(&archive) {
        StoreKind::Plain => archive,
        StoreKind::Sealed => archive.with_keys(Keys::Writer(Arc::clone(&STAFF.writer))),
    }
}

/// A store as whoever restores sees it.
pub(crate) fn as_reader(archive: Archive) -> Archive {
    match kind_of(&archive) {
        StoreKind::Plain => archive,
        StoreKind::Sealed => archive.with_keys(Keys::Reader(Arc::clone(&STAFF.reader))),
    }
}

/// What an object's file is called.
pub(crate) fn file_name(id: &ObjectId) -> String {
    let Some(sum) = id.sum() else { return format!("{id}.zst") };
    let tag = STAFF.reader.name_key().tag(id.chunk(), sum);
    format!("{id}.{:016x}.age", u64::from_be_bytes(tag))
}

/// The chunk that a sealed object's file holds, and what it should be called, as age and zstd tell. None where it is damaged.
pub(crate) fn open_sealed(stored: &[u8]) -> Option<(ObjectId, Vec<u8>)> {
    let key = STAFF.reader.read_keys()[0].identity();
    let opened = age::Decryptor::new(stored).ok()?.decrypt(std::iter::once(key as &dyn age::Identity));
    let (mut frames, mut chunk) = (Vec::new(), Vec::new());
    opened.ok()?.read_to_end(&mut frames).ok()?;
    zstd::Decoder::new(frames.as_slice()).ok()?.read_to_end(&mut chunk).ok()?;
    let name = STAFF.reader.name_key().chunk_id(&chunk);
    Some((ObjectId::sealed(name, sum_of(stored)), chunk))
}
