//! Errors of the writer, by the party that has to act.

use std::fmt;
use std::io;

/// Reason why an image could not be written.
///
/// The variants say who has to act: the caller ([`Options`](Error::Options),
/// [`Memory`](Error::Memory), [`Name`](Error::Name), [`Tree`](Error::Tree)), the party that supplied the content
/// ([`Body`](Error::Body), [`File`](Error::File), [`Limit`](Error::Limit), [`Host`](Error::Host),
/// [`Changed`](Error::Changed)), or the owner of the machine
/// ([`Sink`](Error::Sink), [`Shortage`](Error::Shortage)).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is out of range, or the codec it names is not compiled in.
    #[error("invalid option: {0}")]
    Options(String),
    /// A name that a squashfs directory cannot hold.
    #[error("invalid name \"{name}\"{}: {reason}", .path.as_ref().map(|path| format!(" in {path}")).unwrap_or_default())]
    Name {
        /// The name as it was given, bytes that are not printable escaped.
        name: String,
        /// The path that it is a part of, escaped in the same way; `None` if it was given alone.
        path: Option<String>,
        /// The reason.
        reason: &'static str,
    },
    /// An impossible edit of the tree, such as a stale node, a child of a file, or a hard link to a directory.
    #[error("{}{reason}", .entry.as_ref().map(|entry| format!("{entry}: ")).unwrap_or_default())]
    Tree {
        /// The path or name of the edit, bytes that are not printable escaped; `None` if only the node is known.
        entry: Option<String>,
        /// The reason.
        reason: TreeError,
    },
    /// A value that the format cannot express.
    #[error("{what} of {entry} is {value}; squashfs allows at most {max}")]
    Limit {
        /// The counted or measured quantity, as a noun: "symlink target length".
        what: &'static str,
        /// The entry or table it belongs to.
        entry: String,
        /// The value of the caller or of the image.
        value: u64,
        /// The largest value that the format can express.
        max: u64,
    },
    /// A symlink without a target, which the kernel refuses to read.
    #[error("the symlink {entry} has an empty target")]
    EmptyTarget {
        /// The symlink's path.
        entry: String,
    },
    /// A symlink whose target holds a NUL byte. Readers would end it there.
    #[error("the target of the symlink {entry} holds a NUL byte")]
    NulInTarget {
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
        /// Bytes that the option leaves for them.
        allowed: usize,
    },
    /// The system has no memory left for this part of the work. A smaller [`Options::memory`](crate::Options::memory) or
    /// fewer threads need less.
    #[error("cannot allocate memory for {what}")]
    Shortage {
        /// What the memory is for.
        what: &'static str,
        /// The error of the allocator.
        #[source]
        source: io::Error,
    },
    /// Reading a file's content failed. The body can only be dropped; the writer can go on without it.
    #[error("cannot read the content of a file")]
    Body(#[source] io::Error),
    /// Reading the content of a file with a known path failed. The file is not in the tree, and the writer can go on.
    #[error("cannot read the content of {path}")]
    File {
        /// The path as it was given, bytes that are not printable escaped.
        path: String,
        /// The error of its reader.
        #[source]
        source: io::Error,
    },
    /// The host refused access to an entry of a directory that
    /// [`ImageWriter::directory_from`](crate::ImageWriter#method.directory_from) reads.
    #[error("cannot {action} {path}")]
    Host {
        /// The operation, as a verb: "open", "read the extended attributes of".
        action: &'static str,
        /// The path on the host, bytes that are not printable escaped.
        path: String,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// An entry of such a directory changed between two looks at it, so the image would have a state that the directory
    /// never had.
    #[error(
        "{path} changed while it was read: {found}; read it when no other process changes it, or leave it out"
    )]
    Changed {
        /// The path on the host, bytes that are not printable escaped.
        path: String,
        /// The difference.
        found: &'static str,
    },
    /// A body was used after an error of its own: bytes are missing in it. The first error has the cause, and the writer can
    /// go on without the body.
    #[error("the content of a file cannot be written any further: an earlier error left bytes out")]
    Discarded,
    /// Writing the image failed.
    #[error("cannot write the image")]
    Sink(#[source] io::Error),
    /// No body of this image could have this recipe. Nothing was written of it, and the writer can go on.
    #[error("cannot replay a body: {0}")]
    Recipe(&'static str),
    /// The source of stored blocks failed.
    #[error("cannot read what an earlier image stores")]
    Source(#[source] io::Error),
    /// A codec failed. The fault is that of the codec or of this crate, not of the data.
    #[error("the {codec} compressor failed")]
    Codec {
        /// Name of the codec.
        codec: &'static str,
        /// Its error.
        #[source]
        source: io::Error,
    },
    /// The threads that compress have ended, which only a panicking codec can cause.
    #[error("cannot compress: the compression threads have ended")]
    Thread(#[source] io::Error),
    /// The caller's condition for cancelling was met; see
    /// [`DataWriter::cancel_when`](crate::DataWriter::cancel_when).
    #[error("writing the image was cancelled")]
    Cancelled,
    /// The writer was used after it had failed, or after a sink, a listener or another part of the caller had panicked in it.
    /// The first error or the panic has the cause.
    #[error("the image cannot be written any further: an earlier error or panic ended it")]
    Poisoned,
}

/// Reason why an edit of a tree of inodes is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeError {
    /// The node was removed from the tree, or belongs to another one.
    Stale,
    /// The parent of a name is not a directory.
    NotADirectory,
    /// The target of a hard link is a directory, which has exactly one name.
    LinkToDirectory,
    /// The root would be replaced or removed, which has no name.
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

impl Error {
    /// Returns the error for memory that could not be reserved.
    pub(crate) fn shortage(what: &'static str, error: impl Into<io::Error>) -> Self {
        Self::Shortage {
            what,
            source: error.into(),
        }
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
    /// Returns the error with the name or path of the edit.
    pub(crate) fn at(self, entry: &[u8]) -> Error {
        Error::Tree {
            entry: Some(shown(entry)),
            reason: self,
        }
    }
}

/// Characters of a path that a message shows: more than any path that a system call takes.
const SHOWN: usize = 5000;

/// Returns a name or path for a message, with bytes that are not printable escaped.
pub(crate) fn shown(path: &[u8]) -> String {
    shortened(path.escape_ascii().to_string())
}

/// Leaves out the middle of a long text of ASCII.
pub(crate) fn shortened(text: String) -> String {
    let half = SHOWN / 2;
    let (first, last) = (
        text.get(..half),
        text.get(text.len().saturating_sub(half)..),
    );
    match (first, last) {
        (Some(first), Some(last)) if text.len() > SHOWN => {
            format!("{first} [{} characters] {last}", text.len() - 2 * half)
        }
        _ => text,
    }
}
