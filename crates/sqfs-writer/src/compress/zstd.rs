//! zstd: one frame a block, made in one call.
//!
//! One call matters. It writes the content size into the frame and keeps the window within the
//! block, and the kernel allocates its window by the block size: a frame that was streamed mounts,
//! and then fails when it is read.

use std::io;

use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

use super::codec::Codec;

pub(super) struct Zstd(Compressor<'static>);

impl Zstd {
    pub(super) fn new(level: i32) -> io::Result<Self> {
        Ok(Self(Compressor::new(level)?))
    }
}

impl Codec for Zstd {
    fn name(&self) -> &'static str {
        "zstd"
    }

    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
        output.clear();
        // Always the worst case: zstd then cannot run out of capacity, and never checks how much there is.
        output.reserve(compress_bound(input.len()));
        self.0.compress_to_buffer(input, output)?;
        Ok(output.len() < input.len())
    }
}
