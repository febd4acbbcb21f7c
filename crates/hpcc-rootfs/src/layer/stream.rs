//! The decompressed bytes of a layer, in one buffer that slices are lent from.

use std::io::Read;

use ociget::{DiffId, Verified};

use super::chunk::{Chunk, HEADROOM, Inflated, Stopped};
use super::error::{At, Error};
use super::inflate::Inflater;
use super::limits::Limits;

/// The decompressed bytes of one layer.
pub struct Stream<'a> {
    source: Box<dyn Inflated + 'a>,
    chunk: Chunk,
    /// Where the first byte not yet taken is in the chunk's memory.
    start: usize,
    /// Where the chunk's end is in the layer.
    reached: u64,
}

impl<'a> Stream<'a> {
    /// A layer of this compressed size, which should decompress to `diff_id`, decompressed as it is
    /// read. How it is compressed is seen from its first bytes.
    ///
    /// # Errors
    /// [`Error::Encoding`] for what is neither tar nor gzip nor zstd; [`Error::Source`] if `blob`
    /// cannot be read.
    pub fn open(
        blob: impl Read + 'a,
        size: u64,
        diff_id: DiffId,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let inflater = Inflater::open(blob, size, diff_id, limits, Box::new(|_| Ok(())))?;
        Ok(Self::new(Box::new(inflater)))
    }

    /// Bytes that somebody else decompresses.
    pub(crate) fn new(source: Box<dyn Inflated + 'a>) -> Self {
        Self {
            source,
            chunk: Chunk::new(),
            start: HEADROOM,
            reached: 0,
        }
    }

    /// How many bytes were taken so far.
    pub(super) fn position(&self) -> u64 {
        self.reached - (self.chunk.end - self.start) as u64
    }

    /// The next `N` bytes, or fewer if the layer ends before. Takes nothing.
    pub(super) fn peek<const N: usize>(&mut self) -> Result<&[u8], Error> {
        const { assert!(N <= HEADROOM) };
        while self.chunk.end - self.start < N && self.fill()? {}
        let end = self.chunk.end.min(self.start + N);
        Ok(&self.chunk.memory[self.start..end])
    }

    /// Takes bytes that were peeked at.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.chunk.end);
    }

    /// Takes between 1 and `max` bytes, or none at the end of the layer.
    pub(super) fn take(&mut self, max: u64) -> Result<&[u8], Error> {
        if max == 0 {
            return Ok(&[]);
        }
        if self.start == self.chunk.end {
            self.fill()?;
        }
        let available = self.chunk.end - self.start;
        let count = usize::try_from(max).map_or(available, |max| available.min(max));
        let start = self.start;
        self.start += count;
        Ok(&self.chunk.memory[start..self.start])
    }

    /// Takes that many bytes and forgets them. `false` if the layer ends before.
    pub(super) fn skip(&mut self, mut count: u64) -> Result<bool, Error> {
        while count > 0 {
            match self.take(count)?.len() as u64 {
                0 => return Ok(false),
                taken => count -= taken,
            }
        }
        Ok(true)
    }

    /// Reads the rest of the layer and compares its hash. Without this, whatever was read is
    /// anybody's.
    pub(super) fn finish(mut self) -> Result<Verified<DiffId>, Error> {
        self.skip(u64::MAX)?;
        self.source.finish()
    }

    /// Gets the next chunk, with what is left of this one, less than [`HEADROOM`], in front of it.
    /// `false` at the end of the layer.
    fn fill(&mut self) -> Result<bool, Error> {
        let mut rest = [0; HEADROOM];
        let left = self.chunk.end - self.start;
        rest[..left].copy_from_slice(&self.chunk.memory[self.start..self.chunk.end]);
        let outcome = self.source.next(&mut self.chunk);
        if outcome.is_err() {
            self.chunk.clear();
        }
        self.start = HEADROOM - left;
        self.chunk.memory[self.start..HEADROOM].copy_from_slice(&rest[..left]);
        outcome.map_err(|stopped| match stopped {
            Stopped::Layer(error) => error,
            Stopped::Limit(limit) => limit.at(At {
                position: self.position(),
                entry: Box::default(),
            }),
        })?;
        let more = self.chunk.len();
        self.reached += more as u64;
        Ok(more > 0)
    }
}
