//! Decompresses metadata blocks.

use std::fmt;
use std::io;

use flate2::{Decompress, FlushDecompress, Status};

use super::error::Error;
use crate::growth::probe;
use crate::zeroed::zeroed;

/// Bytes in every metadata block but the last of its table.
pub(super) const METADATA_SIZE: usize = 8192;

/// Bytes of memory that a decoder of zlib takes at most.
const ZLIB: usize = 64 << 10;

/// A decoder that is used for block after block.
pub(crate) enum Codec {
    Zlib(Decompress),
    Zstd(Box<zstd::bulk::Decompressor<'static>>),
    #[cfg(feature = "xz")]
    Xz,
    #[cfg(feature = "lz4")]
    Lz4,
    /// A codec that is not compiled in. Blocks that are stored uncompressed can be read all the same.
    Other(u16),
}

impl Codec {
    /// Returns the codec with this number in the superblock.
    pub(crate) fn new(number: u16) -> Result<Self, Error> {
        Ok(match number {
            1 => {
                // `Decompress::new` would panic without memory for its context.
                probe(ZLIB).map_err(io::Error::from)?;
                Self::Zlib(Decompress::new(true))
            }
            #[cfg(feature = "xz")]
            4 => Self::Xz,
            #[cfg(feature = "lz4")]
            5 => Self::Lz4,
            6 => Self::Zstd(Box::new(zstd::bulk::Decompressor::new()?)),
            other => Self::Other(other),
        })
    }

    /// Returns the largest number of steps of work that decompressing a stored block takes; see
    /// [`WORK_MAX`](super::metadata::WORK_MAX). The stored length counts, because a few bytes are enough to make a
    /// decoder build new tables (zlib, zstd) or reset all of its state (xz), and a hostile block may contain nothing
    /// else.
    pub(super) fn cost(&self, stored: usize) -> u64 {
        let (fixed, per_byte) = match self {
            Self::Zlib(_) => (1 << 10, 20),
            Self::Zstd(_) => (1 << 10, 40),
            // Each block has its own decoder.
            #[cfg(feature = "xz")]
            Self::Xz => (1 << 14, 100),
            #[cfg(feature = "lz4")]
            Self::Lz4 => (1 << 10, 4),
            Self::Other(_) => (0, 0),
        };
        fixed + per_byte * stored as u64
    }

    /// Returns a codec that reads no compressed block.
    pub(crate) fn none() -> Self {
        Self::Other(0)
    }

    /// Decompresses a stored block to at most `room` bytes, whatever it claims.
    pub(crate) fn decompress(&mut self, stored: &[u8], room: usize) -> Result<Vec<u8>, Error> {
        let mut block = zeroed(room)?;
        let damaged = Error::Damaged("a block does not decompress");
        let length = match self {
            Self::Zlib(decoder) => {
                decoder.reset(true);
                match decoder.decompress(stored, &mut block, FlushDecompress::Finish) {
                    Ok(Status::StreamEnd) => usize::try_from(decoder.total_out()).ok(),
                    _ => None,
                }
            }
            Self::Zstd(decoder) => decoder.decompress_to_buffer(stored, &mut block[..]).ok(),
            #[cfg(feature = "xz")]
            Self::Xz => xz(stored, &mut block)?,
            #[cfg(feature = "lz4")]
            Self::Lz4 => {
                let room = i32::try_from(block.len()).ok();
                lz4::block::decompress_to_buffer(stored, room, &mut block).ok()
            }
            Self::Other(number) => return Err(Error::Codec(*number)),
        };
        block.truncate(length.ok_or(damaged)?);
        Ok(block)
    }
}

/// Decompresses one stream, with its own decoder, because xz2's cannot be used again.
#[cfg(feature = "xz")]
fn xz(stored: &[u8], block: &mut [u8]) -> Result<Option<usize>, Error> {
    use xz2::stream::{Action, Error as Failure, Status, Stream};
    /// Bytes of memory that a stream may take. The largest dictionary that squashfs allows is 1 MiB.
    const MEMORY_MAX: u64 = 16 << 20;
    let decoded = Stream::new_stream_decoder(MEMORY_MAX, 0).and_then(|mut decoder| {
        let status = decoder.process(stored, block, Action::Finish)?;
        Ok((status, decoder.total_out()))
    });
    match decoded {
        Ok((Status::StreamEnd, length)) => Ok(usize::try_from(length).ok()),
        // It says nothing about the data.
        Err(Failure::Mem) => Err(io::Error::from(io::ErrorKind::OutOfMemory).into()),
        _ => Ok(None),
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zlib(_) => "zlib",
            Self::Zstd(_) => "zstd",
            #[cfg(feature = "xz")]
            Self::Xz => "xz",
            #[cfg(feature = "lz4")]
            Self::Lz4 => "lz4",
            Self::Other(_) => "other",
        })
    }
}

#[cfg(all(test, feature = "xz"))]
mod tests {
    use xz2::stream::{Action, Check, Filters, LzmaOptions, Stream};

    use super::*;

    /// Returns an xz stream of `bytes` with a dictionary of `size` bytes.
    fn stream(bytes: &[u8], size: u32) -> Result<Vec<u8>, xz2::stream::Error> {
        let mut options = LzmaOptions::new_preset(0)?;
        options.dict_size(size);
        let mut filters = Filters::new();
        filters.lzma2(&options);
        let mut encoder = Stream::new_stream_encoder(&filters, Check::Crc32)?;
        let mut stored = Vec::with_capacity(1 << 14);
        encoder.process_vec(bytes, &mut stored, Action::Finish)?;
        Ok(stored)
    }

    /// A block names the dictionary that its decoder allocates, whatever its contents.
    #[test]
    fn block_with_a_huge_dictionary_is_damage() {
        let bytes = [7; METADATA_SIZE];
        let mut codec = Codec::new(4).unwrap();
        let mut read = |size| codec.decompress(&stream(&bytes, size).unwrap(), METADATA_SIZE);
        assert_eq!(read(1 << 20).unwrap(), bytes);
        let error = read(64 << 20).unwrap_err();
        assert!(matches!(error, Error::Damaged(_)), "{error}");
    }
}
