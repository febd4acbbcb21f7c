//! The options that change the bytes of an artifact.

use std::num::NonZeroUsize;

use sqfs_writer::Compressor;

use super::mount_point::MountPoint;

/// The options that change the bytes of an artifact. Each is part of its [`Key`](crate::Key).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageOptions {
    /// Codec and level. Default: zstd 3.
    pub compressor: Compressor,
    /// Bytes in a data block: a power of two from 4096 to 1 048 576. Default: 131 072.
    pub block_size: u32,
    /// Whether the ends of files larger than a block go into fragments. Default: true.
    pub tails: bool,
    /// Timestamp, in seconds since 1970, of the superblock, of `/.hpcc` and of directories that no layer describes.
    /// Entries of the image keep theirs. Default: 0.
    pub time: u32,
    /// Whether a dm-verity hash tree follows the image, with which a kernel rejects every changed byte. The image
    /// itself is the same. Default: false.
    pub verity: bool,
    /// Empty directories and files that are made where the image has none, so that a guest can mount over them.
    /// Default: none.
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
    /// Returns the same choices as options of the writer.
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
