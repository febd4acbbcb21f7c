//! GRUB and 7-Zip list every special image of the matrix, and compare what is in its files.
//!
//! Both are readers without a line of Linux. What they cannot do is in docs/squashfs.md, and here, where a cell is left
//! out: GRUB has no zstd and no lz4, 7-Zip no lz4.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use hpcc_probe::images::READ_WHOLE;
use sqfs_writer::Compressor;
use test_support::oracle::{grub, sevenzip};
use tree_listing::{Bounds, Entry, Kind, Listing, Samples, Sha256};
use xtask::matrix::{CODECS, Cell, Special};

/// An image, what is in it, and its tree as unsquashfs extracts it.
struct Image<'a> {
    name: String,
    path: &'a Path,
    expected: Listing,
    extracted: &'a Path,
}

#[test]
fn grub_and_7_zip_read_every_special_image() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.sqsh");
    let (mut by_grub, mut by_7_zip) = (0, 0);
    for (codec, block_size) in cells() {
        for special in Special::ALL {
            let cell = Cell {
                codec,
                block_size,
                special,
            };
            let expected = cell.write(File::create(&path).unwrap()).unwrap();
            let tree = tempfile::tempdir().unwrap();
            let extracted = tree.path().join("root");
            extract(&path, &extracted);
            let bounds = Bounds {
                whole: READ_WHOLE,
                ..Bounds::default()
            };
            let found = Listing::walk_within(&extracted, &bounds).unwrap();
            assert_eq!(contents(&found), contents(&expected), "{}", cell.name());
            let image = Image {
                name: cell.name(),
                path: &path,
                expected,
                extracted: &extracted,
            };
            if !matches!(codec, Compressor::Lz4 { .. }) {
                // Its test has read all of a file of 4 GiB, and it would write its holes too.
                image.seven_zip(special != Special::Sparse);
                by_7_zip += 1;
            }
            // The last one, because it removes what GRUB's comparison cannot open.
            if !matches!(codec, Compressor::Lz4 { .. } | Compressor::Zstd { .. }) {
                image.grub(special);
                by_grub += 1;
            }
        }
    }
    assert_eq!((by_grub, by_7_zip), (4 * 8, 5 * 8));
}

/// Extracts an image with unsquashfs, but for xattrs: few file systems hold 64 KiB of them.
fn extract(image: &Path, directory: &Path) {
    let mut command = Command::new("unsquashfs");
    command.args([
        "-quiet",
        "-no-progress",
        "-strict-errors",
        "-no-xattrs",
        "-dest",
    ]);
    let output = command.arg(directory).arg(image).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "unsquashfs: {stderr}");
}

/// Each codec, and one of them with small blocks.
fn cells() -> impl Iterator<Item = (Compressor, u32)> {
    let large = CODECS.into_iter().map(|codec| (codec, 128 << 10));
    large.chain([(Compressor::Gzip { level: 6 }, 4 << 10)])
}

