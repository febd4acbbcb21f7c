//! Tables with cycles or without an end: reading them terminates.

use super::*;

/// Tables by hand: directories of 32 bytes each and one file behind them, stored as they are.
pub(super) struct ByHand {
    pub(super) inodes: Vec<u8>,
    listing: Vec<u8>,
}

impl ByHand {
    pub(super) fn new() -> Self {
        let (inodes, listing) = (Vec::new(), Vec::new());
        Self { inodes, listing }
    }

    /// Returns the offset of a byte's block in a table, and its offset in the block.
    fn place(at: usize) -> (u32, u16) {
        let block = u32::try_from(at / 8192 * 8194).unwrap();
        (block, u16::try_from(at % 8192).unwrap())
    }

    /// An extended directory whose listing is `range` of the whole one.
    pub(super) fn directory(&mut self, range: std::ops::Range<usize>) {
        let (block, offset) = Self::place(range.start);
        let length = u32::try_from(range.len()).unwrap() + 3;
        for half in [8, 0o755, 0, 0, 0, 0, 1, 0_u16] {
            self.inodes.extend(half.to_le_bytes());
        }
        for word in [2, length, block, 1] {
            self.inodes.extend(word.to_le_bytes());
        }
        self.inodes.extend(0_u16.to_le_bytes());
        self.inodes.extend(offset.to_le_bytes());
        self.inodes.extend([0xFF; 4]);
    }

    /// A run of one entry that names the directory with a number.
    pub(super) fn entry(&mut self, directory: usize, name: &[u8]) {
        let (block, offset) = Self::place(directory * DIRECTORY);
        for word in [0, block, 1] {
            self.listing.extend(word.to_le_bytes());
        }
        let length = u16::try_from(name.len() - 1).unwrap();
        for half in [offset, 0, 1, length] {
            self.listing.extend(half.to_le_bytes());
        }
        self.listing.extend(name);
    }

    pub(super) fn image(&self) -> Vec<u8> {
        let blocks = |bytes: &[u8]| -> Vec<u8> {
            let block = |bytes: &[u8]| {
                let header = 0x8000 | u16::try_from(bytes.len()).unwrap();
                [&header.to_le_bytes(), bytes].concat()
            };
            bytes.chunks(8192).flat_map(block).collect()
        };
        let (inodes, listing) = (blocks(&self.inodes), blocks(&self.listing));
        let directories = 96 + inodes.len();
        let ids = directories + listing.len();
        let long = |number: usize| u64::try_from(number).unwrap().to_le_bytes();
        let mut image = 0x7371_7368_u32.to_le_bytes().to_vec();
        for word in [1, 0, 131_072, 0_u32] {
            image.extend(word.to_le_bytes());
        }
        for half in [6, 17, 0, 1, 4, 0_u16] {
            image.extend(half.to_le_bytes());
        }
        // The root is the first inode, and the index of the ids comes last.
        image.extend(long(0));
        image.extend(long(ids + 14));
        image.extend(long(ids + 6));
        image.extend([0xFF; 8]);
        image.extend(long(96));
        image.extend(long(directories));
        image.extend([0xFF; 16]);
        image.extend(inodes);
        image.extend(listing);
        image.extend([4, 0x80, 0, 0, 0, 0]);
        image.extend(long(ids));
        image
    }
}

/// Bytes of an extended directory.
const DIRECTORY: usize = 40;

/// Returns directories inside each other, each with one entry: the next one.
fn tower(depth: usize, name: &[u8]) -> Vec<u8> {
    let mut tables = ByHand::new();
    let entry = 20 + name.len();
    for level in 0..depth {
        tables.entry(level + 1, name);
        tables.directory(level * entry..(level + 1) * entry);
    }
    tables.directory(0..0);
    tables.image()
}

/// Bytes of an entry that has one of the names of [`ordered`].
const ORDERED: usize = 24;

