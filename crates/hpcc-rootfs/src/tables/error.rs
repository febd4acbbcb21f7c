//! Why tables can't be read.

use std::io;

/// Why the tables of an image can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read, or ends too early.
    #[error("the file can't be read")]
    Io(#[from] io::Error),
    /// They contradict themselves or the format.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// They are compressed with a codec that is not compiled in. The number is the superblock's.
    #[error("compressed with codec {0}, which can't be read here")]
    Codec(u16),
    /// They lead to more than any image that this program writes with its default limits. Most likely
    /// they were made, or damaged, so that they repeat themselves.
    #[error("the tables lead to more than {max} {what}; most likely they repeat themselves")]
    TooMuch {
        /// The unit of the limit: "names", "bytes of paths", "steps of work".
        what: &'static str,
        /// The limit.
        max: u64,
    },
}
