//! Memory that an image takes from the heap: never more than it was charged.
//!
//! The allocator counts for the whole process, so this is a program of its own with a single test.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what its helpers are for"
)]

mod tar;

use std::io;
use std::num::NonZeroUsize;

use hpcc_rootfs::flatten::{Error, LayerSource, LayerSpec, Layers, Options, flatten};
use hpcc_rootfs::layer::{self, Stream};
use ociget::{DiffId, Digest};
use peak_alloc::PeakAlloc;
use sqfs_writer::{Compressor, DataWriter};

use tar::Tar;

/// Counts the old and the new one while something moves to a larger allocation.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// What the writer may take besides, and what a pipeline takes that has nothing to do.
const WRITER: u64 = 2 << 20;
const IDLE: u64 = 1 << 20;

/// One more than a map of hashes holds before it grows: the largest one for what is in it.
const MANY: usize = 28_673;

struct Blobs(Vec<Vec<u8>>);

impl LayerSource for Blobs {
    fn open(&mut self, layer: usize, layers: Layers<'_>) -> Result<Stream<'_>, layer::Error> {
        layers.stream(layer, self.0[layer].as_slice())
    }
}

/// Makes an image, and returns the largest charge, and what was taken from the heap at the peak.
fn image(layers: Vec<Tar>, limit: u64) -> (Result<u64, Error>, u64) {
    let blobs: Vec<_> = layers.into_iter().map(Tar::finish).collect();
    let specs: Vec<_> = blobs
        .iter()
        .map(|blob| LayerSpec::new(blob.len() as u64, DiffId(Digest::of(blob))))
        .collect();
    let mut source = Blobs(blobs);
    let mut writer = sqfs_writer::Options::default();
    writer.memory = usize::try_from(WRITER).unwrap();
    writer.block_size = 4096;
    writer.threads = NonZeroUsize::MIN;
    // Tables of bytes that do not compress take what these take.
    writer.compressor = Compressor::None;
    let mut options = Options::default();
    options.limits.metadata_bytes = limit;

    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let mut make = || {
        let mut data = DataWriter::new(io::sink(), &writer).unwrap();
        let flattened = flatten(&specs, &mut source, &mut data, &options)?;
        let _sealed = data.finish(&flattened.tree).unwrap();
        Ok(flattened.report.metadata_bytes)
    };
    let charged = make();
    (charged, (HEAP.peak_usage() - before) as u64)
}

/// Returns a permutation of `0..count`, so that names come in no order. 7919 is a prime that divides none of the counts
/// here.
fn shuffled(count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |n| n * 7919 % count)
}

fn one(fill: impl FnOnce(&mut Tar)) -> Vec<Tar> {
    let mut tar = Tar::default();
    fill(&mut tar);
    vec![tar]
}

/// Layers, oldest first.
type Image = Box<dyn Fn() -> Vec<Tar>>;

