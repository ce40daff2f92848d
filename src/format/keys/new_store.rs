//! All keys of a new sealed store.

use super::{
    CompareKey, KeyError, OperatorRecipient, PlainManifest, ReadFile, SealedReadFile, WriterFile,
    WriterSecret,
};
use crate::format::ChunkSizes;
use crate::model::StoreId;

/// What a new sealed store begins with.
#[derive(Debug)]
pub struct NewStore {
    /// The first read file, open. Nothing of it may be kept.
    pub read_file: ReadFile,
    /// The same for its recipients: `keys/read-1-1.age`.
    pub sealed: SealedReadFile,
    /// The first writer's file.
    pub writer: WriterFile,
}

impl NewStore {
    /// Makes all keys of a new sealed store that has one writer. `plain` are the manifests that the store has from before.
    ///
    /// # Errors
    /// [`KeyError::Random`]; those of [`ReadFile::seal`].
    pub fn generate(
        store: StoreId,
        chunks: ChunkSizes,
        recipients: &[OperatorRecipient],
        blind: bool,
        plain: impl IntoIterator<Item = PlainManifest>,
    ) -> Result<Self, KeyError> {
        let sign = WriterSecret::generate()?;
        let compare = if blind { None } else { Some(CompareKey::generate()?) };
        let read_file = ReadFile::new(store, sign.id(), plain)?;
        let sealed = read_file.seal(recipients)?;
        let writer = WriterFile::new(&read_file, sealed.clone(), chunks, sign, compare)?;
        Ok(Self { read_file, sealed, writer })
    }
}
