//! xz: one stream a block, checked with CRC32, its dictionary no larger than a block.
//!
//! Both matter. The kernel's decoder knows CRC32 and no other check, and a stream with CRC64 mounts
//! and then fails when it is read; it allocates the dictionary by the block size
//! (`xz_wrapper.c`), and refuses a stream that asks for more.

use std::io;

use xz2::stream::{Action, Check, Error, Filters, LzmaOptions, Status, Stream};

use super::codec::Codec;

pub(super) struct Xz {
    level: u32,
    block_size: u32,
}

impl Xz {
    pub(super) fn new(level: u32, block_size: u32) -> Self {
        Self { level, block_size }
    }
}

impl Codec for Xz {
    fn name(&self) -> &'static str {
        "xz"
    }

    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
        let mut options = LzmaOptions::new_preset(self.level)?;
        options.dict_size(self.block_size);
        let mut filters = Filters::new();
        filters.lzma2(&options);
        let mut stream = Stream::new_stream_encoder(&filters, Check::Crc32).map_err(with_kind)?;
        output.clear();
        // More capacity would only be used for a result that is not wanted.
        output.try_reserve_exact(input.len())?;
        let status = stream
            .process_vec(input, output, Action::Finish)
            .map_err(with_kind)?;
        Ok(status == Status::StreamEnd && output.len() < input.len())
    }
}

/// Gives a lack of memory the kind by which callers know it.
fn with_kind(error: Error) -> io::Error {
    match error {
        Error::Mem => io::Error::new(io::ErrorKind::OutOfMemory, error),
        _ => error.into(),
    }
}
