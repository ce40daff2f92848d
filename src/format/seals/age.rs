//! Pieces of data as age files: `age -d -i KEY FILE | zstd -dc` opens each.
//!
//! What is encrypted is one zstd frame and one skippable frame of zeros, which brings the whole file to a Padmé length; blocks of
//! manifests have a skippable frame with their measures before it. zstd passes over skippable frames.

use super::padding::{next_padme, padme};
use super::zstd::{FrameOpener, FrameSealer, frame_bound};
use crate::format::FormatError;
use crate::format::keys::{HeaderLimits, header};
use age::x25519;
use std::cell::Cell;
use std::io::{self, Read, Write};

/// Bytes that an age file encrypts at a time, and what that adds to each of them. (age-encryption.org/v1, "Payload")
const PIECE: u64 = 64 << 10;
const PIECE_TAG: u64 = 16;
/// Bytes between header and payload.
const NONCE: u64 = 16;

/// What a frame of zeros begins with, and one of a block's measures; zstd keeps sixteen such numbers for skippable frames.
const PADDING_MARK: [u8; 4] = 0x184d_2a50u32.to_le_bytes();
const MEASURES_MARK: [u8; 4] = 0x184d_2a51u32.to_le_bytes();
/// Mark and length.
const FRAME_HEADER: usize = 8;
/// A frame of a block's measures.
const MEASURES: usize = FRAME_HEADER + 8;

/// No file of an object is shorter, in bytes, and none of a manifest's blocks.
const OBJECT_FLOOR: u64 = 32 << 10;
const BLOCK_FLOOR: u64 = 1 << 10;

/// Those of objects and blocks: two recipients, and two stanzas that stand for nobody.
const LIMITS: HeaderLimits = HeaderLimits { bytes: 4 << 10, stanzas: 4 };

/// The most bytes that an object's file can take in a sealed store.
pub(super) fn sealed_bound(plain: usize) -> usize {
    let payload = (frame_bound(plain) + FRAME_HEADER) as u64;
    let length = LIMITS.bytes as u64 + NONCE + payload + payload.div_ceil(PIECE) * PIECE_TAG;
    // The next length that can be reached is at most one step further.
    next_padme(padme(length)).max(OBJECT_FLOOR) as usize
}

/// Bytes of the payload that make a file of `length` bytes whose header and nonce take `before`, if any do.
fn payload_of(length: u64, before: u64) -> Option<u64> {
    let body = length.checked_sub(before)?;
    let pieces = body.div_ceil(PIECE + PIECE_TAG);
    let payload = body.checked_sub(pieces * PIECE_TAG)?;
    // Every piece but the only one has a byte, and they are as many as that payload takes.
    (payload > 0 && payload.div_ceil(PIECE) == pieces).then_some(payload)
}

/// Compresses pieces of data, and encrypts them for recipients; keeps its working memory between them.
pub(super) struct AgeSealer {
    frames: FrameSealer,
    frame: Vec<u8>,
}

impl AgeSealer {
    pub(super) fn new(frames: FrameSealer) -> Self {
        Self { frames, frame: Vec::new() }
    }

    /// Seals a chunk into an object's file.
    ///
    /// # Errors
    /// When memory or random numbers run out.
    pub(super) fn object(
        &mut self,
        plain: &[u8],
        to: &[&x25519::Recipient],
        stored: &mut Vec<u8>,
    ) -> io::Result<()> {
        self.seal(&[], plain, to, OBJECT_FLOOR, stored)
    }

    /// Seals the plain bytes of a manifest's block, with its measures.
    ///
    /// # Errors
    /// When memory or random numbers run out.
    pub(super) fn block(
        &mut self,
        items: u32,
        plain: &[u8],
        to: &[&x25519::Recipient],
        stored: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut measures = MEASURES_MARK.to_vec();
        for number in [8, items, plain.len() as u32] {
            measures.extend_from_slice(&number.to_le_bytes());
        }
        self.seal(&measures, plain, to, BLOCK_FLOOR, stored)
    }

