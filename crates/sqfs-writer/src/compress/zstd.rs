//! zstd: one frame a block, made in one call.
//!
//! One call matters. It writes the content size into the frame and keeps the window within the
//! block, and the kernel allocates its window by the block size: a frame that was streamed mounts,
//! and then fails when it is read.

use std::io;

use zstd::bulk::Compressor;
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{CCtx, compress_bound};

use super::codec::Codec;

pub(super) struct Zstd(Compressor<'static>);

impl Zstd {
    pub(super) fn new(level: i32) -> io::Result<Self> {
        // `Compressor::new` would panic without memory for its context.
        drop(CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?);
        Compressor::new(level).map(Self).map_err(with_kind)
    }
}

impl Codec for Zstd {
    fn name(&self) -> &'static str {
        "zstd"
    }

    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
        output.clear();
        // Always the worst case: zstd then cannot run out of capacity, and never checks how much there is.
        output.try_reserve(compress_bound(input.len()))?;
        self.0
            .compress_to_buffer(input, output)
            .map_err(with_kind)?;
        Ok(output.len() < input.len())
    }
}

/// Gives a lack of memory the kind by which callers know it.
fn with_kind(error: io::Error) -> io::Error {
    let zstd = error.get_ref().and_then(|inner| inner.downcast_ref());
    let is_memory = zstd
        .is_some_and(|error: &zstd::Error| error.is(ZSTD_ErrorCode::ZSTD_error_memory_allocation));
    match is_memory {
        true => io::Error::new(io::ErrorKind::OutOfMemory, error),
        false => error,
    }
}
