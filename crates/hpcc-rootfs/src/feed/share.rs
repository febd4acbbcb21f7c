//! How the budget for reading ahead is divided.

use std::num::NonZeroUsize;

use crate::layer::Chunk;

/// What a layer under way takes at least: a chunk that waits, one that is filled, one that was read
/// and comes back, the decoder with its input, and the stack of a thread. Chunks of which the writer has blocks are the
/// writer's.
const LEAST: usize = 768 << 10;

/// The largest chunk. A processor's own cache has to hold one that is being filled and one that is being read.
const CHUNK_MAX: usize = 256 << 10;

/// How many layers are under way at once, and the bytes that may wait for the reader.
///
/// Every layer has the same share, fixed from the start, so that none can starve the one that is being
/// read: a quarter for bytes from the network, a quarter for decompressed ones, half for the window of
/// its zstd frames. A frame with a larger window waits until it is its layer's turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadAhead {
    layers: NonZeroUsize,
    bytes: usize,
}

impl ReadAhead {
    /// So many layers, the one that is read included, within so many bytes.
    pub(crate) fn new(layers: NonZeroUsize, bytes: usize) -> Self {
        Self { layers, bytes }
    }

    /// No more than the bytes are enough for.
    pub(super) fn layers(self) -> usize {
        self.layers.get().min((self.bytes / LEAST).max(1))
    }

    fn share(self) -> usize {
        self.bytes / self.layers()
    }

    /// Bytes from the network that may wait; at least one, or nothing would ever come.
    pub(super) fn compressed(self) -> u32 {
        u32::try_from(self.share() / 4).unwrap_or(u32::MAX).max(1)
    }

    /// Decompressed chunks that may wait.
    pub(super) fn chunks(self) -> usize {
        (self.share() / 4 / self.chunk()).max(1)
    }

    /// The most bytes in a chunk. The larger it is, the more blocks of files lie in one as a whole, which are then
    /// not copied: of blocks of 128 KiB half, if it is twice as large.
    pub(super) fn chunk(self) -> usize {
        if self.share() / 32 < CHUNK_MAX {
            Chunk::SIZE
        } else {
            CHUNK_MAX
        }
    }

    /// The largest window that may be allocated before it is the layer's turn.
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
                // One layer has to go on whatever the budget.
                assert!(
                    under_way == 1 || each * under_way <= bytes,
                    "{layers} {bytes}"
                );
                assert!(under_way < 2 || bytes / under_way >= LEAST);
            }
        }
    }
}
