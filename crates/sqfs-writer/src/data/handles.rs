//! Handles of many bodies in little memory.

use std::fmt;

use super::handle::{BlockList, FileData, WriterNumber};
use crate::format::FragmentIndex;

/// Bytes of each piece but the last, at most.
const PIECE: usize = 16 << 10;

/// The most that one handle takes: a flag, and numbers of 25, 51, 33, 33 and 20 bits.
const HANDLE_MAX: usize = 1 + 4 + 8 + 5 + 5 + 3;

/// In the first byte of a handle: the body has blocks.
const LIST: u8 = 1;
/// It has a tail.
const TAIL: u8 = 2;
/// Its tail follows that of the last body without blocks.
const FOLLOWS: u8 = 4;
/// The writer's number comes first, because that of the last handle is another.
const WRITER: u8 = 8;

/// Handles of bodies in the order in which they were added, in few bytes: about 3 for a body that is all tail and follows
/// another one, about 9 for a body with blocks, and never more than 26. A [`FileData`] takes 20.
///
/// A caller that asks [`Places`](super::Places) for the bodies of an image needs their handles until its end.
#[derive(Clone, Default)]
pub struct Handles {
    pieces: Vec<Vec<u8>>,
    bytes: usize,
    last: Last,
}

/// What the next handle relates to.
#[derive(Clone, Copy, Default)]
struct Last {
    writer: WriterNumber,
    list: u32,
    /// Where the last body without blocks has its tail, and the end of that tail.
    whole: (u32, u32),
    /// Fragment with the tail of the last body with blocks.
    end: u32,
}

impl Last {
    /// Moves on to a handle.
    fn advance(&mut self, data: FileData) {
        self.writer = data.writer();
        let (FragmentIndex(fragment), offset) = data.tail();
        if let Some(BlockList(list)) = data.list() {
            self.list = list;
            if data.has_tail() {
                self.end = fragment;
            }
        } else if data.has_tail() {
            let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
            self.whole = (fragment, offset.wrapping_add(len));
        }
    }
}

impl Handles {
    /// Adds a handle.
    pub fn push(&mut self, data: FileData) {
        let full = |piece: &mut Vec<u8>| piece.len() + HANDLE_MAX > PIECE;
        if self.pieces.last_mut().is_none_or(full) {
            // Grows by itself up to a piece: most images are small.
            self.pieces.push(Vec::new());
        }
        let Some(piece) = self.pieces.last_mut() else {
            return;
        };
        let before = piece.len();
        let (FragmentIndex(fragment), offset) = data.tail();
        let list = data.list();
        let follows = list.is_none() && (fragment, offset) == self.last.whole;
        let flag = |set: bool, flag| if set { flag } else { 0 };
        let has_tail = data.has_tail();
        let writer = Some(data.writer()).filter(|writer| *writer != self.last.writer);
        piece.push(
            flag(list.is_some(), LIST)
                | flag(has_tail, TAIL)
                | flag(has_tail && follows, FOLLOWS)
                | flag(writer.is_some(), WRITER),
        );
        if let Some(WriterNumber(writer)) = writer {
            put(piece, writer.into());
        }
        put(piece, data.len());
        if let Some(BlockList(list)) = list {
            put(piece, distance(self.last.list, list));
        }
        if has_tail && !follows {
            let last = match list {
                Some(_) => self.last.end,
                None => self.last.whole.0,
            };
            put(piece, distance(last, fragment));
            put(piece, offset.into());
        }
        self.bytes += piece.len() - before;
        self.last.advance(data);
    }

    /// Returns how many bytes the handles take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the handles in order, and frees memory as it goes.
    pub fn into_values(self) -> impl Iterator<Item = FileData> {
        Values {
            pieces: self.pieces.into_iter(),
            piece: Vec::new().into_iter(),
            last: Last::default(),
        }
    }

    /// Frees memory that was allocated for more of them.
    pub fn shrink(&mut self) {
        if let Some(last) = self.pieces.last_mut() {
            last.shrink_to_fit();
        }
        self.pieces.shrink_to_fit();
    }
}

/// Handles that are taken out, in order.
struct Values {
    pieces: std::vec::IntoIter<Vec<u8>>,
    piece: std::vec::IntoIter<u8>,
    last: Last,
}

impl Iterator for Values {
    type Item = FileData;

