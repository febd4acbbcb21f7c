//! The positions of the parts of an image, by its superblock: enough to report which parts are damaged.

use std::ops::Range;

use super::superblock::SIZE as SUPERBLOCK;

/// The parts of an image in disk order, each with the offset at which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map(Vec<(u64, &'static str)>);

impl Map {
    /// Reads the superblock. A damaged one gives an incomplete map; the record has its digest.
    pub(crate) fn of(superblock: &[u8; SUPERBLOCK]) -> Self {
        let number = |offset: usize| {
            let bytes = superblock.get(offset..).and_then(<[u8]>::first_chunk);
            bytes.map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
        };
        // The offsets of the fields in `struct squashfs_super_block`. The lookup tables start with the first block that
        // their index names, so a part may begin a little before its name suggests.
        let mut parts = vec![
            (0, "superblock"),
            (SUPERBLOCK as u64, "data"),
            (number(64), "inode table"),
            (number(72), "directory table"),
            (number(80), "fragment table"),
            (number(88), "export table"),
            (number(48), "id table"),
            (number(56), "xattr table"),
            (number(40), "padding"),
        ];
        // All ones mean that the table does not exist.
        parts.retain(|(start, _)| *start != u64::MAX);
        parts.sort_unstable();
        Self(parts)
    }

    /// Returns the parts of an image of `length` bytes, each with its number of bytes.
    pub(super) fn lengths(&self, length: u64) -> Vec<(&'static str, u64)> {
        let ends = self.0.iter().skip(1).map(|(start, _)| *start);
        let ends = ends.chain([length]);
        let parts = self.0.iter().zip(ends);
        let parts =
            parts.map(|((start, name), end)| (*name, end.min(length).saturating_sub(*start)));
        parts.filter(|(_, bytes)| *bytes > 0).collect()
    }

    /// Returns the parts that lie in a range.
    pub(crate) fn parts_in(&self, range: &Range<u64>) -> Vec<&'static str> {
        let ends = self.0.iter().skip(1).map(|(start, _)| *start);
        let ends = ends.chain([u64::MAX]);
        self.0
            .iter()
            .zip(ends)
            .filter(|((start, _), end)| *start < range.end && range.start < *end)
            .map(|((_, name), _)| *name)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_by_where_they_are() {
        let mut superblock = [0xFF; SUPERBLOCK];
        for (offset, start) in [
            (40, 9000_u64),
            (48, 8000),
            (64, 5000),
            (72, 6000),
            (80, 7000),
        ] {
            superblock[offset..offset + 8].copy_from_slice(&start.to_le_bytes());
        }
        let map = Map::of(&superblock);
        for (range, parts) in [
            (0..96, vec!["superblock"]),
            (0..100, vec!["superblock", "data"]),
            (96..5000, vec!["data"]),
            (5999..6001, vec!["inode table", "directory table"]),
            (7000..9000, vec!["fragment table", "id table"]),
            (10_000..20_000, vec!["padding"]),
        ] {
            assert_eq!(map.parts_in(&range), parts, "{range:?}");
        }
        let lengths = map.lengths(12_288);
        assert_eq!(lengths.iter().map(|(_, bytes)| bytes).sum::<u64>(), 12_288);
        assert_eq!(lengths.first(), Some(&("superblock", 96)));
        assert_eq!(lengths.last(), Some(&("padding", 3288)));
        // Tables that start where others do, as those of an empty image may, take nothing.
        superblock[80..88].copy_from_slice(&6000_u64.to_le_bytes());
        let lengths = Map::of(&superblock).lengths(12_288);
        assert!(lengths.iter().all(|(_, bytes)| *bytes > 0), "{lengths:?}");
    }
}
