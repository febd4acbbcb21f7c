//! What is known of each body: where its blocks are, and which fragment its tail is in.

use crate::error::{Error, TreeError};
use crate::format::{BlockWord, FragmentIndex};

/// A handle of a body that was written: what a [`Tree`](crate::Tree) holds as the content of a
/// file. It is only good for the writer it came from. Several files may have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileData {
    index: u32,
    len: u64,
}

impl FileData {
    /// Length of the body in bytes.
    #[must_use]
    pub fn len(self) -> u64 {
        self.len
    }

    /// Whether the body has no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// Where a body is.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    /// Where its first stored block begins; 0 without one.
    pub(crate) start: u64,
    /// [`UNFINISHED`] while it is being written, and for ever if it was discarded.
    len: u64,
    first_word: u32,
    pub(crate) fragment: FragmentIndex,
    /// Where its tail begins in the fragment.
    pub(crate) offset: u32,
}

/// No body is that long.
const UNFINISHED: u64 = u64::MAX;

/// All bodies, in order of their arrival.
///
/// Block words of all of them are in one vector, a body's words one after the other. A run of holes
/// takes one element, whatever its length: a sparse file of terabytes costs nothing here.
pub(crate) struct Records {
    records: Vec<Record>,
    words: Vec<u32>,
    block_size: u64,
}

/// Bit 24 is the highest that a block word uses; with this one, the rest counts holes.
const HOLES: u32 = 1 << 31;

/// A body that has a record and no end yet.
#[derive(Clone, Copy)]
pub(super) struct OpenRecord(u32);

/// Where a block word will be once the block is compressed.
#[derive(Clone, Copy)]
pub(super) struct WordIndex(u32);

impl Records {
    pub(super) fn new(block_size: usize) -> Self {
        Self {
            records: Vec::new(),
            words: Vec::new(),
            block_size: block_size as u64,
        }
    }

    pub(super) fn open(&mut self) -> Result<OpenRecord, Error> {
        let index = index(self.records.len(), "number of files")?;
        self.records.push(Record {
            start: 0,
            len: UNFINISHED,
            first_word: self::index(self.words.len(), "number of blocks")?,
            fragment: FragmentIndex::NONE,
            offset: 0,
        });
        Ok(OpenRecord(index))
    }

    /// Makes room for the word of a block that is on its way.
    pub(super) fn add_block(&mut self) -> Result<WordIndex, Error> {
        let index = index(self.words.len(), "number of blocks")?;
        self.words.push(0);
        Ok(WordIndex(index))
    }

    /// Adds `count` holes to the body that is open; `count` fits 31 bits, as the number of blocks
    /// of a file does.
    pub(super) fn add_holes(&mut self, record: OpenRecord, count: u32) {
        let first = self.record(record).map_or(0, |record| record.first_word);
        let own = self.words.len() > first as usize;
        match self.words.last_mut() {
            Some(run) if own && *run & HOLES != 0 && (*run & !HOLES) + count < HOLES => {
                *run += count;
            }
            _ => self.words.push(HOLES | count),
        }
    }

    pub(super) fn close(
        &mut self,
        open: OpenRecord,
        len: u64,
        tail: Option<(FragmentIndex, u32)>,
    ) -> FileData {
        if let Some(record) = self.record_mut(open) {
            record.len = len;
            if let Some((fragment, offset)) = tail {
                record.fragment = fragment;
                record.offset = offset;
            }
        }
        FileData { index: open.0, len }
    }

    pub(super) fn set_start(&mut self, open: OpenRecord, start: u64) {
        if let Some(record) = self.record_mut(open) {
            record.start = start;
        }
    }

    /// Gives a body the blocks of an earlier one that is equal to it.
    pub(super) fn share(&mut self, open: OpenRecord, original: FileData) {
        let original = self.records.get(original.index()).copied();
        if let (Some(original), Some(record)) = (original, self.record_mut(open)) {
            *record = original;
        }
    }

    /// Where the tail of a body is.
    pub(super) fn tail(&self, data: FileData) -> Option<(FragmentIndex, u32)> {
        let record = self.records.get(data.index())?;
        (record.fragment != FragmentIndex::NONE).then_some((record.fragment, record.offset))
    }

    pub(super) fn set_word(&mut self, index: WordIndex, word: BlockWord) {
        if let Some(slot) = self.words.get_mut(index.0 as usize) {
            *slot = word.0;
        }
    }

