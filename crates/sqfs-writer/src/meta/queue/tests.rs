use std::time::Duration;

use super::*;
use crate::cancel::Cancel;
use crate::compress::{Codec, Codecs, Compressor};

fn queue(threads: usize) -> MetadataQueue {
    let codecs = Codecs::for_tests(|| Ok(Box::new(Slow)));
    let pool = Pool::new(threads, &codecs).unwrap();
    MetadataQueue::new(
        pool,
        Cancel::default(),
        usize::MAX,
        Effort::Compress,
        Effort::Compress,
    )
}

#[test]
fn a_block_ends_at_8192_bytes_and_not_before() {
    for (len, blocks) in [(0, 0), (1, 1), (8191, 1), (8192, 1), (8193, 2), (16_384, 2)] {
        let mut queue = queue(1);
        assert!(queue.is_empty(Table::Inodes));
        for byte in std::iter::repeat_n(7, len) {
            queue.write(Table::Inodes, &[byte], &[]).unwrap();
        }
        assert_eq!(
            queue.room(Table::Inodes),
            METADATA_SIZE - len % METADATA_SIZE
        );
        assert_eq!(queue.is_empty(Table::Inodes), len == 0);
        queue.end(&[Table::Inodes]).unwrap();
        assert_eq!(queue.finish(Table::Inodes).starts.len(), blocks, "{len}");
    }
}

#[test]
fn a_table_that_is_finished_makes_room_for_the_next() {
    let mut queue = queue(2);
    let entries = |n: u32| (0..n).map(|n| Ok(n.to_le_bytes()));
    let first = queue.entries("a", Effort::Compress, entries(5000)).unwrap();
    let second = queue.entries("b", Effort::Store, entries(5000)).unwrap();
    assert_eq!(first.starts.len(), 3);
    assert_eq!(second.starts, [0, 8194, 2 * 8194]);
    assert!(first.bytes.len() < second.bytes.len());
    assert_eq!(second.bytes.len(), 5000 * 4 + 3 * 2);
}

/// Compresses by one byte for each byte that is 0, takes its time, and lets one see what it was
/// given: a size that depends on the content, so that positions do.
struct Slow;

impl Codec for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
        let sum: u64 = input.iter().map(|&byte| u64::from(byte)).sum();
        std::thread::sleep(Duration::from_micros(sum % 5 * 50));
        output.clear();
        output.extend(input.iter().filter(|&&byte| byte != 0));
        Ok(true)
    }
}

/// Two tables that refer to each other all the time, also across the ends of blocks.
fn write(threads: usize) -> (MetadataBlocks, MetadataBlocks) {
    let codecs = Codecs::for_tests(|| Ok(Box::new(Slow)));
    let pool = Pool::new(threads, &codecs).unwrap();
    let mut queue = MetadataQueue::new(
        pool,
        Cancel::default(),
        usize::MAX,
        Effort::Compress,
        Effort::Compress,
    );
    let mut last = queue.place(Table::Listings);
    for n in 0..8000u32 {
        let link = |table, block| Link {
            at: 3,
            table,
            block,
        };
        let mut bytes = [0xAA; 7];
        bytes[0] = n.to_le_bytes()[0] | 1;
        let inode = queue.place(Table::Inodes);
        let links = [link(Table::Listings, last.block)];
        queue.write(Table::Inodes, &bytes, &links).unwrap();
        if n % 3 == 0 {
            last = queue.place(Table::Listings);
            let links = [link(Table::Inodes, inode.block)];
            queue.write(Table::Listings, &bytes, &links).unwrap();
        }
    }
    queue.end(&[Table::Inodes, Table::Listings]).unwrap();
    (queue.finish(Table::Inodes), queue.finish(Table::Listings))
}

#[test]
fn mutual_references_do_not_depend_on_threads() {
    let (inodes, listings) = write(1);
    assert!(inodes.starts.len() > 5 && listings.starts.len() > 2);
    for threads in [2, 3, 8, 64] {
        let (others, other_listings) = write(threads);
        assert_eq!(others.bytes.concat(), inodes.bytes.concat(), "{threads}");
        assert_eq!(
            other_listings.bytes.concat(),
            listings.bytes.concat(),
            "{threads}"
        );
    }
}

