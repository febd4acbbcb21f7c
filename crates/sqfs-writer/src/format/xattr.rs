//! Extended attributes: names and values, sets of them, and the way to both.
//!
//! ```text
//! inode ─ XattrIndex ─► XattrId ─► XattrEntry name, XattrValue value, … count times
//!                                               └─ or a reference to a value elsewhere
//! ```

use super::layout::{layout, newtype};

/// Prefixes that are a number in the image, in the order of those numbers. Others can't be stored.
const XATTR_PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// Splits a name into the number of its prefix and the rest. Returns `None` for a name that the
/// format cannot express.
pub(crate) fn split_xattr_name(name: &[u8]) -> Option<(u16, &[u8])> {
    (0..)
        .zip(XATTR_PREFIXES)
        .find_map(|(number, prefix)| Some((number, name.strip_prefix(prefix)?)))
        // A NUL would end the name for every reader; an empty one is refused by Linux.
        .filter(|(_, rest)| !rest.is_empty() && !rest.contains(&0))
}

newtype! {
    /// Index into the table of sets.
    XattrIndex(u32)
}

impl XattrIndex {
    /// The inode has no xattrs.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

newtype! {
    /// Number of the prefix; a flag says that the value is a reference.
    XattrType(u16)
}

impl XattrType {
    /// The value is 8 bytes: where the real one is.
    pub(crate) const OUT_OF_LINE: u16 = 0x0100;
}

layout! {
    /// The name of an attribute; its bytes without the prefix follow.
    XattrEntry: 4 {
        xattr_type: XattrType,
        size: u16,
    }
}

layout! {
    /// The value of an attribute; its bytes follow.
    XattrValue: 4 {
        vsize: u32,
    }
}

layout! {
    /// One set of attributes.
    XattrId: 16 {
        /// Reference to the first entry: start of the metadata block, 16 bits of offset.
        xattr: u64,
        count: u32,
        /// Bytes of all entries and values as stored.
        size: u32,
    }
}

layout! {
    /// The header to which the superblock points. Positions of the metadata blocks of [`XattrId`]s follow.
    XattrTableHeader: 16 {
        xattr_table_start: u64,
        xattr_ids: u32,
        unused: u32,
    }
}
