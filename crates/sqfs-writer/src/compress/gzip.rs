//! The codec that squashfs calls gzip: a zlib stream, with zlib's header and checksum.

use std::io;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::codec::Codec;

pub(super) struct Gzip(Compress);

impl Gzip {
    pub(super) fn new(level: u32) -> Self {
        Self(Compress::new(Compression::new(level), true))
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
