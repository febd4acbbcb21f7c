//! Metadata blocks: what inodes, listings and tables are stored in.
//!
//! ```text
//! ┌────────┬──────────────────────────────┐
//! │ header │ up to 8192 bytes, compressed │  × n, without gaps
//! └────────┴──────────────────────────────┘
//! ```

use super::layout::newtype;

/// Bytes in every metadata block but the last of its table.
pub(crate) const METADATA_SIZE: usize = 8192;

newtype! {
    /// Start of a metadata block in its table. Listings, inodes of directories and references to inodes have 32 bits
    /// for it, so the blocks that they refer to begin below 4 GiB.
    BlockStart(u32)
}

impl BlockStart {
    /// Returns the position, or `None` if it exceeds 32 bits.
    pub(crate) fn new(position: u64) -> Option<Self> {
        u32::try_from(position).ok().map(Self)
    }
}

newtype! {
    /// Stored length; bit 15 says that the bytes are not compressed.
    MetadataHeader(u16)
}

impl MetadataHeader {
    /// Set if the block is stored uncompressed.
    pub(crate) const RAW: u16 = 0x8000;
}
