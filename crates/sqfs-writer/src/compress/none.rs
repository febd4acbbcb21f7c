//! No compression at all: nothing ever shrinks.

use std::io;

use super::codec::Codec;

pub(super) struct None;

impl Codec for None {
    fn name(&self) -> &'static str {
        "none"
    }

    fn compress(&mut self, _: &[u8], _: &mut Vec<u8>) -> io::Result<bool> {
        Ok(false)
    }
}
