//! What the caps measure.

use std::fmt;

/// What of an image is counted or measured, and capped by [`Limits`](super::Limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// [`Limits::entries`](super::Limits::entries).
    Entries,
    /// [`Limits::logical_bytes`](super::Limits::logical_bytes).
    LogicalBytes,
    /// [`Limits::layer_bytes`](super::Limits::layer_bytes).
    LayerBytes,
    /// [`Limits::ratio`](super::Limits::ratio), as the bytes that it allows.
    Ratio,
    /// [`Limits::zstd_window`](super::Limits::zstd_window).
    ZstdWindow,
    /// [`Limits::path`](super::Limits::path).
    Path,
    /// [`Limits::name`](super::Limits::name), or what squashfs can hold.
    Name,
    /// [`Limits::depth`](super::Limits::depth).
    Depth,
    /// The target of a symlink: what squashfs can hold.
    SymlinkTarget,
    /// [`Limits::xattr_bytes`](super::Limits::xattr_bytes).
    XattrBytes,
    /// [`Limits::metadata_bytes`](super::Limits::metadata_bytes).
    MetadataBytes,
    /// [`Limits::header_bytes`](super::Limits::header_bytes).
    HeaderBytes,
    /// [`Limits::sparse_segments`](super::Limits::sparse_segments).
    SparseSegments,
}

/// As the subject of a sentence: `size of all files of the image`.
impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entries => "number of entries in the image",
            Self::LogicalBytes => "size of all files of the image",
            Self::LayerBytes => "decompressed size of the layer",
            Self::Ratio => "decompressed size of the layer for its compressed size",
            Self::ZstdWindow => "window of a zstd frame",
            Self::Path => "length of the path",
            Self::Name => "length of a name",
            Self::Depth => "depth of the path",
            Self::SymlinkTarget => "length of the symlink's target",
            Self::XattrBytes => "size of the extended attributes",
            Self::MetadataBytes => "size of all names, link targets and xattrs of the image",
            Self::HeaderBytes => "size of an extended header",
            Self::SparseSegments => "number of data runs",
        })
    }
}
