//! Pieces of data as zstd frames.

use crate::format::FormatError;
use std::io;

/// What a zstd frame begins with. zstd would also take others: those of its first versions, and frames to be skipped.
const MAGIC: [u8; 4] = zstd::zstd_safe::MAGICNUMBER.to_le_bytes();

/// The most bytes that a frame of `plain` bytes can take.
pub(super) fn frame_bound(plain: usize) -> usize {
    zstd::zstd_safe::compress_bound(plain)
}

/// Compresses pieces of data; keeps its working memory between them.
pub(super) struct FrameSealer(zstd::bulk::Compressor<'static>);

impl FrameSealer {
    pub(super) fn new(level: i32) -> io::Result<Self> {
        zstd::bulk::Compressor::new(level).map(Self)
    }

    /// Compresses `plain` into `stored`, whose old content is dropped. The frame says its plain length.
    ///
    /// # Errors
    /// When zstd fails, which means that memory ran out.
    pub(super) fn seal_into(&mut self, plain: &[u8], stored: &mut Vec<u8>) -> io::Result<()> {
        stored.clear();
        stored.reserve_exact(frame_bound(plain.len()));
        self.0.compress_to_buffer(plain, stored)?;
        Ok(())
    }
}

/// Opens frames; keeps its working memory between them.
pub(super) struct FrameOpener(zstd::bulk::Decompressor<'static>);

impl FrameOpener {
    pub(super) fn new() -> io::Result<Self> {
        zstd::bulk::Decompressor::new().map(Self)
    }

    /// How long the frame is that `stored` begins with, if it is one.
    pub(super) fn frame_length(stored: &[u8]) -> Option<usize> {
        let length = zstd::zstd_safe::find_frame_compressed_size(stored);
        length.ok().filter(|_| stored.starts_with(&MAGIC))
    }

    /// How many plain bytes a frame says it holds, if it says so and they are 1 to `limit`.
    pub(super) fn plain_length(stored: &[u8], limit: u32) -> Option<u32> {
        let length = zstd::zstd_safe::get_frame_content_size(stored).ok()??;
        u32::try_from(length).ok().filter(|length| (1..=limit).contains(length))
    }

    /// Opens `stored`, which must hold exactly `length` plain bytes, into `plain`, whose old content is dropped.
    ///
    /// Never writes more than `length` bytes, whatever the frame says of itself.
    ///
    /// # Errors
    /// [`FormatError::Zstd`] naming `part` when it is not one zstd frame, a damaged one, or one of another length. Nothing of it is
    /// in `plain` then.
    pub(super) fn open_into(
        &mut self,
        stored: &[u8],
        length: u32,
        part: &'static str,
        plain: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let failed = |reason: String| FormatError::Zstd { part, reason };
        // zstd would open several frames, end to end, as one: bytes that other readers do not see.
        if Self::frame_length(stored) != Some(stored.len()) {
            plain.clear();
            return Err(failed("it is not one whole zstd frame".into()));
        }
        // A slice of exactly this length, so that a frame that lies about its size cannot make more.
        plain.reserve_exact((length as usize).saturating_sub(plain.len()));
        plain.resize(length as usize, 0);
        let reason = match self.0.decompress_to_buffer(stored, plain.as_mut_slice()) {
            Ok(opened) if opened == length as usize => return Ok(()),
            Ok(opened) => format!("{opened} bytes instead of {length}"),
            Err(error) => error.to_string(),
        };
        plain.clear();
        Err(failed(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_the_declared_length() {
        let plain: Vec<u8> = (0..100_000u32).flat_map(|i| (i % 251).to_le_bytes()).collect();
        let (mut stored, mut opened) = (Vec::new(), Vec::new());
        FrameSealer::new(3).unwrap().seal_into(&plain, &mut stored).unwrap();
        assert!(stored.len() < plain.len() / 10);
        let mut opener = FrameOpener::new().unwrap();
        opener.open_into(&stored, 400_000, "object", &mut opened).unwrap();
        assert_eq!(opened, plain);
        for wrong in [0, 399_999, 400_001] {
            assert!(opener.open_into(&stored, wrong, "object", &mut opened).is_err());
            assert!(opened.is_empty());
        }
        for cut in [0, 1, 10, stored.len() - 1] {
            assert!(opener.open_into(&stored[..cut], 400_000, "object", &mut opened).is_err());
        }
    }

    #[test]
    fn opens_only_one_frame_of_zstd() {
        let (mut stored, mut opened) = (Vec::new(), Vec::new());
        FrameSealer::new(3).unwrap().seal_into(b"abc", &mut stored).unwrap();
        let skippable = [b"\x50\x2a\x4d\x18\x01\0\0\0", b"x".as_slice()].concat();
        // A raw block in the frame of zstd 0.7.
        let old = b"\x27\xb5\x2f\xfd\x20\x03\x40\x00\x03abc\xc0\x00\x00";
        let mut opener = FrameOpener::new().unwrap();
        opener.open_into(&stored, 3, "object", &mut opened).unwrap();
        for (length, frames) in [
            (6, [stored.clone(), stored.clone()].concat()),
            (3, [stored.clone(), skippable.clone()].concat()),
            (3, [skippable.clone(), stored.clone()].concat()),
            (0, skippable),
            (3, old.to_vec()),
        ] {
            assert!(opener.open_into(&frames, length, "object", &mut opened).is_err(), "{frames:x?}");
        }
    }
}
