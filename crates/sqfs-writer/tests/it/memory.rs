//! What the memory budget decides, and what it doesn't.

use std::io::Write;

use sqfs_writer::{Compressor, DataWriter, Kind, Metadata, NodeId, Summary, Tree};

use crate::expected::{noise, options};

/// 30 000 small files, each of them twice; the second time directly behind the first or at the end.
fn write(memory: usize, threads: usize, far: bool) -> (Vec<u8>, Summary) {
    let mut options = options(4096, Compressor::default(), threads);
    options.memory = memory;
    let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
    let mut tree = Tree::new(Metadata::new(0o755));
    let count = 30_000u32;
    for n in 0..2 * count {
        let content = if far { n % count } else { n / 2 };
        let mut body = writer.begin();
        body.write_all(&noise(24, content.into())).unwrap();
        let kind = Kind::File(body.finish().unwrap());
        tree.insert(
            NodeId::ROOT,
            &n.to_be_bytes().map(|b| b | 128),
            Metadata::new(0o644),
            kind,
        )
        .unwrap();
    }
    let sealed = writer.finish(&tree).unwrap();
    (
        [&sealed.superblock[..], &sealed.sink].concat(),
        sealed.summary,
    )
}

#[test]
fn with_little_memory_near_duplicates_are_found_and_far_ones_are_not() {
    for (memory, far, found) in [
        (128 << 20, true, 30_000),
        (1 << 20, false, 30_000),
        (1 << 20, true, 0),
    ] {
        let (one, summary) = write(memory, 1, far);
        assert_eq!(summary.duplicates, found, "{memory} {far}");
        assert!(one == write(memory, 8, far).0, "{memory} {far}");
    }
}
