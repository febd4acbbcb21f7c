//! The decompressed bytes of a layer, in shared chunks.

use std::io::Read;

use bytes::Bytes;
use ociget::{DiffId, Verified};

use super::chunk::{Chunk, HEADROOM, Inflated, Stopped};
use super::entry_name::EntryName;
use super::error::{At, Error, Limit};
use super::inflate::Inflater;
use super::input::Reader;
use super::limits::Limits;
use super::measure::Measure;
use super::unverified::Unverified;

/// The decompressed bytes of one layer.
pub struct Stream<'a> {
    source: Box<dyn Inflated + 'a>,
    /// The part of the current chunk that was not yet taken.
    rest: Bytes,
    /// Offset of that chunk's end in the layer.
    reached: u64,
    /// Number of bytes of the layer that the image may have, and the limit behind it.
    allowed: u64,
    max: u64,
}

impl<'a> Stream<'a> {
    /// Opens a layer of this compressed size, which should decompress to `diff_id`. It is decompressed as it is read.
    /// Its first bytes show how it is compressed.
    ///
    /// # Errors
    /// Returns [`Error::Encoding`] if the bytes are neither tar nor gzip nor zstd, and [`Error::Source`] if `blob`
    /// cannot be read.
    pub fn open(
        blob: impl Read + 'a,
        size: u64,
        diff_id: DiffId,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let admit = Box::new(|_| Ok(()));
        let inflater =
            Inflater::open(Reader::new(blob), size, diff_id, limits, admit, Chunk::SIZE)?;
        Ok(Self::new(Box::new(inflater)))
    }

    /// Opens an archive that is not a layer of an image: no digest of it is known, and [`Limits`] of decompressed bytes
    /// do not apply to it. Its first bytes show how it is compressed.
    ///
    /// Nothing can be proven about it: read it to its end with
    /// [`TarReader::drain`](super::TarReader::drain).
    ///
    /// # Errors
    /// Returns [`Error::Encoding`] if the bytes are neither tar nor gzip nor zstd, and
    /// [`Error::Source`] if `archive` cannot be read.
    pub fn unverified(archive: impl Read + 'a) -> Result<Self, Error> {
        let unverified = Unverified::open(Reader::new(archive))?;
        Ok(Self::new(Box::new(unverified)))
    }

    /// Makes a stream of bytes that another thread or module decompresses.
    pub(crate) fn new(source: Box<dyn Inflated + 'a>) -> Self {
        Self {
            source,
            rest: Bytes::new(),
            reached: 0,
            allowed: u64::MAX,
            max: u64::MAX,
        }
    }

    /// Limits this layer to `left` bytes, the rest of the limit `max` for all layers.
    pub(super) fn allow(&mut self, left: u64, max: u64) {
        self.allowed = left;
        self.max = max;
    }

    /// Returns how many bytes were taken so far.
    pub(super) fn position(&self) -> u64 {
        let end = self.reached.min(self.allowed);
        end.saturating_sub(self.rest.len() as u64)
    }

    /// Returns the next `N` bytes, or fewer if the layer ends before. Takes nothing.
    pub(super) fn peek<const N: usize>(&mut self) -> Result<&[u8], Error> {
        const { assert!(N <= HEADROOM) };
        while self.rest.len() < N && self.fill()? {}
        Ok(&self.rest[..N.min(self.rest.len())])
    }

    /// Takes bytes that were peeked at.
    pub(super) fn consume(&mut self, count: usize) {
        // Split off, because a part that is split off to its end keeps nothing of the chunk.
        let _taken = self.rest.split_to(count.min(self.rest.len()));
    }

    /// Takes between 1 and `max` bytes, or none at the end of the layer.
    pub(super) fn take(&mut self, max: u64) -> Result<Bytes, Error> {
        let count = self.available(max)?;
        Ok(self.rest.split_to(count))
    }

    /// Takes `count` bytes and drops them. Returns `false` if the layer ends before.
    pub(super) fn skip(&mut self, mut count: u64) -> Result<bool, Error> {
        while count > 0 {
            match self.available(count)? {
                0 => return Ok(false),
                available => {
                    self.consume(available);
                    count -= available as u64;
                }
            }
        }
        Ok(true)
    }

    /// Reads the rest of the layer and compares its hash. Until this succeeds, the bytes that were read are not
    /// verified.
    pub(super) fn finish(mut self) -> Result<Verified<DiffId>, Error> {
        self.skip(u64::MAX)?;
        self.source.finish()
    }

    /// Returns how many of at most `max` bytes are available: 0 only if `max` is 0 or at the end of the layer.
    fn available(&mut self, max: u64) -> Result<usize, Error> {
        if max > 0 && self.rest.is_empty() {
            self.fill()?;
        }
        let available = self.rest.len();
        Ok(usize::try_from(max).map_or(available, |max| available.min(max)))
    }

    /// Gets the next chunk, and puts the rest of this one, less than [`HEADROOM`], before it. Returns `false` at the
    /// end of the layer.
    fn fill(&mut self) -> Result<bool, Error> {
        if self.reached > self.allowed {
            return Err(self.exceeded());
        }
        match self.source.next() {
            Ok(None) => Ok(false),
            Ok(Some(chunk)) => {
                self.reached += chunk.len() as u64;
                self.rest = chunk.into_bytes(&self.rest);
                // The part within the limit is returned first, because the entry whose contents exceed it begins there.
                let beyond = self.reached.saturating_sub(self.allowed);
                let beyond = usize::try_from(beyond).unwrap_or(usize::MAX);
                let within = self.rest.len().saturating_sub(beyond);
                if beyond > 0 && within == 0 {
                    return Err(self.exceeded());
                }
                self.rest.truncate(within);
                Ok(true)
            }
            Err(Stopped::Layer(error)) => Err(error),
            Err(Stopped::Limit(limit)) => Err(self.stopped(limit)),
        }
    }

    /// Returns the error for all layers together being too long.
    fn exceeded(&self) -> Error {
        let one_more = self.max.saturating_add(1);
        self.stopped(Limit::exceeded(Measure::UnpackedBytes, one_more, self.max))
    }

    fn stopped(&self, limit: Limit) -> Error {
        limit.at(At {
            position: self.position(),
            entry: EntryName::default(),
        })
    }
}
