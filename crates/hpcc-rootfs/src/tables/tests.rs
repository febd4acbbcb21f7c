use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::prelude::*;
use sqfs_writer::{Compressor, Device, ImageWriter, Kind, Metadata, Options};

use super::*;

const BLOCK: usize = 4096;

/// Bytes that don't shrink.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) + 0x9E37_79B9_7F4A_7C15;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(step).take(length).collect()
}

/// An image with every type of inode, both forms of some, and more names than one block holds.
fn image(compressor: Compressor) -> Vec<u8> {
    let mut options = Options::default();
    options.compressor = compressor;
    options.block_size = u32::try_from(BLOCK).unwrap();
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options).unwrap();
    let plain = || Metadata::new(0o644).with_owner(1000, 70_000).with_mtime(7);
    let big = image.file("/big", plain(), &noise(10 * BLOCK, 1)[..]);
    image.link("/a/link to big", big.unwrap()).unwrap();
    let tailed = noise(2 * BLOCK + 100, 2);
    image.file("/a/tailed", plain(), &tailed[..]).unwrap();
    image.file("/a/tiny", plain(), &b"tiny"[..]).unwrap();
    image
        .file("/a/zeros", plain(), &vec![0; 3 * BLOCK][..])
        .unwrap();
    image.file("/empty", plain(), &b""[..]).unwrap();
    image.symlink("/z", plain(), "a/tiny").unwrap();
    for (name, kind) in [
        (
            "/dev/block",
            Kind::BlockDevice(Device {
                major: 8,
                minor: 300,
            }),
        ),
        (
            "/dev/char",
            Kind::CharDevice(Device {
                major: 4095,
                minor: 0xF_FFFF,
            }),
        ),
        ("/dev/fifo", Kind::Fifo),
        ("/dev/socket", Kind::Socket),
    ] {
        image.insert(name, plain(), kind).unwrap();
    }
    for n in 0..600 {
        let name = format!("/many/a rather long name so that the listing fills blocks {n:04}");
        image.file(name, plain(), &b"tiny"[..]).unwrap();
    }
    image.finish().unwrap().0.into_inner()
}

fn codecs() -> Vec<Compressor> {
    vec![
        Compressor::Zstd { level: 3 },
        Compressor::Gzip { level: 9 },
        #[cfg(feature = "xz")]
        Compressor::Xz { level: 6 },
        #[cfg(feature = "lz4")]
        Compressor::Lz4 { high: false },
        Compressor::None,
    ]
}

/// Everything that is said of every name.
fn walk(image: &[u8]) -> Result<BTreeMap<String, String>, Error> {
    let mut found = BTreeMap::new();
    Tables::open(&image)?.walk(|entry| {
        let path = entry.path.escape_ascii().to_string();
        let Entry {
            kind,
            mode,
            uid,
            gid,
            mtime,
            ..
        } = entry;
        found.insert(path, format!("{mode:o} {uid}:{gid} {mtime} {kind:?}"));
    })?;
    Ok(found)
}

fn owners(image: &[u8], range: std::ops::Range<u64>) -> Owners {
    Owners::find(&image, &[range]).remove(0)
}

#[test]
fn every_name_is_found_with_what_it_leads_to() {
    for compressor in codecs() {
        let found = walk(&image(compressor)).unwrap();
        assert_eq!(found.len(), 600 + 15, "{compressor}");
        for (path, expected) in [
            ("/", "755 0:0 0 Directory"),
            ("/a", "755 0:0 0 Directory"),
            ("/a/link to big", "644 1000:70000 7 File { size: 40960 }"),
            ("/a/tailed", "644 1000:70000 7 File { size: 8292 }"),
            ("/a/zeros", "644 1000:70000 7 File { size: 12288 }"),
            ("/empty", "644 1000:70000 7 File { size: 0 }"),
            (
                "/dev/block",
                "644 1000:70000 7 BlockDevice { major: 8, minor: 300 }",
            ),
            (
                "/dev/char",
                "644 1000:70000 7 CharDevice { major: 4095, minor: 1048575 }",
            ),
            ("/dev/fifo", "644 1000:70000 7 Fifo"),
            ("/dev/socket", "644 1000:70000 7 Socket"),
        ] {
            assert_eq!(found[path], expected, "{compressor}: {path}");
        }
        assert!(found["/z"].contains("Symlink"), "{compressor}");
    }
}

#[test]
fn bytes_are_owned_by_those_whose_contents_they_are() {
    for compressor in codecs() {
        let image = image(compressor);
        // Noise is stored as it is, so it shows where it lies.
        let at = |content: &[u8]| {
            let place = image.windows(64).position(|bytes| bytes == &content[..64]);
            u64::try_from(place.unwrap()).unwrap()
        };
        let (big, tailed) = (at(&noise(BLOCK, 1)), at(&noise(BLOCK, 2)));
        let (big_end, tailed_end) = (big + 10 * BLOCK as u64, tailed + 2 * BLOCK as u64);
        for (range, paths) in [
            (big..big + 1, vec!["/a/link to big", "/big"]),
            (big_end - 1..big_end, vec!["/a/link to big", "/big"]),
            (tailed..tailed + 1, vec!["/a/tailed"]),
            (0..96, vec![]),
            (
                big_end - 1..tailed + 1,
                vec!["/a/link to big", "/a/tailed", "/big"],
            ),
        ] {
            let found = owners(&image, range.clone());
            let found_paths: Vec<_> = found
                .paths
                .iter()
                .map(|path| path.escape_ascii().to_string())
                .collect();
            assert_eq!(found_paths, paths, "{compressor}: {range:?}");
            assert!(found.complete);
        }
        // The fragments behind the blocks: one has the end of a file, six hundred tiny ones share the other.
        let end = tailed_end + 100;
        for (range, total, first) in [
            (end - 1..end, 1, "/a/tailed"),
            (end..end + 1, 601, "/a/tiny"),
            (end - 1..end + 1, 602, "/a/tailed"),
        ] {
            let found = owners(&image, range);
            let shown = u64::try_from(found.paths.len()).unwrap();
            assert_eq!((found.total, shown), (total, total.min(16)), "{compressor}");
            assert_eq!(found.paths[0], first.as_bytes());
            if total > shown {
                let more = format!(" and {} more", total - shown);
                assert!(found.to_string().ends_with(&more), "{found}");
            }
        }
        // Several ranges at once, each with its own.
        let both = Owners::find(&&image[..], &[big..big + 1, tailed..tailed + 1]);
        assert_eq!((both[0].total, both[1].total), (2, 1));
    }
}

