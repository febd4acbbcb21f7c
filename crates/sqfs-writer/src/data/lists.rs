//! Block lists: where the blocks of each body are.
//!
//! ```text
//!  count │ start, 2 × │ word │ word │ …     one behind the other, all in one row
//!  count │ list, SHARES │ word │ word │ …     of a body whose stored blocks are those of an earlier list
//! ```
//!
//! This is what has to be kept until the inodes are written, and with the table of fragments it is
//! all that grows with the data: 4 bytes for a block, and 12 for a body that has any. It counts
//! against the budget; see [`DataPlane::check_memory`](super::DataPlane). A run of holes takes one
//! word, whatever its length: a sparse file of terabytes costs nothing here.

use super::handle::{BlockList, FileData, Tail, WriterNumber};
use crate::error::{Error, TreeError};
use crate::format::{BlockWord, FragmentIndex};
use crate::pieces::Pieces;

/// Bit 24 is the highest that a block word uses; with this one, the rest counts holes.
const HOLES: u32 = 1 << 31;

/// In the count of a list: [`Lists::claim`] has seen it.
const CLAIMED: u32 = 1 << 31;

/// In the third word of a list, which no position reaches: the second word is the list that has the stored blocks.
const SHARES: u32 = 1 << 31;

/// Words before the block words of a list.
const HEADER: usize = 3;

/// All block lists, in order of arrival.
pub(crate) struct Lists {
    /// Number of the writer, which every handle has too.
    writer: WriterNumber,
    words: Pieces<u32>,
    block_size: u64,
    /// Number of fragments, once all are known.
    fragments: usize,
}

/// Position of a block word, before its block is compressed.
#[derive(Clone, Copy)]
pub(super) struct WordIndex(u32);

/// The fields of a file's inode about its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// Start of the first stored block; 0 without one.
    pub(crate) start: u64,
    /// Bytes in holes.
    pub(crate) sparse: u64,
    pub(crate) fragment: FragmentIndex,
    /// Offset of the tail in the fragment.
    pub(crate) offset: u32,
}

impl Lists {
    pub(super) fn new(block_size: usize) -> Self {
        Self {
            writer: WriterNumber::next(),
            words: Pieces::new(),
            block_size: block_size as u64,
            fragments: 0,
        }
    }

    /// Returns the handle of a body with these blocks and this tail.
    pub(super) fn handle(&self, len: u64, list: Option<BlockList>, tail: Option<Tail>) -> FileData {
        FileData::new(self.writer, len, list, tail)
    }

    /// Begins a list.
    pub(super) fn open(&mut self) -> Result<BlockList, Error> {
        let list = BlockList(self.end()?);
        for _ in 0..HEADER {
            self.words.try_push(0)?;
        }
        Ok(list)
    }

    /// Reserves the word of a block in flight.
    pub(super) fn add_block(&mut self) -> Result<WordIndex, Error> {
        let index = WordIndex(self.end()?);
        self.words.try_push(0)?;
        Ok(index)
    }

    /// Adds `count` holes to the list that is open; `count` fits 31 bits, as the number of blocks
    /// of a file does.
    pub(super) fn add_holes(&mut self, list: BlockList, count: u32) -> Result<(), Error> {
        let own = self.words.len() > list.0 as usize + HEADER;
        let last = self.words.len().saturating_sub(1);
        match self.words.get_mut(last) {
            Some(run) if own && *run & HOLES != 0 && (*run & !HOLES) + count < HOLES => {
                *run += count;
            }
            _ => self.words.try_push(HOLES | count)?,
        }
        Ok(())
    }

    /// Ends a list of `count` blocks, holes included: at most 2³¹ - 1.
    pub(super) fn close(&mut self, list: BlockList, count: u64) {
        let count = u32::try_from(count).unwrap_or(u32::MAX) & !CLAIMED;
        self.set(list.0, count);
    }

    /// Takes back the list that was opened last, none of whose blocks is on its way.
    pub(super) fn forget(&mut self, list: BlockList) {
        self.words.truncate(list.0 as usize);
    }

    pub(super) fn set_start(&mut self, list: BlockList, start: u64) {
        let [a, b, c, d, e, f, g, h] = start.to_le_bytes();
        self.set(list.0.saturating_add(1), u32::from_le_bytes([a, b, c, d]));
        self.set(list.0.saturating_add(2), u32::from_le_bytes([e, f, g, h]));
    }

