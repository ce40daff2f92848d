//! What may be wrong with an object.

use std::fmt;

/// What is wrong with an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Damage {
    /// There is no file of its name.
    Missing,
    /// Its file has another length than the manifest says.
    Length {
        /// Bytes it has.
        found: u64,
        /// Bytes it should have.
        expected: u64,
    },
    /// Its file cannot be decompressed to the chunk's length.
    Undecodable(String),
    /// Its file holds other bytes than its name says.
    Content,
    /// Something else stands in its place, or a file that is larger than any object.
    NoObject(String),
    /// The storage did not let us read it: it may be whole.
    Unreadable(String),
    /// The storage is gone, or has not answered for long: others are not to be had either.
    Unreachable(String),
}

impl Damage {
    /// Whether this was seen of the content, or of its absence. What could not be read may be whole.
    pub fn is_verdict(&self) -> bool {
        !matches!(self, Self::Unreadable(_) | Self::Unreachable(_))
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Length { found, expected } => {
                write!(f, "damaged: {found} bytes long instead of {expected}")
            }
            Self::Undecodable(reason) => write!(f, "damaged: {reason}"),
            Self::Content => f.write_str("damaged: its content does not have its name's hash"),
            Self::NoObject(reason) => write!(f, "damaged: {reason}"),
            Self::Unreadable(reason) | Self::Unreachable(reason) => write!(f, "not checked: {reason}"),
        }
    }
}

/// What a look at some copies of an object came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Copies {
    /// One is whole.
    Whole,
    /// None that could be read is whole, but there is one that could not be read, for this reason.
    Unreadable(String),
    /// None is whole.
    None,
}

impl Copies {
    /// Whether one is whole.
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}
