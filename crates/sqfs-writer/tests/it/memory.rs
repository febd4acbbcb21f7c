//! What the memory budget decides, and what it doesn't.

use std::io::Write;

use sqfs_writer::{DataWriter, Error, Kind, Metadata, NodeId, Summary, Tree};

use crate::expected::{CODEC, noise, options};

/// 30 000 small files or 9000 of a block, each of them twice; the second time directly behind the first
/// or at the end.
fn write(memory: usize, threads: usize, len: usize, far: bool) -> (Vec<u8>, Summary) {
    let mut options = options(4096, CODEC, threads);
    options.memory = memory;
    let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
    let mut tree = Tree::new(Metadata::new(0o755));
    let count = if len < 4096 { 30_000u32 } else { 9000 };
    for n in 0..2 * count {
        let content = if far { n % count } else { n / 2 };
        let mut body = writer.begin();
        body.write_all(&noise(len, content.into())).unwrap();
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
fn little_memory_finds_near_duplicates_and_no_far_ones() {
    const MIB: usize = 1 << 20;
    for (memory, len, far, found, all_known) in [
        (128 * MIB, 24, true, 30_000..=30_000, true),
        (MIB, 24, false, 30_000..=30_000, false),
        (MIB, 24, true, 0..=0, false),
        (128 * MIB, 4096, true, 9000..=9000, true),
        // Where a block is takes 16 bytes for each of these, and has an eighth. Then nothing is
        // remembered any more.
        (MIB, 4096, false, 7900..=8192, false),
    ] {
        let case = format!("{memory} {len} {far}");
        let (one, summary) = write(memory, 1, len, far);
        let duplicates = summary.duplicates;
        assert!(found.contains(&duplicates), "{case}: {duplicates}");
        assert_eq!(summary.forgotten == 0, all_known, "{case}");
        assert!(one == write(memory, 8, len, far).0, "{case}");
    }
}

/// A body of holes takes 16 bytes for its list and none for data, so lists alone are what counts.
#[test]
fn lists_beyond_the_budget_end_the_writing() {
    const MIB: usize = 1 << 20;
    let mut options = options(4096, CODEC, 1);
    options.memory = MIB;
    let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
    writer.add(&b"a fragment"[..]).unwrap();
    let mut written = 0;
    let error = loop {
        let mut body = writer.begin();
        body.hole(4096 * (written + 1)).unwrap();
        match body.finish() {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 65_536, "1 MiB is full");
    };
    let Error::Memory { needed, allowed } = error else {
        panic!("{error}");
    };
    assert!(needed > allowed && allowed < MIB, "{needed} {allowed}");
    // All of the share is used, up to a piece.
    assert!(16 * written > 7 * (allowed as u64) / 8, "{written}");
    let error = writer.add(&b""[..]).unwrap_err();
    assert!(matches!(error, Error::Poisoned), "{error}");
}
