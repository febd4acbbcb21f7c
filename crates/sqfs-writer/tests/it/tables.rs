//! What every table is made of: integers, metadata blocks, and the indexes that lead to them.

use std::collections::BTreeMap;
use std::ops::Range;

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// A table of metadata blocks, uncompressed, with the place of each block in both forms.
pub(crate) struct Table {
    pub(crate) bytes: Vec<u8>,
    /// Stored position from the start of the table, to uncompressed position.
    pub(crate) blocks: BTreeMap<u64, usize>,
}

impl Table {
    /// Where an inode or listing at this block and offset begins in `bytes`.
    pub(crate) fn at(&self, start_block: u64, offset: u16) -> usize {
        assert!(offset < 8192);
        self.blocks[&start_block] + usize::from(offset)
    }
}

pub(crate) fn decompress(compression: u16, stored: &[u8], limit: usize) -> Vec<u8> {
    let bytes = decoder(compression)(stored, limit);
    assert!(bytes.len() <= limit);
    assert!(stored.len() < bytes.len(), "compressed without shrinking");
    bytes
}

fn decoder(compression: u16) -> fn(&[u8], usize) -> Vec<u8> {
    match compression {
        #[cfg(feature = "gzip")]
        1 => |stored, _| {
            let mut decoder = flate2::read::ZlibDecoder::new(stored);
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut decoder, &mut bytes).unwrap();
            bytes
        },
        #[cfg(feature = "xz")]
        4 => |stored, limit| {
            // CRC32 is the one check that the kernel's decoder knows.
            assert_eq!(stored[6..8], [0, 1], "stream flags");
            // Header of the block: no sizes, one filter, and that is LZMA2 with its dictionary.
            assert_eq!(stored[13..16], [0, 0x21, 1]);
            let bits = u32::from(stored[16]);
            let dictionary = (2 | (bits & 1)) << (bits / 2 + 11);
            // Metadata may use the dictionary of a block.
            assert!(limit == 8192 || dictionary as usize <= limit, "dictionary");
            let mut decoder = xz2::read::XzDecoder::new(stored);
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut decoder, &mut bytes).unwrap();
            bytes
        },
        #[cfg(feature = "lz4")]
        5 => |stored, limit| {
            let size = i32::try_from(limit).unwrap();
            lz4::block::decompress(stored, Some(size)).unwrap()
        },
        #[cfg(feature = "zstd")]
        6 => |stored, limit| {
            let frame = zstd::zstd_safe::get_frame_content_size(stored).unwrap();
            assert!(frame.is_some(), "a frame without its content size");
            zstd::bulk::decompress(stored, limit).unwrap()
        },
        other => panic!("compression {other}"),
    }
}

pub(crate) fn metadata_block(bytes: &[u8], compression: u16, at: u64) -> (Vec<u8>, u64) {
    let at = at as usize;
    let header = u16_at(bytes, at);
    let len = usize::from(header & 0x7FFF);
    let stored = &bytes[at + 2..at + 2 + len];
    let raw = if header & 0x8000 == 0 {
        decompress(compression, stored, 8192)
    } else {
        stored.to_vec()
    };
    assert!((1..=8192).contains(&raw.len()));
    (raw, (at + 2 + len) as u64)
}

pub(crate) fn table(bytes: &[u8], compression: u16, start: u64, end: u64) -> Table {
    let mut table = Table {
        bytes: Vec::new(),
        blocks: BTreeMap::new(),
    };
    let mut at = start;
    while at < end {
        assert_eq!(
            table.bytes.len() % 8192,
            0,
            "a short block that is not the last"
        );
        table.blocks.insert(at - start, table.bytes.len());
        let (raw, next) = metadata_block(bytes, compression, at);
        table.bytes.extend(raw);
        at = next;
    }
    assert_eq!(
        at, end,
        "a table that does not end where the next one begins"
    );
    table
}

/// A table of entries with its index. Between the two is `gap`, and the index is all there is
/// behind that and before `end`. Also says where the first block is.
pub(crate) fn indexed(
    bytes: &[u8],
    compression: u16,
    gap: Range<u64>,
    end: u64,
    count: usize,
    size: usize,
) -> (Vec<u8>, u64) {
    let blocks = (count * size).div_ceil(8192);
    assert_eq!(gap.end + 8 * blocks as u64, end, "index of {count} entries");
    let starts: Vec<u64> = (0..blocks)
        .map(|n| u64_at(bytes, gap.end as usize + 8 * n))
        .collect();
    let table = table(bytes, compression, starts[0], gap.start);
    let expected: Vec<u64> = table.blocks.keys().map(|at| starts[0] + at).collect();
    assert_eq!(starts, expected);
    assert_eq!(table.bytes.len(), count * size);
    (table.bytes, starts[0])
}