    /// Compresses what anybody may read.
    ///
    /// # Errors
    /// When memory runs out.
    pub(super) fn public(&mut self, plain: &[u8], stored: &mut Vec<u8>) -> io::Result<()> {
        self.frames.seal_into(plain, stored)
    }

    fn seal(
        &mut self,
        measures: &[u8],
        plain: &[u8],
        to: &[&x25519::Recipient],
        floor: u64,
        stored: &mut Vec<u8>,
    ) -> io::Result<()> {
        self.frames.seal_into(plain, &mut self.frame)?;
        stored.clear();
        let to = to.iter().map(|recipient| *recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(to).map_err(io::Error::other)?;
        // The header is made first: the library puts a stanza of random length into each.
        let written = Cell::new(0);
        let mut out = encryptor.wrap_output(Counted { bytes: stored, written: &written })?;
        let before = written.get();
        let content = (measures.len() + self.frame.len() + FRAME_HEADER) as u64;
        let mut length = padme(floor.max(before + content + content.div_ceil(PIECE) * PIECE_TAG));
        let payload = loop {
            match payload_of(length, before) {
                Some(payload) if payload >= content => break payload,
                _ => length = next_padme(length),
            }
        };
        let padding = payload - content;
        out.write_all(measures)?;
        out.write_all(&self.frame)?;
        out.write_all(&PADDING_MARK)?;
        out.write_all(&(padding as u32).to_le_bytes())?;
        io::copy(&mut io::repeat(0).take(padding), &mut out)?;
        out.finish()?;
        debug_assert_eq!(written.get(), length);
        Ok(())
    }
}

/// Bytes that are counted while somebody else writes them.
struct Counted<'a> {
    bytes: &'a mut Vec<u8>,
    written: &'a Cell<u64>,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.written.set(self.written.get() + bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens what was sealed for anybody, or for one of some identities; keeps its working memory between pieces of data.
pub(super) struct AgeOpener {
    frames: FrameOpener,
    payload: Vec<u8>,
}

impl AgeOpener {
    pub(super) fn new(frames: FrameOpener) -> Self {
        Self { frames, payload: Vec::new() }
    }

    /// Opens what anybody may read: a frame of exactly `length` bytes.
    ///
    /// # Errors
    /// [`FormatError`] naming `part`.
    pub(super) fn public(
        &mut self,
        stored: &[u8],
        length: u32,
        part: &'static str,
        plain: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        self.frames.open_into(stored, length, part, plain)
    }

    /// Opens an object's file, which must hold a chunk of exactly `length` bytes, into `plain`.
    ///
    /// # Errors
    /// [`FormatError`] naming `part`. Nothing that was decrypted is in `plain` then.
    pub(super) fn object(
        &mut self,
        stored: &[u8],
        length: u32,
        with: &[&x25519::Identity],
        part: &'static str,
        plain: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        plain.clear();
        self.decrypt(stored, with, part)?;
        let Self { frames, payload } = self;
        let (frame, _) = split_padding(payload, part)?;
        frames.open_into(frame, length, part, plain)
    }

    /// Opens a manifest's block into `plain`; returns how many items it says it has.
    ///
    /// # Errors
    /// [`FormatError`] naming `part`. Nothing that was decrypted is in `plain` then.
    pub(super) fn block(
        &mut self,
        stored: &[u8],
        limit: u32,
        with: &[&x25519::Identity],
        part: &'static str,
        plain: &mut Vec<u8>,
    ) -> Result<u32, FormatError> {
        plain.clear();
        self.decrypt(stored, with, part)?;
        let Self { frames, payload } = self;
        let (measures, rest) = payload.split_at_checked(MEASURES).unwrap_or_default();
        let (numbers, _) = measures.get(4..).unwrap_or_default().as_chunks::<4>();
        let [eight, items, length] = [0, 1, 2].map(|n| numbers.get(n).map_or(0, |n| u32::from_le_bytes(*n)));
        if !measures.starts_with(&MEASURES_MARK) || eight != 8 || length > limit {
            return Err(FormatError::invalid(part, "what it begins with are not the measures of a block"));
        }
        let (frame, _) = split_padding(rest, part)?;
        frames.open_into(frame, length, part, plain)?;
        Ok(items)
    }

