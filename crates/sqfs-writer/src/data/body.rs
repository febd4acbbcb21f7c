//! A body that is being written.

use std::fmt;
use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};

use super::duplicate::Taking;
use super::handle::{BlockList, FileData, Tail};
use super::plane::{DataPlane, Duplicate, Waiting};
use super::recipe::Fingerprints;
use super::tails::{Kind, TailBytes};
use crate::error::Error;
use crate::format::{FragmentIndex, INODE_BLOCKS_MAX};
use crate::known::{Fingerprint, Of};
use crate::options::TailPolicy;
use crate::pool::Block;

/// Size of the smallest blocks that are compressed without a copy. Copying a smaller one costs little, and it might keep
/// a much larger allocation alive.
const LENT_MIN: usize = 128 << 10;

/// A body that is being written in pieces of any size; see [`DataWriter::begin`].
///
/// [`append`](Self::append), [`append_bytes`](Self::append_bytes) and [`Write`] append bytes, and split them into the same
/// blocks. Dropping the body without [`finish`](Self::finish) discards it, and the writer goes on. Blocks of a large body
/// that were written already stay in the image as dead bytes.
///
/// [`DataWriter::begin`]: crate::DataWriter::begin
#[must_use = "a body that is not finished is discarded"]
pub struct Body<'w, W: Write> {
    plane: &'w mut DataPlane<W>,
    /// The current block. `None` before the first byte and after the end.
    block: Option<Block>,
    /// `None` before the first block.
    list: Option<BlockList>,
    len: u64,
    /// Bytes in holes.
    holes: u64,
    /// The last block that is not a hole. It is submitted when there is a next one, or at the end, when it is known whether
    /// the body is a duplicate.
    waiting: Option<Waiting>,
    /// Whether a block of the body was submitted.
    stored: bool,
    /// Whether bytes of the content are missing in it.
    broken: bool,
}

impl<'w, W: Write> Body<'w, W> {
    pub(super) fn new(plane: &'w mut DataPlane<W>) -> Self {
        plane.leave_body();
        plane.begun = true;
        plane.taking.reset();
        Self {
            plane,
            block: None,
            list: None,
            len: 0,
            holes: 0,
            waiting: None,
            stored: false,
            broken: false,
        }
    }

