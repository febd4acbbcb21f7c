//! What the writer takes from the heap, byte by byte: never more than it was given. The allocator
//! counts for the whole process, so this is a program of its own with a single test.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed, which is what its helpers are for"
)]

use std::io::{self, Sink, Write};
use std::num::NonZeroUsize;

use peak_alloc::PeakAlloc;
use sqfs_writer::replay::Handles;
use sqfs_writer::{Codec, DataWriter, Error, Kind, Metadata, NodeId, Options, Tree};

/// Counts the old and the new one while something moves to a larger allocation.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Takes no memory of its own, which is on top of the budget, and makes nothing of every other byte.
struct Half;

impl Codec for Half {
    fn name(&self) -> &'static str {
        "half"
    }

    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
        output.clear();
        output.reserve(input.len());
        output.extend(input.iter().step_by(2));
        Ok(true)
    }
}

fn writer(memory: usize, block_size: u32, threads: usize) -> DataWriter<Sink> {
    let mut options = Options::default();
    options.memory = memory;
    options.block_size = block_size;
    options.threads = NonZeroUsize::new(threads).unwrap();
    DataWriter::with_codec(io::sink(), &options, || Ok(Box::new(Half))).unwrap()
}

/// Bytes that repeat after 2⁶⁴ of them, the same for the same seed.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            let word = (self.0 ^ self.0 >> 29).to_le_bytes();
            chunk
                .iter_mut()
                .zip(word)
                .for_each(|(byte, new)| *byte = new);
        }
    }
}

/// Writes bodies of that length until there are `bytes` of them.
fn bodies(writer: &mut DataWriter<Sink>, len: usize, bytes: usize) -> Result<(), Error> {
    let mut noise = Noise(1);
    let mut piece = vec![0; len.min(64 << 10)];
    for _ in 0..bytes / len {
        let mut body = writer.begin();
        let mut left = len;
        while left > 0 {
            let piece = piece.get_mut(..left.min(64 << 10)).unwrap();
            noise.fill(piece);
            left -= piece.len();
            if let Err(error) = body.write_all(piece) {
                return Err(*error.into_inner().unwrap().downcast().unwrap());
            }
        }
        body.finish()?;
    }
    Ok(())
}

