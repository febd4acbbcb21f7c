//! What can be wrong with a layer, by whose fault it is, and where.

use std::fmt;
use std::io;

use ociget::Mismatch;

use super::entry_name::EntryName;
use super::measure::Measure;

/// Why a layer could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The blob's own stream failed. The source is what it said, untouched.
    #[error("cannot read the layer's blob")]
    Source(#[source] io::Error),
    /// Something else than a layer, whatever the manifest calls it.
    #[error("the blob is no layer: its first bytes are neither tar nor gzip nor zstd")]
    Encoding,
    /// The blob is not what its compression promises: damaged, cut short, or with garbage after
    /// its end.
    #[error("the layer is damaged: its {codec} data is invalid at compressed byte {position}")]
    Compression {
        /// `gzip` or `zstd`.
        codec: &'static str,
        /// How many bytes of the blob were decoded before; the fault is in the piece that begins there, which
        /// is what the network gave at once.
        position: u64,
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
    /// The tar archive breaks the format's rules, or means different things to different readers.
    #[error("{at}: {problem}")]
    Tar {
        /// Where.
        at: At,
        /// What is wrong there.
        problem: Malformed,
    },
    /// A cap of [`Limits`](super::Limits) is exceeded.
    #[error("{at}: {what} is {value}, the limit is {max}{}", .what.advice())]
    Limit {
        /// Where.
        at: At,
        /// What was counted or measured.
        what: Measure,
        /// How much there is; at least, where counting stopped at the limit.
        value: u64,
        /// The limit.
        max: u64,
    },
    /// The decompressed bytes are not those that the image config names.
    #[error("the layer's content is not what the image config promises")]
    DiffId(#[from] Mismatch),
    /// A proof of an archive that was opened without a digest to compare it with.
    #[error("nothing names the digest of the archive, so its contents cannot be verified")]
    Unverified,
}

/// A place in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Offset of the entry's first header in the decompressed layer, in bytes.
    pub position: u64,
    /// Name of the entry, as far as it was read; empty if it was not.
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

/// What is wrong with a tar archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The archive stops before the entry is complete.
    #[error("the archive ends inside it; the layer is cut short")]
    Truncated,
    /// Neither the unsigned nor the signed sum of the header is what it says.
    #[error("the header's checksum is wrong; this is not a tar header")]
    Checksum,
    /// One block of zeros with more behind it: some readers stop there, some go on.
    #[error(
        "a lone zero block with more behind it; readers disagree whether the archive ends here"
    )]
    LoneZeroBlock,
    /// A number field holds something else.
    #[error("the {0} is not a number that tar can hold")]
    Number(&'static str),
    /// A number that is valid, and too large or negative for what it is.
    #[error("the {field} {value} is out of range; the largest is {max}")]
    Range {
        /// Which number.
        field: &'static str,
        /// Its value.
        value: i128,
        /// The largest one allowed.
        max: u64,
    },
    /// A type flag that is none of files, links, directories, devices and fifos.
    #[error("unknown entry type '{}'", .0.escape_ascii())]
    Type(u8),
    /// A name or a link's target that is empty.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// A name or a link's target with a NUL byte in it.
    #[error("the {0} holds a NUL byte")]
    Nul(&'static str),
    /// A `..` component.
    #[error("the {0} holds '..'; it would lead out of the layer")]
    DotDot(&'static str),
    /// The root as something else than a directory, or as the target of a hard link.
    #[error("the root of the image can only be a directory")]
    Root,
    /// A link, directory, device or fifo whose header declares a body.
    #[error("a {kind} with a size of {size}; readers disagree whether a body follows")]
    Body {
        /// What it is.
        kind: &'static str,
        /// The declared size.
        size: u64,
    },
    /// Bytes where `ustar` has the front half of a name, in a header that is almost `ustar`.
    #[error(
        "its header is neither ustar nor GNU and has something where ustar has a name's prefix; readers disagree whether it counts"
    )]
    Prefix,
    /// A file of the oldest format, in which a slash makes a directory, with a slash after only one
    /// of its two names.
    #[error(
        "one of its names ends with '/' and the other does not; readers disagree whether it is a directory"
    )]
    OldDirectory,
    /// A device in a header of the oldest format, which has no device numbers.
    #[error("a device without device numbers")]
    NoDeviceNumbers,
    /// Two extended headers of one kind for the same entry.
    #[error("two {0} headers for one entry; readers disagree which one counts")]
    TwoHeaders(&'static str),
    /// A PAX record and a GNU long header name it differently.
    #[error(
        "a PAX record and a GNU header give it different {0}s; readers disagree which one counts"
    )]
    TwoNames(&'static str),
    /// An extended header with nothing behind it.
    #[error("the archive ends after an extended header that describes nothing")]
    NothingDescribed,
    /// The records of an extended header cannot be taken apart.
    #[error("PAX header: {0}")]
    Pax(&'static str),
    /// An extended attribute cannot be decoded.
    #[error("extended attribute: {0}")]
    Xattr(&'static str),
    /// A sparse file whose map does not fit its content, or of a format that we do not know.
    #[error("sparse file: {0}")]
    Sparse(&'static str),
}

/// Why an entry is refused, before it is known where it is.
#[derive(Debug)]
pub(super) enum Fault {
    Malformed(Malformed),
    Limit(Limit),
}

/// A cap that was exceeded.
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
        }
    }
}

impl From<Malformed> for Fault {
    fn from(problem: Malformed) -> Self {
        Self::Malformed(problem)
    }
}

impl From<Limit> for Fault {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}