/// Returns names of four bytes, in order.
fn ordered() -> impl Iterator<Item = [u8; 4]> {
    let digit = |number: u32, bits: u32| b'A' + u8::try_from(number >> bits & 63).unwrap();
    (0..1 << 24).map(move |number| [18, 12, 6, 0].map(|bits| digit(number, bits)))
}

/// Returns the number of names, and the error that ended the walk.
fn count(image: &[u8]) -> (u64, Option<String>) {
    let (mut names, mut bytes) = (0, 0);
    let walked = Tables::open(&image).and_then(|mut tables| {
        tables.walk(|entry| {
            names += 1;
            bytes += entry.path.len();
        })
    });
    assert!(bytes <= 256 << 20, "{bytes} bytes of paths");
    (names, walked.err().map(|error| error.to_string()))
}

// AgentD/squashfs-tools-ng#12, AgentD/squashfs-tools-ng#15, plougher/squashfs-tools#158.
#[test]
fn a_directory_on_its_own_path_is_damage() {
    let own = "damaged: a directory contains itself".to_owned();
    let mut tables = ByHand::new();
    tables.entry(0, b"itself");
    tables.directory(0..26);
    assert_eq!(count(&tables.image()), (1, Some(own.clone())));
    // A circle of three, and other inodes with the listing of the first one.
    for last in [0, 3] {
        let mut tables = ByHand::new();
        for next in [1, 2, last] {
            tables.entry(next, b"a");
        }
        for start in [0, 21, 42, 0] {
            tables.directory(start..start + 21);
        }
        assert_eq!(count(&tables.image()), (3, Some(own.clone())), "{last}");
    }
}

#[test]
fn directories_with_two_parents_are_damage() {
    // Forty directories, each twice in the one above: 2^40 paths.
    let mut tables = ByHand::new();
    for level in 0..40 {
        tables.entry(level + 1, b"a");
        tables.entry(level + 1, b"b");
        tables.directory(level * 42..(level + 1) * 42);
    }
    tables.directory(0..0);
    let two = "damaged: two directories have the same listing".to_owned();
    let (names, error) = count(&tables.image());
    assert_eq!(error, Some(two));
    assert!(names < 50, "{names}");
}

#[test]
fn empty_directories_may_name_any_listing() {
    let mut tables = ByHand::new();
    tables.entry(1, b"a");
    tables.entry(2, b"b");
    tables.directory(0..42);
    tables.directory(0..0);
    tables.directory(0..0);
    assert_eq!(count(&tables.image()), (3, None));
}

#[test]
fn overlapping_listings_end_at_a_limit() {
    // Each directory has all listings from its own on, so there are more paths than any reader could list.
    let mut tables = ByHand::new();
    let directories = 2000;
    for (next, name) in (1..=directories).zip(ordered()) {
        tables.entry(next, &name);
    }
    for start in 0..directories {
        tables.directory(start * ORDERED..directories * ORDERED);
    }
    tables.directory(0..0);
    let (_, error) = count(&tables.image());
    let error = error.unwrap();
    assert!(!error.contains("in order"), "{error}");
}

#[test]
fn the_depth_of_directories_has_a_limit() {
    assert_eq!(count(&tower(8191, b"a")), (8192, None));
    let (names, error) = count(&tower(8193, b"a"));
    assert!(error.unwrap().contains("deeper than 8192"));
    assert!((8192..8194).contains(&names), "{names}");
}

#[test]
fn bytes_of_paths_have_a_limit() {
    // Less than 2 MB of tables, more than 3 GB of paths.
    let (names, error) = count(&tower(5000, &[b'x'; 255]));
    let said = "the tables refer to more than 268435456 bytes of paths";
    assert!(error.unwrap().starts_with(said));
    assert!(names < 5000, "{names}");
}