/// Tables by hand: directories of 32 bytes each and one file behind them, stored as they are.
struct ByHand {
    inodes: Vec<u8>,
    listing: Vec<u8>,
}

impl ByHand {
    fn new() -> Self {
        let (inodes, listing) = (Vec::new(), Vec::new());
        Self { inodes, listing }
    }

    /// The place of a byte in a table: of its block, and in it.
    fn place(at: usize) -> (u32, u16) {
        let block = u32::try_from(at / 8192 * 8194).unwrap();
        (block, u16::try_from(at % 8192).unwrap())
    }

    /// An extended directory whose listing is `range` of the whole one.
    fn directory(&mut self, range: std::ops::Range<usize>) {
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
    fn entry(&mut self, directory: usize, name: &[u8]) {
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

    fn image(&self) -> Vec<u8> {
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
        // The root is the first inode, the index of the ids the last thing.
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

/// Directories inside each other, each with one entry: the next one.
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

/// The number of names, and why there are no more.
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
    // Each directory has all listings from its own on, so there are more paths than anybody can read.
    let mut tables = ByHand::new();
    let directories = 2000;
    for next in 1..=directories {
        tables.entry(next, b"a");
    }
    for start in 0..directories {
        tables.directory(start * 21..directories * 21);
    }
    tables.directory(0..0);
    let (_, error) = count(&tables.image());
    assert!(error.is_some());
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
    let said = "the tables lead to more than 268435456 bytes of paths";
    assert!(error.unwrap().starts_with(said));
    assert!(names < 5000, "{names}");
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

#[test]
fn a_directory_that_contains_itself_is_refused() {
    let mut options = Options::default();
    options.compressor = Compressor::None;
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options).unwrap();
    image.directory("/sub", Metadata::new(0o755)).unwrap();
    let mut image = image.finish().unwrap().0.into_inner();
    let number = |at: usize| u64::from_le_bytes(*image[at..].first_chunk().unwrap());
    let (root, listing) = (number(32), usize::try_from(number(72)).unwrap());
    // Behind the block's header and the run's: where the inode of the first entry is.
    image[listing + 14..listing + 16].copy_from_slice(&root.to_le_bytes()[..2]);
    let error = walk(&image).unwrap_err();
    assert!(
        matches!(error, Error::Damaged("a directory contains itself")),
        "{error:?}"
    );
    // The walk itself can be ended, too.
    let image = self::image(Compressor::None);
    let source = &&image[..];
    let stopped = Tables::open(source).unwrap().walk_until(|entry| {
        if entry.path == b"/a" {
            return std::ops::ControlFlow::Break(entry.inode);
        }
        std::ops::ControlFlow::Continue(())
    });
    assert!(matches!(stopped, Ok(std::ops::ControlFlow::Break(_))));
}

#[test]
fn what_is_unknown_is_said_to_be() {
    let mut image = image(Compressor::Gzip { level: 9 });
    image[20] = 2;
    assert!(matches!(walk(&image), Err(Error::Codec(2))));
    let found = owners(&image, 200..201);
    assert!(!found.complete);
    let said = "the tables can't be read, so files are not known";
    assert_eq!(found.to_string(), said);
    image[0] = 0;
    assert!(matches!(walk(&image), Err(Error::Damaged(_))));
    assert!(matches!(walk(b""), Err(Error::Io(_))));
}

#[test]
fn names_are_escaped_for_people() {
    let owners = Owners {
        paths: vec![b"/a".to_vec(), b"/b\n\xFF".to_vec()],
        total: 2,
        complete: false,
    };
    let said = "files /a, /b\\n\\xff, and perhaps others, because not all tables can be read";
    assert_eq!(owners.to_string(), said);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 256 } else { 4096 }))]

    /// Damage anywhere in the tables, which are stored as they are so that it gets through.
    #[test]
    fn no_damage_panics_or_goes_on_for_ever(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<Option<prop::sample::Index>>(),
        whole in any::<bool>(),
    ) {
        let mut image = image(Compressor::None);
        // The superblock as well, or the tables alone.
        let start = if whole { 0 } else {
            usize::try_from(u64::from_le_bytes(*image[64..].first_chunk().unwrap())).unwrap()
        };
        for (at, value) in changes {
            let length = image.len() - start;
            image[start + at.index(length)] = value;
        }
        if let Some(cut) = cut {
            image.truncate(cut.index(image.len()));
        }
        let walked = walk(&image).is_ok();
        // Owners need what names don't: block words and the table of fragments.
        prop_assert!(walked || !owners(&image, 0..u64::MAX).complete);
    }
}