    fn next(&mut self) -> Option<FileData> {
        let flags = loop {
            match self.piece.next() {
                Some(flags) => break flags,
                None => self.piece = self.pieces.next()?.into_iter(),
            }
        };
        let bytes = &mut self.piece;
        let writer = match flags & WRITER {
            0 => self.last.writer,
            _ => WriterNumber(u32::try_from(number(bytes)?).ok()?),
        };
        let len = number(bytes)?;
        let list = match flags & LIST {
            0 => None,
            _ => Some(BlockList(moved(self.last.list, number(bytes)?))),
        };
        let tail = if flags & TAIL == 0 {
            None
        } else if flags & FOLLOWS != 0 {
            Some(self.last.whole)
        } else {
            let last = match list {
                Some(_) => self.last.end,
                None => self.last.whole.0,
            };
            let fragment = moved(last, number(bytes)?);
            Some((fragment, u32::try_from(number(bytes)?).ok()?))
        };
        let tail = tail.map(|(fragment, offset)| (FragmentIndex(fragment), offset));
        let data = FileData::new(writer, len, list, tail);
        self.last.advance(data);
        Some(data)
    }
}

impl fmt::Debug for Handles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handles")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// Returns how far it is from one number to another, so that short ways in both directions are small numbers.
fn distance(from: u32, to: u32) -> u64 {
    match to.checked_sub(from) {
        Some(forward) => u64::from(forward) << 1,
        None => u64::from(from - to) << 1 | 1,
    }
}

/// Returns the number at that distance.
fn moved(from: u32, distance: u64) -> u32 {
    let way = u32::try_from(distance >> 1).unwrap_or(u32::MAX);
    match distance & 1 {
        0 => from.wrapping_add(way),
        _ => from.wrapping_sub(way),
    }
}

/// Appends a number, seven bits a byte, low ones first.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low & 0x7F);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = bytes.next()?;
        number |= u64::from(byte & 0x7F).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(all: &[FileData]) -> usize {
        let mut handles = Handles::default();
        for data in all {
            handles.push(*data);
        }
        handles.shrink();
        let bytes = handles.pieces.iter().map(Vec::len).sum::<usize>();
        assert_eq!(handles.bytes(), bytes);
        assert!(handles.pieces.iter().all(|piece| piece.capacity() <= PIECE));
        assert!(handles.into_values().eq(all.iter().copied()));
        bytes
    }

    #[test]
    fn handles_come_back_as_they_were() {
        assert_eq!(kept(&[]), 0);
        // Every combination of parts, each of them small, large and as large as it can be.
        let lens = [0, 1, 127, 128, u64::from(u32::MAX), (1 << 51) - 1];
        let lists = [None, Some(0), Some(70_000), Some(u32::MAX - 1)];
        let fragments = [None, Some(0), Some(300), Some(u32::MAX - 1)];
        let offsets = [0, 1, (1 << 20) - 1];
        // The first writer of a process has the number 0, and most images have one writer.
        let writers = [0, 0, 0, 9, 9, (1 << 25) - 1].map(WriterNumber);
        let mut all = Vec::new();
        for len in lens {
            for list in lists {
                for fragment in fragments {
                    for offset in offsets {
                        let tail = fragment.map(|fragment| (FragmentIndex(fragment), offset));
                        let writer = writers[all.len() % writers.len()];
                        all.push(FileData::new(writer, len, list.map(BlockList), tail));
                    }
                }
            }
        }
        // In several orders, so that each of them follows many others; 7 and 11 divide no number of combinations.
        for step in [1, 7, 11, all.len() - 1] {
            let order = (0..9 * all.len()).map(|n| all[n * step % all.len()]);
            let bytes = kept(&order.collect::<Vec<_>>());
            assert!(bytes > PIECE && bytes < 9 * all.len() * HANDLE_MAX);
        }
    }

    #[test]
    fn bodies_that_follow_each_other_take_few_bytes() {
        let tails = |len: u64| {
            let (mut fragment, mut offset) = (0, 0);
            let next = std::iter::repeat_with(move || {
                let len32 = u32::try_from(len).unwrap();
                if offset + len32 > 131_072 {
                    (fragment, offset) = (fragment + 1, 0);
                }
                let tail = (FragmentIndex(fragment), offset);
                offset += len32;
                FileData::new(WriterNumber(77), len, None, Some(tail))
            });
            next.take(10_000).collect::<Vec<_>>()
        };
        assert!(kept(&tails(100)) < 2 * 10_000 + 500);
        assert!(kept(&tails(5000)) < 3 * 10_000 + 5 * 500);
        let blocks = (0..10_000).map(|n| {
            let tail = (FragmentIndex(n / 3), n % 3 * 40_000);
            FileData::new(
                WriterNumber(77),
                300_000,
                Some(BlockList(n * 5)),
                Some(tail),
            )
        });
        assert!(kept(&blocks.collect::<Vec<_>>()) < 9 * 10_000);
    }
}
