//! Options and results of flattening.

use crate::layer::Limits;

/// Options of [`flatten`](super::flatten()).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Limits on the resources that an image may take.
    pub limits: Limits,
    /// Modification time of directories that no layer describes, in seconds since 1970. Times of entries stay
    /// as they are.
    pub time: u32,
}

/// Counts of what happened while an image was flattened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Tar headers of all layers, including those of long names and other extended headers.
    pub entries: u64,
    /// Bytes of all regular files of all layers, holes included.
    pub logical_bytes: u64,
    /// Largest number of bytes of memory that were charged to [`Limits::metadata_bytes`] at the same time.
    pub metadata_bytes: u64,
    /// Whiteouts and opaque markers.
    pub whiteouts: u64,
    /// Entries that are not part of an image: entries below a whiteout's own name, and internal files of aufs.
    pub hidden: u64,
    /// Entries dropped because they would have reached [`RESERVED`](super::RESERVED), directly or through links.
    pub reserved: u64,
    /// Textual access control lists that were left out, because squashfs holds none.
    pub acls: u64,
    /// Extended attributes that were left out because squashfs cannot store their names, or
    /// because a `security.capability` was empty.
    pub unstorable_xattrs: u64,
    /// Extended attributes that were left out because an overlay file system would obey them:
    /// `trusted.overlay.*` and `user.overlay.*`.
    pub overlay_xattrs: u64,
    /// Entries with a time that squashfs cannot hold, before 1970 or after 2106. They have the nearest one that it can.
    pub clamped_times: u64,
    /// Bytes of bodies that were not written because a newer layer replaces them.
    pub skipped_bytes: u64,
    /// Bytes of bodies that were written, holes left out, but that no name refers to in the end.
    pub dead_bytes: u64,
    /// Layers that were read a second time, because a body that looked replaced was not.
    pub layers_read_again: Vec<usize>,
}
