//! The options that have a say in the bytes of an artifact.

use std::num::NonZeroUsize;

use sqfs_writer::Compressor;

use super::mount_point::MountPoint;

/// The options that change the bytes of an artifact; each is part of its [`Key`](crate::Key).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageOptions {
    /// Codec and level; zstd 3 by default.
    pub compressor: Compressor,
    /// Bytes in a data block: a power of two from 4096 to 1 048 576; 131 072 by default.
    pub block_size: u32,
    /// Whether the ends of files larger than a block go into fragments; true by default.
    pub tails: bool,
    /// The time, in seconds since 1970, of the superblock, of `/.hpcc` and of directories that no
    /// layer describes; 0 by default. Entries of the image keep theirs.
    pub time: u32,
    /// Whether a dm-verity hash tree follows the image, with which a kernel refuses every other byte;
    /// false by default. The image itself is the same.
    pub verity: bool,
    /// Empty directories and files that are made where the image has none, for a guest to mount over; none by default.
    pub mount_points: Vec<MountPoint>,
}

impl Default for ImageOptions {
    fn default() -> Self {
        let writer = sqfs_writer::Options::default();
        Self {
            compressor: writer.compressor,
            block_size: writer.block_size,
            tails: writer.tails,
            time: 0,
            verity: false,
            mount_points: Vec::new(),
        }
    }
}

impl ImageOptions {
    /// The same in the writer's words.
    pub(crate) fn writer(&self, threads: NonZeroUsize) -> sqfs_writer::Options {
        let mut options = sqfs_writer::Options::default();
        options.compressor = self.compressor;
        options.block_size = self.block_size;
        options.tails = self.tails;
        options.mkfs_time = self.time;
        options.threads = threads;
        options
    }
}
