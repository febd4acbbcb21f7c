//! One body on its way in.

use std::fmt;
use std::io::{self, Read, Write};

use super::block::Block;
use super::record::{FileData, OpenRecord};
use super::{DataPlane, End, Waiting};
use crate::error::Error;
use crate::format::INODE_BLOCKS_MAX;

/// A body that is being written, in pieces of any size; see [`DataWriter::begin`].
///
/// Bytes come in by [`append`](Self::append) or by [`Write`]; both split into the same blocks. If
/// it is dropped without [`finish`](Self::finish) the body is discarded: no file can have it, and
/// the writer goes on. What was already written of it, if it is a large one, stays in the image as
/// dead bytes.
///
/// [`DataWriter::begin`]: crate::DataWriter::begin
#[must_use = "a body that is not finished is discarded"]
pub struct Body<'w, W: Write> {
    plane: &'w mut DataPlane<W>,
    /// The block that is being filled. `None` before the first byte and after the end.
    block: Option<Block>,
    /// `None` before the first byte.
    record: Option<OpenRecord>,
    len: u64,
    /// The last block that is not a hole. It is handed on when there is a next one, or when the
    /// body has ended and it is known whether it is a duplicate.
    waiting: Option<Waiting>,
    /// Whether a block of it is on its way to the image.
    stored: bool,
}

impl<'w, W: Write> Body<'w, W> {
    pub(super) fn new(plane: &'w mut DataPlane<W>) -> Self {
        plane.taking.reset();
        Self {
            plane,
            block: None,
            record: None,
            len: 0,
            waiting: None,
            stored: false,
        }
    }