    /// Decrypts a whole file. Nothing of it is used before its end was reached and found authentic.
    fn decrypt(
        &mut self,
        stored: &[u8],
        with: &[&x25519::Identity],
        part: &'static str,
    ) -> Result<(), FormatError> {
        let failed = |reason: String| FormatError::invalid(part, reason);
        let header = header(stored, LIMITS, part)?;
        if header.passphrase {
            return Err(failed("it is encrypted with a passphrase".into()));
        }
        let before = header.length as u64 + NONCE;
        let length =
            payload_of(stored.len() as u64, before).ok_or_else(|| failed("it is cut short".into()))?;
        let with = with.iter().map(|identity| *identity as &dyn age::Identity);
        // The library's own messages have several lines, with advice that is not ours.
        let damaged = || failed("its header is damaged".into());
        let decryptor = age::Decryptor::new_buffered(stored).map_err(|_| damaged())?;
        let opened = decryptor.decrypt(with).map_err(|e| match e {
            age::DecryptError::NoMatchingKeys => FormatError::NoKey(part),
            _ => damaged(),
        })?;
        self.payload.clear();
        self.payload.reserve_exact(length as usize);
        let read = opened.take(length.saturating_add(1)).read_to_end(&mut self.payload);
        match read {
            Ok(read) if read as u64 == length => Ok(()),
            Ok(_) => Err(failed("its payload has another length".into())),
            Err(_) => Err(failed("its content is damaged, or cut short".into())),
        }
    }
}

/// Splits a payload's zstd frame from the frame of zeros that ends it.
fn split_padding<'a>(payload: &'a [u8], part: &'static str) -> Result<(&'a [u8], &'a [u8]), FormatError> {
    let split = FrameOpener::frame_length(payload).and_then(|length| payload.split_at_checked(length));
    let is_padding = |rest: &[u8]| {
        let (mark, zeros) = rest.split_at_checked(FRAME_HEADER).unwrap_or_default();
        let length = (zeros.len() as u32).to_le_bytes();
        mark == [PADDING_MARK, length].concat() && zeros.iter().all(|byte| *byte == 0)
    };
    split.filter(|(_, rest)| is_padding(rest)).ok_or_else(|| {
        FormatError::invalid(part, "what is encrypted in it is not one zstd frame and its padding")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::seals::padding::padme;

    fn sealer() -> AgeSealer {
        AgeSealer::new(FrameSealer::new(3).unwrap())
    }

    fn opener() -> AgeOpener {
        AgeOpener::new(FrameOpener::new().unwrap())
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn objects_open_again_and_have_few_lengths() {
        let key = x25519::Identity::generate();
        let (mut sealed, mut opened, mut opener) = (Vec::new(), Vec::new(), opener());
        // Around the ends of the pieces that age encrypts, where a length may be out of reach.
        let around = (1..6).flat_map(|pieces| (0..40).map(move |n| pieces * 65_536 - 300 + n * 15));
        for length in [1, 100, 20_000, 1 << 20].into_iter().chain(around) {
            let chunk = noise(length);
            sealer().object(&chunk, &[&key.to_public()], &mut sealed).unwrap();
            assert!(
                sealed.len() as u64 == padme(sealed.len() as u64) && sealed.len() >= 32 << 10,
                "{length}"
            );
            assert!(sealed.len() <= sealed_bound(length), "{length}");
            opener.object(&sealed, length as u32, &[&key], "it", &mut opened).unwrap();
            assert!(opened == chunk, "{length}");
        }
        let lengths: std::collections::BTreeSet<usize> = (1..200)
            .map(|n| {
                sealer().object(&noise(n * 100), &[&key.to_public()], &mut sealed).unwrap();
                sealed.len()
            })
            .collect();
        assert_eq!(lengths.len(), 1, "what is small has one length");
    }

    #[test]
    fn nothing_comes_out_of_what_is_not_whole() {
        let (key, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        let (chunk, mut sealed, mut opened) = (noise(150_000), Vec::new(), Vec::new());
        sealer().object(&chunk, &[&key.to_public()], &mut sealed).unwrap();
        let mut open = |bytes: &[u8], length, with: &[&x25519::Identity]| {
            let error = opener().object(bytes, length, with, "it", &mut opened).unwrap_err();
            assert!(opened.is_empty(), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
            error
        };
        assert_eq!(open(&sealed, 150_000, &[&other]), FormatError::NoKey("it"));
        assert_eq!(open(&sealed, 150_000, &[]), FormatError::NoKey("it"));
        for cut in [0, 10, 100, 1000, 65_000, sealed.len() - 1] {
            open(&sealed[..cut], 150_000, &[&key]);
        }
        open(&[sealed.as_slice(), b"x"].concat(), 150_000, &[&key]);
        for at in (0..sealed.len()).step_by(997).chain(sealed.len() - 20..sealed.len()) {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            open(&flipped, 150_000, &[&key]);
        }
        open(b"age-encryption.org/v1\n-> scrypt AAAA 1\nAAAA\n--- x\n", 1, &[&key]);
    }

    #[test]
    fn only_one_frame_and_zeros_are_taken() {
        let key = x25519::Identity::generate();
        let encrypted = |payload: &[u8]| {
            let mut file = Vec::new();
            let public = key.to_public();
            let to = std::iter::once(&public as &dyn age::Recipient);
            let mut out = age::Encryptor::with_recipients(to).unwrap().wrap_output(&mut file).unwrap();
            out.write_all(payload).unwrap();
            out.finish().unwrap();
            file
        };
        let mut frame = Vec::new();
        FrameSealer::new(1).unwrap().seal_into(b"abc", &mut frame).unwrap();
        let padding = |bytes: &[u8]| [&PADDING_MARK[..], &(bytes.len() as u32).to_le_bytes(), bytes].concat();
        let (none, zeros, text) = (padding(b""), padding(&[0; 9]), padding(b"hidden"));
        let mut opened = Vec::new();
        for (payload, is_right) in [
            ([frame.clone(), none.clone()].concat(), true),
            ([frame.clone(), zeros.clone()].concat(), true),
            (frame.clone(), false),
            ([frame.clone(), text].concat(), false),
            ([frame.clone(), zeros.clone(), none.clone()].concat(), false),
            ([frame.clone(), frame.clone(), none.clone()].concat(), false),
            ([none.clone(), frame.clone(), none.clone()].concat(), false),
            (none, false),
        ] {
            let opened = opener().object(&encrypted(&payload), 3, &[&key], "it", &mut opened);
            assert_eq!(opened.is_ok(), is_right, "{payload:x?}");
        }
    }

    #[test]
    fn blocks_say_their_measures() {
        let (key, compare) = (x25519::Identity::generate(), x25519::Identity::generate());
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        sealer().block(7, b"seven", &[&key.to_public(), &compare.to_public()], &mut sealed).unwrap();
        assert_eq!(sealed.len(), 1024);
        for key in [&key, &compare] {
            assert_eq!(opener().block(&sealed, 100, &[key], "it", &mut opened), Ok(7));
            assert_eq!(opened, b"seven");
        }
        assert!(opener().block(&sealed, 4, &[&key], "it", &mut opened).is_err(), "no more than may be");
        sealer().object(b"seven", &[&key.to_public()], &mut sealed).unwrap();
        assert!(opener().block(&sealed, 100, &[&key], "it", &mut opened).is_err(), "an object is no block");
    }
}
