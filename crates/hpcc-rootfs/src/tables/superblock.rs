//! The superblock, which has the offsets of the tables.

use std::ops::Range;

use super::error::Error;
use super::fields::Fields;

/// Bytes of `struct squashfs_super_block`.
pub(super) const SIZE: usize = 96;
const MAGIC: u32 = 0x7371_7368;
const VERSION: (u16, u16) = (4, 0);
/// The value in place of the offset of a missing table.
const ABSENT: u64 = u64::MAX;

/// The fields of the superblock that lead to names and contents.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) block_size: u32,
    pub(super) fragments: u32,
    pub(super) compression: u16,
    pub(super) id_count: u16,
    /// Reference to the root's inode: the block's offset in the table, and 16 bits of offset in the block.
    pub(super) root: u64,
    pub(super) bytes_used: u64,
    /// For these three, the offsets of their indexes.
    pub(super) id_table: u64,
    pub(super) fragment_table: u64,
    pub(super) inodes: Range<u64>,
    pub(super) directories: Range<u64>,
}

impl Superblock {
    pub(super) fn parse(bytes: &[u8; SIZE]) -> Result<Self, Error> {
        let mut fields = Fields(bytes);
        if fields.u32() != MAGIC {
            return Err(Error::Damaged("there is no squashfs superblock"));
        }
        let (_inode_count, _time) = (fields.u32(), fields.u32());
        let (block_size, fragments) = (fields.u32(), fields.u32());
        let (compression, _block_log) = (fields.u16(), fields.u16());
        let (_flags, id_count) = (fields.u16(), fields.u16());
        if (fields.u16(), fields.u16()) != VERSION {
            return Err(Error::Damaged("it is not squashfs 4.0"));
        }
        let (root, bytes_used, id_table) = (fields.u64(), fields.u64(), fields.u64());
        let (_xattr_table, inode_table) = (fields.u64(), fields.u64());
        let (directory_table, fragment_table) = (fields.u64(), fields.u64());
        let export_table = fields.u64();
        if !block_size.is_power_of_two() || !(4096..=1 << 20).contains(&block_size) {
            return Err(Error::Damaged("the block size is out of range"));
        }
        // An index's blocks lie before the index itself, and no listing lies after any of them.
        let behind = [fragment_table, export_table, id_table];
        let end = behind.into_iter().filter(|table| *table != ABSENT).min();
        let end = end.unwrap_or(bytes_used).min(bytes_used);
        if !(inode_table < directory_table && directory_table < end) {
            return Err(Error::Damaged("the tables are not in their order"));
        }
        Ok(Self {
            block_size,
            fragments,
            compression,
            id_count,
            root,
            bytes_used,
            id_table,
            fragment_table,
            inodes: inode_table..directory_table,
            directories: directory_table..end,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A superblock with these offsets: inodes, directories, fragments, export table, ids, bytes used.
    fn superblock(block_size: u32, offsets: [u64; 6]) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, b"hsqs");
        put(12, &block_size.to_le_bytes());
        put(28, &[4, 0, 0, 0]);
        for (at, offset) in [64, 72, 80, 88, 48, 40].into_iter().zip(offsets) {
            put(at, &offset.to_le_bytes());
        }
        bytes
    }

    const IN_ORDER: [u64; 6] = [100, 200, 300, 400, 500, 600];

    #[test]
    fn block_sizes_of_the_format_are_accepted_and_no_others() {
        let accepts = |size| Superblock::parse(&superblock(size, IN_ORDER)).is_ok();
        let format = (12..=20).map(|log| 1 << log);
        for size in format {
            assert!(accepts(size), "{size}");
            for other in [size - 1, size + 1, size + size / 2] {
                assert!(!accepts(other), "{other}");
            }
        }
        for other in [0, 1, 2048, 2 << 20, 1 << 31, u32::MAX] {
            assert!(!accepts(other), "{other}");
        }
    }

    #[test]
    fn another_format_or_version_is_refused() {
        let good = superblock(4096, IN_ORDER);
        assert!(Superblock::parse(&good).is_ok());
        for at in [0, 1, 2, 3, 28, 29, 30, 31] {
            let mut bad = good;
            bad[at] ^= 1;
            assert!(Superblock::parse(&bad).is_err(), "{at}");
        }
    }

    proptest! {
        /// The inodes come first, then the directories, which end where the next table begins.
        #[test]
        fn tables_are_accepted_in_their_order_alone(
            offsets in prop::array::uniform6(prop_oneof![3 => 0..8_u64, 1 => Just(ABSENT)])
        ) {
            let [inodes, directories, tables @ .., used] = offsets;
            let end = tables.into_iter().filter(|table| *table != ABSENT).min();
            let end = end.unwrap_or(used).min(used);
            match Superblock::parse(&superblock(4096, offsets)) {
                Ok(parsed) => {
                    prop_assert!(inodes < directories && directories < end);
                    prop_assert_eq!(parsed.inodes, inodes..directories);
                    prop_assert_eq!(parsed.directories, directories..end);
                }
                Err(_) => prop_assert!(!(inodes < directories && directories < end)),
            }
        }
    }
}