/// Returns an image of many things of each kind, and the most that they may be charged with together. The sums are
/// those of the table in `docs/flattening.md`.
fn kinds() -> Vec<(&'static str, u64, Image)> {
    const N: u64 = MANY as u64;
    // An entry with a name of that length, whose path is no longer, and a directory.
    let entry = |name: u64| 192 + 10 + 2 * name + if name > 16 { 24 + name } else { 0 };
    let directory = |name| entry(name) + 384;
    // A hard link with the same target.
    let link = |name, target: u64| entry(name) + 24 + name + 24 + target;
    let long = |n: usize| format!("{n:06}{}", "x".repeat(240));
    let mut kinds: Vec<(&'static str, u64, Image)> = Vec::new();
    let mut kind = |name, charge, image: Image| kinds.push((name, charge, image));
    kind("nothing", 0, Box::new(|| one(|_| ())));
    kind(
        "files in order of their names",
        N * entry(8),
        Box::new(|| one(|tar| (0..MANY).for_each(|n| tar.file(&format!("f{n:07}"))))),
    );
    kind(
        "files in no order, with names that are allocations",
        N * entry(20),
        Box::new(|| one(|tar| shuffled(MANY).for_each(|n| tar.file(&format!("{n:020}"))))),
    );
    kind(
        "files with long names",
        N * entry(246),
        Box::new(move || one(|tar| (0..MANY).for_each(|n| tar.file(&long(n))))),
    );
    kind(
        "directories",
        N * directory(8),
        Box::new(|| one(|tar| (0..MANY).for_each(|n| tar.directory(&format!("d{n:07}"))))),
    );
    kind(
        "directories with one child",
        N * (directory(8) + entry(1) + 9),
        Box::new(|| {
            one(|tar| {
                for n in 0..MANY {
                    tar.directory(&format!("d{n:07}"));
                    tar.file(&format!("d{n:07}/f"));
                }
            })
        }),
    );
    kind(
        "directories that no entry describes",
        20 * (entry(3) + 4096) + 20 * 1023 * (directory(3) - 3),
        Box::new(|| {
            one(|tar| {
                for n in 0..20 {
                    tar.file(&vec![format!("{n:03}"); 1024].join("/"));
                }
            })
        }),
    );
    kind(
        "symlinks with long targets",
        4000 * (entry(8) + 4095 + 24),
        Box::new(|| {
            let target = "t".repeat(4095);
            one(|tar| (0..4000).for_each(|n| tar.symlink(&format!("s{n:07}"), &target)))
        }),
    );
    kind(
        "hard links",
        entry(1) + N * link(20, 1),
        Box::new(|| {
            one(|tar| {
                tar.file("t");
                (0..MANY).for_each(|n| tar.link(&format!("{n:020}"), "t"));
            })
        }),
    );
    kind(
        "hard links of a newer layer to an older file",
        entry(1) + N * (link(20, 1) + 5 * 32),
        Box::new(|| {
            let mut layers = one(|tar| tar.file("t"));
            layers.extend(one(|tar| {
                (0..MANY).for_each(|n| tar.link(&format!("{n:020}"), "t"));
            }));
            layers
        }),
    );
    kind(
        "hard links that wait for each other",
        entry(20) + N * (link(20, 20) + 384 + 5 * (24 + 20)),
        Box::new(|| {
            one(|tar| {
                (0..MANY).for_each(|n| tar.link(&format!("{n:020}"), &format!("{:020}", n + 1)));
                tar.file(&format!("{MANY:020}"));
            })
        }),
    );
    let waits = 384 + 5 * 24 + 8 + 2 * 3 + 2 * 8;
    kind(
        "hard links that wait for many names",
        4000 * (link(8, 3) + waits + 100 * (216 + 3)) + link(1, 1) + waits + 2000,
        Box::new(|| {
            let way: Vec<_> = (0..100).map(|n| format!("x{n:02}/..")).collect();
            one(|tar| {
                tar.symlink("s", &format!("{}/y", way.join("/")));
                (0..4000).for_each(|n| tar.link(&format!("a{n:07}"), "s/t"));
                tar.link("y", "z");
                tar.symlink("z", "d");
                tar.file("d/t");
            })
        }),
    );
    kind(
        "hard links into what is reserved",
        N * (link(20, 11) + 128 + 24 + 20),
        Box::new(|| {
            one(|tar| (0..MANY).for_each(|n| tar.link(&format!("{n:020}"), ".hpcc/agent")))
        }),
    );
    kind(
        "whiteouts of many layers",
        64 * 1000 * (96 + 10 + 2 * 32),
        Box::new(|| {
            let layer = |layer: usize| {
                let name = move |n| format!(".wh.{layer:04}{n:06}");
                one(|tar| (0..1000).for_each(|n| tar.file(&name(n)))).pop()
            };
            (0..64).filter_map(layer).collect()
        }),
    );
    kind(
        "opaque markers of many directories",
        N * (directory(8) + 96 + 8 + 32),
        Box::new(|| {
            let mut layers = one(|tar| (0..MANY).for_each(|n| tar.directory(&format!("d{n:07}"))));
            layers.extend(one(|tar| {
                (0..MANY).for_each(|n| tar.file(&format!("d{n:07}/.wh..wh..opq")));
            }));
            layers
        }),
    );
    kind(
        "a large directory that is emptied",
        N * (entry(20) + 80 + 20) + 96 + 32,
        Box::new(|| {
            let mut layers = one(|tar| shuffled(MANY).for_each(|n| tar.file(&format!("{n:020}"))));
            layers.extend(one(|tar| tar.file(".wh..wh..opq")));
            layers
        }),
    );
    kind(
        "files that a newer layer replaces",
        N * (2 * entry(20) + 128 + 3 * 32),
        Box::new(|| {
            let layer = |text: &'static str| {
                one(|tar| (0..MANY).for_each(|n| tar.text(&format!("{n:020}"), text))).pop()
            };
            ["old", "new"].into_iter().filter_map(layer).collect()
        }),
    );
    kind(
        "files that looked replaced",
        3 * directory(1) + N * (2 * entry(20) + 128 + 3 * 32),
        Box::new(|| {
            let files = |text: &'static str| {
                one(|tar| {
                    if text == "old" {
                        tar.directory("b");
                        tar.symlink("a", "b");
                    } else {
                        tar.directory("a");
                    }
                    (0..MANY).for_each(|n| tar.text(&format!("a/{n:020}"), text));
                })
                .pop()
            };
            ["old", "new"].into_iter().filter_map(files).collect()
        }),
    );
    kind(
        "directories of a newer layer",
        20 * (entry(3) + 4096 + 32 * 1026) + 20 * 1023 * (directory(3) - 3),
        Box::new(|| {
            let mut layers = one(|_| ());
            layers.extend(one(|tar| {
                for n in 0..20 {
                    tar.file(&vec![format!("{n:03}"); 1024].join("/"));
                }
            }));
            layers
        }),
    );
    kind(
        "one attribute of many files, the same",
        N * (entry(8) + 416 + 128 + 2 * 7),
        Box::new(|| {
            one(|tar| {
                for n in 0..MANY {
                    tar.xattrs([("user.ab".into(), String::new())]);
                    tar.file(&format!("f{n:07}"));
                }
            })
        }),
    );
    kind(
        "one attribute of many files, each another",
        N * (entry(8) + 416 + 128 + 2 * (12 + 100)),
        Box::new(|| {
            one(|tar| {
                for n in 0..MANY {
                    tar.xattrs([(format!("user.{n:07}"), format!("{n:0100}"))]);
                    tar.file(&format!("f{n:07}"));
                }
            })
        }),
    );
    kind(
        "many attributes of some files",
        100 * (entry(8) + 416 + 1000 * (128 + 2 * 12)),
        Box::new(|| {
            one(|tar| {
                for n in 0..100 {
                    tar.xattrs(
                        shuffled(1000).map(|m| (format!("user.{n:03}{m:04}"), String::new())),
                    );
                    tar.file(&format!("f{n:07}"));
                }
            })
        }),
    );
    kind(
        "attributes that are dropped",
        1000 * entry(8),
        Box::new(|| {
            one(|tar| {
                for n in 0..1000 {
                    tar.xattrs((0..1000).map(|m| (format!("{n:03}{m:04}"), String::new())));
                    tar.file(&format!("f{n:07}"));
                }
            })
        }),
    );
    kinds
}

