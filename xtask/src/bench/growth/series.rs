//! What grows, and in which steps.

use test_support::image::{Entry, LargeLayer, Layer, Member};

use super::text::{Text, next};

/// Images of one kind, and of growing size.
pub(super) struct Series {
    /// On the command line, and in JSON.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// One of what is counted, and what many of them are called where they are plotted.
    pub(super) one: &'static str,
    pub(super) many: &'static str,
    /// How many of them there are in one of `many`.
    pub(super) each: f64,
    /// The unit in which the time for one is shown, and how many of it are a second.
    pub(super) time: (&'static str, f64),
    pub(super) sizes: &'static [u64],
    pub(super) layers: fn(&Text, u64) -> Vec<Layer>,
    /// Inodes of such an image, its root not counted.
    pub(super) inodes: fn(u64) -> u64,
}

/// Bytes of a large file: 32 blocks and no tail.
const LARGE: usize = 4 << 20;

/// In how many ways the rest of a large file, behind what no two have in common, is compressed.
const KINDS: u64 = 12;

/// Entries of each of many layers.
const PER_LAYER: u64 = 200;

/// Entries of a directory where directories are not what grows.
const PER_DIRECTORY: u64 = 100;

pub(super) const SERIES: &[Series] = &[
    Series {
        name: "entries",
        title: "Small files",
        one: "entry",
        many: "thousand entries",
        each: 1e3,
        time: ("µs", 1e6),
        sizes: &[10_000, 100_000, 300_000, 1_000_000],
        layers: |text, size| {
            let mut layer = LargeLayer::new();
            for index in 0..size {
                let directory = index / PER_DIRECTORY;
                let entry = if index % PER_DIRECTORY == 0 {
                    Entry::dir(format!("srv/{directory}"))
                } else {
                    let length = 200 + usize::try_from(next(index) % 1500).unwrap_or_default();
                    Entry::file(format!("srv/{directory}/{index}"), text.body(index, length))
                };
                layer.entry(&entry);
            }
            vec![layer.finish()]
        },
        // And `srv`, which no entry describes.
        inodes: |size| size + 1,
    },
    Series {
        name: "bytes",
        title: "Large files",
        one: "byte",
        many: "GB of files",
        each: 1e9,
        time: ("ns", 1e9),
        sizes: &[
            100_000_000,
            300_000_000,
            1_000_000_000,
            3_000_000_000,
            10_000_000_000,
        ],
        layers: |text, size| {
            let rests: Vec<_> = (0..KINDS)
                .map(|kind| Member::of(text.body(kind, LARGE - 512)))
                .collect();
            let mut layer = LargeLayer::new();
            for (file, rest) in (0..files(size)).zip(rests.iter().cycle()) {
                // Header and first 512 bytes; the rest of the body follows as it is.
                let start = Entry::file(file.to_string(), text.body(KINDS + file, 512));
                layer.entry(&start.patch(|header| {
                    header[124..136].copy_from_slice(b"00020000000\0");
                }));
                layer.member(rest);
            }
            vec![layer.finish()]
        },
        inodes: files,
    },
    Series {
        name: "layers",
        title: "Layers",
        one: "layer",
        many: "layers of 200 files, 2 MB",
        each: 1.0,
        time: ("ms", 1e3),
        sizes: &[1, 16, 64, 127],
        layers: |text, size| {
            let layer = |number| {
                let mut layer = LargeLayer::new();
                for index in number * PER_LAYER..(number + 1) * PER_LAYER {
                    let body: &[u8] = text.body(index, 10_000);
                    layer.entry(&Entry::file(index.to_string(), body));
                }
                layer.finish()
            };
            (0..size).map(layer).collect()
        },
        inodes: |size| size * PER_LAYER,
    },
    Series {
        name: "links",
        title: "Hard links to one file",
        one: "name",
        many: "thousand names of one file",
        each: 1e3,
        time: ("µs", 1e6),
        sizes: &[1_000, 10_000, 30_000, 100_000],
        layers: |_, size| {
            let mut layer = LargeLayer::new();
            layer.entry(&Entry::file("file", "of many names"));
            for index in 0..size {
                let directory = index / PER_DIRECTORY;
                layer.entry(&Entry::hardlink(format!("{directory}/{index}"), "file"));
            }
            vec![layer.finish()]
        },
        inodes: |size| 1 + size.div_ceil(PER_DIRECTORY),
    },
    Series {
        name: "names",
        title: "Empty files in one directory",
        one: "name",
        many: "thousand names in one directory",
        each: 1e3,
        time: ("µs", 1e6),
        sizes: &[5_000, 50_000, 150_000, 500_000],
        layers: |_, size| {
            let mut layer = LargeLayer::new();
            for index in 0..size {
                layer.entry(&Entry::file(format!("srv/{:016x}", next(index)), ""));
            }
            vec![layer.finish()]
        },
        inodes: |size| size + 1,
    },
];

/// Returns how many large files `size` bytes are.
fn files(size: u64) -> u64 {
    size / (LARGE as u64)
}
