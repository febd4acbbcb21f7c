//! Random trees, read by the kernel.

use std::ops::Range;

use sqfs_writer::{Compressor, Device, Kind, Metadata};
use test_support::Result;
use test_support::oracle::may_be_root;

use crate::sqfs_fixture::{Fixture, noise, options, text};

/// How many trees, unless the environment variable `SQFS_RANDOM_TREES` says more or fewer.
const TREES: u64 = 100;

/// Numbers that look random, the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }

    fn within(&mut self, range: Range<usize>) -> usize {
        range.start + self.below(range.len())
    }

    fn u32(&mut self) -> u32 {
        u32::try_from(self.below(1 << 32)).unwrap()
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

fn metadata(random: &mut Random) -> Metadata {
    let mode = u16::try_from(random.below(0o10000)).unwrap();
    let owner = random.pick(&[0, 1, 1000, 65_534, u32::MAX - 1]);
    let mut metadata = Metadata::new(mode)
        .with_owner(owner, owner / 2)
        .with_mtime(random.u32());
    for _ in 0..random.pick(&[0, 0, 0, 1, 3]) {
        let name = random.pick(&["user.a", "user.bb", "trusted.c", "security.d"]);
        let len = random.pick(&[0, 8, 9, 300]);
        let value = noise(len, random.below(3) as u64);
        metadata = metadata.with_xattr(name.as_bytes(), value);
    }
    metadata
}

fn content(random: &mut Random, block_size: usize) -> Vec<u8> {
    let mut content = Vec::new();
    for _ in 0..random.pick(&[0, 1, 1, 1, 2, 4]) {
        let len = match random.below(4) {
            0 => block_size,
            1 => random.below(100),
            2 => random.within(block_size - 2..block_size + 3),
            _ => random.below(3 * block_size),
        };
        // Few seeds: some pieces come again, and then some files.
        let seed = random.below(4) as u64;
        match random.below(3) {
            0 => content.resize(content.len() + len, 0),
            1 => content.extend(text(len, seed)),
            _ => content.extend(noise(len, seed)),
        }
    }
    content
}

fn name(random: &mut Random, n: usize) -> String {
    let letter = random.pick(&["a", "B", "é", " ", "\u{1}", "~"]);
    let len = random.pick(&[1, 1, 3, 20, 120]);
    // The number makes it the only one; wherever it stands the order is another.
    match random.below(2) {
        0 => format!("{n}{}", letter.repeat(len)),
        _ => format!("{}{n}", letter.repeat(len)),
    }
}

fn fill(fixture: &mut Fixture, random: &mut Random, block_size: usize) {
    let mut directories = vec![String::new()];
    let mut files = Vec::new();
    for n in 0..random.within(1..120) {
        let path = format!("{}/{}", random.pick(&directories), name(random, n));
        let metadata = metadata(random);
        let device = Device {
            major: u32::try_from(random.below(0x1000)).unwrap(),
            minor: u32::try_from(random.below(0x10_0000)).unwrap(),
        };
        // The kernel has no `user.` attributes for these.
        let bare = Metadata::new(metadata.mode).with_mtime(metadata.mtime);
        match random.below(10) {
            0..2 => {
                fixture.directory(&path, metadata);
                directories.push(path);
            }
            2..6 => {
                fixture.file(&path, metadata, &content(random, block_size));
                files.push(path);
            }
            6 => {
                let target = "t".repeat(random.within(1..4096)).into_bytes();
                fixture.node(&path, bare.clone(), Kind::Symlink(target.into()));
            }
            7 => fixture.node(&path, bare, Kind::CharDevice(device)),
            8 => fixture.node(&path, bare, Kind::Fifo),
            _ => {
                // Each file gets its other names at once.
                if let Some(first) = files.pop() {
                    let second = format!("{path}-2");
                    fixture.links(&first, &[&path, &second]);
                }
            }
        }
    }
}

#[test]
fn the_kernel_reads_random_trees() -> Result<()> {
    if !may_be_root("mounting random trees") {
        return Ok(());
    }
    let trees = std::env::var("SQFS_RANDOM_TREES").map_or(TREES, |trees| trees.parse().unwrap());
    for seed in 0..trees {
        let mut random = Random(seed);
        let block_size = random.pick(&[4096, 8192, 65_536]);
        let compressor = random.pick(&[
            Compressor::Gzip { level: 1 },
            Compressor::Zstd { level: 3 },
            Compressor::Xz { level: 0 },
            Compressor::Lz4 { high: false },
            Compressor::None,
        ]);
        let mut options = options(block_size, compressor, random.within(1..4));
        options.tails = random.below(4) > 0;
        options.duplicates = random.below(4) > 0;
        options.exportable = random.below(2) > 0;
        options.probe = random.below(2) > 0;
        options.stored.inodes = random.below(8) == 0;
        options.stored.fragments = random.below(8) == 0;
        let mut fixture = Fixture::new(&options);
        fill(&mut fixture, &mut random, block_size as usize);
        fixture
            .finish()
            .mount(&format!("seed {seed}, {options:?}"))?;
    }
    Ok(())
}
