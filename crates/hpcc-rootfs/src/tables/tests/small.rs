//! Every kind of content once, in an image that is quickly made.

use std::io::Write as _;
use std::ops::ControlFlow;

use super::hostile::ByHand;
use super::lookup::Stray;
use super::*;

/// Files with what is in them, and their names: without a tail, with one, a tail alone, holes around a block, nothing.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let zeros = vec![0; BLOCK];
    vec![
        ("/blocks", noise(2 * BLOCK, 1)),
        ("/empty", Vec::new()),
        ("/holes", [&zeros[..], &noise(BLOCK, 2), &zeros].concat()),
        ("/ragged", [&noise(BLOCK, 3)[..], &zeros, b"end"].concat()),
        ("/tail", noise(BLOCK + 100, 4)),
        ("/tiny", b"tiny".to_vec()),
        ("/two", noise(2 * BLOCK, 1)),
        ("/zeros", vec![0; 2 * BLOCK]),
    ]
}

const DEVICE: Device = Device {
    major: 0xABC,
    minor: 0xA_BCDE,
};

fn small(compressor: Compressor) -> Vec<u8> {
    small_with(compressor, true)
}

/// Without `tails`, the end of a file is a block of its own.
fn small_with(compressor: Compressor, tails: bool) -> Vec<u8> {
    let mut options = Options::default();
    options.tails = tails;
    options.compressor = compressor;
    options.block_size = u32::try_from(BLOCK).unwrap();
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options).unwrap();
    let metadata = || Metadata::new(0o640).with_owner(7, 80_000).with_mtime(9);
    let mut nodes = BTreeMap::new();
    for (name, contents) in files() {
        if name == "/two" {
            image.link(name, nodes["/blocks"]).unwrap();
            continue;
        }
        let file = image.file(name, metadata(), &contents[..]).unwrap();
        nodes.insert(name, file);
    }
    image.symlink("/s", metadata(), "t".repeat(300)).unwrap();
    let char = Kind::CharDevice(DEVICE);
    image.insert("/c", metadata(), char).unwrap();
    let block = Kind::BlockDevice(DEVICE);
    image.insert("/b", metadata(), block).unwrap();
    image.finish().unwrap().0.into_inner()
}

fn both() -> [Vec<u8>; 2] {
    [Compressor::None, Compressor::Gzip { level: 1 }].map(small)
}

#[test]
fn contents_and_starts_of_all_lengths_are_as_written() {
    let without_tails = small_with(Compressor::None, false);
    for image in both().into_iter().chain([without_tails]) {
        let source = image.as_slice();
        for (name, contents) in files() {
            let mut tables = Tables::open(&source).unwrap();
            let path = name.as_bytes();
            let length = contents.len();
            assert_eq!(
                tables.contents(path, length).unwrap(),
                Some(contents.clone())
            );
            if let Some(less) = length.checked_sub(1) {
                let error = tables.contents(path, less).unwrap_err();
                assert!(matches!(error, Error::TooLong { .. }), "{error}");
            }
            for max in [
                0,
                1,
                100,
                BLOCK - 1,
                BLOCK,
                BLOCK + 1,
                2 * BLOCK + 2,
                9 * BLOCK,
            ] {
                let start = contents[..length.min(max)].to_vec();
                assert_eq!(
                    tables.start(path, max).unwrap(),
                    Some(start),
                    "{name} {max}"
                );
            }
        }
        let mut tables = Tables::open(&source).unwrap();
        for none in [&b"/s"[..], b"/", b"/c", b"tiny", b"/tin", b"/tiny/"] {
            assert_eq!(tables.contents(none, 99).unwrap(), None);
            assert_eq!(tables.start(none, 99).unwrap(), None);
        }
    }
}

/// An image may have many names before those of this program, and its own description is found all the same.
#[test]
fn contents_cost_no_work_for_other_directories() {
    let mut options = Options::default();
    options.compressor = Compressor::None;
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options).unwrap();
    let metadata = || Metadata::new(0o755);
    for number in 0..10_000 {
        let name = format!("/!/{number}");
        image.file(&name, metadata(), &b""[..]).unwrap();
    }
    image.file("/.own/file", metadata(), &b"x"[..]).unwrap();
    let image = image.finish().unwrap().0.into_inner();
    let source = image.as_slice();
    let mut tables = Tables::open(&source).unwrap();
    tables.limit_work(400_000);
    assert_eq!(tables.contents(b"/.own/file", 9).unwrap(), Some(vec![b'x']));
    let all = tables.walk(|_| {});
    assert!(matches!(all, Err(Error::TooMuch { .. })), "{all:?}");
}

