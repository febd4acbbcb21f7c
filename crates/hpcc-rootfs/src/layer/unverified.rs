//! A blob that is decompressed, but neither hashed nor bounded.

use ociget::{DiffId, Verified};

use super::chunk::{Chunk, Chunks, Inflated, Stopped};
use super::decompress::Decoder;
use super::error::Error;
use super::input::Pieces;
use super::tar::header::is_header;

/// Decompresses an archive whose digest is not known.
pub(super) struct Unverified<'a, P: Pieces> {
    decoder: Decoder<'a, P>,
    chunks: Chunks,
    /// The error after the bytes that were returned last.
    stopped: Option<Stopped>,
}

impl<P: Pieces> Unverified<'_, P> {
    /// Opens an archive. Its first bytes show how it is compressed.
    pub(super) fn open(blob: P) -> Result<Self, Error> {
        let admit = Box::new(|_| Ok(()));
        Ok(Self {
            decoder: Decoder::open(blob, is_header, u64::MAX, admit)?,
            chunks: Chunks::new(Chunk::SIZE),
            stopped: None,
        })
    }
}

impl<P: Pieces> Inflated for Unverified<'_, P> {
    fn next(&mut self) -> Result<Option<Chunk>, Stopped> {
        if let Some(stopped) = self.stopped.take() {
            return Err(stopped);
        }
        let mut chunk = self.chunks.take()?;
        while !chunk.space().is_empty() {
            match self.decoder.read(chunk.space()) {
                Ok(0) => break,
                Ok(count) => chunk.advance(count),
                // The bytes before it come first: the archive may be wrong in them.
                Err(stopped) if !chunk.is_empty() => {
                    self.stopped = Some(stopped);
                    break;
                }
                Err(stopped) => return Err(stopped),
            }
        }
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    fn finish(self: Box<Self>) -> Result<Verified<DiffId>, Error> {
        Err(Error::Unverified)
    }
}
