//! The levels of a tree, and their positions.

use std::ops::Range;

use super::block::{BLOCK, PER_BLOCK};

/// The levels of a tree over a number of data blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Byte ranges, relative to the superblock. Level 0, with the digests of data blocks, is the first element and the
    /// last in the file.
    levels: Vec<Range<u64>>,
}

impl Layout {
    /// Returns the layout for an image of `data_blocks` blocks, or `None` if no image has that many.
    pub(crate) fn of(data_blocks: u64) -> Option<Self> {
        if data_blocks == 0 {
            return None;
        }
        let mut blocks = Vec::new();
        let mut count = data_blocks;
        while count > 1 {
            count = count.div_ceil(PER_BLOCK);
            blocks.push(count);
        }
        let mut end = BLOCK as u64;
        let mut levels = Vec::with_capacity(blocks.len());
        for count in blocks.into_iter().rev() {
            let start = end;
            end = start.checked_add(count.checked_mul(BLOCK as u64)?)?;
            levels.push(start..end);
        }
        levels.reverse();
        Some(Self { levels })
    }

    /// Returns the length of superblock and tree in bytes.
    pub(crate) fn length(&self) -> u64 {
        let leaves = self.levels.first();
        leaves.map_or(BLOCK as u64, |leaves| leaves.end)
    }

    /// Returns the levels, beginning with the one that holds the digests of data blocks.
    pub(crate) fn levels(&self) -> &[Range<u64>] {
        &self.levels
    }
}
