//! The compressor's number, and the options block after the superblock.

use super::layout::{layout, newtype};

newtype! {
    /// The codec that the image needs.
    Compression(u16)
}

impl Compression {
    /// zlib streams.
    pub(crate) const GZIP: Self = Self(1);
    /// xz streams.
    pub(crate) const XZ: Self = Self(4);
    /// lz4 blocks.
    pub(crate) const LZ4: Self = Self(5);
    /// zstd frames.
    pub(crate) const ZSTD: Self = Self(6);
}

layout! {
    /// Written when they differ from level 9, window 15, default strategy.
    GzipOptions: 8 {
        compression_level: u32,
        window_size: u16,
        strategy: u16,
    }
}

layout! {
    /// Always written: the kernel refuses an lz4 image without them (`lz4_comp_opts`).
    Lz4Options: 8 {
        version: u32,
        /// 1 if the high compression mode was used. It makes no difference to readers.
        flags: u32,
    }
}

impl Lz4Options {
    /// The only version there is: bare blocks.
    pub(crate) const VERSION: u32 = 1;
    /// High compression.
    pub(crate) const HC: u32 = 1;
}

layout! {
    /// Written when the level differs from 15.
    ZstdOptions: 4 {
        compression_level: i32,
    }
}
