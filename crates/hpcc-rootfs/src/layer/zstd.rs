//! The frames of a zstd blob, one after the other.

use std::io::{self, BufRead};
use std::ops::RangeInclusive;

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::DCtx;

use super::chunk::Stopped;
use super::error::{Error, Limit};
use super::input::{Input, Pieces, out_of_memory};
use super::measure::Measure;

/// Smallest and largest window that the decoder can be configured to allow (`ZSTD_WINDOWLOG_ABSOLUTEMIN`, and
/// `ZSTD_WINDOWLOG_MAX` on 64 bits).
const WINDOW_LOGS: RangeInclusive<u32> = 10..=31;

/// Bytes of the longest frame header, magic included (RFC 8878, section 3.1.1).
const HEADER_MAX: usize = 18;

/// Called before memory is allocated whose size the image chooses, with the number of bytes of a zstd frame's window.
/// It may wait; an error ends the layer.
pub(crate) type Admit<'a> = Box<dyn FnMut(u64) -> io::Result<()> + Send + 'a>;

/// Decodes every frame, and requests the memory of each frame before it is decoded.
pub(super) struct ZstdDecoder<'a, P: Pieces> {
    input: Input<P>,
    decoder: Decoder<'static>,
    admit: Admit<'a>,
    /// Largest window in bytes, because the image chooses how much memory it takes.
    window_max: u64,
    between_frames: bool,
}

impl<'a, P: Pieces> ZstdDecoder<'a, P> {
    /// Refuses frames with windows of more than `window_max` bytes, and calls `admit` for the others.
    pub(super) fn new(input: Input<P>, window_max: u64, admit: Admit<'a>) -> Result<Self, Error> {
        // The decoder only knows powers of two, so this code refuses the windows between two of them.
        let log = window_max
            .checked_next_power_of_two()
            .map_or(u32::MAX, u64::ilog2);
        let log = log.clamp(*WINDOW_LOGS.start(), *WINDOW_LOGS.end());
        let with_parameters = || {
            // `Decoder::new` would panic without memory for its context.
            drop(DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?);
            let mut decoder = Decoder::new()?;
            decoder.set_parameter(DParameter::WindowLogMax(log))?;
            Ok(decoder)
        };
        // The parameters are in range, so only memory can be missing.
        let decoder = with_parameters().map_err(|error| Error::Shortage(out_of_memory(error)))?;
        Ok(Self {
            input,
            decoder,
            admit,
            window_max,
            between_frames: true,
        })
    }

    /// Reads decompressed bytes; returns 0 at the end of the blob.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Stopped> {
        loop {
            if self.between_frames {
                let mut head = [0; HEADER_MAX];
                let count = self.input.head(&mut head).map_err(Error::Source)?;
                if count == 0 {
                    return Ok(0);
                }
                if let Some(window) = window(&head[..count]) {
                    Limit::check(Measure::ZstdWindow, window, self.window_max)?;
                    (self.admit)(window).map_err(Error::Source)?;
                }
                self.between_frames = false;
            }
            self.input.fill().map_err(Error::Source)?;
            let mut source = InBuffer::around(self.input.available());
            let mut target = OutBuffer::around(&mut *buffer);
            let left = match self.decoder.run(&mut source, &mut target) {
                Ok(left) => left,
                Err(error) => return Err(self.input.blame("zstd", error).into()),
            };
            let (consumed, decoded) = (source.pos(), target.pos());
            let at_end = self.input.available().is_empty();
            self.input.consume(consumed);
            self.between_frames = left == 0;
            if decoded > 0 {
                return Ok(decoded);
            }
            if at_end && !self.between_frames {
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, "incomplete frame");
                return Err(self.input.blame("zstd", error).into());
            }
        }
    }
}

/// Returns the number of bytes of memory that the frame needs for its window (RFC 8878, section 3.1.1.1), or `None` if
/// `head` is not a frame with contents or is too short. The decoder then reports its own error.
fn window(head: &[u8]) -> Option<u64> {
    let head = head.strip_prefix(&[0x28, 0xB5, 0x2F, 0xFD])?;
    let (&descriptor, fields) = head.split_first()?;
    let single_segment = descriptor & 0x20 != 0;
    if !single_segment {
        let window = *fields.first()?;
        let base = 1u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // A single segment is its own window: all of the contents.
    let dictionary_id = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = fields.get(dictionary_id..)?;
    let mut bytes = [0; 8];
    let length = 1 << (descriptor >> 6);
    bytes[..length].copy_from_slice(content_size.get(..length)?);
    let size = u64::from_le_bytes(bytes);
    Some(if length == 2 { size + 256 } else { size })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn window_equals_the_encoders_setting() {
        for log in 10..=27 {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.include_contentsize(false).unwrap();
            encoder.write_all(&[7; 5000]).unwrap();
            let frame = encoder.finish().unwrap();
            assert_eq!(window(&frame), Some(1 << log));
        }
    }

    #[test]
    fn a_frame_of_one_segment_needs_its_content_size() {
        for size in [1u32, 255, 256, 257, 65_791, 65_792, 100_000] {
            let content = vec![1; usize::try_from(size).unwrap()];
            let frame = zstd::bulk::compress(&content, 1).unwrap();
            assert_eq!(frame[4] & 0x20, 0x20, "a single segment");
            assert_eq!(window(&frame), Some(u64::from(size)));
        }
    }

    #[test]
    fn data_without_a_frame_has_no_window() {
        let skippable = [0x50, 0x2A, 0x4D, 0x18, 5, 0, 0, 0];
        for head in [
            &skippable[..],
            b"",
            b"\x28\xB5\x2F\xFD",
            b"\x28\xB5\x2F\xFD\x20",
        ] {
            assert_eq!(window(head), None, "{head:?}");
        }
    }
}
