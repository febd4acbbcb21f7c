use super::*;
use crate::cancel::Cancel;
use crate::compress::Compressor;
use crate::pool::{Effort, Pool};

/// What a header leads, as written.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// Where it is in the table, uncompressed.
    at: usize,
    count: u32,
    start_block: u32,
    number: u32,
}

fn queue() -> MetadataQueue {
    let codecs = Compressor::None.resolve(131_072, None).unwrap();
    let pool = Pool::new(1, &codecs).unwrap();
    MetadataQueue::new(
        pool,
        Cancel::default(),
        usize::MAX,
        Effort::Store,
        Effort::Store,
    )
}

const HERE: Place = Place {
    block: 0,
    offset: 0,
};

/// Writes one listing behind `before` bytes, and reads its headers back. Nothing is compressed, so
/// that blocks can be taken apart by hand.
fn write(before: usize, lines: &[(String, Place, u32)]) -> (Listing, Vec<Header>) {
    let mut queue = queue();
    // Two blocks of inodes to refer to.
    queue
        .write(Table::Inodes, &[0; METADATA_SIZE + 1], &[])
        .unwrap();
    queue
        .write(Table::Listings, &vec![0xEE; before], &[])
        .unwrap();
    let mut writer = ListingWriter::default();
    let name_bytes = lines.iter().map(|(name, ..)| name.len()).sum();
    let iter = lines.iter().map(|(name, inode, number)| {
        Ok(Line {
            name: name.as_bytes(),
            inode: *inode,
            number: InodeNumber(*number),
            inode_type: InodeType::Fifo,
        })
    });
    let listing = writer.write(&mut queue, name_bytes, iter, 0).unwrap();
    writer.finish(&mut queue).unwrap();
    queue.end(&[Table::Inodes, Table::Listings]).unwrap();
    let blocks = queue.finish(Table::Listings);
    let table: Vec<u8> = blocks
        .bytes
        .concat()
        .chunks(METADATA_SIZE + 2)
        .flat_map(|block| block[2..].to_vec())
        .collect();
    let u32_at = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap());
    let u16_at = |at: usize| u16::from_le_bytes(table[at..at + 2].try_into().unwrap());
    let mut headers = Vec::new();
    let mut at = before;
    while at < table.len() && !lines.is_empty() {
        let header = Header {
            at,
            count: u32_at(at) + 1,
            start_block: u32_at(at + 4),
            number: u32_at(at + 8),
        };
        at += DirHeader::SIZE;
        for _ in 0..header.count {
            at += DirEntry::SIZE + usize::from(u16_at(at + 6)) + 1;
        }
        headers.push(header);
    }
    (listing, headers)
}

fn lines(count: u32) -> Vec<(String, Place, u32)> {
    (0..count)
        .map(|n| (format!("{n:08}"), HERE, n + 1))
        .collect()
}

#[test]
fn a_header_leads_at_most_256_entries() {
    for (count, expected) in [
        (0, vec![]),
        (1, vec![1]),
        (255, vec![255]),
        (256, vec![256]),
        (257, vec![256, 1]),
    ] {
        let (listing, headers) = write(0, &lines(count));
        let counts: Vec<u32> = headers.iter().map(|header| header.count).collect();
        assert_eq!(counts, expected);
        assert!(listing.index.is_empty());
    }
}

#[test]
fn header_ends_where_inode_numbers_or_blocks_are_too_far() {
    let other = Place {
        block: 1,
        offset: 0,
    };
    let here = HERE;
    let cases = [
        (here, 40_000, here, 40_000 + 32_767, 1),
        (here, 40_000, here, 40_000 + 32_768, 2),
        (here, 40_000, here, 40_000 - 32_768, 1),
        (here, 40_000, here, 40_000 - 32_769, 2),
        (here, 1, other, 2, 2),
    ];
    for (first, a, second, b, expected) in cases {
        let lines = [("a".into(), first, a), ("b".into(), second, b)];
        let (_, headers) = write(0, &lines);
        assert_eq!(headers.len(), expected, "{a} {b}");
        let last = headers.last().unwrap().start_block;
        assert_eq!(last, if second == other { 8194 } else { 0 });
    }
}

#[test]
fn index_leads_to_a_header_in_each_later_block() {
    for before in [0, 1, 4000, 8185, 8191, 8192] {
        let all = lines(3000);
        let (listing, headers) = write(before, &all);
        let blocks = (before + usize::try_from(listing.len).unwrap()).div_ceil(METADATA_SIZE);
        let first_block = before / METADATA_SIZE;
        assert_eq!(listing.index.len(), blocks - first_block - 1, "{before}");
        for point in &listing.index {
            let at = before + point.offset as usize;
            let header = headers.iter().find(|header| header.at == at).unwrap();
            assert_eq!(point.block as usize, at / METADATA_SIZE);
            let name = all[header.number as usize - 1].0.as_bytes();
            assert_eq!(&*point.name, name);
        }
    }
}

#[test]
fn entry_that_begins_a_metadata_block_has_its_own_header() {
    // A header and 256 entries of 16 bytes, another and 254: with 8 bytes in front the block ends there.
    let (listing, headers) = write(8, &lines(3000));
    assert!(headers.iter().any(|header| header.at == METADATA_SIZE));
    let first = listing.index.first().unwrap();
    assert_eq!((first.offset, first.block), (8192 - 8, 1));
}

#[test]
fn listing_of_one_block_has_no_index_wherever_it_begins() {
    // 12 for the header, 16 an entry.
    let (listing, _) = write(8000, &lines(255));
    assert_eq!(listing.len, 12 + 255 * 16);
    assert!(listing.index.is_empty());
}

#[test]
fn a_table_without_entries_is_not_empty() {
    let mut queue = queue();
    let mut writer = ListingWriter::default();
    let listing = writer.write(&mut queue, 0, std::iter::empty(), 0).unwrap();
    assert_eq!(listing.len, 0);
    writer.finish(&mut queue).unwrap();
    queue.end(&[Table::Listings]).unwrap();
    assert_eq!(queue.finish(Table::Listings).starts, [0]);
}
