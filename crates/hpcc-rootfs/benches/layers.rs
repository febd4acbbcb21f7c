//! What a layer costs until its entries are there: inflation, the hash of what comes out, tar.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that can't do its work has nothing to measure"
)]

#[path = "support/archive.rs"]
mod archive;
#[expect(unreachable_pub, reason = "the tests use the same file as a library")]
#[path = "../../../tests/support/text.rs"]
mod text;

use std::io::Write as _;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use flate2::Compression;
use flate2::write::GzEncoder;
use hpcc_rootfs::flatten::{LayerSource as _, Layers};
use hpcc_rootfs::layer::{Budget, Entry, Limits, TarReader};
use ociget::{DiffId, Verified};

use self::archive::{Archive, files};
use self::text::text;

fn main() {
    divan::main();
}

/// Reads a layer to its end.
fn read(mut archive: &Archive) -> Verified<DiffId> {
    let limits = Limits::default();
    let mut budget = Budget::new(limits.clone());
    let layers = Layers::new(&archive.specs, &limits);
    let stream = archive.open(0, layers).unwrap();
    let mut tar = TarReader::new(stream, &mut budget);
    let mut entry = Entry::default();
    while tar.read_entry(&mut entry).unwrap() {
        while let Some(segment) = tar.segment().unwrap() {
            divan::black_box(&segment);
        }
    }
    tar.finish().unwrap()
}

/// One large file. Plain is the hash alone; what the others take longer is inflation.
#[divan::bench(args = ["plain", "gzip", "zstd"])]
fn inflated(bencher: Bencher<'_, '_>, encoding: &str) {
    const LENGTH: usize = 16 << 20;
    let tar = files(0, [&text(LENGTH)[..]].into_iter());
    let blob = match encoding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&tar).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::bulk::compress(&tar, 3).unwrap(),
        _ => tar.clone(),
    };
    let mut archive = Archive::default();
    archive.push(blob, &tar);
    bencher
        .counter(BytesCount::new(LENGTH))
        .bench(|| read(&archive));
}

/// Empty files: the 512 bytes of each are hashed, decoded and checked.
#[divan::bench]
fn entries(bencher: Bencher<'_, '_>) {
    const ENTRIES: usize = 10_000;
    let mut archive = Archive::default();
    let bodies = std::iter::repeat_n(&[][..], ENTRIES);
    let tar = files(0, bodies);
    archive.push(tar.clone(), &tar);
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .bench(|| read(&archive));
}
