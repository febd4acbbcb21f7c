//! What every compressor can do.

use std::io;

/// Compresses block after block.
///
/// The crate brings an implementation for each [`Compressor`](super::Compressor). One's own, another library for the
/// same format say, is handed to [`DataWriter::with_codec`](crate::DataWriter::with_codec).
///
/// What it returns must be a function of the block alone: it is used for blocks in any order, and
/// there is one for each thread.
pub trait Codec: Send {
    /// The name of the codec, for messages.
    fn name(&self) -> &'static str;

    /// Replaces what is in `output` by the compressed `input`. `false` means that it did not
    /// shrink; then the content of `output` is of no use, and the block is to be stored as it is.
    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<bool>;
}
