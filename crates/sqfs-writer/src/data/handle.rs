//! Handles of bodies.

use crate::format::FragmentIndex;

/// Handle of a body that was written, which a [`Tree`](crate::Tree) holds as the content of a file. It is valid only for
/// the writer that returned it. Several files may have the same one.
///
/// The handle has the position of the body, so the writer needs no memory for a body without blocks of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileData {
    /// In halves, so that the handle does not make a node of a tree larger.
    len: [u32; 2],
    /// Its block list; [`NO_BLOCKS`] if it has none.
    list: u32,
    fragment: FragmentIndex,
    offset: u32,
}

/// List of a body without blocks.
const NO_BLOCKS: u32 = u32::MAX;

/// Place of the tail of a body: a fragment, and the offset in it, uncompressed.
pub(super) type Tail = (FragmentIndex, u32);

/// Index of the block list of a body in the lists of all bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockList(pub(super) u32);

impl FileData {
    pub(super) fn new(len: u64, list: Option<BlockList>, tail: Option<Tail>) -> Self {
        let (fragment, offset) = tail.unwrap_or((FragmentIndex::NONE, 0));
        let [a, b, c, d, e, f, g, h] = len.to_le_bytes();
        Self {
            len: [
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, g, h]),
            ],
            list: list.map_or(NO_BLOCKS, |list| list.0),
            fragment,
            offset,
        }
    }

    /// Returns the length of the body in bytes.
    #[must_use]
    pub fn len(self) -> u64 {
        u64::from(self.len[1]) << 32 | u64::from(self.len[0])
    }

    /// Returns whether the body has no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Returns whether its end is in a fragment.
    pub(crate) fn has_tail(self) -> bool {
        self.fragment != FragmentIndex::NONE
    }

    pub(super) fn list(self) -> Option<BlockList> {
        (self.list != NO_BLOCKS).then_some(BlockList(self.list))
    }

    /// Returns its tail as the inode has it, where a number stands for no fragment.
    pub(super) fn tail(self) -> Tail {
        (self.fragment, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_gives_length_and_tail_back() {
        for len in [0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX - 1] {
            let data = FileData::new(len, None, None);
            assert_eq!(data.len(), len);
            assert_eq!(data.is_empty(), len == 0, "{len}");
            assert!(!data.has_tail() && data.list().is_none(), "{len}");
        }
        let tail = (FragmentIndex(7), 9);
        let data = FileData::new(5, Some(BlockList(0)), Some(tail));
        assert!(data.has_tail());
        assert_eq!(data.tail(), tail);
        assert_eq!(data.list(), Some(BlockList(0)));
    }
}
