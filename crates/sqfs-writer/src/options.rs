//! Options of the writer, and their checked form.

use std::num::NonZeroUsize;

use crate::compress::{Codecs, Compressor, Make};
use crate::error::Error;

/// Options of the writer. The bytes of the image depend on all of them except [`threads`](Self::threads).
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
    /// Size of a data block in bytes: a power of two, 4 KiB to 1 MiB. Default 128 KiB. Larger
    /// blocks compress slightly better, and every small read costs more.
    pub block_size: u32,
    /// The codec for everything. Default zstd at level 3.
    pub compressor: Compressor,
    /// Timestamp of the superblock and of parent directories that no entry describes, in seconds
    /// since 1970. Timestamps of entries are never changed. Default: 0, because the writer reads
    /// neither the clock nor the environment. To honor `SOURCE_DATE_EPOCH`, set this field from it.
    /// An explicit choice of the user takes precedence over the variable, and the variable over 0.
    pub mkfs_time: u32,
    /// Whether the last, partial block of files larger than a block shares a fragment with other
    /// tails. Files smaller than a block always do, unless [`fragments`](Self::fragments) is false.
    /// Default true: smaller images.
    pub tails: bool,
    /// Whether the image has fragments at all. If false, every file has blocks of its own, the last
    /// one shorter, and [`tails`](Self::tails) has no effect. Default true: reading a small file from
    /// a fragment decompresses its neighbors too, and without fragments an image of small files is
    /// about twice as large.
    pub fragments: bool,
    /// Whether equal files share their blocks, and equal tails their position in a fragment.
    /// Default true: smaller images, for a fortieth more work. A file whose compressed blocks
    /// exceed 4 MiB is written before it can be recognized as a duplicate, and stays.
    pub duplicates: bool,
    /// Whether the writer examines a block first, and stores it uncompressed if compression would
    /// probably not help. Default false. It saves time, most of it with slow codecs, and costs the
    /// occasional block that would have become slightly smaller.
    pub probe: bool,
    /// Parts of the image that are stored uncompressed. Default: none.
    pub stored: Stored,
    /// Memory budget of the writer in bytes, at least 10 blocks and 1 MiB. Default 128 MiB, of
    /// which a small image uses little.
    ///
    /// | at most | for |
    /// |---|---|
    /// | 4 blocks | the current block and the one before it, and the two fragments being filled |
    /// | a quarter | blocks in flight, two buffers each; this limits how many threads are busy |
    /// | an eighth, and 4 MiB | a file that is held back because it may be a duplicate |
    /// | an eighth | block lists: 4 bytes per stored block, 12 per file with blocks, 16 per fragment |
    /// | the rest | the cache that finds duplicates: about 50 bytes per earlier file |
    ///
    /// If block lists need more, the cache shrinks. A full cache evicts its oldest entries, and
    /// [`Summary::forgotten`](crate::Summary::forgotten) counts evictions. If that is not enough,
    /// the writer returns [`Error::Memory`]; with 128 MiB and blocks of 128 KiB that happens beyond
    /// 2 TiB of data. Evictions affect which duplicates are found, so the bytes of an image depend
    /// on this budget. They do not depend on the number of threads.
    ///
    /// Not in the budget: the state of the codec per thread (about 1 MB for zstd 3), the tree, and
    /// the buffers passed to [`Body::append_bytes`](crate::Body::append_bytes).
    /// [`finish`](crate::DataWriter::finish) adds 20 bytes per inode, 200 per directory, and
    /// listings and attributes in compressed form, because their tables follow that of the inodes.
    /// The table of sets of extended attributes, 16 bytes per set, is in the budget, together with
    /// the index of equal sets and values. Both use what the block lists leave.
    pub memory: usize,
    /// Number of threads that compress, 1 or more. Default 1. The calling thread is one of them: it reads and writes, and
    /// compresses when it would otherwise wait. The image has the same bytes for any number. If the system refuses to
    /// start a thread, the writer continues with fewer.
    pub threads: NonZeroUsize,
    /// Whether the image has a table from inode numbers to inodes, which NFS export and open by
    /// handle need. Default true.
    pub exportable: bool,
}

/// Parts of an image that are stored uncompressed. Every reader accepts that. The image becomes
/// larger, and cheaper to read and to compare with another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Blocks of files.
    pub data: bool,
    /// Fragments, and their table.
    pub fragments: bool,
    /// Inodes, directories, and the export table.
    pub inodes: bool,
    /// The table of user and group ids.
    pub ids: bool,
    /// Extended attributes.
    pub xattrs: bool,
}