/// One walk, with a range for each byte of the data.
#[test]
fn each_stored_byte_belongs_to_the_files_it_is_of() {
    for image in both() {
        let end = usize::try_from(u64::from_le_bytes(*image[64..].first_chunk().unwrap())).unwrap();
        let place = |bytes: &[u8]| {
            let found = image
                .windows(bytes.len())
                .position(|window| window == bytes);
            let start = found.unwrap();
            start..start + bytes.len()
        };
        // Noise is stored as it is. The ends of larger files are in one fragment, small files in another.
        let ends = [b"end", &noise(BLOCK + 100, 4)[BLOCK..]].concat();
        let owned = [
            (place(&noise(2 * BLOCK, 1)), &["/blocks", "/two"][..]),
            (place(&noise(BLOCK, 2)), &["/holes"]),
            (place(&noise(BLOCK, 3)), &["/ragged"]),
            (place(&noise(BLOCK + 100, 4)[..BLOCK]), &["/tail"]),
            (place(&ends), &["/ragged", "/tail"]),
            (place(b"tiny"), &["/tiny"]),
        ];
        // They lie side by side, up to the first table.
        let start = owned.iter().map(|(place, _)| place.start).min().unwrap();
        let data: usize = owned.iter().map(|(place, _)| place.len()).sum();
        assert_eq!(data, end - start);
        let ranges: Vec<_> = (0..image.len())
            .map(|at| at as u64..at as u64 + 1)
            .collect();
        let owners = Owners::find(&image.as_slice(), &ranges);
        assert_eq!(owners.len(), image.len());
        for (at, found) in owners.iter().enumerate() {
            let paths: Vec<_> = found.paths.iter().map(|path| path.escape_ascii()).collect();
            let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
            let expected = owned.iter().find(|(place, _)| place.contains(&at));
            let expected = expected.map_or(&[][..], |(_, paths)| paths);
            assert_eq!(paths, expected, "{at}");
            assert_eq!((found.total, found.complete), (paths.len() as u64, true));
        }
        // Files that lie in several of the ranges, or twice in one.
        let all = owners_of(&image, 0..u64::MAX);
        let expected = ["/blocks", "/holes", "/ragged", "/tail", "/tiny", "/two"];
        assert_eq!(all, expected);
    }
}

fn owners_of(image: &[u8], range: std::ops::Range<u64>) -> Vec<String> {
    let owners = owners(image, range);
    assert_eq!(owners.total, owners.paths.len() as u64);
    let paths = owners.paths.iter();
    paths.map(|path| path.escape_ascii().to_string()).collect()
}

#[test]
fn blocks_after_a_thousand_holes_are_found() {
    let mut options = Options::default();
    options.block_size = u32::try_from(BLOCK).unwrap();
    options.compressor = Compressor::None;
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options).unwrap();
    for holes in [1023, 1024, 2100] {
        let block = noise(BLOCK, holes);
        let holes = usize::try_from(holes).unwrap();
        let contents = [vec![0; holes * BLOCK], block].concat();
        let name = format!("/{holes}");
        image.file(name, Metadata::new(0), &contents[..]).unwrap();
    }
    let image = image.finish().unwrap().0.into_inner();
    for holes in [1023, 1024, 2100] {
        let block = noise(BLOCK, holes);
        let found = image.windows(BLOCK).position(|window| window == block);
        let last = found.unwrap() as u64 + BLOCK as u64 - 1;
        assert_eq!(owners_of(&image, last..last + 1), [format!("/{holes}")]);
    }
}

