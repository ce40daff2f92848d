//! What can be wrong with bytes.

/// Bytes that are not what the format asks for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormatError {
    /// Fewer bytes than the part needs.
    #[error("{part} is cut short: {needed} bytes needed, {found} found")]
    Truncated {
        /// Which part of the file.
        part: &'static str,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The bytes are not of this kind of file at all.
    #[error("{0} has not the mark of its kind: it is damaged or something else")]
    Magic(&'static str),
    /// A newer program made it.
    #[error("{part} has format version {found}, this weekvault knows up to {known}: use a newer weekvault")]
    Version {
        /// Which part of the file.
        part: &'static str,
        /// The version it says.
        found: u32,
        /// The newest version this program reads.
        known: u32,
    },
    /// A hash does not match.
    #[error("{0} does not match its hash: it is damaged")]
    Hash(&'static str),
    /// zstd refuses the frame, or it does not have the declared length.
    #[error("{part} cannot be decompressed: {reason}")]
    Zstd {
        /// Which part of the file.
        part: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The part is sealed in a way that this program does not know.
    #[error(
        "{part} is sealed with scheme {scheme}, which this weekvault does not know: use a newer weekvault"
    )]
    Seal {
        /// Which part of the file.
        part: &'static str,
        /// The number of the scheme.
        scheme: u8,
    },
    /// The part is encrypted, and none of the keys that were given opens it.
    #[error("{0} is encrypted, and no key that opens it was given")]
    NoKey(&'static str),
    /// The bytes decode to something that the format rules out.
    #[error("{part} is invalid: {reason}")]
    Invalid {
        /// Which part of the file.
        part: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Something to be written is larger than the format allows.
    #[error("{what} is too large for the format: {size}, where {limit} is the most")]
    TooLarge {
        /// What it is.
        what: String,
        /// Its size: bytes, or items of a list.
        size: u64,
        /// The most that it may be.
        limit: u64,
    },
}

impl FormatError {
    pub(super) fn invalid(part: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { part, reason: reason.into() }
    }

    /// What serde_json says, which may repeat all of a text that is no number.
    pub(super) fn json(part: &'static str, error: &serde_json::Error) -> Self {
        Self::invalid(part, error.to_string().chars().take(500).collect::<String>())
    }
}
