//! The layout on disk, and nothing else: no I/O, no policy. One file a table.
//!
//! ```text
//! ┌────────────┬─────────────┬────────┬────────┬─────────────┬───────────┬────────┬─────┬────────┐
//! │ superblock │ compressor  │ data & │ inodes │ directories │ fragments │ export │ ids │ xattrs │
//! │  96 bytes  │ options (1) │ tails  │        │             │   (1)     │  (1)   │     │  (1)   │
//! └────────────┴─────────────┴────────┴────────┴─────────────┴───────────┴────────┴─────┴────────┘
//!   (1) may be absent
//! ```
//!
//! Everything is little-endian and unaligned. Field names are the format's own, so that they can
//! be looked up in the kernel's `fs/squashfs/squashfs_fs.h`. Each structure declares its size and
//! does not compile when the fields don't add up to it.

mod block_word;
mod directory;
mod fragment;
mod id;
mod inode;
mod layout;
mod metadata;
mod options;
mod superblock;
mod xattr;

pub(crate) use block_word::BlockWord;
pub(crate) use directory::{DIR_COUNT_MAX, DirEntry, DirHeader, DirIndex};
pub(crate) use fragment::{FragmentEntry, FragmentIndex};
pub(crate) use id::IdIndex;
pub(crate) use inode::{
    DevInode, DirInode, FileInode, INODE_BLOCKS_MAX, InodeHeader, InodeNumber, InodeRef, InodeType,
    IpcInode, LDirInode, LFileInode, SYMLINK_MAX, SymlinkInode, device_number,
};
pub(crate) use layout::Field;
pub(crate) use metadata::{BlockStart, METADATA_SIZE, MetadataHeader};
pub(crate) use options::{Compression, GzipOptions, Lz4Options, ZstdOptions};
pub(crate) use superblock::{ABSENT, Flags, Superblock};
pub(crate) use xattr::{
    XattrEntry, XattrId, XattrIndex, XattrTableHeader, XattrType, XattrValue, split_xattr_name,
};

/// Devices are mounted in whole sectors of at most this size, so the file ends on a multiple of it.
pub(crate) const DEVICE_BLOCK: usize = 4096;

#[cfg(test)]
mod tests;
