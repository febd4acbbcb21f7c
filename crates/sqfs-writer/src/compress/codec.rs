//! The interface of compressors.

use std::io;

/// Compresses block after block.
///
/// The crate has an implementation for each [`Compressor`](super::Compressor). Pass your own, such as another library for
/// the same format, to [`DataWriter::with_codec`](crate::DataWriter::with_codec).
///
/// Its result must be a function of the block alone, because each thread has a codec of its own and uses it for blocks in
/// any order.
pub trait Codec: Send {
    /// Returns the name of the codec, for messages.
    fn name(&self) -> &'static str;

    /// Replaces the content of `output` with the compressed `input`. Returns `false` if the result is not smaller; the
    /// writer then ignores `output` and stores the block uncompressed.
    ///
    /// # Errors
    /// Returns an error if the codec fails. The image cannot be finished then.
    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<bool>;
}
