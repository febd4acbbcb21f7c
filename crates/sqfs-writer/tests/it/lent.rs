//! Bodies whose bytes are lent instead of copied.

use std::io::Write;
use std::sync::Arc;

use proptest::prelude::*;
use sqfs_writer::Bytes;
use sqfs_writer::{Body, DataWriter, Kind, Metadata, NodeId, Tree};

use crate::expected::{Bodies, CODEC, noise, options, text};

/// The smallest that are lent.
const BLOCK: usize = 128 << 10;

/// Memory that says whether anybody has any of it.
struct Lent {
    bytes: Vec<u8>,
    #[expect(dead_code, reason = "it is there to be dropped")]
    held: Arc<()>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[test]
fn shared_bytes_are_released() {
    for threads in [1, 3] {
        let options = options(BLOCK as u32, CODEC, threads);
        let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
        let held = Arc::new(());
        let lend = |bytes| {
            Bytes::from_owner(Lent {
                bytes,
                held: Arc::clone(&held),
            })
        };
        for len in [0, 1, BLOCK - 1, BLOCK, 9 * BLOCK + 1] {
            for content in [vec![0; len], text(len, 1), noise(len, 1)] {
                // Finished; given up; and once more, which is a duplicate.
                for finishes in [true, false, true] {
                    let mut body = writer.begin();
                    body.append_bytes(lend(content.clone())).unwrap();
                    if finishes {
                        body.finish().unwrap();
                        if threads == 1 {
                            assert_eq!(Arc::strong_count(&held), 1, "{len}");
                        }
                    }
                }
            }
        }
        let _image = writer.finish(&Tree::new(Metadata::new(0o755))).unwrap();
        assert_eq!(Arc::strong_count(&held), 1, "{threads}");
    }
}

#[test]
fn no_more_is_kept_than_blocks_are_on_their_way() {
    let options = options(BLOCK as u32, CODEC, 2);
    let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
    let held = Arc::new(());
    let mut most = 0;
    for seed in 0..30 {
        let mut body = writer.begin();
        for _ in 0..10 {
            // Each keeps as much again, and is kept until it is written, as it does not shrink.
            let bytes = Bytes::from_owner(Lent {
                bytes: noise(2 * BLOCK, seed),
                held: Arc::clone(&held),
            });
            body.append_bytes(bytes.slice(..BLOCK)).unwrap();
            drop(bytes);
            most = most.max(Arc::strong_count(&held) - 1);
        }
        body.finish().unwrap();
    }
    // Sixteen for each thread, one that is submitted before the oldest is waited for, and the body's last one.
    assert!((3..=34).contains(&most), "{most}");
}

/// What codecs see of it, where there are any.
#[cfg(any(feature = "gzip", feature = "zstd", feature = "xz", feature = "lz4"))]
mod compressed {
    use std::io;
    use std::sync::Mutex;

    use sqfs_writer::Codec;

    use super::*;

    /// Makes next to nothing of everything.
    struct Shrinking;

    impl Codec for Shrinking {
        fn name(&self) -> &'static str {
            "shrinking"
        }

        fn compress(&mut self, _input: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
            output.clear();
            output.push(0);
            Ok(true)
        }
    }

    /// Notes where what it is given lies.
    struct Noting(Arc<Mutex<Vec<usize>>>);

    impl Codec for Noting {
        fn name(&self) -> &'static str {
            "noting"
        }

