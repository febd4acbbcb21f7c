//! How the budget for reading ahead is divided.

use std::num::NonZeroUsize;

use crate::layer::Chunk;

/// Smallest memory in bytes of a layer in flight: three chunks (one that waits, one being filled, and one that was read
/// and is reused), the decoder with its input, and the stack of a thread. Chunks whose blocks the writer holds count as
/// the writer's.
const LEAST: usize = 768 << 10;

/// The largest chunk in bytes. A processor's own cache has to hold one that is being filled and one that is being read.
const CHUNK_MAX: usize = 256 << 10;

/// Number of layers in flight concurrently, and the bytes that may wait for the reader.
///
/// Every layer has the same share, fixed from the start, so that none can starve the one being read: a quarter for
/// bytes from the network, a quarter for decompressed ones, and half for the window of its zstd frames. A frame with a
/// larger window waits until it is its layer's turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadAhead {
    layers: NonZeroUsize,
    bytes: usize,
}

impl ReadAhead {
    /// Plans `layers` layers, the one being read included, within `bytes` bytes.
    pub(crate) fn new(layers: NonZeroUsize, bytes: usize) -> Self {
        Self { layers, bytes }
    }

    /// Returns the number of layers in flight, which the bytes may lower.
    pub(super) fn layers(self) -> usize {
        self.layers.get().min((self.bytes / LEAST).max(1))
    }

    fn share(self) -> usize {
        self.bytes / self.layers()
    }

    /// Returns how many bytes from the network may wait. At least one, because otherwise nothing would ever arrive.
    pub(super) fn compressed(self) -> u32 {
        u32::try_from(self.share() / 4).unwrap_or(u32::MAX).max(1)
    }

    /// Returns how many decompressed chunks may wait.
    pub(super) fn chunks(self) -> usize {
        (self.share() / 4 / self.chunk()).max(1)
    }

    /// Returns the most bytes in a chunk. The larger a chunk is, the more blocks of files lie in it whole and need not
    /// be copied. With chunks twice as large as blocks of 128 KiB, that is half of the blocks.
    pub(super) fn chunk(self) -> usize {
        if self.share() / 32 < CHUNK_MAX {
            Chunk::SIZE
        } else {
            CHUNK_MAX
        }
    }

    /// Returns the largest window that may be allocated before it is the layer's turn.
    pub(super) fn window(self) -> u64 {
        self.share() as u64 / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_are_within_the_budget() {
        for bytes in [0, 1 << 20, 16 << 20, 24 << 20, 1 << 30] {
            for layers in [1, 3, 20, 1000] {
                let read_ahead = ReadAhead::new(NonZeroUsize::new(layers).unwrap(), bytes);
                let under_way = read_ahead.layers();
                assert!((1..=layers).contains(&under_way));
                let window = usize::try_from(read_ahead.window()).unwrap();
                let compressed = usize::try_from(read_ahead.compressed()).unwrap();
                let each = compressed + read_ahead.chunks() * read_ahead.chunk() + window;
                // One layer has to proceed whatever the budget.
                assert!(
                    under_way == 1 || each * under_way <= bytes,
                    "{layers} {bytes}"
                );
                assert!(under_way < 2 || bytes / under_way >= LEAST);
            }
        }
    }
}
