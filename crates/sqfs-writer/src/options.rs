//! What the caller can choose, and the checked form of it.

use std::num::NonZeroUsize;

use crate::compress::{Codecs, Compressor, Make};
use crate::error::Error;

/// How an image is to be written. Everything but [`threads`](Self::threads) is part of what its
/// bytes are a function of.
///
/// ```
/// use sqfs_writer::{Compressor, Options};
///
/// let mut options = Options::default();
/// options.compressor = Compressor::Gzip { level: 9 };
/// options.mkfs_time = 1_700_000_000;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Bytes of a file that are compressed together: a power of two, 4 KiB to 1 MiB. Default
    /// 128 KiB; larger compresses a little better, and every small read costs more.
    pub block_size: u32,
    /// The codec for everything. Default zstd at level 3.
    pub compressor: Compressor,
    /// The time in the superblock, seconds since 1970, also taken for parent directories that
    /// nobody described. Default 0: this crate reads neither clock nor environment.
    pub mkfs_time: u32,
    /// Whether the last, partial block of files larger than a block shares a fragment with other
    /// tails. Files smaller than a block always do. Default true: smaller images.
    pub tails: bool,
    /// Whether bodies that are equal share their blocks. Default true: smaller images, for a
    /// fortieth more work. A body whose compressed blocks exceed 4 MiB is written before it is
    /// known to be a duplicate, and stays.
    pub duplicates: bool,
    /// Threads that compress. With 1, the default, the calling thread does; with more it only
    /// reads and writes, and the image is the same to the byte.
    pub threads: NonZeroUsize,
    /// Whether there is a table from inode numbers to inodes, which NFS export and open by handle
    /// need. Default true.
    pub exportable: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block_size: 128 << 10,
            compressor: Compressor::default(),
            mkfs_time: 0,
            tails: true,
            duplicates: true,
            threads: NonZeroUsize::MIN,
            exportable: true,
        }
    }
}

impl Options {
    /// Whether an image can be written with these options, for those who want to know before they
    /// have a sink.
    ///
    /// # Errors
    /// [`Error::Options`] names the value that is out of range, or the codec that is not compiled
    /// in.
    pub fn check(&self) -> Result<(), Error> {
        self.resolve(None).map(|_| ())
    }

    /// Checks every value, once.
    pub(crate) fn resolve(&self, codec: Option<Make>) -> Result<Resolved, Error> {
        let block_size = self.block_size;
        if !block_size.is_power_of_two() || !(4 << 10..=1 << 20).contains(&block_size) {
            return Err(Error::Options(format!(
                "block size {block_size} is not a power of two from 4096 to 1048576"
            )));
        }
        Ok(Resolved {
            block_size: block_size as usize,
            codecs: self.compressor.resolve(block_size, codec)?,
            mkfs_time: self.mkfs_time,
            tails: self.tails,
            duplicates: self.duplicates,
            threads: self.threads.get(),
            exportable: self.exportable,
        })
    }
}

/// [`Options`] that were found to be good.
#[derive(Clone)]
pub(crate) struct Resolved {
    pub(crate) block_size: usize,
    pub(crate) codecs: Codecs,
    pub(crate) mkfs_time: u32,
    pub(crate) tails: bool,
    pub(crate) duplicates: bool,
    pub(crate) threads: usize,
    pub(crate) exportable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes() {
        let cases = [
            (0, false),
            (2048, false),
            (4096, true),
            (4097, false),
            (131_072, true),
            (1_048_576, true),
            (2_097_152, false),
        ];
        for (block_size, good) in cases {
            let options = Options {
                block_size,
                ..Options::default()
            };
            assert_eq!(options.resolve(None).is_ok(), good, "{block_size}");
        }
    }
}