#[test]
fn names_have_a_limit() {
    let mut tables = ByHand::new();
    let most = 1 << 22;
    for name in ordered().take(most + 1) {
        tables.entry(1, &name);
    }
    tables.directory(0..(most + 1) * ORDERED);
    tables.directory(0..0);
    let (names, error) = count(&tables.image());
    // All that the limit allows come first, and the root.
    assert_eq!(names, u64::try_from(most).unwrap() + 1);
    assert!(error.unwrap().contains("more than 4194304 names"));
}

// plougher/squashfs-tools#72.
#[test]
fn names_that_are_equal_or_out_of_order_are_damage() {
    let listing = |names: &[&[u8]]| {
        let mut tables = ByHand::new();
        let mut length = 0;
        for name in names {
            tables.entry(1, name);
            length += 20 + name.len();
        }
        tables.directory(0..length);
        tables.directory(0..0);
        count(&tables.image())
    };
    let whole: [&[u8]; 6] = [b"A", b"AA", b"B", b"a", b"a\x7f", b"a\x80"];
    assert_eq!(listing(&whole), (7, None));
    let damage = "damaged: the names of a directory are not in order".to_owned();
    for (first, second) in [("a", "a"), ("b", "a"), ("aa", "a"), ("\u{80}", "~")] {
        let found = listing(&[first.as_bytes(), second.as_bytes()]);
        assert_eq!(found, (2, Some(damage.clone())), "{first} {second}");
    }
}

// vasi/squashfuse#153.
#[test]
fn names_longer_than_the_format_allows_are_damage() {
    assert_eq!(count(&tower(1, &[b'x'; 256])), (2, None));
    let error = count(&tower(1, &[b'x'; 257])).1.unwrap();
    assert!(error.contains("longer than any can be"), "{error}");
}

#[test]
fn a_file_that_claims_exabytes_of_blocks_is_bounded() {
    let mut image = image(Compressor::None);
    let inodes = usize::try_from(u64::from_le_bytes(*image[64..].first_chunk().unwrap())).unwrap();
    // The largest sizes in all the files of more than a block, which have their lengths at fixed places.
    let old = 40_960_u32.to_le_bytes();
    let at = image[inodes..].windows(4).position(|bytes| bytes == old);
    let at = inodes + at.unwrap();
    image[at..at + 4].copy_from_slice(&[0xFF; 4]);
    let found = owners(&image, 0..u64::MAX);
    assert!(!found.complete);
}

#[test]
fn no_changed_byte_makes_tables_endless() {
    let mut tables = ByHand::new();
    tables.entry(1, b"a");
    tables.entry(2, b"b");
    tables.entry(3, b"c");
    tables.directory(0..42);
    tables.directory(42..63);
    tables.directory(0..0);
    tables.directory(0..0);
    let by_hand = tables.image();
    let mut options = Options::default();
    options.compressor = Compressor::None;
    let mut written = ImageWriter::new(Cursor::new(Vec::new()), &options).unwrap();
    written
        .file("/a/b/file", Metadata::new(0o644), &b"content"[..])
        .unwrap();
    written
        .symlink("/a/link", Metadata::new(0o777), "b/file")
        .unwrap();
    written.directory("/c", Metadata::new(0o755)).unwrap();
    let mut written = written.finish().unwrap().0.into_inner();
    let used = u64::from_le_bytes(*written[40..].first_chunk().unwrap());
    written.truncate(usize::try_from(used).unwrap());
    for mut image in [by_hand, written] {
        let (names, error) = count(&image);
        assert_eq!(error, None);
        for at in 0..image.len() {
            let good = image[at];
            for bad in [good ^ 1, good ^ 0x80, good.wrapping_add(1), 0, 0xFF] {
                image[at] = bad;
                // Each name costs its bytes in a listing, and there are no more of those.
                let (found, _) = count(&image);
                assert!(found <= names + 300, "byte {at}: {found} names");
                let _ = owners(&image, 0..u64::MAX);
            }
            image[at] = good;
        }
    }
}
