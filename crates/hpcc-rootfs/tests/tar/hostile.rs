//! Hostile bytes as a layer: no panic, limits hold, what is handed out keeps its promises, and
//! neither the size of reads nor who skips a body changes what is seen.
//!
//! Checksums of what looks like a header are set right first, or mutations would get nowhere else.

use std::io::{self, Read};

use hpcc_rootfs::layer::{Budget, Entry, EntryKind, Limits, Segment, Stream, TarReader};
use ociget::{DiffId, Digest};

const ENTRIES: u64 = 1_000;
const LOGICAL_BYTES: u64 = 1 << 20;
const BLOCK: usize = 512;
/// Of a header: where its checksum is, and where "ustar" is if it has one.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Panics if one of these promises is broken.
pub(crate) fn check(input: &[u8]) {
    let mut blob = input.to_vec();
    repair(&mut blob);
    let whole = read(&blob[..], &blob, true);
    let at_a_decoder = |error: &String| error.contains("invalid at compressed byte");
    if whole.error.as_ref().is_some_and(at_a_decoder) {
        // How far one comes before it fails depends on how much it is given at once.
        return;
    }
    let slowly = read(
        Trickle {
            blob: &blob,
            next: 1,
        },
        &blob,
        true,
    );
    assert!(whole == slowly, "{whole:?}\n{slowly:?}");
    let skipped = read(&blob[..], &blob, false);
    assert_eq!(whole.entries, skipped.entries);
    assert_eq!(
        whole.error.is_some(),
        skipped.error.is_some(),
        "{whole:?}\n{skipped:?}"
    );
}

/// What was seen of a layer.
#[derive(Debug, PartialEq)]
struct Seen {
    entries: Vec<Entry>,
    bodies: Vec<Vec<(u64, bool)>>,
    error: Option<String>,
}

fn read(source: impl Read, blob: &[u8], bodies: bool) -> Seen {
    let mut limits = Limits::default();
    limits.entries = ENTRIES;
    limits.logical_bytes = LOGICAL_BYTES;
    limits.layer_bytes = 4 << 20;
    limits.header_bytes = 16 << 10;
    let mut budget = Budget::new(limits);
    let mut seen = Seen {
        entries: Vec::new(),
        bodies: Vec::new(),
        error: None,
    };
    let diff_id = DiffId(Digest::of(blob));
    let result = Stream::open(source, blob.len() as u64, diff_id.clone(), budget.limits())
        .and_then(|stream| {
            let mut tar = TarReader::new(stream, &mut budget);
            let mut entry = Entry::default();
            while tar.read_entry(&mut entry)? {
                check_entry(&entry);
                seen.entries.push(entry.clone());
                if bodies {
                    seen.bodies.push(body(&mut tar, &entry)?);
                }
            }
            tar.finish()
        });
    assert!(budget.entries() <= ENTRIES + 1);
    assert!(seen.entries.len() as u64 <= ENTRIES);
    match result {
        // A DiffID is the hash of what was decompressed; of a plain archive we know it.
        Ok(proof) => {
            assert_eq!(*proof.get(), diff_id);
            assert!(budget.logical_bytes() <= LOGICAL_BYTES);
        }
        Err(error) => seen.error = Some(error.to_string()),
    }
    seen
}

fn check_entry(entry: &Entry) {
    assert!(entry.path.len() <= 4096);
    let mut components = entry.path.split(|byte| *byte == b'/');
    if !entry.path.is_empty() {
        assert!(components.all(|name| {
            !matches!(name, b"" | b"." | b"..") && name.len() <= 255 && !name.contains(&0)
        }));
    } else {
        assert!(matches!(entry.kind, EntryKind::Directory));
    }
    assert!(entry.metadata.mode <= 0o7777);
}

/// Returns the pieces of a body, neighbouring ones of a kind as one.
fn body(
    tar: &mut TarReader<'_>,
    entry: &Entry,
) -> Result<Vec<(u64, bool)>, hpcc_rootfs::layer::Error> {
    let mut pieces: Vec<(u64, bool)> = Vec::new();
    while let Some(segment) = tar.segment()? {
        let (length, hole) = match segment {
            Segment::Data(bytes) => (bytes.len() as u64, false),
            Segment::Hole(length) => (length, true),
        };
        assert!(length > 0);
        match pieces.last_mut() {
            Some((sum, kind)) if *kind == hole => *sum += length,
            _ => pieces.push((length, hole)),
        }
    }
    let declared = match entry.kind {
        EntryKind::File { size } => size,
        _ => 0,
    };
    assert_eq!(
        pieces.iter().map(|(length, _)| length).sum::<u64>(),
        declared
    );
    Ok(pieces)
}

/// Sets the checksums of what looks like a header right.
pub(crate) fn repair(blob: &mut [u8]) {
    for block in blob.chunks_exact_mut(BLOCK) {
        // Writers end the checksum with NUL and space, and the contents of files almost never have that at this offset.
        let looks_like_a_header = block[154] == 0 && block[155] == b' ';
        if looks_like_a_header {
            block[CHECKSUM].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

/// Gives a few bytes at a time, another number each time.
struct Trickle<'a> {
    blob: &'a [u8],
    next: usize,
}

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.next);
        self.next = self.next % 701 + 97;
        self.blob.read(&mut buffer[..most])
    }
}