#[test]
fn links_hold_stored_positions_across_the_end_of_blocks() {
    let codecs = Compressor::None.resolve(131_072, None).unwrap();
    for before in METADATA_SIZE - 5..METADATA_SIZE + 1 {
        let pool = Pool::new(1, &codecs).unwrap();
        let mut queue = MetadataQueue::new(
            pool,
            Cancel::default(),
            usize::MAX,
            Effort::Store,
            Effort::Store,
        );
        queue
            .write(Table::Listings, &[1; 3 * METADATA_SIZE + 6], &[])
            .unwrap();
        queue.write(Table::Inodes, &vec![2; before], &[]).unwrap();
        let link = Link {
            at: 1,
            table: Table::Listings,
            block: 3,
        };
        queue.write(Table::Inodes, &[9; 6], &[link]).unwrap();
        queue.end(&[Table::Inodes, Table::Listings]).unwrap();
        let place = Place {
            block: 3,
            offset: 5,
        };
        let resolved = queue.finish(Table::Listings).resolve(place).unwrap();
        assert_eq!(resolved, InodeRef((3 * 8194) << 16 | 5));
        let blocks = queue.finish(Table::Inodes);
        let raw: Vec<u8> = blocks
            .bytes
            .concat()
            .chunks(8194)
            .flat_map(|block| block[2..].to_vec())
            .collect();
        let expected = [&[9][..], &(3 * 8194u32).to_le_bytes(), &[9]].concat();
        assert_eq!(raw[before..], expected, "{before}");
    }
}

#[test]
fn block_references_are_limited_to_4_gib() {
    let too_large = |error: Error| {
        matches!(error, Error::Limit { what: "size", entry, value, .. }
            if entry == "the inode table" && value == 1 << 32)
    };
    for (before, good) in [(0, true), (u64::from(u32::MAX), true), (1 << 32, false)] {
        let place = Place {
            block: 0,
            offset: 7,
        };
        // As if there were a table of that size in front of it.
        let mut by_place = queue(1);
        by_place.state_mut(Table::Inodes).starts = vec![before];
        by_place.write(Table::Inodes, &[1; 8], &[]).unwrap();
        by_place.end(&[Table::Inodes]).unwrap();
        match by_place.finish(Table::Inodes).resolve(place) {
            Ok(found) => assert!(good && found.0 == before << 16 | 7),
            Err(error) => assert!(!good && too_large(error)),
        }
        let mut by_link = queue(1);
        by_link.state_mut(Table::Inodes).starts = vec![before];
        let link = Link {
            at: 0,
            table: Table::Inodes,
            block: 0,
        };
        by_link.write(Table::Listings, &[0; 4], &[link]).unwrap();
        match by_link.end(&[Table::Listings]) {
            Ok(()) => assert!(good),
            Err(error) => assert!(!good && too_large(error)),
        }
    }
}

/// Takes a while for blocks of ones.
struct Hesitant;

impl Codec for Hesitant {
    fn name(&self) -> &'static str {
        "hesitant"
    }

    fn compress(&mut self, input: &[u8], _: &mut Vec<u8>) -> io::Result<bool> {
        if input.first() == Some(&1) {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(false)
    }
}

#[test]
fn blocks_behind_a_slow_one_do_not_pile_up() {
    let codecs = Codecs::for_tests(|| Ok(Box::new(Hesitant)));
    let pool = Pool::new(2, &codecs).unwrap();
    let memory = 8 * 2 * METADATA_SIZE;
    let mut queue = MetadataQueue::new(
        pool,
        Cancel::default(),
        memory,
        Effort::Compress,
        Effort::Compress,
    );
    for n in 0..500 {
        let block = [u8::from(n == 0); METADATA_SIZE];
        queue.write(Table::Inodes, &block, &[]).unwrap();
        let early = queue.state(Table::Inodes).results.len();
        assert!(early <= 8, "{early} results wait at block {n}");
    }
    queue.end(&[Table::Inodes]).unwrap();
    assert_eq!(queue.finish(Table::Inodes).starts.len(), 500);
}
