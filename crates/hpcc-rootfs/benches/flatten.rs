//! What an entry costs from tar to tree, bodies left out.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that can't do its work has nothing to measure"
)]

#[path = "support/archive.rs"]
mod archive;

use divan::Bencher;
use divan::counter::ItemsCount;
use hpcc_rootfs::flatten::{Options, flatten};
use sqfs_writer::{Compressor, DataWriter};

use self::archive::{Archive, files};

fn main() {
    divan::main();
}

const ENTRIES: usize = 20_000;

/// The same entries in `count` layers, none of which replaces anything.
#[divan::bench(args = [1, 10, 100])]
fn layers(bencher: Bencher<'_, '_>, count: usize) {
    let mut archive = Archive::default();
    let each = ENTRIES / count;
    for layer in 0..count {
        let bodies = std::iter::repeat_n(&[][..], each);
        let tar = files(layer * each, bodies);
        archive.push(tar.clone(), &tar);
    }
    flattened(bencher, &archive, ENTRIES);
}

/// Half of the entries are replaced by a newer layer.
#[divan::bench]
fn replaced(bencher: Bencher<'_, '_>) {
    let mut archive = Archive::default();
    for _ in 0..2 {
        let bodies = std::iter::repeat_n(&b"content"[..], ENTRIES / 2);
        let tar = files(0, bodies);
        archive.push(tar.clone(), &tar);
    }
    flattened(bencher, &archive, ENTRIES);
}

fn flattened(bencher: Bencher<'_, '_>, archive: &Archive, entries: usize) {
    let mut writer = sqfs_writer::Options::default();
    writer.compressor = Compressor::None;
    bencher
        .counter(ItemsCount::new(entries))
        .with_inputs(|| DataWriter::new(std::io::sink(), &writer).unwrap())
        .bench_values(|mut bodies| {
            let mut source = archive;
            let options = Options::default();
            let flattened = flatten(&archive.specs, &mut source, &mut bodies, &options).unwrap();
            flattened.tree.len()
        });
}
