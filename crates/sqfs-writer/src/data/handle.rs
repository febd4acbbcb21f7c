//! Handles of bodies.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::format::FragmentIndex;

/// Handle of a body that was written, which a [`Tree`](crate::Tree) holds as the content of a file. It is valid only for
/// the writer that returned it. Several files may have the same one.
///
/// The handle has the position of the body, so the writer needs no memory for a body without blocks of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileData {
    /// The length, and low bits of the writer's number. In halves, so that the handle does not make a node of a tree
    /// larger.
    len: [u32; 2],
    /// Its block list; [`NO_BLOCKS`] if it has none.
    list: u32,
    fragment: FragmentIndex,
    /// The offset in the fragment, and high bits of the writer's number.
    offset: u32,
}

/// Bits of a length, which is less than 2³¹ blocks of 1 MiB.
const LEN_BITS: u32 = 51;

/// Bits of an offset in a fragment, which is less than 1 MiB.
const OFFSET_BITS: u32 = 20;

/// Number of a writer in this process. It fits the bits that the other fields of a handle leave, so that a handle takes no
/// more memory with it; only writers that are 2²⁵ apart have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WriterNumber(pub(super) u32);

impl WriterNumber {
    const LOW: u32 = u64::BITS - LEN_BITS;
    const BITS: u32 = Self::LOW + u32::BITS - OFFSET_BITS;

    /// Returns the number of a new writer.
    pub(super) fn next() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed) & ((1 << Self::BITS) - 1))
    }
}

/// List of a body without blocks.
const NO_BLOCKS: u32 = u32::MAX;

/// Place of the tail of a body: a fragment, and the offset in it, uncompressed.
pub(super) type Tail = (FragmentIndex, u32);

/// Index of the block list of a body in the lists of all bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockList(pub(super) u32);

impl FileData {
    pub(super) fn new(
        writer: WriterNumber,
        len: u64,
        list: Option<BlockList>,
        tail: Option<Tail>,
    ) -> Self {
        let (fragment, offset) = tail.unwrap_or((FragmentIndex::NONE, 0));
        debug_assert!(len >> LEN_BITS == 0 && offset >> OFFSET_BITS == 0);
        let len = len | u64::from(writer.0) << LEN_BITS;
        let [a, b, c, d, e, f, g, h] = len.to_le_bytes();
        Self {
            len: [
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, g, h]),
            ],
            list: list.map_or(NO_BLOCKS, |list| list.0),
            fragment,
            offset: offset | writer.0 >> WriterNumber::LOW << OFFSET_BITS,
        }
    }

    /// Returns the length of the body in bytes.
    #[must_use]
    pub fn len(self) -> u64 {
        self.len_and_low() & ((1 << LEN_BITS) - 1)
    }

    fn len_and_low(self) -> u64 {
        u64::from(self.len[1]) << 32 | u64::from(self.len[0])
    }

    pub(super) fn writer(self) -> WriterNumber {
        let low = u32::try_from(self.len_and_low() >> LEN_BITS).unwrap_or_default();
        WriterNumber(low | self.offset >> OFFSET_BITS << WriterNumber::LOW)
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
        (self.fragment, self.offset & ((1 << OFFSET_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_gives_writer_length_and_tail_back() {
        assert_eq!(size_of::<FileData>(), 20);
        for writer in [0, 1, 0x1FFF, 0x2000, (1 << WriterNumber::BITS) - 1].map(WriterNumber) {
            for len in [0, 1, u64::from(u32::MAX), 1 << 32, (1 << LEN_BITS) - 1] {
                let data = FileData::new(writer, len, None, None);
                assert_eq!((data.writer(), data.len()), (writer, len));
                assert_eq!(data.is_empty(), len == 0, "{len}");
                assert!(!data.has_tail() && data.list().is_none(), "{len}");
                for tail in [(7, 9), (0, 0), (u32::MAX - 1, (1 << OFFSET_BITS) - 1)] {
                    let tail = (FragmentIndex(tail.0), tail.1);
                    let data = FileData::new(writer, len, Some(BlockList(0)), Some(tail));
                    assert_eq!((data.writer(), data.len()), (writer, len));
                    assert!(data.has_tail());
                    assert_eq!(data.tail(), tail);
                    assert_eq!(data.list(), Some(BlockList(0)));
                }
            }
        }
    }

    #[test]
    fn no_two_writers_have_the_same_number() {
        assert_ne!(WriterNumber::next(), WriterNumber::next());
    }
}
