//! Errors of reading tables.

use std::io;

/// Reason why the tables of an image cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read, or ends too early.
    #[error("the file can't be read")]
    Io(#[from] io::Error),
    /// The tables contradict themselves or the format.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// The tables are compressed with a codec that is not compiled in. The number is the superblock's.
    #[error("compressed with codec {0}, which can't be read here")]
    Codec(u16),
    /// The tables refer to more than a reader of them takes. An image may have as many names as that, and so do tables
    /// that were made, or damaged, so that they contain a cycle.
    #[error("the tables refer to more than {max} {what}, the limit for reading them")]
    TooMuch {
        /// The unit of the limit: "names", "bytes of paths", "steps of work".
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// A file has more bytes than the caller takes.
    #[error("the file has {size} bytes, and {max} are taken at most")]
    TooLong {
        /// Bytes of the file.
        size: u64,
        /// The limit of the caller.
        max: u64,
    },
}
