//! Decompresses metadata blocks.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::Error;

/// Bytes in every metadata block but the last of its table.
pub(super) const METADATA_SIZE: usize = 8192;

/// A decoder that is used for block after block.
pub(super) enum Codec {
    Zlib(Decompress),
    Zstd(Box<zstd::bulk::Decompressor<'static>>),
    /// One that is not known here. Blocks that are stored as they are can be read all the same.
    Other(u16),
}

impl Codec {
    /// The one with the number that the superblock has.
    pub(super) fn new(number: u16) -> Result<Self, Error> {
        Ok(match number {
            1 => Self::Zlib(Decompress::new(true)),
            6 => Self::Zstd(Box::new(zstd::bulk::Decompressor::new()?)),
            other => Self::Other(other),
        })
    }

    /// What a stored block holds: not more than [`METADATA_SIZE`] bytes, whatever it claims.
    pub(super) fn decompress(&mut self, stored: &[u8]) -> Result<Vec<u8>, Error> {
        let mut block = vec![0; METADATA_SIZE];
        let damaged = Error::Damaged("a metadata block does not decompress");
        let length = match self {
            Self::Zlib(decoder) => {
                decoder.reset(true);
                match decoder.decompress(stored, &mut block, FlushDecompress::Finish) {
                    Ok(Status::StreamEnd) => usize::try_from(decoder.total_out()).ok(),
                    _ => None,
                }
            }
            Self::Zstd(decoder) => decoder.decompress_to_buffer(stored, &mut block[..]).ok(),
            Self::Other(number) => return Err(Error::Codec(*number)),
        };
        block.truncate(length.ok_or(damaged)?);
        Ok(block)
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zlib(_) => "zlib",
            Self::Zstd(_) => "zstd",
            Self::Other(_) => "other",
        })
    }
}
