//! The decompressed bytes of a layer, hashed on their way, in one buffer that slices are lent from.

use std::io::Read;

use ociget::{DiffId, Verified, Verifier};

use super::decompress::Decoder;
use super::error::{At, Error, Limit};
use super::limits::Limits;
use super::tar::is_header;

/// Decompressed bytes held at once. Bodies are lent from it without a copy, so it is also the
/// largest slice that a body comes in.
const BUFFER: usize = 256 << 10;

/// The decompressed bytes of one layer. Every one of them is hashed, whoever reads or skips it.
pub struct Stream<R: Read> {
    decoder: Decoder<R>,
    buffer: Box<[u8]>,
    /// `buffer[start..end]` is decompressed and not yet taken.
    start: usize,
    end: usize,
    /// Decompressed so far, `buffer[..end]` included.
    decompressed: u64,
    max_bytes: u64,
    max_by_ratio: u64,
    verifier: Verifier<DiffId>,
}

impl<R: Read> Stream<R> {
    /// A layer of this compressed size, which should decompress to `diff_id`. How it is compressed
    /// is seen from its first bytes.
    ///
    /// # Errors
    /// [`Error::Encoding`] for what is neither tar nor gzip nor zstd; [`Error::Source`] if `blob`
    /// cannot be read.
    pub fn open(blob: R, size: u64, diff_id: DiffId, limits: &Limits) -> Result<Self, Error> {
        Ok(Self {
            decoder: Decoder::open(blob, is_header)?,
            buffer: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
            decompressed: 0,
            max_bytes: limits.layer_bytes,
            max_by_ratio: size.saturating_mul(limits.ratio).max(limits.ratio_floor),
            verifier: Verifier::new(diff_id),
        })
    }

    /// How many bytes were taken so far.
    pub(super) fn position(&self) -> u64 {
        self.decompressed - (self.end - self.start) as u64
    }

    /// The next `N` bytes, or fewer if the layer ends before. Takes nothing.
    pub(super) fn peek<const N: usize>(&mut self) -> Result<&[u8], Error> {
        const { assert!(N <= BUFFER) };
        if self.end - self.start < N {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < N && self.fill()? > 0 {}
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + N)])
    }

    /// Takes bytes that were peeked at.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Takes between 1 and `max` bytes, or none at the end of the layer.
    pub(super) fn take(&mut self, max: u64) -> Result<&[u8], Error> {
        if max == 0 {
            return Ok(&[]);
        }
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.fill()?;
        }
        let available = self.end - self.start;
        let count = usize::try_from(max).map_or(available, |max| available.min(max));
        let start = self.start;
        self.start += count;
        Ok(&self.buffer[start..self.start])
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
        Ok(self.verifier.finish()?)
    }

    fn fill(&mut self) -> Result<usize, Error> {
        let count = self.decoder.read(&mut self.buffer[self.end..])?;
        let new = self.end..self.end + count;
        self.verifier.update(&self.buffer[new.clone()]);
        self.end = new.end;
        self.decompressed += count as u64;
        let total = self.decompressed;
        Limit::check("decompressed size of the layer", total, self.max_bytes)
            .and_then(|()| {
                Limit::check(
                    "decompressed size of the layer for its compressed size",
                    total,
                    self.max_by_ratio,
                )
            })
            .map_err(|limit| {
                limit.at(At {
                    position: self.position(),
                    entry: Box::default(),
                })
            })?;
        Ok(count)
    }
}
