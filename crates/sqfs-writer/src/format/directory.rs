//! Directory listings: runs of entries, each run after a header.

use super::inode::InodeNumber;
use super::layout::layout;

/// Entries that one header can lead (`SQUASHFS_DIR_COUNT`).
pub(crate) const DIR_COUNT_MAX: usize = 256;

layout! {
    /// Leads up to [`DIR_COUNT_MAX`] entries whose inodes are in one metadata block, and whose
    /// numbers are within an `i16` of `inode_number`.
    DirHeader: 12 {
        /// One less than the number of entries.
        count: u32,
        start_block: u32,
        inode_number: InodeNumber,
    }
}

impl DirHeader {
    /// Offset of `start_block`.
    pub(crate) const START_BLOCK: usize = 4;
}

layout! {
    /// One entry; the name follows, without a NUL.
    DirEntry: 8 {
        offset: u16,
        /// Difference to the header's `inode_number`. Signed in every reader, whatever the
        /// kernel's header file says.
        inode_number: i16,
        /// Number of the basic form.
        entry_type: u16,
        /// One less than the length of the name.
        size: u16,
    }
}

layout! {
    /// One entry of a directory index. The first name after the header that it points to follows.
    DirIndex: 12 {
        /// Position of that header, in bytes of this listing.
        index: u32,
        /// The metadata block which that header is in.
        start_block: u32,
        /// One less than the length of the name.
        size: u32,
    }
}

impl DirIndex {
    /// Offset of `start_block`.
    pub(crate) const START_BLOCK: usize = 4;
}