    /// The record behind a handle.
    pub(crate) fn get(&self, data: FileData) -> Result<&Record, Error> {
        self.records
            .get(data.index as usize)
            .filter(|record| record.len == data.len)
            .ok_or(Error::Tree(TreeError::ForeignContent))
    }

    /// Block words of a body in runs: a word, and how many times it comes.
    pub(crate) fn blocks(
        &self,
        data: FileData,
    ) -> Result<impl Iterator<Item = (BlockWord, u64)> + Clone, Error> {
        let record = self.get(data)?;
        let mut left = if record.fragment == FragmentIndex::NONE {
            data.len.div_ceil(self.block_size)
        } else {
            data.len / self.block_size
        };
        let words = self.words.get(record.first_word as usize..);
        let mut words = words.unwrap_or_default().iter();
        Ok(std::iter::from_fn(move || {
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
        }))
    }

    /// Bytes of a body that are in holes, and bytes that its blocks take in the image.
    pub(crate) fn sparse_and_stored(&self, data: FileData) -> Result<(u64, u64), Error> {
        let mut sparse = 0;
        let mut stored = 0;
        let mut at: u64 = 0;
        for (word, count) in self.blocks(data)? {
            let end = at.saturating_add(count * self.block_size).min(data.len);
            if word == BlockWord::HOLE {
                sparse += end - at;
            }
            stored += u64::from(word.stored());
            at = end;
        }
        Ok((sparse, stored))
    }

    /// Where its block words are: different for any two bodies that have blocks of their own.
    pub(crate) fn first_word(&self, data: FileData) -> Result<u32, Error> {
        Ok(self.get(data)?.first_word)
    }

    fn record(&self, open: OpenRecord) -> Option<&Record> {
        self.records.get(open.0 as usize)
    }

    fn record_mut(&mut self, open: OpenRecord) -> Option<&mut Record> {
        self.records.get_mut(open.0 as usize)
    }
}

impl FileData {
    /// The handle of a record that is known to have that length.
    pub(super) fn new(index: u32, len: u64) -> Self {
        Self { index, len }
    }

    /// The record's number.
    pub(super) fn record(self) -> u32 {
        self.index
    }

    /// Place of the record among all of them.
    fn index(self) -> usize {
        self.index as usize
    }
}

fn index(len: usize, what: &'static str) -> Result<u32, Error> {
    u32::try_from(len).map_err(|_| Error::Limit {
        what,
        entry: "the image".into(),
        value: len as u64,
        max: u32::MAX.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_of_two_bodies_stay_apart() {
        let mut records = Records::new(4096);
        let a = records.open().unwrap();
        records.add_holes(a, 3);
        let a = records.close(a, 3 * 4096 - 1, None);
        let b = records.open().unwrap();
        records.add_holes(b, 1);
        records.add_holes(b, 1);
        let word = records.add_block().unwrap();
        records.set_word(word, BlockWord(77));
        let b = records.close(b, 3 * 4096, None);
        let runs = |data| records.blocks(data).unwrap().collect::<Vec<_>>();
        assert_eq!(runs(a), [(BlockWord::HOLE, 3)]);
        assert_eq!(runs(b), [(BlockWord::HOLE, 2), (BlockWord(77), 1)]);
        assert_eq!(records.sparse_and_stored(a).unwrap(), (3 * 4096 - 1, 0));
        assert_eq!(records.sparse_and_stored(b).unwrap(), (2 * 4096, 77));
    }

    #[test]
    fn runs_too_long_for_one_element_take_two() {
        let mut records = Records::new(4096);
        let open = records.open().unwrap();
        records.add_holes(open, HOLES - 1);
        records.add_holes(open, 5);
        let data = records.close(open, (u64::from(HOLES) + 4) * 4096, None);
        let total: u64 = records.blocks(data).unwrap().map(|(_, count)| count).sum();
        assert_eq!(total, u64::from(HOLES) + 4);
    }

    #[test]
    fn a_handle_of_another_writer_is_refused() {
        let mut one = Records::new(4096);
        let open = one.open().unwrap();
        let data = one.close(open, 10, None);
        let mut other = Records::new(4096);
        assert!(other.get(data).is_err());
        other.open().unwrap();
        assert!(other.get(data).is_err());
    }
}
