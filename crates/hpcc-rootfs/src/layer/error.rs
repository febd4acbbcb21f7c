//! Errors of layers, sorted by the responsible party, with their location.

use std::collections::TryReserveError;
use std::fmt;
use std::io;

use ociget::Mismatch;

use super::entry_name::EntryName;
use super::measure::Measure;

/// Reason why a layer could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source of the blob failed. Its error is passed on unchanged.
    #[error("cannot read the layer's blob")]
    Source(#[source] io::Error),
    /// The blob is not a layer, whatever the manifest calls it.
    #[error("the blob is not a layer: its first bytes are neither tar nor gzip nor zstd")]
    Encoding,
    /// The compressed data is damaged, cut short, or has garbage after its end.
    #[error("the layer is damaged: its {codec} data is invalid at compressed byte {position}")]
    Compression {
        /// `gzip` or `zstd`.
        codec: &'static str,
        /// Number of bytes of the blob that were decoded before. The fault is in the piece that begins there, which is
        /// the piece in which the network delivered it.
        position: u64,
        /// The error of the decoder.
        #[source]
        source: io::Error,
    },
    /// This machine has no memory or thread left to read the layer, whatever the layer holds.
    #[error("this machine has too little memory, or too few threads, to read the layer")]
    Shortage(#[source] io::Error),
    /// The tar archive breaks the format's rules, or means different things to different readers.
    #[error("{at}: {problem}")]
    Tar {
        /// The location.
        at: At,
        /// The problem.
        problem: Malformed,
    },
    /// One of the [`Limits`](super::Limits) is exceeded.
    #[error("{at}: {what} is {value}, the limit is {max}{}", .what.advice())]
    Limit {
        /// The location.
        at: At,
        /// The measured quantity.
        what: Measure,
        /// The measured value; a lower bound if counting stopped at the limit.
        value: u64,
        /// The limit.
        max: u64,
    },
    /// The decompressed bytes do not match the digest in the image config.
    #[error("the layer's content is not what the image config promises")]
    DiffId(#[from] Mismatch),
    /// A proof was requested for an archive that was opened without a digest to compare it with.
    #[error("no digest of the archive is known, so its contents cannot be verified")]
    Unverified,
}

/// A location in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Offset of the entry's first header in the decompressed layer, in bytes.
    pub position: u64,
    /// Name of the entry, as far as it was read; empty if it was not read.
    pub entry: EntryName,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entry.is_empty() {
            write!(f, "tar header at byte {}", self.position)
        } else {
            let name = self.entry.escape_ascii();
            write!(f, "entry \"{name}\" at byte {} of the tar", self.position)
        }
    }
}

/// The ways in which a tar archive is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The archive stops before the entry is complete.
    #[error("the archive ends inside it; the layer is cut short")]
    Truncated,
    /// The header's checksum equals neither its unsigned nor its signed sum.
    #[error("the header's checksum is wrong; this is not a tar header")]
    Checksum,
    /// One block of zeros with more data after it: some readers stop there, and others go on.
    #[error(
        "a single zero block is followed by more data; readers disagree on whether the archive ends here"
    )]
    LoneZeroBlock,
    /// A number field does not hold a number.
    #[error("the {0} is not a number that tar can hold")]
    Number(&'static str),
    /// A valid number that is negative or too large for its field.
    #[error("the {field} {value} is out of range; the largest is {max}")]
    Range {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i128,
        /// The largest value allowed.
        max: u64,
    },
    /// A type flag other than those of files, links, directories, devices and fifos.
    #[error("unknown entry type '{}'", .0.escape_ascii())]
    Type(u8),
    /// An empty name or link target.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// A name or link target that contains a NUL byte.
    #[error("the {0} holds a NUL byte")]
    Nul(&'static str),
    /// A `..` component.
    #[error("the {0} holds '..'; it would lead out of the layer")]
    DotDot(&'static str),
    /// The root as something other than a directory, or as the target of a hard link.
    #[error("the root of the image can only be a directory")]
    Root,
    /// A link, directory, device or fifo whose header declares a body.
    #[error("a {kind} with a size of {size}; readers disagree on whether a body follows")]
    Body {
        /// The type of the entry.
        kind: &'static str,
        /// The declared size.
        size: u64,
    },
    /// Bytes where `ustar` has the front half of a name, in a header that is almost `ustar`.
    #[error(
        "its header is neither ustar nor GNU and has something where ustar has a name's prefix; readers disagree on whether it counts"
    )]
    Prefix,
    /// A file of the oldest format, in which a slash makes a directory, with a slash after only one of its two names.
    #[error(
        "one of its names ends with '/' and the other does not; readers disagree on whether it is a directory"
    )]
    OldDirectory,
    /// A device in a header of the oldest format, which has no device numbers.
    #[error("a device without device numbers")]
    NoDeviceNumbers,
    /// Two extended headers of one kind for the same entry.
    #[error("two {0} headers for one entry; readers disagree on which one counts")]
    TwoHeaders(&'static str),
    /// A PAX record and a GNU long header that give different names.
    #[error(
        "a PAX record and a GNU header give it different {0}s; readers disagree on which one counts"
    )]
    TwoNames(&'static str),
    /// An extended header at the end of the archive.
    #[error("the archive ends after an extended header that describes nothing")]
    NothingDescribed,
    /// Malformed records in an extended header.
    #[error("PAX header: {0}")]
    Pax(&'static str),
    /// An extended attribute that cannot be decoded.
    #[error("extended attribute: {0}")]
    Xattr(&'static str),
    /// A sparse file whose map does not fit its contents, or has an unknown format.
    #[error("sparse file: {0}")]
    Sparse(&'static str),
}

/// The reason to refuse an entry, before its location is known.
#[derive(Debug)]
pub(super) enum Fault {
    Malformed(Malformed),
    Limit(Limit),
    Shortage(TryReserveError),
}

/// A limit that was exceeded.
#[derive(Debug)]
pub(crate) struct Limit {
    what: Measure,
    value: u64,
    max: u64,
}

impl Limit {
    pub(super) fn check(what: Measure, value: u64, max: u64) -> Result<(), Self> {
        if value > max {
            return Err(Self::exceeded(what, value, max));
        }
        Ok(())
    }

    pub(super) fn exceeded(what: Measure, value: u64, max: u64) -> Self {
        Self { what, value, max }
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    pub(super) fn at(self, at: At) -> Error {
        Error::Limit {
            at,
            what: self.what,
            value: self.value,
            max: self.max,
        }
    }
}

impl Fault {
    pub(super) fn at(self, at: At) -> Error {
        match self {
            Self::Malformed(problem) => Error::Tar { at, problem },
            Self::Limit(limit) => limit.at(at),
            Self::Shortage(error) => error.into(),
        }
    }
}

impl From<Malformed> for Fault {
    fn from(problem: Malformed) -> Self {
        Self::Malformed(problem)
    }
}

impl From<TryReserveError> for Fault {
    fn from(error: TryReserveError) -> Self {
        Self::Shortage(error)
    }
}

impl From<TryReserveError> for Error {
    fn from(error: TryReserveError) -> Self {
        Self::Shortage(error.into())
    }
}

impl From<Limit> for Fault {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}