#[test]
fn names_lead_to_all_that_their_inodes_say() {
    for image in both() {
        let source = image.as_slice();
        let mut found = Vec::new();
        Tables::open(&source)
            .unwrap()
            .walk(|entry| {
                if entry.path != b"/" {
                    let owner = (entry.mode, entry.uid, entry.gid, entry.mtime);
                    assert_eq!(owner, (0o640, 7, 80_000, 9));
                }
                let target = match entry.kind {
                    EntryKind::Symlink { target } => target.to_vec(),
                    _ => Vec::new(),
                };
                let path = entry.path.escape_ascii().to_string();
                found.push((path, format!("{:?}", entry.kind), target));
            })
            .unwrap();
        let kind = |path: &str| {
            let found = found.iter().find(|found| found.0 == path);
            found.unwrap().clone()
        };
        for (name, contents) in files() {
            let size = contents.len() as u64;
            assert_eq!(kind(name).1, format!("{:?}", EntryKind::File { size }));
        }
        assert_eq!(kind("/s").2, [b't'; 300]);
        let Device { major, minor } = DEVICE;
        let block = EntryKind::BlockDevice { major, minor };
        assert_eq!(kind("/b").1, format!("{block:?}"));
        let char = EntryKind::CharDevice { major, minor };
        assert_eq!(kind("/c").1, format!("{char:?}"));
    }
}

#[test]
fn walk_ends_with_the_value_of_its_break() {
    let image = small(Compressor::None);
    let mut seen = Vec::new();
    let source = image.as_slice();
    let mut tables = Tables::open(&source).unwrap();
    let ended = tables.walk_until(|entry| {
        seen.push(entry.path.to_vec());
        match entry.path {
            b"/c" => ControlFlow::Break("here"),
            _ => ControlFlow::Continue(()),
        }
    });
    assert!(matches!(ended, Ok(ControlFlow::Break("here"))));
    assert_eq!(seen, [&b"/"[..], b"/b", b"/blocks", b"/c"]);
    let all = tables.walk_until(|_| ControlFlow::<()>::Continue(()));
    assert!(matches!(all, Ok(ControlFlow::Continue(()))));
}

#[test]
fn sizes_count_each_file_once_and_each_name() {
    for image in both() {
        let length = image.len() as u64;
        let sizes = Sizes::read(&image.as_slice(), length).unwrap();
        let once = files().into_iter().filter(|(name, _)| *name != "/two");
        let contents: usize = once.map(|(_, contents)| contents.len()).sum();
        let names = files().len() as u64 + 4;
        assert_eq!((sizes.files, sizes.names), (names - 5, names));
        assert_eq!(sizes.contents, contents as u64);
        let parts = sizes.parts.iter().map(|(_, bytes)| bytes);
        assert_eq!(parts.sum::<u64>(), length);
    }
}

#[test]
fn files_are_read_like_bytes_in_memory() {
    let image = small(Compressor::None);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&image).unwrap();
    let mut tables = Tables::open(&file).unwrap();
    assert_eq!(
        tables.contents(b"/tiny", 9).unwrap(),
        Some(b"tiny".to_vec())
    );
    file.set_len(200).unwrap();
    let mut tables = Tables::open(&file);
    assert!(matches!(tables.as_mut().err(), Some(Error::Io(_))));
}

#[test]
fn damaged_contents_are_refused() {
    let image = small(Compressor::None);
    let number = |at: usize| u64::from_le_bytes(*image[at..].first_chunk().unwrap());
    let inodes = usize::try_from(number(64)).unwrap();
    let tail = u32::try_from(BLOCK + 100).unwrap();
    // The size of the file with a tail is the last of its four words; the offset is the one before.
    let found = image[inodes..]
        .windows(4)
        .position(|bytes| bytes == tail.to_le_bytes());
    let size = inodes + found.unwrap();
    let contents = |image: &[u8]| Tables::open(&image)?.contents(b"/tail", 1 << 20);
    assert_eq!(contents(&image).unwrap().unwrap().len(), BLOCK + 100);
    let changed = |at: usize, value: u32| {
        let mut image = image.clone();
        image[at..at + 4].copy_from_slice(&value.to_le_bytes());
        contents(&image).unwrap_err().to_string()
    };
    let error = changed(size - 4, 1 << 20);
    assert!(error.contains("after the end of its fragment"), "{error}");
    let error = changed(size - 8, 99);
    assert!(error.contains("fragment is not in its table"), "{error}");
    let error = changed(size - 8, 2);
    assert!(error.contains("fragment is not in its table"), "{error}");
    let error = changed(size - 8, 1);
    assert!(error.contains("after the end of its fragment"), "{error}");
    let error = changed(size - 8, u32::MAX);
    assert!(error.contains("damaged"), "{error}");
    // The first word of its blocks: one that is shorter, and one beyond the block size.
    let error = changed(size + 4, 1 << 24 | 50);
    assert!(error.contains("another length"), "{error}");
    let error = changed(size + 4, 1 << 24 | 4097);
    assert!(error.contains("longer than the block size"), "{error}");
}

