//! Why an image cannot be flattened: which layer, which entry.

use std::collections::TryReserveError;
use std::fmt;
use std::io;

use super::layers::LayerSpec;
use crate::layer::{self, EntryName, Limit, Measure};
use crate::units::{Count, ShortDigest, Size};

/// Reason why an image could not be flattened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image has more layers than [`Limits`](layer::Limits) allow.
    #[error(
        "the image has {}, the limit is {max}; if you trust this image, raise the limit with Limits::layers",
        Count::of(*.value, "layer")
    )]
    TooManyLayers {
        /// The number of layers that it has.
        value: usize,
        /// The limit.
        max: usize,
    },
    /// A layer's blob is unreadable, damaged or over a limit.
    #[error("cannot read {layer}")]
    Layer {
        /// The layer.
        layer: LayerName,
        /// The cause.
        #[source]
        source: layer::Error,
    },
    /// A layer is well-formed but requires something that no file system can do.
    #[error("cannot apply {layer}: entry \"{}\" {problem}", .entry.escape_ascii())]
    Entry {
        /// The layer.
        layer: LayerName,
        /// The entry's path.
        entry: EntryName,
        /// The problem.
        problem: EntryProblem,
    },
    /// The contents of a file could not be written.
    #[error("cannot write the content of \"{}\" of {layer}", .entry.escape_ascii())]
    Sink {
        /// The layer of the file.
        layer: LayerName,
        /// Its path.
        entry: EntryName,
        /// The sink's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// This machine has no memory left for the names and the metadata of the image.
    #[error("this machine has too little memory for the names and the metadata of the image")]
    Shortage(#[source] io::Error),
    /// [`LayerSource::check`](super::LayerSource::check) reported that the image is no longer needed.
    #[error("flattening was stopped")]
    Stopped(#[source] layer::Error),
    /// The recorded entries of a layer from an earlier build changed while they were used.
    #[error("cannot take {layer} from an earlier build")]
    Known {
        /// The layer.
        layer: LayerName,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Two passes over a layer with the same digest gave different entries, which is a fault of this program.
    #[error("{layer} lost a file between two readings; this is a bug, please report it")]
    Lost {
        /// The layer.
        layer: LayerName,
    },
}

/// A layer of an image, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerName {
    /// Its index; 0 is the oldest.
    pub index: usize,
    /// Digests and size.
    pub spec: Box<LayerSpec>,
}

impl LayerName {
    pub(crate) fn new(index: usize, spec: &LayerSpec) -> Self {
        Self {
            index,
            spec: Box::new(spec.clone()),
        }
    }
}

impl fmt::Display for LayerName {
    /// Counts from one, as people do. The digest is that of the blob, as registries and progress show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, size) = (self.index + 1, Size(self.spec.size));
        match &self.spec.blob {
            Some(blob) => write!(f, "layer {number} ({}, {size})", ShortDigest(blob)),
            None => {
                let diff_id = ShortDigest(&self.spec.diff_id.0);
                write!(f, "layer {number} (diff ID {diff_id}, {size})")
            }
        }
    }
}

/// The problem of an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryProblem {
    /// A whiteout that names nothing, `.` or `..`.
    #[error("is a whiteout that names nothing that could be removed")]
    Whiteout,
    /// A hard link whose target did not exist before it and did not come later in the layer.
    #[error("is a hard link to \"{}\", which does not exist", .0.escape_ascii())]
    LinkToNothing(EntryName),
    /// A hard link to a directory.
    #[error("is a hard link to \"{}\", which is a directory", .0.escape_ascii())]
    LinkToDirectory(EntryName),
    /// A path whose parents lead through more symlinks than can be followed.
    #[error("has a parent that leads through more than 255 symlinks; most likely a loop")]
    SymlinkLoop,
    /// The components of all paths, with every symlink on the way followed, add up to more than any image needs.
    #[error(
        "exceeds the limit of {0} path components walked in one image, symlinks followed; if you trust this image, raise the limit with Limits::link_steps"
    )]
    LinkSteps(u64),
    /// A path that symlinks make deeper than the limit.
    #[error(
        "is {depth} directories deep once symlinks are followed, the limit is {max}{}",
        Measure::Depth.advice()
    )]
    Depth {
        /// The depth that it would have.
        depth: usize,
        /// The limit.
        max: usize,
    },
    /// A path that symlinks make longer than the limit.
    #[error(
        "has a path of {length} bytes once symlinks are followed, the limit is {max}{}",
        Measure::Path.advice()
    )]
    Length {
        /// The length that it would have.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// The data kept of all entries exceeds [`Limits::metadata_bytes`](layer::Limits::metadata_bytes).
    #[error(
        "exceeds the limit of {max} bytes of memory for the names, links and attributes of the image{}",
        Measure::MetadataBytes.advice()
    )]
    Memory {
        /// The limit.
        max: u64,
    },
    /// The tree itself refuses the entry.
    #[error("is refused: {0}")]
    Tree(String),
}

impl EntryProblem {
    pub(super) fn of(self, entry: &[u8]) -> Problem {
        Halt::from(self).of(entry)
    }
}

/// Why an entry is not applied.
#[derive(Debug)]
pub(super) enum Halt {
    /// The entry cannot be applied.
    Problem(EntryProblem),
    /// The image is no longer needed.
    Stopped(layer::Error),
    /// There is no memory for it.
    Shortage(io::Error),
}

impl Halt {
    pub(super) fn of(self, entry: &[u8]) -> Problem {
        Problem {
            entry: entry.into(),
            halt: self,
        }
    }
}

impl From<Limit> for Halt {
    fn from(limit: Limit) -> Self {
        Self::Problem(EntryProblem::Memory { max: limit.max() })
    }
}

impl From<EntryProblem> for Halt {
    fn from(problem: EntryProblem) -> Self {
        Self::Problem(problem)
    }
}

impl From<sqfs_writer::Error> for Halt {
    fn from(error: sqfs_writer::Error) -> Self {
        match error {
            sqfs_writer::Error::Shortage { source, .. } => Self::Shortage(source),
            error => Self::Problem(EntryProblem::Tree(error.to_string())),
        }
    }
}

impl From<TryReserveError> for Halt {
    fn from(error: TryReserveError) -> Self {
        Self::Shortage(error.into())
    }
}

impl From<TryReserveError> for Error {
    fn from(error: TryReserveError) -> Self {
        Self::Shortage(error.into())
    }
}

impl From<sqfs_writer::Error> for Error {
    /// Returns the error for a tree of which only the handles change, which no entry is responsible for.
    fn from(error: sqfs_writer::Error) -> Self {
        Self::Shortage(io::Error::other(error))
    }
}

/// An entry and its problem, before its layer is known.
#[derive(Debug)]
pub(super) struct Problem {
    entry: Box<[u8]>,
    halt: Halt,
}

impl Problem {
    pub(super) fn at(self, layer: LayerName) -> Error {
        match self.halt {
            Halt::Problem(problem) => Error::Entry {
                layer,
                entry: self.entry.into(),
                problem,
            },
            Halt::Stopped(source) => Error::Stopped(source),
            Halt::Shortage(source) => Error::Shortage(source),
        }
    }
}
