use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::prelude::*;
use sqfs_writer::{Compressor, Device, ImageWriter, Kind, Metadata, Options};

use super::*;

mod hostile;
mod small;

const BLOCK: usize = 4096;

/// Returns bytes that do not compress.
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

/// Returns an image with every type of inode, both forms of some, and more names than one block holds.
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

/// Returns all fields of every name.
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
fn file_contents_are_read_from_blocks_holes_and_fragments() {
    for compressor in codecs() {
        let image = image(compressor);
        let source = image.as_slice();
        let read = |path: &[u8], max| Tables::open(&source).unwrap().contents(path, max);
        for (path, expected) in [
            ("/big", noise(10 * BLOCK, 1)),
            ("/a/link to big", noise(10 * BLOCK, 1)),
            ("/a/tailed", noise(2 * BLOCK + 100, 2)),
            ("/a/tiny", b"tiny".to_vec()),
            ("/a/zeros", vec![0; 3 * BLOCK]),
            ("/empty", Vec::new()),
        ] {
            let found = read(path.as_bytes(), 10 * BLOCK).unwrap();
            assert!(found == Some(expected), "{compressor}: {path}");
        }
        let start = |path: &str, max| {
            let start = Tables::open(&source).unwrap().start(path.as_bytes(), max);
            start.unwrap()
        };
        assert_eq!(start("/big", 7), Some(noise(10 * BLOCK, 1)[..7].to_vec()));
        assert_eq!(start("/a/tiny", 2), Some(b"ti".to_vec()));
        assert_eq!(start("/a/tiny", 9), Some(b"tiny".to_vec()));
        assert_eq!(start("/a/zeros", 1), Some(vec![0]));
        assert_eq!(start("/none", 1), None);
        for path in [&b"/none"[..], b"/a", b"/dev/fifo", b"/z", b"big"] {
            assert_eq!(read(path, 10 * BLOCK).unwrap(), None, "{compressor}");
        }
        assert!(matches!(
            read(b"/big", 10 * BLOCK - 1),
            Err(Error::TooLong { .. })
        ));
    }
}

#[test]
fn bytes_are_owned_by_those_whose_contents_they_are() {
    for compressor in codecs() {
        let image = image(compressor);
        // Noise is stored uncompressed, so its position can be found.
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
        // The fragments after the blocks: one has the end of a file, six hundred tiny files share the other.
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
        // Several ranges together, each with its own files.
        let both = Owners::find(&&image[..], &[big..big + 1, tailed..tailed + 1]);
        assert_eq!((both[0].total, both[1].total), (2, 1));
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
    // The field after the block's header and the run's: the inode of the first entry.
    image[listing + 14..listing + 16].copy_from_slice(&root.to_le_bytes()[..2]);
    let error = walk(&image).unwrap_err();
    assert!(
        matches!(error, Error::Damaged("a directory contains itself")),
        "{error:?}"
    );
    // The callback can end the walk, too.
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
fn unreadable_tables_leave_owners_unknown() {
    let mut image = image(Compressor::Gzip { level: 9 });
    image[20] = 2;
    assert!(matches!(walk(&image), Err(Error::Codec(2))));
    let found = owners(&image, 200..201);
    assert!(!found.complete);
    let said = "the tables can't be read to their end, so files are not known";
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

    /// Damage anywhere in the tables, which are stored uncompressed so that the damage reaches the reader.
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
        // Owners need more than names do: block words and the table of fragments.
        prop_assert!(walked || !owners(&image, 0..u64::MAX).complete);
        let source = image.as_slice();
        let read = Tables::open(&source).and_then(|mut tables| tables.contents(b"/a/tailed", 1 << 20));
        let length = read.ok().flatten().map_or(0, |contents| contents.len());
        prop_assert!(length <= 1 << 20);
    }
}