impl Image<'_> {
    fn grub(&self, special: Special) {
        let Self {
            name,
            path,
            expected,
            ..
        } = self;
        // It lists names and nothing else, and it separates them by spaces.
        let mut listings: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for (path, entry) in &expected.entries {
            let is_directory = entry.kind == Kind::Directory;
            if is_directory {
                listings.entry(path.clone()).or_default();
            }
            let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else {
                continue;
            };
            let (parent, own) = (&path[..slash.max(1)], &path[slash + 1..]);
            if !own.is_empty() {
                let mut own = own.to_vec();
                own.extend(is_directory.then_some(b'/'));
                let words = words(&own);
                listings.entry(parent.to_vec()).or_default().extend(words);
            }
        }
        for (directory, expected) in listings {
            let directory = String::from_utf8(directory).unwrap();
            let found = grub::listing(path, &directory).unwrap();
            assert_eq!(words(&found), expected, "{name}: GRUB: {directory}");
        }
        if special == Special::Sparse {
            return self.grub_samples();
        }
        only_files(self.extracted);
        grub::compare(path, "/", self.extracted).unwrap();
    }

    /// Reads a file of more than 4 GiB at some places, because GRUB takes seconds a gigabyte.
    fn grub_samples(&self) {
        let large = self.extracted.join("sparse");
        let size = fs::metadata(&large).unwrap().len();
        assert!(size > 4 << 30);
        for start in Samples::of(size).starts().step_by(5).chain([size - 20_000]) {
            let start = start.min(size - 20_000);
            let found = grub::read(self.path, "/sparse", start, 20_000).unwrap();
            let mut expected = vec![0; 20_000];
            let file = File::open(&large).unwrap();
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut expected, start).unwrap();
            assert!(found == expected, "{}: GRUB at {start}", self.name);
        }
        let small = self.extracted.join("behind");
        grub::compare(self.path, "/behind", &small).unwrap();
    }

    fn seven_zip(&self, is_extracted: bool) {
        let Self {
            name,
            path,
            expected,
            ..
        } = self;
        let found = seven_zip_entries(&sevenzip::listing(path).unwrap());
        let of = |(path, entry): (&Vec<u8>, &Entry)| {
            // It writes `_` for a newline, and says no size of what is not a file.
            let shown = path.iter().skip(1);
            let shown = shown.map(|byte| if *byte == b'\n' { b'_' } else { *byte });
            let size = matches!(entry.kind, Kind::File { .. }).then_some(entry.size);
            let is_directory = entry.kind == Kind::Directory;
            (shown.collect(), (is_directory, entry.uid, entry.gid, size))
        };
        // It has no entry for the root.
        let entries = expected.entries.iter().filter(|(path, _)| *path != b"/");
        let expected: BTreeMap<Vec<u8>, _> = entries.map(of).collect();
        let names = |list: &BTreeMap<Vec<u8>, _>| list.keys().cloned().collect::<Vec<_>>();
        let found_names: Vec<_> = found.keys().cloned().collect();
        assert_eq!(found_names, names(&expected), "{name}: 7-Zip");
        for (path, (is_directory, uid, gid, size)) in &expected {
            let seen = &found[path];
            let same = seen.is_directory == *is_directory
                && (seen.uid, seen.gid) == (*uid, *gid)
                && size.is_none_or(|size| seen.size == Some(size));
            assert!(same, "{name}: 7-Zip: {}: {seen:?}", path.escape_ascii());
        }
        let summary = sevenzip::test(path).unwrap();
        assert!(summary.contains("Everything is Ok"), "{name}: {summary}");
        if !is_extracted {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        sevenzip::extract(path, directory.path()).unwrap();
        let found = Listing::walk(directory.path()).unwrap();
        let (found, expected) = (contents(&found), contents(&self.expected));
        // Devices and pipes become empty files.
        for (path, sha256) in expected {
            let same = found.get(path) == Some(&sha256);
            assert!(same, "{name}: 7-Zip: {}", path.escape_ascii());
        }
    }
}

/// What 7-Zip says of an entry.
#[derive(Debug, Default)]
struct Seen {
    is_directory: bool,
    uid: u32,
    gid: u32,
    size: Option<u64>,
}

fn seven_zip_entries(listing: &[u8]) -> BTreeMap<Vec<u8>, Seen> {
    let mut entries = BTreeMap::new();
    let mut path = Vec::new();
    let lines = listing.split(|byte| *byte == b'\n');
    for line in lines
        .skip_while(|line| !line.starts_with(b"----------"))
        .skip(1)
    {
        let value = |key: &str| line.strip_prefix(key.as_bytes());
        let number = |text: &[u8]| std::str::from_utf8(text).unwrap().parse::<u64>().ok();
        if let Some(found) = value("Path = ") {
            path = found.to_vec();
            entries.insert(path.clone(), Seen::default());
            continue;
        }
        let Some(entry) = entries.get_mut(&path) else {
            continue;
        };
        if let Some(found) = value("Folder = ") {
            entry.is_directory = found == b"+";
        } else if let Some(found) = value("Size = ") {
            entry.size = number(found);
        } else if let Some(found) = value("User ID = ") {
            entry.uid = u32::try_from(number(found).unwrap()).unwrap();
        } else if let Some(found) = value("Group ID = ") {
            entry.gid = u32::try_from(number(found).unwrap()).unwrap();
        }
    }
    entries
}

/// Returns the digest of each file.
fn contents(listing: &Listing) -> BTreeMap<&[u8], Sha256> {
    let files = listing
        .entries
        .iter()
        .filter_map(|(path, entry)| match entry.kind {
            Kind::File { sha256 } => Some((path.as_slice(), sha256)),
            _ => None,
        });
    files.collect()
}

fn words(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let words = text.split(u8::is_ascii_whitespace);
    words
        .filter(|word| !word.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// Leaves nothing but files and directories.
fn only_files(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let found = path.symlink_metadata().unwrap();
        if found.is_dir() {
            only_files(&path);
        } else if !found.is_file() {
            fs::remove_file(&path).unwrap();
        }
    }
}
