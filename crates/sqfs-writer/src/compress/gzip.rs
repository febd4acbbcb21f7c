//! The codec that squashfs calls gzip: a zlib stream, with zlib's header and checksum.

use std::hint::black_box;
use std::io;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::codec::Codec;

/// Bytes of memory that the compressor takes at most.
const CONTEXT: usize = 512 << 10;

pub(super) struct Gzip(Compress);

impl Gzip {
    pub(super) fn new(level: u32) -> io::Result<Self> {
        // `Compress::new` would panic without memory for its context.
        let mut memory: Vec<u8> = Vec::new();
        memory.try_reserve_exact(CONTEXT)?;
        // An allocation that is not used would be left out.
        black_box(memory);
        Ok(Self(Compress::new(Compression::new(level), true)))
    }
}

impl Codec for Gzip {
    fn name(&self) -> &'static str {
        "gzip"
    }

    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
        output.clear();
        // More capacity would only be used for a result that is not wanted.
        output.try_reserve(input.len())?;
        self.0.reset();
        let status = self
            .0
            .compress_vec(input, output, FlushCompress::Finish)
            .map_err(io::Error::other)?;
        Ok(status == Status::StreamEnd && output.len() < input.len())
    }
}
