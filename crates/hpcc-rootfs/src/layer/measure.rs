//! The quantities that are limited.

use std::fmt;

/// A quantity of an image that is counted or measured, and limited by [`Limits`](super::Limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// [`Limits::entries`](super::Limits::entries).
    Entries,
    /// [`Limits::logical_bytes`](super::Limits::logical_bytes).
    LogicalBytes,
    /// [`Limits::layer_bytes`](super::Limits::layer_bytes).
    LayerBytes,
    /// [`Limits::unpacked_bytes`](super::Limits::unpacked_bytes).
    UnpackedBytes,
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
    /// The target of a symlink, limited by squashfs.
    SymlinkTarget,
    /// [`Limits::xattr_bytes`](super::Limits::xattr_bytes).
    XattrBytes,
    /// [`Limits::xattrs`](super::Limits::xattrs).
    Xattrs,
    /// [`Limits::metadata_bytes`](super::Limits::metadata_bytes).
    MetadataBytes,
    /// [`Limits::header_bytes`](super::Limits::header_bytes).
    HeaderBytes,
    /// [`Limits::sparse_segments`](super::Limits::sparse_segments).
    SparseSegments,
}

impl Measure {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Entries,
        Self::LogicalBytes,
        Self::LayerBytes,
        Self::UnpackedBytes,
        Self::Ratio,
        Self::ZstdWindow,
        Self::Path,
        Self::Name,
        Self::Depth,
        Self::SymlinkTarget,
        Self::XattrBytes,
        Self::Xattrs,
        Self::MetadataBytes,
        Self::HeaderBytes,
        Self::SparseSegments,
    ];

    /// Returns the name of the field of [`Limits`](super::Limits) that raises the limit, such as `Limits::entries`, or
    /// `None` if squashfs sets it.
    #[must_use]
    pub fn field(self) -> Option<&'static str> {
        match self {
            Self::Entries => Some("Limits::entries"),
            Self::LogicalBytes => Some("Limits::logical_bytes"),
            Self::LayerBytes => Some("Limits::layer_bytes"),
            Self::UnpackedBytes => Some("Limits::unpacked_bytes"),
            Self::Ratio => Some("Limits::ratio"),
            Self::ZstdWindow => Some("Limits::zstd_window"),
            Self::Path => Some("Limits::path"),
            Self::Depth => Some("Limits::depth"),
            Self::XattrBytes => Some("Limits::xattr_bytes"),
            Self::Xattrs => Some("Limits::xattrs"),
            Self::MetadataBytes => Some("Limits::metadata_bytes"),
            Self::HeaderBytes => Some("Limits::header_bytes"),
            Self::SparseSegments => Some("Limits::sparse_segments"),
            Self::Name | Self::SymlinkTarget => None,
        }
    }

    /// Returns the end of a message about an exceeded limit, which says what to do about it.
    pub(crate) fn advice(self) -> String {
        match self.field() {
            Some(field) => {
                format!("; if you trust this image, raise the limit with {field}")
            }
            None => String::new(),
        }
    }
}

/// Displays the quantity as the subject of a sentence: `size of all files of the image`.
impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entries => "number of entries in the image",
            Self::LogicalBytes => "size of all files of the image",
            Self::LayerBytes => "decompressed size of the layer",
            Self::UnpackedBytes => "decompressed size of all layers of the image",
            Self::Ratio => "decompressed size of the layer for its compressed size",
            Self::ZstdWindow => "window of a zstd frame",
            Self::Path => "length of the path",
            Self::Name => "length of a name",
            Self::Depth => "depth of the path",
            Self::SymlinkTarget => "length of the symlink's target",
            Self::XattrBytes => "size of the extended attributes",
            Self::Xattrs => "number of extended attributes",
            Self::MetadataBytes => "memory for the names, links and attributes of the image",
            Self::HeaderBytes => "size of an extended header",
            Self::SparseSegments => "number of data runs",
        })
    }
}