impl Stored {
    /// Returns the choice that stores every part uncompressed.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            data: true,
            fragments: true,
            inodes: true,
            ids: true,
            xattrs: true,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block_size: 128 << 10,
            compressor: Compressor::default(),
            mkfs_time: 0,
            tails: true,
            fragments: true,
            duplicates: true,
            probe: false,
            stored: Stored::default(),
            memory: 128 << 20,
            threads: NonZeroUsize::MIN,
            exportable: true,
        }
    }
}

impl Options {
    /// Checks whether an image can be written with these options, before there is a sink.
    ///
    /// # Errors
    /// Returns [`Error::Options`] with the value that is out of range, or the codec that is not compiled in.
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
        let least = (10 * block_size as usize).max(1 << 20);
        if self.memory < least {
            return Err(Error::Options(format!(
                "{} bytes of memory; blocks of {block_size} need at least {least}",
                self.memory
            )));
        }
        Ok(Resolved {
            block_size: block_size as usize,
            codecs: self.compressor.resolve(block_size, codec)?,
            mkfs_time: self.mkfs_time,
            tails: match (self.fragments, self.tails) {
                (false, _) => TailPolicy::Never,
                (true, false) => TailPolicy::ShortFiles,
                (true, true) => TailPolicy::Always,
            },
            duplicates: self.duplicates,
            probe: self.probe,
            stored: match self.compressor {
                Compressor::None => Stored::everything(),
                _ => self.stored,
            },
            memory: Shares::of(self.memory, block_size as usize),
            threads: self.threads.get(),
            exportable: self.exportable,
        })
    }
}

/// [`Options`] that were checked.
#[derive(Clone)]
pub(crate) struct Resolved {
    pub(crate) block_size: usize,
    pub(crate) codecs: Codecs,
    pub(crate) mkfs_time: u32,
    pub(crate) tails: TailPolicy,
    pub(crate) duplicates: bool,
    pub(crate) probe: bool,
    pub(crate) stored: Stored,
    pub(crate) memory: Shares,
    pub(crate) threads: usize,
    pub(crate) exportable: bool,
}

/// The files that end in a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TailPolicy {
    /// None.
    Never,
    /// Files that are shorter than a block.
    ShortFiles,
    /// Every file whose length is not a multiple of the block size.
    Always,
}

/// Division of the memory budget. While the writer writes the tables, the share of the blocks is for metadata blocks. The
/// rest of `known`, `held` and `lists` is for extended attributes: `known` to find equal ones, the other two for their sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Bytes for the cache of earlier bodies.
    pub(crate) known: usize,
    /// Bytes for the compressed blocks of a body that may be a duplicate.
    pub(crate) held: usize,
    /// Bytes for the positions of blocks and fragments. If they need more, they take `known`.
    pub(crate) lists: usize,
    /// Number of blocks that may be in flight, each with a buffer for its result.
    pub(crate) blocks: usize,
}

impl Shares {
    /// Number of blocks that are being filled: one of a body, the one before it, and two fragments.
    const FILLED: usize = 4;

    fn of(memory: usize, block_size: usize) -> Self {
        let held = (memory / 8).min(4 << 20);
        let lists = memory / 8;
        let blocks = (memory / 4 / (2 * block_size)).max(1);
        // A buffer is a little larger than its block, a table than its entries.
        let small = memory / 32;
        let taken = (Self::FILLED + 2 * blocks) * block_size + held + lists + small;
        Self {
            known: memory.saturating_sub(taken),
            held,
            lists,
            blocks,
        }
    }
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
                compressor: Compressor::None,
                ..Options::default()
            };
            assert_eq!(options.resolve(None).is_ok(), good, "{block_size}");
        }
    }

    #[test]
    fn memory_is_shared_out_and_never_more_than_there_is() {
        for (memory, block_size, good) in [
            (1 << 20, 4096, true),
            ((1 << 20) - 1, 4096, false),
            (10 << 17, 1 << 17, true),
            ((10 << 17) - 1, 1 << 17, false),
            (10 << 20, 1 << 20, true),
            ((10 << 20) - 1, 1 << 20, false),
        ] {
            let options = Options {
                memory,
                block_size,
                compressor: Compressor::None,
                ..Options::default()
            };
            let resolved = options.resolve(None);
            assert_eq!(resolved.is_ok(), good, "{memory} {block_size}");
            let Ok(Resolved { memory: shares, .. }) = resolved else {
                continue;
            };
            let block_size = block_size as usize;
            let blocks = (Shares::FILLED + 2 * shares.blocks) * block_size;
            let used = shares.known + shares.held + shares.lists + blocks;
            assert!(used <= memory, "{memory} {block_size}");
            assert!(
                shares.blocks > 0 && shares.known > memory / 16,
                "{shares:?}"
            );
        }
    }
}
