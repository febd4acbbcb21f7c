//! What can go wrong, by whose fault it is.

use std::fmt;
use std::io;

/// Why an image could not be written.
///
/// The variants say who has to act: the caller ([`Options`](Error::Options),
/// [`Memory`](Error::Memory), [`Name`](Error::Name), [`Tree`](Error::Tree)), the party that supplied the content
/// ([`Body`](Error::Body), [`File`](Error::File), [`Limit`](Error::Limit)), or the owner of the disk
/// ([`Sink`](Error::Sink)).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is out of range, or the codec it names is not compiled in.
    #[error("invalid option: {0}")]
    Options(String),
    /// A name that a squashfs directory cannot hold.
    #[error("invalid name \"{}\": {reason}", .name.escape_ascii())]
    Name {
        /// The name as given.
        name: Box<[u8]>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An edit of the tree that has no meaning: a stale node, a child of a file, a hard link to a
    /// directory.
    #[error("{}{reason}", .entry.as_ref().map(|entry| format!("{entry}: ")).unwrap_or_default())]
    Tree {
        /// The path or name that the edit was about, what is not printable escaped; `None` where a
        /// node is all that is known.
        entry: Option<String>,
        /// What is wrong with it.
        reason: TreeError,
    },
    /// A value that the format has no room for.
    #[error("{what} of {entry} is {value}; squashfs allows at most {max}")]
    Limit {
        /// What was counted or measured, as a noun: "symlink target length".
        what: &'static str,
        /// The entry or table it belongs to.
        entry: String,
        /// What was asked for.
        value: u64,
        /// The largest value there is.
        max: u64,
    },
    /// A symlink without a target, which the kernel refuses to read.
    #[error("the symlink {entry} has an empty target")]
    EmptyTarget {
        /// The symlink's path.
        entry: String,
    },
    /// The lists of blocks and of xattr sets do not fit the memory that
    /// [`Options::memory`](crate::Options::memory) allows.
    #[error(
        "the lists of blocks and xattr sets need {needed} bytes of memory, the memory option leaves \
         {allowed} for them; allow more, or use larger blocks"
    )]
    Memory {
        /// Bytes that are needed so far.
        needed: usize,
        /// Bytes that there are.
        allowed: usize,
    },
    /// Reading a file's content failed. The body is discarded; the writer can go on without it.
    #[error("cannot read the content of a file")]
    Body(#[source] io::Error),
    /// The same where the file's path is known. It is not in the tree, and the writer can go on.
    #[error("cannot read the content of {path}")]
    File {
        /// The path as it was given, what is not printable escaped.
        path: String,
        /// What reading it said.
        #[source]
        source: io::Error,
    },
    /// Writing the image failed.
    #[error("cannot write the image")]
    Sink(#[source] io::Error),
    /// A recipe is not one that a body of this image could have. Nothing was written of it, and the writer can go on.
    #[error("cannot replay a body: {0}")]
    Recipe(&'static str),
    /// The source of stored blocks failed.
    #[error("cannot read what an earlier image stores")]
    Source(#[source] io::Error),
    /// A codec refused its input; this is a fault of the codec or of this crate, not of the data.
    #[error("the {codec} compressor failed")]
    Codec {
        /// Name of the codec.
        codec: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The threads that compress have ended, which only a panicking codec can cause.
    #[error("cannot compress: the compression threads have ended")]
    Thread(#[source] io::Error),
    /// The caller's condition for giving up was met; see
    /// [`DataWriter::cancel_when`](crate::DataWriter::cancel_when).
    #[error("writing the image was cancelled")]
    Cancelled,
    /// The writer was used after it had failed. The first error is the one to look at.
    #[error("the image cannot be written any further: an earlier error ended it")]
    Poisoned,
}

/// An edit that has no meaning in a tree of inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeError {
    /// The node was removed from the tree, or belongs to another one.
    Stale,
    /// A child was looked up or put below something that is not a directory.
    NotADirectory,
    /// A directory has exactly one name; it can't be hard-linked.
    LinkToDirectory,
    /// The root has no name: it can't be replaced or removed.
    Root,
    /// `mode` has bits above `0o7777`.
    Mode,
    /// The content of a file came from another writer.
    ForeignContent,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "the node is no longer in the tree",
            Self::NotADirectory => "the parent is not a directory",
            Self::LinkToDirectory => "a directory cannot be hard-linked",
            Self::Root => "the root directory cannot be replaced or removed",
            Self::Mode => "mode has bits above 0o7777",
            Self::ForeignContent => "the content of a file was not written by this writer",
        })
    }
}

impl From<TreeError> for Error {
    fn from(reason: TreeError) -> Self {
        Self::Tree {
            entry: None,
            reason,
        }
    }
}

impl TreeError {
    /// With the name or path that it is about.
    pub(crate) fn at(self, entry: &[u8]) -> Error {
        Error::Tree {
            entry: Some(entry.escape_ascii().to_string()),
            reason: self,
        }
    }
}