    /// Appends what `content` returns until its end, and returns its length in bytes.
    ///
    /// # Errors
    /// - [`Error::Body`] if `content` fails, or says that it filled more than the space that it was given
    /// - [`Error::Limit`] if the body has more than 2³¹ - 1 blocks
    /// - [`Error::Shortage`] if there is no memory for a block
    /// - [`Error::Discarded`] after one of these three errors, or after `content` has panicked: the body lacks bytes and can
    ///   only be dropped. The writer goes on.
    /// - [`Error::Sink`], [`Error::Codec`], [`Error::Thread`], [`Error::Memory`], [`Error::Shortage`] for the lists of
    ///   blocks, or [`Error::Limit`] for a number of blocks or fragments, if the image cannot be written any further, and
    ///   [`Error::Poisoned`] after that
    pub fn append(&mut self, mut content: impl Read) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            let mut block = self.block()?;
            // If `content` panics, the block is lost.
            self.broken = true;
            let room = block.room();
            let result = content.read(block.space());
            let result = result.and_then(|len| check_read(len, room));
            let len = *result.as_ref().unwrap_or(&0);
            block.advance(len);
            self.block = Some(block);
            let at_end = match result {
                Ok(len) => len == 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
                Err(error) => return Err(Error::Body(error)),
            };
            self.broken = false;
            if at_end {
                return Ok(total);
            }
            self.grow(len as u64)?;
            total += len as u64;
            self.flush_full()?;
        }
    }

    /// Appends `bytes` as [`append`](Self::append) does, without a copy of blocks of 128 KiB or more that lie in `bytes` as
    /// a whole, and of bodies shorter than a block. It copies the rest.
    ///
    /// The allocation behind `bytes` stays alive until such a block is compressed, or written if compression does not make
    /// it smaller; that of the last piece until the next call. [`Options::memory`](crate::Options::memory) bounds the
    /// number of blocks in flight, and does not include the allocations.
    ///
    /// # Errors
    /// As [`append`](Self::append), without [`Error::Body`].
    pub fn append_bytes(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        self.check()?;
        self.grow(bytes.len() as u64)?;
        let block_size = self.plane.block_size;
        while !bytes.is_empty() {
            let begins = self.block.as_ref().is_none_or(Block::is_empty);
            if begins && bytes.len() >= block_size && block_size >= LENT_MIN {
                self.push(Block::lent(bytes.split_to(block_size)))?;
            } else if begins && bytes.len() < block_size {
                // If nothing follows, this is the tail and needs no copy.
                let lent = Block::lent(std::mem::take(&mut bytes));
                if let Some(unused) = self.block.replace(lent) {
                    self.plane.queue.recycle(unused);
                }
            } else {
                let mut block = self.block()?;
                bytes.advance(block.push(&bytes));
                self.block = Some(block);
                self.flush_full()?;
            }
        }
        Ok(())
    }

    /// Appends `len` zeros. Whole blocks of zeros take no space in the image and no time.
    ///
    /// # Errors
    /// As [`append`](Self::append), without [`Error::Body`].
    pub fn hole(&mut self, mut len: u64) -> Result<(), Error> {
        self.check()?;
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

    /// Ends the body, and returns its handle.
    ///
    /// # Errors
    /// As [`append`](Self::append), without [`Error::Body`].
    pub fn finish(self) -> Result<FileData, Error> {
        self.finish_recorded().map(|(data, _)| data)
    }

    /// Ends the body as [`finish`](Self::finish) does, and returns its fingerprints too, which a
    /// [`Recipe`](crate::replay::Recipe) in a later image needs. They are `None` if the writer does not look for
    /// [duplicates](crate::Options::duplicates), or has stopped for want of memory.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_recorded(mut self) -> Result<(FileData, Option<Fingerprints>), Error> {
        self.check()?;
        self.plane.guard(|plane| plane.cancel.tick())?;
        let tail = self.take_tail()?;
        let tail_len = tail.as_ref().map_or(0, |tail| tail.filled().len());
        self.plane.counts.body_bytes += self.len;
        self.plane.counts.hole_bytes += self.holes;
        self.plane.output.progress_mut().body_bytes = self.plane.counts.body_bytes;
        let fingerprint = tail
            .as_ref()
            .and_then(|tail| self.plane.fingerprint(tail.filled()));
        let known = fingerprint.and_then(|fingerprint| self.plane.look_up(fingerprint));
        let shared = tail.is_none() || known.is_some();
        // Submit the blocks before the tail, so that a fragment that is full now does not come between them.
        let (list, blocks) = match self.finish_blocks(self.len - tail_len as u64, shared)? {
            Some((list, blocks)) => (Some(list), blocks),
            None => (None, None),
        };
        let place = match &tail {
            Some(tail) => {
                let (tail, kind) = (TailBytes::Here(tail.filled()), Kind::of(list));
                let place =
                    |plane: &mut DataPlane<W>| plane.place_tail(kind, tail, fingerprint, known);
                Some(self.plane.guard(place)?)
            }
            None => None,
        };
        let complete =
            blocks.is_some() == list.is_some() && fingerprint.is_some() == tail.is_some();
        let fingerprints = complete.then_some(Fingerprints {
            len: self.len,
            blocks,
            tail: fingerprint,
        });
        if let Some(tail) = tail {
            self.plane.queue.recycle(tail);
        }
        if list.is_none() && place.is_some() {
            self.plane.counts.duplicates += u64::from(shared);
        }
        Ok((self.plane.lists.handle(self.len, list, place), fingerprints))
    }

    /// Returns the list of the body's blocks, or that of an earlier body if they are equal, and their fingerprint. `whole`
    /// says that no tail has to be stored.
    fn finish_blocks(
        &mut self,
        len: u64,
        whole: bool,
    ) -> Result<Option<(BlockList, Option<Fingerprint>)>, Error> {
        let Some(list) = self.list.take() else {
            return Ok(None);
        };
        let stored = len.saturating_sub(self.holes);
        let closed = self.plane.guard(|plane| {
            plane.close_blocks(list, [len, stored], whole, |taking| taking.finish(len))
        })?;
        let waiting = self.waiting.take();
        if let Some(duplicate) = closed.duplicate.filter(|_| !self.stored) {
            if let Some(Waiting { block, .. }) = waiting {
                self.plane.queue.recycle(block);
            }
            return Ok(Some((self.plane.share(duplicate), closed.fingerprint)));
        }
        if let Some(waiting) = waiting {
            let end = closed.end(list);
            self.plane
                .guard(|plane| plane.submit_block(waiting, Some(end)))?;
        }
        self.plane.remember_blocks(list, &closed)?;
        Ok(Some((list, closed.fingerprint)))
    }

    /// Returns the last, partial block if it goes into a fragment; otherwise submits it.
    fn take_tail(&mut self) -> Result<Option<Block>, Error> {
        let Some(block) = self.block.take() else {
            return Ok(None);
        };
        if block.is_empty() {
            self.plane.queue.recycle(block);
            return Ok(None);
        }
        // A tail of zeros is a hole too.
        let shares = match self.plane.tail_policy {
            TailPolicy::Never => false,
            TailPolicy::ShortFiles => self.len < self.plane.block_size as u64,
            TailPolicy::Always => true,
        };
        if !shares || block.is_zero() {
            self.push(block)?;
            return Ok(None);
        }
        Ok(Some(block))
    }

    /// Checks that the body has all the bytes that it was given, and can get more.
    fn check(&self) -> Result<(), Error> {
        match (self.plane.failed, self.broken) {
            (true, _) => Err(Error::Poisoned),
            (false, true) => Err(Error::Discarded),
            (false, false) => Ok(()),
        }
    }

    /// Takes the current block, which is never full and never shared. The caller puts it back.
    fn block(&mut self) -> Result<Block, Error> {
        self.check()?;
        match self.block.take() {
            Some(lent) if lent.is_lent() => {
                let mut block = self.new_block()?;
                block.push(lent.filled());
                Ok(block)
            }
            Some(block) => Ok(block),
            None => self.new_block(),
        }
    }

    fn new_block(&mut self) -> Result<Block, Error> {
        let block = self.plane.queue.block();
        // The bytes for it are lost.
        self.broken |= block.is_err();
        block
    }

    fn list(&mut self) -> Result<BlockList, Error> {
        if let Some(list) = self.list {
            return Ok(list);
        }
        let list = self.plane.guard(|plane| plane.lists.open())?;
        Ok(*self.list.insert(list))
    }

    fn grow(&mut self, len: u64) -> Result<(), Error> {
        let max = INODE_BLOCKS_MAX * self.plane.block_size as u64;
        let total = self.len.saturating_add(len);
        if total > max {
            self.broken = true;
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
        // Neither holes nor duplicates ever reach the sink.
        self.plane.guard(|plane| plane.cancel.check())?;
        if block.is_zero() {
            self.holes += block.filled().len() as u64;
            self.plane.queue.recycle(block);
            return self.add_holes(1);
        }
        if self.plane.known.is_some() {
            self.plane.taking.content(block.filled());
        }
        self.list()?;
        let word = self.plane.guard(|plane| plane.lists.add_block())?;
        if let Some(before) = self.waiting.replace(Waiting { block, word }) {
            self.stored = true;
            self.plane.guard(|plane| plane.submit_block(before, None))?;
        }
        Ok(())
    }

    fn push_holes(&mut self, count: u64) -> Result<(), Error> {
        self.holes += count * self.plane.block_size as u64;
        // `grow` has checked that the count fits.
        self.add_holes(u32::try_from(count).unwrap_or(u32::MAX >> 1))
    }

    fn add_holes(&mut self, count: u32) -> Result<(), Error> {
        self.plane.taking.holes(count.into());
        let list = self.list()?;
        let added = self.plane.lists.add_holes(list, count);
        self.broken |= added.is_err();
        added
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

/// Checks the number of bytes that a reader says it has put into a space of `room` bytes.
fn check_read(len: usize, room: usize) -> io::Result<usize> {
    if len <= room {
        return Ok(len);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("its reader returned {len} bytes for a buffer of {room}"),
    ))
}

impl<W: Write> Drop for Body<'_, W> {
    fn drop(&mut self) {
        self.plane.begun = false;
        if let Some(block) = self.block.take() {
            self.plane.queue.recycle(block);
        }
        match self.waiting.take() {
            // Submitting can fail, so the next call does it.
            Some(waiting) if self.stored => self.plane.orphan = Some(waiting),
            Some(waiting) => self.plane.queue.recycle(waiting.block),
            None => {}
        }
        if let Some(list) = self.list.filter(|_| !self.stored) {
            self.plane.lists.forget(list);
        }
    }
}

