//! A block of a file, and the memory it lives in.

use std::io::Write;

use bytes::Bytes;

use crate::error::Error;

/// At most a block of bytes. They are in a buffer of one block, which is allocated and zeroed once and then reused, or in
/// an allocation that is shared with the caller.
pub(crate) struct Block {
    memory: Memory,
    filled: usize,
}

enum Memory {
    Own(Box<[u8]>),
    /// Shared with the caller, and full.
    Lent(Bytes),
}

impl Block {
    pub(crate) fn new(block_size: usize) -> Self {
        Self {
            memory: Memory::Own(vec![0; block_size].into()),
            filled: 0,
        }
    }

    /// Returns an empty block, or an error if there is no memory for it.
    pub(crate) fn try_new(block_size: usize) -> Result<Self, Error> {
        let mut buffer = Vec::new();
        let reserved = buffer.try_reserve_exact(block_size);
        reserved.map_err(|error| Error::shortage("a block", error))?;
        buffer.resize(block_size, 0);
        Ok(Self {
            memory: Memory::Own(buffer.into()),
            filled: 0,
        })
    }

    /// Returns a full block of shared bytes.
    pub(crate) fn lent(bytes: Bytes) -> Self {
        Self {
            filled: bytes.len(),
            memory: Memory::Lent(bytes),
        }
    }

    pub(crate) fn is_lent(&self) -> bool {
        matches!(self.memory, Memory::Lent(_))
    }

    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Returns whether the block is full; a shared one always is.
    pub(crate) fn is_full(&self) -> bool {
        !self.is_lent() && self.room() == 0
    }

    /// Returns its bytes.
    pub(crate) fn filled(&self) -> &[u8] {
        let bytes = match &self.memory {
            Memory::Own(buffer) => buffer,
            Memory::Lent(bytes) => &bytes[..],
        };
        bytes.get(..self.filled).unwrap_or_default()
    }

    /// Returns the number of free bytes.
    pub(crate) fn room(&self) -> usize {
        match &self.memory {
            Memory::Own(buffer) => buffer.len() - self.filled,
            Memory::Lent(_) => 0,
        }
    }

    /// Returns the free part, with undefined content. The caller reports with [`advance`](Self::advance) how much of it it
    /// filled.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Own(buffer) => buffer.get_mut(self.filled..).unwrap_or_default(),
            Memory::Lent(_) => &mut [],
        }
    }

    pub(crate) fn advance(&mut self, len: usize) {
        self.filled += len.min(self.room());
    }

    /// Copies as much of `bytes` as fits, and returns the number of bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        // Writing to a slice is the copy that stops at the end of the shorter one.
        let len = self.space().write(bytes).unwrap_or_default();
        self.advance(len);
        len
    }

    /// Appends at most `len` zeros, and returns their number.
    pub(crate) fn push_zeros(&mut self, len: usize) -> usize {
        let space = self.space();
        let len = len.min(space.len());
        space.iter_mut().take(len).for_each(|byte| *byte = 0);
        self.advance(len);
        len
    }

    /// Overwrites a part of its buffer.
    pub(crate) fn patch(&mut self, at: usize, bytes: &[u8]) {
        let end = at.saturating_add(bytes.len()).min(self.filled);
        let Memory::Own(buffer) = &mut self.memory else {
            debug_assert!(false, "the buffer of a shared block belongs to the caller");
            return;
        };
        if let Some(space) = buffer.get_mut(at..end) {
            space
                .iter_mut()
                .zip(bytes)
                .for_each(|(old, new)| *old = *new);
        }
    }

    /// Returns whether it has only zeros. It stops at the first other byte, so that it costs nothing for most blocks.
    pub(crate) fn is_zero(&self) -> bool {
        let mut chunks = self.filled().chunks_exact(64);
        chunks.all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
            && chunks.remainder().iter().all(|&byte| byte == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_block_does_not_show_what_was_in_it() {
        let mut block = Block::new(100);
        assert_eq!(block.push(&[7; 150]), 100);
        assert!(block.is_full());
        block.clear();
        assert_eq!(block.push_zeros(70), 70);
        assert!(block.is_zero());
        assert_eq!(block.filled(), [0; 70]);
        assert_eq!(block.push(b"ab"), 2);
        assert_eq!(block.filled().last(), Some(&b'b'));
    }

    #[test]
    fn one_byte_anywhere_makes_a_block_not_zero() {
        for at in [0, 63, 64, 127, 128, 199] {
            let mut block = Block::new(200);
            block.push_zeros(at);
            block.push(&[1]);
            block.push_zeros(200);
            assert!(!block.is_zero(), "{at}");
        }
        let mut block = Block::new(200);
        block.push_zeros(200);
        assert!(block.is_zero());
    }
}
