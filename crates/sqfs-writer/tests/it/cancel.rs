//! A writer gives up soon after the caller's condition is met, whatever it is doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqfs_writer::{Compressor, DataWriter, Error, FileData, Kind, Metadata, NodeId, Tree};

use crate::expected::{CODEC, CODECS, options};

/// A tree of many names, each stage of whose writing is long enough to be stopped in.
fn tree(file: FileData) -> Tree<FileData> {
    let mut tree = Tree::new(Metadata::new(0o755));
    for n in 0..20_000u32 {
        let metadata = Metadata::new(0o644)
            .with_owner(n / 2, 7)
            .with_xattr(*b"user.n", n.to_le_bytes());
        let name = format!("{n:05}");
        let kind = match n % 3 {
            0 => Kind::File(file),
            1 => Kind::Fifo,
            _ => Kind::directory(),
        };
        tree.insert(NodeId::ROOT, name.as_bytes(), metadata, kind)
            .unwrap();
    }
    tree
}

/// How often the condition was looked at, until it was met for the first time at `stop_at`.
fn write(codec: Compressor, threads: usize, stop_at: u64) -> (Result<(), Error>, u64) {
    let seen = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&seen);
    let mut writer = DataWriter::new(Vec::new(), &options(4096, codec, threads)).unwrap();
    writer.cancel_when(move || counted.fetch_add(1, Ordering::Relaxed) >= stop_at);
    let result = writer
        .add(&b"content"[..])
        .and_then(|file| writer.finish(&tree(file)))
        .map(drop);
    (result, seen.load(Ordering::Relaxed))
}

#[test]
fn finish_gives_up_at_every_look_at_the_condition() {
    for threads in [1, 3] {
        let (result, looks) = write(CODEC, threads, u64::MAX);
        result.unwrap();
        // Every loop over the names, the inodes and the entries of each table.
        assert!(looks > 200, "{looks}");
        for stop_at in (0..looks).step_by(19) {
            let (result, seen) = write(CODEC, threads, stop_at);
            assert!(
                matches!(result, Err(Error::Cancelled)),
                "{threads} {stop_at}"
            );
            assert_eq!(seen, stop_at + 1, "{threads}");
        }
    }
}

/// The codec decides how long a block takes, not how many there are between two looks.
#[test]
fn tables_of_every_codec_are_given_up_alike() {
    let (_, wanted) = write(CODEC, 1, u64::MAX);
    for &codec in CODECS {
        let (result, looks) = write(codec, 1, u64::MAX);
        result.unwrap();
        // Every codec has as many blocks before it compresses them.
        assert_eq!(looks, wanted, "{codec:?}");
        let stop_at = looks / 2;
        let (result, seen) = write(codec, 1, stop_at);
        assert!(matches!(result, Err(Error::Cancelled)), "{codec:?}");
        assert_eq!(seen, stop_at + 1, "{codec:?}");
    }
}

#[test]
fn holes_and_duplicates_are_given_up_without_a_write() {
    let body = vec![7; 10 * 4096];
    for zeros in [true, false] {
        let mut writer = DataWriter::new(Vec::new(), &options(4096, CODEC, 1)).unwrap();
        writer.add(body.as_slice()).unwrap();
        let mut looks = 0;
        writer.cancel_when(move || {
            looks += 1;
            looks > 5
        });
        let again = if zeros {
            vec![0; body.len()]
        } else {
            body.clone()
        };
        let result = writer.add(again.as_slice());
        assert!(
            matches!(result, Err(Error::Cancelled)),
            "{zeros} {result:?}"
        );
        let result = writer.add(&b"more"[..]);
        assert!(matches!(result, Err(Error::Poisoned)), "{result:?}");
    }
}