/// Findings about the blocks of a body when it has ended.
pub(super) struct Closed {
    fingerprint: Option<Fingerprint>,
    pub(super) duplicate: Option<Duplicate>,
}

/// The end of a body, of bytes or of a recipe.
impl<W: Write> DataPlane<W> {
    pub(crate) fn begin(&mut self) -> Body<'_, W> {
        Body::new(self)
    }

    /// Ends the list of a body whose blocks take `len` bytes, `bytes` of them outside of holes.
    pub(super) fn close_blocks(
        &mut self,
        list: BlockList,
        [len, bytes]: [u64; 2],
        whole: bool,
        fingerprint: impl FnOnce(&mut Taking) -> Fingerprint,
    ) -> Result<Closed, Error> {
        let count = len.div_ceil(self.block_size as u64);
        self.lists.close(list, count);
        self.check_memory()?;
        let taking = &mut self.taking;
        let fingerprint = self.known.as_ref().map(|_| fingerprint(taking));
        let duplicate = self.known_blocks(fingerprint).map(|original| Duplicate {
            list,
            original,
            bytes,
            whole,
        });
        Ok(Closed {
            fingerprint,
            duplicate,
        })
    }

    /// Replaces the list that was opened last with that of an earlier body, and returns it.
    pub(super) fn share(&mut self, duplicate: Duplicate) -> BlockList {
        self.count_duplicate(duplicate);
        self.lists.forget(duplicate.list);
        duplicate.original
    }

    /// Enters the blocks of a body in the cache, unless they are in it.
    pub(super) fn remember_blocks(
        &mut self,
        list: BlockList,
        closed: &Closed,
    ) -> Result<(), Error> {
        if let (None, Some(fingerprint), Some(known)) =
            (closed.duplicate, closed.fingerprint, &mut self.known)
        {
            known.insert(fingerprint, [list.0, 0])?;
        }
        Ok(())
    }

    /// Returns the fingerprint of a tail if the writer uses fingerprints.
    fn fingerprint(&self, tail: &[u8]) -> Option<Fingerprint> {
        let _ = self.known.as_ref()?;
        Some(Fingerprint::new(blake3::hash(tail), Of::Tail))
    }

    /// Returns the place of a tail with this fingerprint.
    pub(super) fn look_up(&self, tail: Fingerprint) -> Option<Tail> {
        let [fragment, offset] = self.known.as_ref()?.get(&tail)?;
        Some((FragmentIndex(fragment), offset))
    }

    /// Adds a tail to a fragment unless an equal one is stored, and returns its place.
    pub(super) fn place_tail(
        &mut self,
        kind: Kind,
        tail: TailBytes<'_>,
        fingerprint: Option<Fingerprint>,
        known: Option<Tail>,
    ) -> Result<Tail, Error> {
        if let Some(place) = known {
            self.counts.duplicate_bytes += tail.len() as u64;
            return Ok(place);
        }
        let place = self.add_tail(kind, tail, fingerprint)?;
        if let (Some(known), Some(fingerprint)) = (&mut self.known, fingerprint) {
            known.insert(fingerprint, [place.0.0, place.1])?;
        }
        Ok(place)
    }

    fn known_blocks(&self, fingerprint: Option<Fingerprint>) -> Option<BlockList> {
        let [list, _] = self.known.as_ref()?.get(&fingerprint?)?;
        Some(BlockList(list))
    }
}

impl<W: Write> fmt::Debug for Body<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
