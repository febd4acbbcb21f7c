//! What can be chosen, and what is told afterwards.

use crate::layer::Limits;

/// How to flatten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How much an image may ask for.
    pub limits: Limits,
    /// Modification time of directories that no layer describes, in seconds since 1970. Times of
    /// entries are never touched.
    pub time: u32,
}

/// What happened while an image was flattened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Tar headers of all layers, those of long names and the like included.
    pub entries: u64,
    /// Bytes of all regular files of all layers, holes included.
    pub logical_bytes: u64,
    /// Bytes of memory that [`Limits::metadata_bytes`] was charged with at the same time, at most.
    pub metadata_bytes: u64,
    /// Whiteouts and opaque markers.
    pub whiteouts: u64,
    /// Entries that are not part of an image: below a whiteout's own name, and what aufs kept for
    /// itself.
    pub hidden: u64,
    /// Entries that tried to reach [`RESERVED`](super::RESERVED), by whatever route.
    pub reserved: u64,
    /// Textual access control lists that were left out, because squashfs holds none.
    pub acls: u64,
    /// Extended attributes that were left out because squashfs cannot store their names.
    pub unstorable_xattrs: u64,
    /// Extended attributes that were left out because an overlay file system would obey them:
    /// `trusted.overlay.*` and `user.overlay.*`.
    pub overlay_xattrs: u64,
    /// Bytes of bodies that were not written because a newer layer replaces them.
    pub skipped_bytes: u64,
    /// Bytes of bodies that were written, holes left out, and that no name leads to in the end.
    pub dead_bytes: u64,
    /// Layers that were read a second time, because a body that looked replaced was not.
    pub layers_read_again: Vec<usize>,
}
