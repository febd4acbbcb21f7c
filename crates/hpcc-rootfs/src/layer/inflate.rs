//! A blob decompressed, counted and hashed.

use ociget::{DiffId, Verified, Verifier};

use super::chunk::{Chunk, Chunks, Inflated, Stopped};
use super::decompress::Decoder;
use super::error::{Error, Limit};
use super::input::Pieces;
use super::limits::Limits;
use super::measure::Measure;
use super::tar::header::is_header;
use super::zstd::Admit;

/// Decompresses a layer. Every byte is hashed, whether it is read or skipped.
pub(crate) struct Inflater<'a, P: Pieces> {
    decoder: Decoder<'a, P>,
    decompressed: u64,
    max_bytes: u64,
    max_by_ratio: u64,
    verifier: Verifier<DiffId>,
    chunks: Chunks,
    /// The error after the bytes that were returned last.
    stopped: Option<Stopped>,
}

impl<'a, P: Pieces> Inflater<'a, P> {
    /// Opens a layer of this compressed size, which should decompress to `diff_id`. Its first bytes show how it is
    /// compressed. It is returned in chunks of `chunk` bytes.
    pub(crate) fn open(
        blob: P,
        size: u64,
        diff_id: DiffId,
        limits: &Limits,
        admit: Admit<'a>,
        chunk: usize,
    ) -> Result<Self, Error> {
        let decoder = Decoder::open(blob, is_header, limits.zstd_window, admit)?;
        let max_by_ratio = match decoder.is_gzip() {
            true => size.saturating_mul(limits.ratio).max(limits.ratio_floor),
            // zstd reaches 32 768 on honest zeros, so the number of bytes bounds it.
            false => u64::MAX,
        };
        Ok(Self {
            decoder,
            decompressed: 0,
            max_bytes: limits.layer_bytes,
            max_by_ratio,
            verifier: Verifier::new(diff_id),
            chunks: Chunks::new(chunk),
            stopped: None,
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Stopped> {
        let count = self.decoder.read(buffer)?;
        self.verifier.update(&buffer[..count]);
        self.decompressed += count as u64;
        let total = self.decompressed;
        // Reported as one byte beyond the limit, however much was decompressed in one step.
        let check = |what, max: u64| Limit::check(what, total.min(max.saturating_add(1)), max);
        let within = check(Measure::LayerBytes, self.max_bytes)
            .and_then(|()| check(Measure::Ratio, self.max_by_ratio));
        let Err(limit) = within else { return Ok(count) };
        // The bytes within the limit are returned, because they contain the entry whose body exceeds it.
        let beyond = total - self.max_bytes.min(self.max_by_ratio);
        let allowed = usize::try_from(beyond).map_or(0, |beyond| count.saturating_sub(beyond));
        if allowed == 0 {
            return Err(limit.into());
        }
        self.stopped = Some(limit.into());
        Ok(allowed)
    }
}

impl<P: Pieces> Inflated for Inflater<'_, P> {
    fn next(&mut self) -> Result<Option<Chunk>, Stopped> {
        if let Some(stopped) = self.stopped.take() {
            return Err(stopped);
        }
        let mut chunk = self.chunks.take()?;
        while !chunk.space().is_empty() && self.stopped.is_none() {
            match self.read(chunk.space()) {
                Ok(0) => break,
                Ok(count) => chunk.advance(count),
                // The bytes before the error are returned first, because the archive may be wrong in them.
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
        Ok(self.verifier.finish()?)
    }
}