/// What `run` adds to the heap at its peak.
fn peak<T>(run: impl FnOnce() -> T) -> (usize, T) {
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let result = run();
    (HEAP.peak_usage() - before, result)
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

#[test]
fn the_budget_is_kept_for_any_input() {
    data();
    recording();
    tables();
    trees();
}

fn data() {
    for (memory, block_size, threads, len, bytes, fits) in [
        // Tails, far more than can be remembered.
        (MIB, 4096, 1, 24, 2 * MIB, true),
        (MIB, 4096, 64, 24, 2 * MIB, true),
        (4 * MIB, 128 << 10, 2, 24, 4 * MIB, true),
        // Bodies of some blocks; where these are has to be kept.
        (MIB, 4096, 3, 9000, 100 * MIB, true),
        (MIB, 4096, 1, 4096, 300 * MIB, false),
        // One body, of more than can be held back.
        (2 * MIB, 128 << 10, 8, 50 * MIB, 50 * MIB, true),
        (10 * MIB, 1 << 20, 1, 50 * MIB, 50 * MIB, true),
        (128 * MIB, 1 << 20, 64, 300 * MIB, 300 * MIB, true),
        (MIB, 4096, 8, 600 * MIB, 600 * MIB, false),
    ] {
        let case = format!("{memory} {block_size} {threads} {len}");
        let (used, result) = peak(|| {
            let mut writer = writer(memory, block_size, threads);
            bodies(&mut writer, len, bytes)?;
            writer.finish(&Tree::new(Metadata::new(0o755)))
        });
        // The threads themselves take some, and the test's own buffer.
        assert!(used <= memory + (64 + 4 * threads) * KIB, "{case}: {used}");
        match result {
            Ok(_) => assert!(fits, "{case}"),
            Err(Error::Memory { needed, allowed }) => {
                assert!(!fits && needed > allowed && allowed < memory, "{case}");
            }
            Err(error) => panic!("{case}: {error}"),
        }
    }
}

/// What is kept of 250 000 bodies for later images takes less than 4 MiB, whatever they are. It is on top of the budget.
fn recording() {
    const BODIES: usize = 250_000;
    for (block_size, len, count) in [
        // Many tails in a fragment.
        (128 << 10, 40, BODIES),
        // One in each: their fingerprints are kept up to a number of them, which this is more than.
        (4096, 2100, 70_000),
        // Blocks and tails.
        (4096, 4196, 20_000),
    ] {
        let case = format!("{block_size} {len}");
        let make = |records: bool| {
            peak(|| {
                let mut writer = writer(64 * MIB, block_size, 1);
                let mut handles = Handles::default();
                if records {
                    writer.keep_places();
                }
                let (mut noise, mut bytes) = (Noise(1), vec![0; len]);
                for _ in 0..count {
                    noise.fill(&mut bytes);
                    let mut body = writer.begin();
                    body.append(&bytes[..]).unwrap();
                    let (data, _) = body.finish_recorded().unwrap();
                    if records {
                        handles.push(data);
                    }
                }
                let tree = Tree::new(Metadata::new(0o755));
                let sealed = writer.finish(&tree).unwrap();
                let Some(places) = sealed.places else {
                    return;
                };
                let found = handles.into_values().filter_map(|data| places.body(data));
                assert_eq!(found.count(), count, "{case}");
            })
        };
        let ((without, ()), (with, ())) = (make(false), make(true));
        let more = with.saturating_sub(without);
        // As if there were as many of all of them.
        let handles = (more.saturating_sub(2 * MIB + 200 * KIB)) * BODIES / count;
        assert!(more <= 4 * MIB && handles <= 2 * MIB, "{case}: {more}");
    }
}

/// What [`Options::memory`] says of the tables, which are as large as the tree makes them.
fn tables() {
    const DIRECTORIES: usize = 100;
    const FILES: usize = 30_000;
    for (threads, sets) in [(1, 0), (64, 0), (1, FILES), (2, FILES)] {
        let mut tree = Tree::new(Metadata::new(0o755));
        let mut parent = NodeId::ROOT;
        for n in 0..FILES {
            if n % (FILES / DIRECTORIES) == 0 {
                let name = format!("directory {n}");
                let metadata = Metadata::new(0o755);
                let kind = Kind::directory();
                let root = NodeId::ROOT;
                parent = tree.insert(root, name.as_bytes(), metadata, kind).unwrap();
            }
            let mut metadata = Metadata::new(0o644);
            if n < sets {
                metadata = metadata.with_xattr(*b"user.number", format!("number {n}").into_bytes());
            }
            let name = format!("file number {n}");
            tree.insert(parent, name.as_bytes(), metadata, Kind::Fifo)
                .unwrap();
        }
        let (used, sealed) = peak(|| writer(MIB, 4096, threads).finish(&tree).unwrap());
        // A set of attributes is a part of the budget.
        let promised = MIB + 20 * FILES + 200 * DIRECTORIES;
        // Beside that there are the tables themselves, compressed.
        let image = usize::try_from(sealed.summary.image_bytes).unwrap();
        assert!(
            used <= promised + image + 4 * threads * KIB,
            "{threads} {sets}: {used}"
        );
        assert_eq!(sealed.summary.forgotten > 0, sets > 0);
    }
}

/// One more than fills a vector of pointers that doubles, and a map of hashes.
const MANY: usize = 57_345;

/// A tree of many things of one kind, and what docs/squashfs.md says that each takes.
fn trees() {
    let file = |tree: &mut Tree<_>, name: String, metadata: Metadata| {
        tree.insert(NodeId::ROOT, name.as_bytes(), metadata, Kind::Fifo)
            .unwrap();
    };
    let directory = |tree: &mut Tree<_>, name: String| {
        let kind = Kind::directory();
        tree.insert(NodeId::ROOT, name.as_bytes(), Metadata::default(), kind)
            .unwrap()
    };
    type Make<'a> = &'a dyn Fn(&mut Tree<sqfs_writer::FileData>, usize);
    let plain: Make<'_> = &|tree, n| file(tree, format!("f{n:07}"), Metadata::default());
    let long: Make<'_> = &|tree, n| file(tree, format!("{n:0200}"), Metadata::default());
    let flat: Make<'_> = &|tree, n| {
        directory(tree, format!("d{n:07}"));
    };
    let one_child: Make<'_> = &|tree, n| {
        let parent = directory(tree, format!("d{n:07}"));
        tree.insert(parent, b"f", Metadata::default(), Kind::Fifo)
            .unwrap();
    };
    let xattr: Make<'_> = &|tree, n| {
        let value = format!("{n:0100}").into_bytes();
        let metadata = Metadata::default().with_xattr(*b"user.number", value);
        file(tree, format!("f{n:07}"), metadata);
    };
    let (node, name, subdirectory) = (72, 80, 400);
    let xattr_cost = 416 + 128 + 11 + 100;
    // In memory, and while the tables are written: uncompressed, as compressed bytes may be.
    for (kind, make, each, tables) in [
        ("plain", plain, node + name, 20 + 8 + 10),
        ("long", long, node + name + 224, 20 + 200 + 10),
        ("flat", flat, node + name + subdirectory, 20 + 200 + 8 + 10),
        (
            "one child",
            one_child,
            2 * (node + name) + subdirectory,
            40 + 200 + 9 + 20 + 12,
        ),
        (
            "xattr",
            xattr,
            node + name + xattr_cost,
            20 + 8 + 10 + 111 + 10 + 16,
        ),
    ] {
        let (used, (tree, taken)) = peak(|| {
            let before = HEAP.current_usage();
            let mut tree = Tree::new(Metadata::default());
            (0..MANY).for_each(|n| make(&mut tree, n));
            let taken = HEAP.current_usage() - before;
            (tree, taken)
        });
        assert!(used <= each * MANY + 64 * KIB, "{kind}: {}", used / MANY);
        assert!(taken <= used, "{kind}");
        let mut options = Options::default();
        options.memory = 4 * MIB;
        options.block_size = 4096;
        options.compressor = sqfs_writer::Compressor::None;
        let (used, sealed) = peak(|| {
            let writer = DataWriter::new(io::sink(), &options).unwrap();
            writer.finish(&tree)
        });
        drop(sealed.unwrap());
        let most = 4 * MIB + tables * MANY + 512 * KIB;
        assert!(used <= most, "{kind}: {}", used / MANY);
    }
}