/// Images of things that are not charged, and what they may take besides the charge.
fn uncharged() -> Vec<(&'static str, u64, Image)> {
    const RUNS: usize = 200_000;
    vec![
        (
            "extended headers",
            3 << 20,
            Box::new(|| {
                one(|tar| {
                    for n in 0..20 {
                        tar.comment((1 << 20) - 1);
                        tar.symlink(&format!("{n:02}{}", "n".repeat(240)), &"t".repeat(4000));
                    }
                })
            }),
        ),
        (
            "maps of sparse files",
            3 * 16 * RUNS as u64,
            Box::new(|| one(|tar| (0..3).for_each(|n| tar.sparse(&format!("s{n}"), RUNS)))),
        ),
        (
            "user and group ids",
            48 * 2 * MANY as u64,
            Box::new(|| {
                one(|tar| {
                    (0..MANY).for_each(|n| tar.owned(&format!("f{n:07}"), n + 1, n + 1 + MANY));
                })
            }),
        ),
    ]
}

/// Returns an error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

#[test]
fn every_kind_of_thing_costs_at_most_its_charge() {
    let mut wrong = Vec::new();
    for (kind, most, make) in kinds() {
        let (charged, taken) = image(make(), u64::MAX);
        let charged = charged.unwrap();
        let numbers = format!("{kind}: took {taken}, charged {charged}, documented {most}");
        if taken > charged + WRITER + IDLE || charged > most {
            wrong.push(numbers.clone());
        }
        println!("{numbers}");
        // A budget that is half as large is never exceeded: an error comes before.
        let limit = charged / 2;
        match image(make(), limit) {
            (Ok(_), _) if charged > 0 => wrong.push(format!("{kind}: accepted with {limit}")),
            (Err(error), taken) => {
                let text = chain(&error);
                if !text.contains("Limits::metadata_bytes") || taken > limit + WRITER + IDLE {
                    wrong.push(format!("{kind}: took {taken} with {limit}: {text}"));
                }
            }
            (Ok(_), _) => {}
        }
    }
    for (kind, most, make) in uncharged() {
        let (charged, taken) = image(make(), u64::MAX);
        let charged = charged.unwrap();
        let numbers = format!("{kind}: took {taken}, charged {charged}, {most} besides");
        if taken > charged + most + WRITER + IDLE {
            wrong.push(numbers.clone());
        }
        println!("{numbers}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
