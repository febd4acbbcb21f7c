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

mod directory;
mod fragment;
mod id;
mod inode;
mod metadata;
mod options;
mod superblock;
mod xattr;

pub(crate) use directory::{DIR_COUNT_MAX, DirEntry, DirHeader, DirIndex};
pub(crate) use fragment::{FragmentEntry, FragmentIndex};
pub(crate) use id::IdIndex;
pub(crate) use inode::{
    BlockWord, DevInode, DirInode, FileInode, INODE_BLOCKS_MAX, InodeHeader, InodeNumber, InodeRef,
    InodeType, IpcInode, LDirInode, LFileInode, SYMLINK_MAX, SymlinkInode, device_number,
};
pub(crate) use metadata::{BlockStart, METADATA_SIZE, MetadataHeader};
pub(crate) use options::{Compression, GzipOptions, Lz4Options, ZstdOptions};
pub(crate) use superblock::{ABSENT, Flags, Superblock};
pub(crate) use xattr::{
    XattrEntry, XattrId, XattrIndex, XattrTableHeader, XattrType, XattrValue, split_xattr_name,
};

use std::mem;

/// Devices are mounted in whole sectors of at most this size, so the file ends on a multiple of it.
pub(crate) const DEVICE_BLOCK: usize = 4096;

/// A value that knows its bytes.
pub(crate) trait Field: Copy {
    /// Bytes on disk.
    const SIZE: usize;
    /// Writes itself to the front of `at`, and moves `at` behind it.
    fn put(self, at: &mut &mut [u8]);
}

/// Copies `bytes` to the front of `at`. The sizes are proven by the assertion in [`layout!`].
fn put_bytes(bytes: &[u8], at: &mut &mut [u8]) {
    let (head, rest) = mem::take(at).split_at_mut(bytes.len());
    head.copy_from_slice(bytes);
    *at = rest;
}

macro_rules! integer_fields {
    ($($integer:ty),+) => {$(
        impl Field for $integer {
            const SIZE: usize = size_of::<$integer>();
            fn put(self, at: &mut &mut [u8]) {
                put_bytes(&self.to_le_bytes(), at);
            }
        }
    )+};
}
integer_fields!(u16, i16, u32, i32, u64);

/// Declares newtypes over an integer that are fields.
macro_rules! newtype {
    ($(#[$meta:meta])* $name:ident($integer:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(pub(crate) $integer);

        impl crate::format::Field for $name {
            const SIZE: usize = size_of::<$integer>();
            fn put(self, at: &mut &mut [u8]) {
                self.0.put(at);
            }
        }
    };
}
use newtype;

/// Declares a structure on disk: its size, then its fields in order.
macro_rules! layout {
    (
        $(#[$meta:meta])*
        $name:ident: $size:literal {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct $name {
            $($(#[$field_meta])* pub(crate) $field: $type,)+
        }

        impl crate::format::Field for $name {
            const SIZE: usize = $size;
            fn put(self, at: &mut &mut [u8]) {
                $(self.$field.put(at);)+
            }
        }

        impl $name {
            /// The structure as it is on disk.
            pub(crate) fn to_bytes(self) -> [u8; $size] {
                const { assert!($size == 0 $(+ <$type as crate::format::Field>::SIZE)+) };
                let mut bytes = [0; $size];
                crate::format::Field::put(self, &mut &mut bytes[..]);
                bytes
            }
        }
    };
}
use layout;

#[cfg(test)]
mod tests;
