//! What bodies cost on their way into blocks and fragments, on one thread that compresses.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that can't do its work has nothing to measure"
)]

#[expect(unreachable_pub, reason = "the tests use the same file as a library")]
#[path = "../../../tests/support/text.rs"]
mod text;

use std::io;
use std::num::NonZeroUsize;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use sqfs_writer::{Compressor, DataWriter, Options};

use self::text::text;

fn main() {
    divan::main();
}

/// Bytes of all bodies of a bench.
const TOTAL: usize = 16 << 20;

fn options(compressor: Compressor) -> Options {
    let mut options = Options::default();
    options.compressor = compressor;
    options.threads = NonZeroUsize::MIN;
    options
}

/// Cuts `bytes` into bodies of equal length, and writes them.
fn write(bytes: &[u8], each: usize, options: &Options) {
    let mut writer = DataWriter::new(io::sink(), options).unwrap();
    for body in bytes.chunks(each) {
        divan::black_box(writer.add(body).unwrap());
    }
}

/// Blocks: one large body. Not compressed at all is what splitting, hashing and handing on cost.
#[divan::bench(args = ["none", "zstd 1", "zstd 3", "zstd 6"])]
fn blocks(bencher: Bencher<'_, '_>, name: &str) {
    let compressor = match name.strip_prefix("zstd ") {
        Some(level) => Compressor::Zstd {
            level: level.parse().unwrap(),
        },
        None => Compressor::None,
    };
    let (options, bytes) = (options(compressor), text(TOTAL));
    bencher
        .counter(BytesCount::new(TOTAL))
        .bench(|| write(&bytes, TOTAL, &options));
}

/// Fragments: bodies smaller than a block, not compressed, which leaves what each of them costs.
#[divan::bench(args = [100, 1000, 10_000])]
fn fragments(bencher: Bencher<'_, '_>, each: usize) {
    let (options, bytes) = (options(Compressor::None), text(TOTAL));
    bencher
        .counter(ItemsCount::new(TOTAL.div_ceil(each)))
        .bench(|| write(&bytes, each, &options));
}

/// The same megabyte again and again: what it costs to find out.
#[divan::bench]
fn duplicates(bencher: Bencher<'_, '_>) {
    let options = options(Compressor::default());
    let bytes = text(1 << 20).repeat(TOTAL >> 20);
    bencher
        .counter(BytesCount::new(TOTAL))
        .bench(|| write(&bytes, 1 << 20, &options));
}
