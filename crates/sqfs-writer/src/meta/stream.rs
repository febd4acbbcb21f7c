//! A metadata table under construction: bytes in, metadata blocks out.

use crate::compress::{Codec, Codecs, compress};
use crate::error::Error;
use crate::format::{Field, METADATA_SIZE, MetadataHeader, MetadataPosition};

/// Cuts what is written to it into metadata blocks. Only compressed blocks are kept, and the one
/// that is being filled.
pub(crate) struct MetadataStream {
    /// The table's name, for messages.
    what: &'static str,
    codec: Box<dyn Codec>,
    raw: Vec<u8>,
    compressed: Vec<u8>,
    blocks: MetadataBlocks,
}

/// A finished metadata table.
#[derive(Default)]
pub(crate) struct MetadataBlocks {
    /// All blocks with their headers, without gaps.
    pub(crate) bytes: Vec<u8>,
    /// Where each block begins in `bytes`.
    pub(crate) starts: Vec<u64>,
}

impl MetadataStream {
    pub(crate) fn new(what: &'static str, codecs: &Codecs) -> Result<Self, Error> {
        Ok(Self {
            what,
            codec: codecs.make()?,
            raw: Vec::with_capacity(METADATA_SIZE),
            compressed: Vec::new(),
            blocks: MetadataBlocks::default(),
        })
    }

    /// Where the next byte goes. Inodes and listings are addressed by 32 bits of stored position:
    /// a table beyond that is an error, never a wrap.
    pub(crate) fn position(&self) -> Result<MetadataPosition, Error> {
        let start_block = u32::try_from(self.blocks.bytes.len()).map_err(|_| self.too_large())?;
        let offset = u16::try_from(self.raw.len()).map_err(|_| self.too_large())?;
        Ok(MetadataPosition {
            start_block,
            offset,
        })
    }

    /// How many bytes still go into the block that [`position`](Self::position) is in: never 0.
    pub(crate) fn room(&self) -> usize {
        METADATA_SIZE - self.raw.len()
    }

    /// Whether nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.raw.is_empty() && self.blocks.bytes.is_empty()
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while bytes.len() >= self.room() {
            let (head, rest) = bytes.split_at(self.room());
            self.raw.extend_from_slice(head);
            bytes = rest;
            self.end_block()?;
        }
        self.raw.extend_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<MetadataBlocks, Error> {
        if !self.raw.is_empty() {
            self.end_block()?;
        }
        Ok(self.blocks)
    }

    fn end_block(&mut self) -> Result<(), Error> {
        let shrank = compress(&mut *self.codec, &self.raw, &mut self.compressed)?;
        let (stored, flag) = if shrank {
            (&self.compressed, 0)
        } else {
            (&self.raw, MetadataHeader::RAW)
        };
        let len = u16::try_from(stored.len()).map_err(|_| self.too_large())?;
        let mut header = [0; MetadataHeader::SIZE];
        MetadataHeader(len | flag).put(&mut &mut header[..]);
        self.blocks.starts.push(self.blocks.bytes.len() as u64);
        self.blocks.bytes.extend_from_slice(&header);
        self.blocks.bytes.extend_from_slice(stored);
        self.raw.clear();
        Ok(())
    }

    fn too_large(&self) -> Error {
        Error::Limit {
            what: "size",
            entry: self.what.into(),
            value: self.blocks.bytes.len() as u64,
            max: u32::MAX.into(),
        }
    }
}

/// A table of entries of one size, to be found by index.
pub(crate) fn entry_table<const N: usize>(
    what: &'static str,
    codecs: &Codecs,
    entries: impl IntoIterator<Item = [u8; N]>,
) -> Result<MetadataBlocks, Error> {
    let mut stream = MetadataStream::new(what, codecs)?;
    for entry in entries {
        stream.write(&entry)?;
    }
    stream.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Compressor;

    #[test]
    fn a_block_ends_at_8192_bytes_and_not_before() {
        let codecs = Compressor::default().resolve(131_072, None).unwrap();
        for (len, blocks) in [(0, 0), (1, 1), (8191, 1), (8192, 1), (8193, 2), (16_384, 2)] {
            let mut stream = MetadataStream::new("test", &codecs).unwrap();
            for byte in std::iter::repeat_n(7, len) {
                stream.write(&[byte]).unwrap();
            }
            let room = stream.room();
            assert_eq!(room, METADATA_SIZE - len % METADATA_SIZE);
            assert_eq!(stream.finish().unwrap().starts.len(), blocks, "{len}");
        }
    }

    #[test]
    fn positions_are_the_same_however_the_bytes_came() {
        let codecs = Compressor::default().resolve(131_072, None).unwrap();
        let bytes: Vec<u8> = (0..30_000u32).flat_map(|n| (n * n).to_le_bytes()).collect();
        let mut whole = MetadataStream::new("test", &codecs).unwrap();
        whole.write(&bytes).unwrap();
        let mut pieces = MetadataStream::new("test", &codecs).unwrap();
        for piece in bytes.chunks(977) {
            pieces.write(piece).unwrap();
        }
        assert_eq!(whole.position().unwrap(), pieces.position().unwrap());
        assert_eq!(
            whole.finish().unwrap().bytes,
            pieces.finish().unwrap().bytes
        );
    }
}
