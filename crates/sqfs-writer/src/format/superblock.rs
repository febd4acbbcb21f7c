//! The superblock: the first 96 bytes, and the last ones written.

use super::inode::InodeRef;
use super::layout::{layout, newtype};
use super::options::Compression;

/// The start of an export or xattr table that the image does not have. The fragment table always has a
/// start.
pub(crate) const ABSENT: u64 = u64::MAX;

newtype! {
    /// Properties of the image, for readers. None of them changes the layout.
    Flags(u16)
}

impl Flags {
    /// Inodes, listings and the export table are stored as they are.
    pub(crate) const UNCOMPRESSED_INODES: u16 = 0x0001;
    /// Blocks of files are.
    pub(crate) const UNCOMPRESSED_DATA: u16 = 0x0002;
    /// Fragments are.
    pub(crate) const UNCOMPRESSED_FRAGMENTS: u16 = 0x0008;
    /// No file has a fragment.
    pub(crate) const NO_FRAGMENTS: u16 = 0x0010;
    /// Equal files share their blocks.
    pub(crate) const DUPLICATES: u16 = 0x0040;
    /// Xattrs are stored as they are.
    pub(crate) const UNCOMPRESSED_XATTRS: u16 = 0x0100;
    /// The table of ids is.
    pub(crate) const UNCOMPRESSED_IDS: u16 = 0x0800;
    /// Tails of files larger than a block are in fragments too.
    pub(crate) const ALWAYS_FRAGMENTS: u16 = 0x0020;
    /// There is an export table.
    pub(crate) const EXPORTABLE: u16 = 0x0080;
    /// A block of compressor options follows the superblock.
    pub(crate) const COMPRESSOR_OPTIONS: u16 = 0x0400;
}

layout! {
    /// `struct squashfs_super_block`.
    Superblock: 96 {
        s_magic: u32,
        /// Number of inodes. The kernel takes `df -i` from it, and the size of the export table.
        inodes: u32,
        mkfs_time: u32,
        block_size: u32,
        /// Number of fragment blocks.
        fragments: u32,
        compression: Compression,
        /// `block_size == 1 << block_log`, or the kernel refuses to mount.
        block_log: u16,
        flags: Flags,
        no_ids: u16,
        s_major: u16,
        s_minor: u16,
        root_inode: InodeRef,
        /// End of the last table, without the padding after it.
        bytes_used: u64,
        id_table_start: u64,
        xattr_id_table_start: u64,
        inode_table_start: u64,
        directory_table_start: u64,
        fragment_table_start: u64,
        lookup_table_start: u64,
    }
}

impl Superblock {
    /// `hsqs`.
    pub(crate) const MAGIC: u32 = 0x7371_7368;
    /// The only version that anything still reads: 4.0.
    pub(crate) const VERSION: (u16, u16) = (4, 0);
}
