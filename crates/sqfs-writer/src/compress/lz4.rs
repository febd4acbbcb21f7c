//! lz4: bare blocks, without the frame format and without a length in front.

use std::io;

use lz4::block::{CompressionMode, compress_bound, compress_to_buffer};

use super::codec::Codec;

/// The most that the high compression mode has to give, and what other tools take for it.
const HC_LEVEL: i32 = 12;

pub(super) struct Lz4 {
    pub(super) high: bool,
}

impl Codec for Lz4 {
    fn name(&self) -> &'static str {
        "lz4"
    }

    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
        let mode = if self.high {
            CompressionMode::HIGHCOMPRESSION(HC_LEVEL)
        } else {
            CompressionMode::DEFAULT
        };
        // Always the worst case, so that the output does not depend on the capacity.
        output.clear();
        let bound = compress_bound(input.len())?;
        output.try_reserve(bound)?;
        output.resize(bound, 0);
        let len = compress_to_buffer(input, Some(mode), false, output)?;
        output.truncate(len);
        Ok(len < input.len())
    }
}