    /// Appends everything that `content` gives until its end, and returns how much that was.
    ///
    /// # Errors
    /// [`Error::Body`] if `content` fails; that is the one error after which the writer can go on.
    /// [`Error::Sink`], [`Error::Codec`] and [`Error::Limit`] as everywhere.
    pub fn append(&mut self, mut content: impl Read) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            let mut block = self.block()?;
            let result = content.read(block.space());
            let len = *result.as_ref().unwrap_or(&0);
            block.advance(len);
            self.block = Some(block);
            match result {
                Ok(0) => return Ok(total),
                Ok(_) => {
                    self.grow(len as u64)?;
                    total += len as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Body(error)),
            }
            self.flush_full()?;
        }
    }

    /// Appends `len` zeros without looking at them. Whole blocks of them cost nothing, neither in
    /// the image nor in time.
    ///
    /// # Errors
    /// [`Error::Limit`] if the file gets more than 2³¹ - 1 blocks, and as [`append`](Self::append).
    pub fn hole(&mut self, mut len: u64) -> Result<(), Error> {
        self.grow(len)?;
        let block_size = self.plane.block_size as u64;
        while len > 0 {
            let mut block = self.block()?;
            if block.is_empty() && len >= block_size {
                self.block = Some(block);
                self.push_holes(len / block_size)?;
                len %= block_size;
                continue;
            }
            let space = usize::try_from(len).unwrap_or(usize::MAX);
            len -= block.push_zeros(space) as u64;
            self.block = Some(block);
            self.flush_full()?;
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`Error::Sink`], [`Error::Codec`] and [`Error::Limit`].
    pub fn finish(mut self) -> Result<FileData, Error> {
        self.plane.guard(|_| Ok(()))?;
        let tail = self.take_tail()?;
        let len = self.len;
        self.plane.counts.body_bytes += len;
        let (fingerprint, original) = self.plane.fingerprint(len);
        if let Some(original) = original.filter(|_| !self.stored) {
            self.plane.count_duplicate(original);
            let waiting = self.waiting.take().map(|waiting| waiting.block);
            for block in waiting.into_iter().chain(tail) {
                self.plane.queue.recycle(block);
            }
            return Ok(original);
        }

        let record = self.record()?;
        if let Some(waiting) = self.waiting.take() {
            let end = original.map_or(End::Keep(record), |original| {
                End::Duplicate(record, original)
            });
            self.plane
                .guard(|plane| plane.submit_block(waiting, Some(end)))?;
        }
        let place = match (tail, original) {
            (None, _) => None,
            (Some(tail), original) => {
                let place = match original {
                    Some(original) => self.plane.records.tail(original),
                    None => Some(self.plane.guard(|plane| plane.add_tail(tail.filled()))?),
                };
                self.plane.queue.recycle(tail);
                place
            }
        };
        let data = self.plane.records.close(record, len, place);
        if let (None, Some(fingerprint), Some(known)) =
            (original, fingerprint, &mut self.plane.known)
        {
            known.insert(fingerprint, data);
        }
        Ok(data)
    }

    /// What is left at the end, if it goes into a fragment; otherwise it becomes a block.
    fn take_tail(&mut self) -> Result<Option<Block>, Error> {
        let Some(block) = self.block.take() else {
            return Ok(None);
        };
        if block.is_empty() {
            self.plane.queue.recycle(block);
            return Ok(None);
        }
        // A short file, or one whose tail may leave it; a tail of zeros is a hole all the same.
        let shares = self.len < self.plane.block_size as u64 || self.plane.share_tails;
        if !shares || block.is_zero() {
            self.push(block)?;
            return Ok(None);
        }
        if self.plane.known.is_some() {
            self.plane.taking.content(block.filled());
        }
        Ok(Some(block))
    }

    /// The block that is being filled, which is never full. The caller puts it back.
    fn block(&mut self) -> Result<Block, Error> {
        if self.plane.failed {
            return Err(Error::Poisoned);
        }
        Ok(self
            .block
            .take()
            .unwrap_or_else(|| self.plane.queue.block()))
    }

    fn record(&mut self) -> Result<OpenRecord, Error> {
        if let Some(record) = self.record {
            return Ok(record);
        }
        let record = self.plane.guard(|plane| plane.records.open())?;
        Ok(*self.record.insert(record))
    }

    fn grow(&mut self, len: u64) -> Result<(), Error> {
        let max = INODE_BLOCKS_MAX * self.plane.block_size as u64;
        let total = self.len.saturating_add(len);
        if total > max {
            return Err(Error::Limit {
                what: "length",
                entry: "a file".into(),
                value: total,
                max,
            });
        }
        self.len = total;
        Ok(())
    }

    fn flush_full(&mut self) -> Result<(), Error> {
        match self.block.take_if(|block| block.is_full()) {
            Some(block) => self.push(block),
            None => Ok(()),
        }
    }

    /// Takes a block that is full, or the last one.
    fn push(&mut self, block: Block) -> Result<(), Error> {
        if block.is_zero() {
            self.plane.counts.hole_bytes += block.filled().len() as u64;
            self.plane.queue.recycle(block);
            return self.add_holes(1);
        }
        if self.plane.known.is_some() {
            self.plane.taking.content(block.filled());
        }
        self.record()?;
        let word = self.plane.guard(|plane| plane.records.add_block())?;
        if let Some(before) = self.waiting.replace(Waiting { block, word }) {
            self.stored = true;
            self.plane.guard(|plane| plane.submit_block(before, None))?;
        }
        Ok(())
    }

    fn push_holes(&mut self, count: u64) -> Result<(), Error> {
        self.plane.counts.hole_bytes += count * self.plane.block_size as u64;
        // `grow` has seen to it that the count fits.
        self.add_holes(u32::try_from(count).unwrap_or(u32::MAX >> 1))
    }

    fn add_holes(&mut self, count: u32) -> Result<(), Error> {
        self.plane.taking.holes(count.into());
        let record = self.record()?;
        self.plane.records.add_holes(record, count);
        Ok(())
    }
}

/// The writer's own errors arrive as the inner error of an [`io::Error`].
impl<W: Write> Write for Body<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut block = self.block().map_err(io::Error::other)?;
        let len = block.push(bytes);
        self.block = Some(block);
        self.grow(len as u64)
            .and_then(|()| self.flush_full())
            .map_err(io::Error::other)?;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for Body<'_, W> {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.plane.queue.recycle(block);
        }
        match self.waiting.take() {
            // Submitting can fail, so that is left to whoever comes next.
            Some(waiting) if self.stored => self.plane.orphan = Some(waiting),
            Some(waiting) => self.plane.queue.recycle(waiting.block),
            None => {}
        }
    }
}

impl<W: Write> fmt::Debug for Body<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
