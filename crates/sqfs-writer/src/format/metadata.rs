//! Metadata blocks: what inodes, listings and tables are stored in.
//!
//! ```text
//! ┌────────┬──────────────────────────────┐
//! │ header │ up to 8192 bytes, compressed │  × n, without gaps
//! └────────┴──────────────────────────────┘
//! ```

use super::newtype;

/// Bytes in every metadata block but the last of its table.
pub(crate) const METADATA_SIZE: usize = 8192;

newtype! {
    /// Stored length; bit 15 says that the bytes are not compressed.
    MetadataHeader(u16)
}

impl MetadataHeader {
    /// A block that is stored as it is.
    pub(crate) const RAW: u16 = 0x8000;
}