        fn compress(&mut self, input: &[u8], _output: &mut Vec<u8>) -> io::Result<bool> {
            self.0.lock().unwrap().push(input.as_ptr().addr());
            Ok(false)
        }
    }

    #[test]
    fn whole_shared_block_is_compressed_in_place() {
        // Small ones are not: what lies behind them may be large.
        for (block, where_they_are) in [(BLOCK, true), (4096, false)] {
            let seen = Arc::default();
            let codec = Arc::clone(&seen);
            let make =
                move || -> io::Result<Box<dyn Codec>> { Ok(Box::new(Noting(Arc::clone(&codec)))) };
            let options = options(block as u32, CODEC, 1);
            let mut writer = DataWriter::with_codec(Vec::new(), &options, make).unwrap();
            let content = Bytes::from(noise(3 * block + 100, 1));
            let mut body = writer.begin();
            // A whole one, one in two pieces, another whole one, and a tail.
            body.append_bytes(content.slice(..block + 10)).unwrap();
            body.append_bytes(content.slice(block + 10..)).unwrap();
            body.finish().unwrap();
            let start = content.as_ptr().addr();
            let blocks = [0, block, 2 * block].map(|at| start + at);
            let seen = seen.lock().unwrap();
            let lent: Vec<bool> = blocks.iter().map(|at| seen.contains(at)).collect();
            assert_eq!(seen.len(), 3);
            assert_eq!(lent, [where_they_are, false, where_they_are]);
        }
    }

    #[test]
    fn shared_bytes_are_released_after_compression() {
        for threads in [1, 3] {
            let make = || -> io::Result<Box<dyn Codec>> { Ok(Box::new(Shrinking)) };
            let options = options(BLOCK as u32, CODEC, threads);
            let mut writer = DataWriter::with_codec(Vec::new(), &options, make).unwrap();
            let held = Arc::new(());
            let mut body = writer.begin();
            body.append_bytes(Bytes::from_owner(Lent {
                bytes: text(3 * BLOCK, 9),
                held: Arc::clone(&held),
            }))
            .unwrap();
            body.finish().unwrap();
            // No call of the writer happens meanwhile.
            while Arc::strong_count(&held) > 1 {
                assert!(threads > 1);
                std::thread::yield_now();
            }
        }
    }
}

/// A door into a body.
#[derive(Clone, Copy, Debug)]
enum Door {
    Append,
    Write,
    Lend,
    /// Zeros instead of the bytes.
    Hole,
}

fn put(body: &mut Body<'_, Vec<u8>>, door: Door, bytes: &[u8]) {
    match door {
        Door::Append => assert_eq!(body.append(bytes).unwrap(), bytes.len() as u64),
        Door::Write => body.write_all(bytes).unwrap(),
        Door::Lend => body.append_bytes(Bytes::copy_from_slice(bytes)).unwrap(),
        Door::Hole => body.hole(bytes.len() as u64).unwrap(),
    }
}

/// Of blocks of that many bytes.
fn pieces(block: usize) -> impl Strategy<Value = Vec<(Door, usize)>> {
    let door = prop_oneof![
        1 => Just(Door::Append),
        1 => Just(Door::Write),
        4 => Just(Door::Lend),
        1 => Just(Door::Hole),
    ];
    let len = prop_oneof![
        0..5usize,
        block - 2..block + 3,
        0..block,
        Just(2 * block),
        0..4 * block
    ];
    prop::collection::vec((door, len), 0..8)
}

/// Bodies in pieces, whether each is finished, and a seed of its content.
type Written = Vec<(Vec<(Door, usize)>, bool, u64)>;

fn bodies() -> impl Strategy<Value = (usize, Written)> {
    let of = |block, most| {
        let body = (pieces(block), any::<bool>(), 0..3u64);
        (Just(block), prop::collection::vec(body, 1..most))
    };
    prop_oneof![3 => of(4096, 8), 1 => of(BLOCK, 4)]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_door_gives_the_same_image(
        (block, bodies) in bodies(),
        threads in 1..4usize,
        tails: bool,
    ) {
        let mut options = options(block as u32, CODEC, threads);
        options.tails = tails;
        let [mut tree, mut other] = [(); 2].map(|()| Tree::new(Metadata::new(0o755)));
        let mut whole = Bodies::new(&options);
        let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
        for (n, (pieces, finishes, seed)) in (0..).zip(bodies) {
            let mut content = Vec::new();
            let mut body = writer.begin();
            for (door, len) in pieces {
                let piece = match door {
                    Door::Hole => vec![0; len],
                    _ => text(len, seed),
                };
                put(&mut body, door, &piece);
                content.extend(piece);
            }
            if !finishes {
                drop(body);
                let mut body = whole.begin();
                body.write_all(&content).unwrap();
                drop(body);
                continue;
            }
            let name = format!("{n}").into_bytes();
            let metadata = Metadata::new(0o644);
            let data = Kind::File(body.finish().unwrap());
            other.insert(NodeId::ROOT, &name, metadata.clone(), data).unwrap();
            let data = Kind::File(whole.add(&content));
            tree.insert(NodeId::ROOT, &name, metadata, data).unwrap();
        }
        let (bytes, _) = whole.check(&tree);
        let sealed = writer.finish(&other).unwrap();
        prop_assert!(bytes == [&sealed.superblock[..], &sealed.sink].concat());
    }
}