    /// Gives a list the stored blocks of an earlier one, which has its own.
    pub(super) fn share(&mut self, list: BlockList, original: BlockList) {
        self.set(list.0.saturating_add(1), original.0);
        self.set(list.0.saturating_add(2), SHARES);
    }

    fn start(&self, list: BlockList) -> u64 {
        self.header(self.owner(list))
            .map_or(0, |[_, low, high]| u64::from(high) << 32 | u64::from(low))
    }

    /// Returns the list that the stored blocks of a list belong to: mostly itself.
    fn owner(&self, list: BlockList) -> BlockList {
        match self.header(list) {
            Some([_, original, SHARES]) => BlockList(original),
            _ => list,
        }
    }

    pub(super) fn set_word(&mut self, index: WordIndex, word: BlockWord) {
        self.set(index.0, word.0);
    }

    /// Returns the bytes of memory that all lists take.
    pub(crate) fn bytes(&self) -> usize {
        self.words.bytes()
    }

    /// Ends the fragments, whose number is `fragments`.
    pub(super) fn seal(&mut self, fragments: usize) {
        self.fragments = fragments;
    }

    /// Returns the fields of the inode of a file with this body, and its block words in runs: a word, and
    /// how many times it comes.
    ///
    /// # Errors
    /// Returns [`TreeError::ForeignContent`] if the handle is another writer's, or refers to no list of its length.
    pub(crate) fn content(
        &self,
        data: FileData,
    ) -> Result<(Content, impl Iterator<Item = (BlockWord, u64)> + Clone), TreeError> {
        if data.writer() != self.writer {
            return Err(TreeError::ForeignContent);
        }
        let (fragment, offset) = self.tail(data)?;
        let mut left = self.block_count(data);
        let (list, start) = match data.list() {
            Some(list) => {
                let header = self
                    .header(list)
                    .filter(|[count, ..]| u64::from(count & !CLAIMED) == left);
                let start = header.map(|_| self.start(list));
                (list.0 as usize + HEADER, start)
            }
            None => (0, (left == 0).then_some(0)),
        };
        let start = start.ok_or(TreeError::ForeignContent)?;
        let mut words = self.words.iter_from(list);
        let runs = std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let &word = words.next()?;
            let (word, count) = if word & HOLES == 0 {
                (BlockWord(word), 1)
            } else {
                (BlockWord::HOLE, u64::from(word & !HOLES).min(left))
            };
            left -= count;
            Some((word, count))
        });
        let content = Content {
            start,
            sparse: self.sparse(data, runs.clone()),
            fragment,
            offset,
        };
        Ok((content, runs))
    }

    /// Returns the bytes that the blocks of a body take in the image, or 0 if an earlier call returned them, for this body
    /// or for one that shares them.
    pub(crate) fn claim(&mut self, data: FileData) -> Result<u64, Error> {
        let (_, runs) = self.content(data)?;
        let stored = runs.map(|(word, _)| u64::from(word.stored())).sum();
        let list = data.list().map(|list| self.owner(list).0 as usize);
        let Some(count) = list.and_then(|list| self.words.get_mut(list)) else {
            return Ok(0);
        };
        let first = *count & CLAIMED == 0;
        *count |= CLAIMED;
        Ok(if first { stored } else { 0 })
    }

    fn block_count(&self, data: FileData) -> u64 {
        if data.tail().0 == FragmentIndex::NONE {
            data.len().div_ceil(self.block_size)
        } else {
            data.len() / self.block_size
        }
    }

    fn tail(&self, data: FileData) -> Result<(FragmentIndex, u32), TreeError> {
        let (fragment, offset) = data.tail();
        let len = data.len() % self.block_size;
        let fits = (fragment.0 as usize) < self.fragments
            && len > 0
            && u64::from(offset) + len <= self.block_size;
        if fragment != FragmentIndex::NONE && !fits {
            return Err(TreeError::ForeignContent);
        }
        Ok((fragment, offset))
    }

    fn sparse(&self, data: FileData, runs: impl Iterator<Item = (BlockWord, u64)>) -> u64 {
        let mut sparse = 0;
        let mut at: u64 = 0;
        for (word, count) in runs {
            let end = at.saturating_add(count * self.block_size).min(data.len());
            if word == BlockWord::HOLE {
                sparse += end - at;
            }
            at = end;
        }
        sparse
    }

    fn header(&self, list: BlockList) -> Option<[u32; HEADER]> {
        let at = |n| self.words.get(list.0 as usize + n).copied();
        Some([at(0)?, at(1)?, at(2)?])
    }

    fn set(&mut self, index: u32, word: u32) {
        if let Some(slot) = self.words.get_mut(index as usize) {
            *slot = word;
        }
    }

    /// Returns the index of the next word.
    fn end(&self) -> Result<u32, Error> {
        // The highest number stands for a body without blocks.
        u32::try_from(self.words.len())
            .ok()
            .filter(|&index| index != u32::MAX)
            .ok_or_else(|| Error::Limit {
                what: "number of blocks",
                entry: "the image".into(),
                value: self.words.len() as u64,
                max: u32::MAX.into(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(lists: &Lists, data: FileData) -> (u64, Vec<(BlockWord, u64)>) {
        let (content, runs) = lists.content(data).unwrap();
        (content.sparse, runs.collect())
    }

    #[test]
    fn holes_of_two_bodies_stay_apart() {
        let mut lists = Lists::new(4096);
        let a = lists.open().unwrap();
        lists.add_holes(a, 3).unwrap();
        lists.close(a, 3);
        let a = lists.handle(3 * 4096 - 1, Some(a), None);
        let b = lists.open().unwrap();
        lists.add_holes(b, 1).unwrap();
        lists.add_holes(b, 1).unwrap();
        let word = lists.add_block().unwrap();
        lists.set_word(word, BlockWord(77));
        lists.close(b, 3);
        let b = lists.handle(3 * 4096, Some(b), None);
        assert_eq!(runs(&lists, a), (3 * 4096 - 1, vec![(BlockWord::HOLE, 3)]));
        let expected = vec![(BlockWord::HOLE, 2), (BlockWord(77), 1)];
        assert_eq!(runs(&lists, b), (2 * 4096, expected));
        assert_eq!([a, b, b].map(|data| lists.claim(data).unwrap()), [0, 77, 0]);
    }

    #[test]
    fn runs_too_long_for_one_element_take_two() {
        let mut lists = Lists::new(4096);
        let list = lists.open().unwrap();
        lists.add_holes(list, HOLES - 5).unwrap();
        lists.add_holes(list, 4).unwrap();
        assert_eq!(lists.words.len(), HEADER + 1);
        lists.add_holes(list, 1).unwrap();
        assert_eq!(lists.words.len(), HEADER + 2);
    }

    #[test]
    fn a_start_beyond_4_gib_is_kept() {
        let mut lists = Lists::new(4096);
        let list = lists.open().unwrap();
        lists.set_start(list, 0x1234_5678_9ABC);
        assert_eq!(lists.start(list), 0x1234_5678_9ABC);
    }

    #[test]
    fn shared_blocks_are_claimed_once_and_start_with_the_original() {
        let mut lists = Lists::new(4096);
        let [a, b, c] = [(); 3].map(|()| {
            let list = lists.open().unwrap();
            for size in [5, 7] {
                let word = lists.add_block().unwrap();
                lists.set_word(word, BlockWord(size));
            }
            lists.close(list, 2);
            list
        });
        lists.set_start(a, 0x12_3456_789A);
        lists.share(b, a);
        lists.set_start(c, 0x7FFF_FFFF_FFFF_FFFF);
        assert_eq!([a, b].map(|list| lists.start(list)), [0x12_3456_789A; 2]);
        let [a, b, c] = [a, b, c].map(|list| lists.handle(8192, Some(list), None));
        let claimed = [b, a, b, c, c].map(|data| lists.claim(data).unwrap());
        assert_eq!(claimed, [12, 0, 0, 12, 0]);
    }

    #[test]
    fn a_handle_of_another_writer_is_refused() {
        let mut one = Lists::new(4096);
        let list = one.open().unwrap();
        one.add_block().unwrap();
        one.close(list, 1);
        let blocks = one.handle(4096, Some(list), None);
        let tail = one.handle(10, None, Some((FragmentIndex(0), 4086)));
        one.seal(1);
        assert!(one.content(blocks).is_ok() && one.content(tail).is_ok());
        let beyond = one.handle(11, None, Some((FragmentIndex(0), 4086)));
        assert!(one.content(beyond).is_err());
        for _ in 0..3 {
            let other = Lists::new(4096);
            assert!(other.content(blocks).is_err() && other.content(tail).is_err());
        }
        let mut other = Lists::new(4096);
        let list = other.open().unwrap();
        other.add_block().unwrap();
        other.close(list, 1);
        other.seal(1);
        assert!(other.content(blocks).is_err() && other.content(tail).is_err());
        let short = other.handle(4097, Some(list), None);
        assert!(other.content(short).is_err());
    }
}