#[test]
fn names_that_no_file_can_have_are_damage() {
    let names = |name: &[u8]| {
        let mut tables = ByHand::new();
        tables.entry(1, name);
        tables.directory(0..20 + name.len());
        tables.directory(0..0);
        walk(&tables.image()).map(|names| names.len())
    };
    for name in [&b"a"[..], b"...", b".a", b"a.", b" ", b"\n", b"\xFF"] {
        assert_eq!(names(name).unwrap(), 2, "{}", name.escape_ascii());
    }
    for name in [
        &b"/"[..],
        b"a/b",
        b"a/",
        b"../x",
        b"\0",
        b"a\0",
        b".",
        b"..",
    ] {
        let error = names(name).unwrap_err().to_string();
        assert!(error.contains("not valid for a file"), "{error}");
    }
}

#[test]
fn symlinks_longer_than_a_page_of_64_kib_are_damage() {
    for (length, is_damage) in [(1, false), (65_535, false), (65_536, true), (1 << 31, true)] {
        let mut tables = ByHand::new();
        tables.entry(1, b"s");
        tables.directory(0..21);
        for half in [3, 0o777, 0, 0, 0, 0, 1, 0_u16] {
            tables.inodes.extend(half.to_le_bytes());
        }
        for word in [1, length] {
            tables.inodes.extend(u32::to_le_bytes(word));
        }
        tables.inodes.extend([b't'; 65_536]);
        let walked = walk(&tables.image());
        match walked {
            Ok(names) => assert!(!is_damage && names.len() == 2, "{length}"),
            Err(error) => {
                let says = "a symlink is longer than any can be";
                assert!(is_damage && error.to_string().contains(says), "{error}");
            }
        }
    }
}

/// Paths as `path_resolution(7)` has them.
#[test]
fn dots_and_symlinks_lead_where_linux_goes() {
    let mut options = Options::default();
    options.block_size = u32::try_from(BLOCK).unwrap();
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options).unwrap();
    let metadata = || Metadata::new(0o755);
    let inner = noise(2 * BLOCK + 9, 5);
    image.file("/d/f", metadata(), &inner[..]).unwrap();
    image.file("/f", metadata(), &b"outer"[..]).unwrap();
    // `1` leads to the file, and each other one to the one before it.
    image.symlink("/1", metadata(), "d/f").unwrap();
    for link in 2..=41 {
        let target = (link - 1).to_string();
        image
            .symlink(format!("/{link}"), metadata(), target)
            .unwrap();
    }
    let image = image.finish().unwrap().0.into_inner();
    let source = image.as_slice();
    let mut tables = Tables::open(&source).unwrap();
    let mut read = |path: &str| {
        let opened = tables.open_file(path.as_bytes()).unwrap();
        opened.map(|opened| {
            let mut bytes = vec![0; 3 * BLOCK];
            let count = tables.read_at(&opened, &mut bytes, 0).unwrap();
            bytes.truncate(count);
            bytes
        })
    };
    for path in [
        "/d/f",
        "d/./f",
        "/d/../d/f",
        "/../d/f",
        "//d//f",
        "/1",
        "/40",
    ] {
        assert_eq!(read(path).as_ref(), Ok(&inner), "{path}");
    }
    for path in ["/f", "/d/../f", "/../../f", "/d/./../f"] {
        assert_eq!(read(path), Ok(b"outer".to_vec()), "{path}");
    }
    assert_eq!(read("/41"), Err(Stray::Links));
    assert_eq!(read("/d"), Err(Stray::Directory));
}
