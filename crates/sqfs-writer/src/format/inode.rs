//! Inodes: a common header, then what the type asks for.
//!
//! Every type has a basic form and an extended one (`L` for long). The extended form is used where
//! the basic one has no room for a value: an xattr index, a link count, 64-bit sizes.

use super::fragment::FragmentIndex;
use super::id::IdIndex;
use super::layout::{layout, newtype};
use super::metadata::BlockStart;
use super::xattr::XattrIndex;

/// The kernel's limit for a symlink target: a page, with the NUL it puts behind it
/// (`squashfs_read_inode`).
pub(crate) const SYMLINK_MAX: usize = 4095;

/// The kernel counts the blocks of a file in an `int` (`squashfs_readpage_block` and around).
pub(crate) const INODE_BLOCKS_MAX: u64 = i32::MAX as u64;

newtype! {
    /// `1..=inodes`, unique. Zero does not exist.
    InodeNumber(u32)
}

newtype! {
    /// A place in a metadata table: start of the block in *stored* bytes, 16 bits of offset in its
    /// uncompressed ones.
    InodeRef(u64)
}

impl InodeRef {
    /// Returns the place of a metadata block and an offset in its uncompressed bytes.
    pub(crate) fn new(block: BlockStart, offset: u16) -> Self {
        Self(u64::from(block.0) << 16 | u64::from(offset))
    }
}

/// The type of an inode; the value is that of the basic form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InodeType {
    Directory = 1,
    File = 2,
    Symlink = 3,
    BlockDevice = 4,
    CharDevice = 5,
    Fifo = 6,
    Socket = 7,
}

impl InodeType {
    /// Returns the number of the basic form. Directory entries use it for both forms.
    pub(crate) fn basic(self) -> u16 {
        self as u16
    }

    /// Returns the number of the extended form.
    pub(crate) fn extended(self) -> u16 {
        self.basic() + 7
    }
}

layout! {
    /// The fields with which every inode begins.
    InodeHeader: 16 {
        inode_type: u16,
        /// The low 12 bits only: the kernel answers `EIO` to an inode that has type bits here.
        mode: u16,
        uid: IdIndex,
        guid: IdIndex,
        mtime: u32,
        inode_number: InodeNumber,
    }
}

layout! {
    /// Basic directory.
    DirInode: 16 {
        start_block: u32,
        nlink: u32,
        /// Bytes of the listing, and 3 for the `.` and `..` that aren't in it.
        file_size: u16,
        offset: u16,
        parent_inode: InodeNumber,
    }
}

impl DirInode {
    /// Offset of `start_block`.
    pub(crate) const START_BLOCK: usize = 0;
}

layout! {
    /// Extended directory; `i_count` index entries follow.
    LDirInode: 24 {
        nlink: u32,
        file_size: u32,
        start_block: u32,
        parent_inode: InodeNumber,
        i_count: u16,
        offset: u16,
        xattr: XattrIndex,
    }
}

impl LDirInode {
    /// Offset of `start_block`.
    pub(crate) const START_BLOCK: usize = 8;
}

layout! {
    /// Basic file; block words follow.
    FileInode: 16 {
        start_block: u32,
        fragment: FragmentIndex,
        /// Offset of the tail in the uncompressed fragment.
        offset: u32,
        file_size: u32,
    }
}

layout! {
    /// Extended file; block words follow.
    LFileInode: 40 {
        start_block: u64,
        file_size: u64,
        /// Bytes in holes; the kernel takes them off the blocks that `du` counts.
        sparse: u64,
        nlink: u32,
        fragment: FragmentIndex,
        offset: u32,
        xattr: XattrIndex,
    }
}

layout! {
    /// Symlink. The target follows, and after it, in the extended form, the xattr index.
    SymlinkInode: 8 {
        nlink: u32,
        symlink_size: u32,
    }
}

layout! {
    /// Device; the extended form ends in an xattr index.
    DevInode: 8 {
        nlink: u32,
        rdev: u32,
    }
}

layout! {
    /// Fifo or socket; the extended form ends in an xattr index.
    IpcInode: 4 {
        nlink: u32,
    }
}

/// Linux's new encoding (`new_encode_dev`), or `None` if the numbers don't fit: 12 bits of major,
/// 20 bits of minor.
pub(crate) fn device_number(major: u32, minor: u32) -> Option<u32> {
    if major > 0xFFF || minor > 0xF_FFFF {
        return None;
    }
    Some((minor & 0xFF) | (major << 8) | ((minor & !0xFF) << 12))
}
