//! Bodies that are replayed from earlier images make the image that their bytes would make.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use sqfs_writer::Bytes;
use sqfs_writer::replay::{Fingerprints, Recipe, Run, Source, StoredFragment};
use sqfs_writer::{
    Compressor, DataWriter, Error, FileData, Fingerprint, Kind, Metadata, NodeId, Options, Tree,
};

use crate::expected::{CODEC, CODECS, noise, options, text};
use crate::tables::decompress;

/// A body of an earlier image.
#[derive(Clone, Debug)]
struct Known {
    fingerprints: Fingerprints,
    blocks: Vec<Run>,
    start: u64,
    tail: u64,
}

impl Known {
    fn recipe(&self) -> Recipe<impl Iterator<Item = Run> + Clone> {
        let blocks = self.blocks.iter().copied();
        Recipe::new(self.fingerprints, blocks, self.start, self.tail)
    }
}

/// Images that were written before. A position has the number of the image above bit 48.
#[derive(Clone, Default)]
struct Earlier {
    images: Vec<Arc<Vec<u8>>>,
    /// Position, length and whether it is raw, of each fragment of each image.
    fragments: Vec<Vec<(u64, u32, bool)>>,
    sequences: HashMap<Fingerprint, (usize, usize)>,
    asked: Arc<Asked>,
}

/// How often a source was asked for something.
#[derive(Default)]
struct Asked {
    blocks: AtomicUsize,
    fragments: AtomicUsize,
    tails: AtomicUsize,
}

impl Earlier {
    fn bytes(&self, at: u64, len: u32) -> Bytes {
        let image = &self.images[(at >> 48) as usize];
        let at = (at & 0xFFFF_FFFF_FFFF) as usize;
        Bytes::copy_from_slice(&image[at..at + len as usize])
    }

    fn fragment_bytes(&self, image: usize, index: usize) -> StoredFragment {
        let (start, len, raw) = self.fragments[image][index];
        let bytes = self.bytes((image as u64) << 48 | start, len);
        StoredFragment::new(bytes, raw)
    }

    /// Returns the counts of blocks, fragments and tails since the last time.
    fn asked(&self) -> [usize; 3] {
        let Asked {
            blocks,
            fragments,
            tails,
        } = &*self.asked;
        [blocks, fragments, tails].map(|count| count.swap(0, Ordering::Relaxed))
    }
}

impl Source for Earlier {
    fn block(&mut self, at: u64, len: u32) -> io::Result<Bytes> {
        self.asked.blocks.fetch_add(1, Ordering::Relaxed);
        Ok(self.bytes(at, len))
    }

    fn fragment(&mut self, tails: &Fingerprint) -> io::Result<Option<StoredFragment>> {
        let found = self.sequences.get(tails);
        let stored = found.map(|&(image, index)| self.fragment_bytes(image, index));
        self.asked
            .fragments
            .fetch_add(usize::from(stored.is_some()), Ordering::Relaxed);
        Ok(stored)
    }

    /// The image is above bit 48, the fragment above bit 24, the offset below.
    fn tail(&mut self, at: u64, len: u32) -> io::Result<Bytes> {
        self.asked.tails.fetch_add(1, Ordering::Relaxed);
        let (image, index) = ((at >> 48) as usize, (at >> 24 & 0xFF_FFFF) as usize);
        let compression = u16::from_le_bytes([self.images[image][20], self.images[image][21]]);
        let stored = self.fragment_bytes(image, index);
        let unpacked = match stored.raw {
            true => stored.bytes.to_vec(),
            false => decompress(compression, &stored.bytes, 1 << 20),
        };
        let offset = (at & 0xFF_FFFF) as usize;
        Ok(Bytes::copy_from_slice(
            &unpacked[offset..offset + len as usize],
        ))
    }
}

/// A tree of files under their numbers.
fn tree(files: &[FileData]) -> Tree<FileData> {
    let mut tree = Tree::new(Metadata::new(0o755));
    for (n, &data) in files.iter().enumerate() {
        let name = n.to_string();
        tree.insert(
            NodeId::ROOT,
            name.as_bytes(),
            Metadata::new(0o644),
            Kind::File(data),
        )
        .unwrap();
    }
    tree
}

/// Writes an image cold, and returns its bytes, what is known of its bodies, and its fragments.
fn cold(bodies: &[Vec<u8>], options: &Options, earlier: &mut Earlier) -> (Vec<u8>, Vec<Known>) {
    let mut writer = DataWriter::new(Vec::new(), options).unwrap();
    writer.keep_places();
    let mut files = Vec::new();
    let mut fingerprints = Vec::new();
    for body in bodies {
        let mut writing = writer.begin();
        writing.append(&body[..]).unwrap();
        let (data, recorded) = writing.finish_recorded().unwrap();
        files.push(data);
        fingerprints.push(recorded);
    }
    let sealed = writer.finish(&tree(&files)).unwrap();
    let image = [&sealed.superblock[..], &sealed.sink].concat();
    let places = sealed.places.unwrap();
    let number = earlier.images.len();
    let mut fragments = Vec::new();
    for fragment in places.fragments() {
        if let Some(tails) = fragment.tails {
            earlier
                .sequences
                .entry(tails)
                .or_insert((number, fragments.len()));
        }
        fragments.push((fragment.start, fragment.len, fragment.raw));
    }
    let known = files
        .iter()
        .zip(fingerprints)
        .filter_map(|(&data, fingerprints)| {
            let place = places.body(data).unwrap();
            let (index, offset) = place.tail.unwrap_or_default();
            let image = (number as u64) << 48;
            Some(Known {
                fingerprints: fingerprints?,
                blocks: place.blocks.collect(),
                start: image | place.start,
                tail: image | u64::from(index) << 24 | u64::from(offset),
            })
        })
        .collect();
    earlier.images.push(Arc::new(image.clone()));
    earlier.fragments.push(fragments);
    (image, known)
}

/// Writes an image of bodies that are replayed where something is known of them.
fn warm(bodies: &[(Vec<u8>, Option<&Known>)], options: &Options, earlier: &Earlier) -> Vec<u8> {
    let mut writer = DataWriter::new(Vec::new(), options).unwrap();
    writer.replay_from(earlier.clone());
    let mut files = Vec::new();
    for (body, known) in bodies {
        files.push(match known {
            Some(known) => writer.replay(&known.recipe()).unwrap(),
            None => writer.add(&body[..]).unwrap(),
        });
    }
    let sealed = writer.finish(&tree(&files)).unwrap();
    [&sealed.superblock[..], &sealed.sink].concat()
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = (0..4u8, 0..40u64, prop_oneof![0..300usize, 4090..4100usize]);
    let pieces = prop::collection::vec(piece, 0..5);
    let whole = pieces.prop_map(|pieces| {
        let pieces = pieces.into_iter().map(|(kind, seed, len)| match kind {
            0 => noise(len, seed),
            1 => text(len, seed),
            2 => vec![0; 4096],
            _ => noise(4096, seed),
        });
        pieces.collect::<Vec<_>>().concat()
    });
    prop_oneof![
        9 => whole,
        // More than is held until the end of a body.
        1 => (0..3u64).prop_map(|seed| noise(300_000, seed)),
    ]
}

/// Which bodies a new image has: one of an earlier image, by its bytes or by its recipe, or a new one.
type Choice = (prop::sample::Index, bool, Option<Vec<u8>>);

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn replayed_and_written_bodies_make_the_same_image(
        first in prop::collection::vec(body(), 1..20),
        second in prop::collection::vec(body(), 0..20),
        choices in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<bool>(), prop::option::weighted(0.2, body())),
            0..60,
        ),
        codec in 0..CODECS.len(),
        tails: bool,
        fragments in prop::bool::weighted(0.9),
        duplicates in prop::bool::weighted(0.9),
        probe: bool,
        small in prop::bool::weighted(0.3),
        threads in 1..4usize,
    ) {
        let mut options = options(4096, CODECS[codec], threads);
        options.tails = tails;
        options.fragments = fragments;
        options.probe = probe;
        let mut earlier = Earlier::default();
        // Of the earlier images everything is remembered, the new one may forget.
        let (_, known) = cold(&first, &options, &mut earlier);
        let (_, more) = cold(&second, &options, &mut earlier);
        prop_assert_eq!((known.len(), more.len()), (first.len(), second.len()));
        let all: Vec<_> = first.into_iter().zip(known).chain(second.into_iter().zip(more)).collect();
        options.duplicates = duplicates;
        if small {
            options.memory = 1 << 20;
        }
        let choices: Vec<Choice> = choices;
        let bodies: Vec<_> = choices
            .iter()
            .map(|(index, replay, new)| match new {
                Some(new) => (new.clone(), None),
                None => {
                    let (body, known) = index.get(&all);
                    (body.clone(), replay.then_some(known))
                }
            })
            .collect();
        let contents: Vec<_> = bodies.iter().map(|(body, _)| body.clone()).collect();
        let (expected, _) = cold(&contents, &options, &mut Earlier::default());
        let found = warm(&bodies, &options, &earlier);
        prop_assert!(found == expected, "the images differ");
    }
}

/// Bodies of every shape, several fragments of them.
fn bodies() -> Vec<Vec<u8>> {
    (0..60)
        .map(|n| match n % 5 {
            0 => noise(1000 + n, n as u64),
            1 => text(3 * 4096 + n, n as u64),
            2 => [noise(4096, n as u64), vec![0; 8192], text(50, n as u64)].concat(),
            3 => text(700, n as u64),
            _ => vec![0; 4096 + n],
        })
        .collect()
}

#[test]
fn an_equal_sequence_of_bodies_fetches_no_tail() {
    let options = options(4096, CODEC, 2);
    let mut earlier = Earlier::default();
    let bodies = bodies();
    let (image, known) = cold(&bodies, &options, &mut earlier);
    let all: Vec<_> = bodies.into_iter().zip(known.iter().map(Some)).collect();
    assert!(warm(&all, &options, &earlier) == image);
    let [blocks, fragments, tails] = earlier.asked();
    assert!(blocks > 0 && fragments > 5, "{blocks} {fragments}");
    assert_eq!(tails, 0);
}

#[test]
fn a_new_body_in_front_costs_tails_of_few_fragments() {
    let options = options(4096, CODEC, 2);
    let mut earlier = Earlier::default();
    // Packings meet again because lengths differ without order, as those of real files do.
    let length = |n| 300 + usize::from(noise(1, n)[0]) * 3;
    let bodies: Vec<_> = (0..400).map(|n| noise(length(n), n)).collect();
    let (_, known) = cold(&bodies, &options, &mut earlier);
    let count = earlier.fragments[0].len();
    let mut all: Vec<_> = bodies.into_iter().zip(known.iter().map(Some)).collect();
    all.insert(0, (noise(900, 9999), None));
    let contents: Vec<_> = all.iter().map(|(body, _)| body.clone()).collect();
    let (expected, _) = cold(&contents, &options, &mut Earlier::default());
    assert!(warm(&all, &options, &earlier) == expected);
    let [_, fragments, _] = earlier.asked();
    assert!(fragments * 10 > count * 7, "{fragments} of {count}");
}

#[test]
fn replay_evicts_the_same_bodies_as_a_cold_write() {
    let mut options = options(4096, CODEC, 2);
    options.memory = 24 << 20;
    let mut earlier = Earlier::default();
    for len in [40, 4100] {
        let count = if len < 4096 { 30_000 } else { 9000 };
        let bodies: Vec<_> = (0..count).map(|seed| noise(len, seed)).collect();
        let (_, known) = cold(&bodies, &options, &mut earlier);
        assert_eq!(known.len(), bodies.len());
        let mut little = options.clone();
        little.memory = 1 << 20;
        // Every third comes as bytes.
        let all: Vec<_> = (0..2 * bodies.len())
            .map(|n| {
                let index = n % bodies.len();
                (bodies[index].clone(), (n % 3 > 0).then(|| &known[index]))
            })
            .collect();
        let contents: Vec<_> = all.iter().map(|(body, _)| body.clone()).collect();
        let mut writer = DataWriter::new(Vec::new(), &little).unwrap();
        for content in &contents {
            writer.add(&content[..]).unwrap();
        }
        let summary = writer.finish(&tree(&[])).unwrap().summary;
        assert!(summary.forgotten > 0, "{len}");
        let (expected, _) = cold(&contents, &little, &mut Earlier::default());
        assert!(warm(&all, &little, &earlier) == expected, "{len}");
    }
}

#[test]
fn a_duplicate_is_not_fetched() {
    let options = options(4096, CODEC, 2);
    let mut earlier = Earlier::default();
    let bodies = [noise(4096, 1), noise(20_000, 2), noise(100, 3)];
    let (_, known) = cold(&bodies, &options, &mut earlier);
    let twice: Vec<_> = (0..6)
        .map(|n| (bodies[n % 3].clone(), Some(&known[n % 3])))
        .collect();
    let contents: Vec<_> = twice.iter().map(|(body, _)| body.clone()).collect();
    let (expected, _) = cold(&contents, &options, &mut Earlier::default());
    assert!(warm(&twice, &options, &earlier) == expected);
    // Whole tails and the ends of longer bodies are in different fragments.
    assert_eq!(earlier.asked(), [5, 2, 0]);
}

#[test]
fn replayed_duplicates_hide_no_dead_bytes() {
    let options = options(4096, CODEC, 2);
    let mut earlier = Earlier::default();
    let bodies = [noise(20_480, 1), noise(20_480, 2)];
    let (_, known) = cold(&bodies, &options, &mut earlier);
    let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
    writer.replay_from(earlier);
    let alive = [0, 0, 0].map(|n| writer.replay(&known[n].recipe()).unwrap());
    writer.replay(&known[1].recipe()).unwrap();
    let summary = writer.finish(&tree(&alive)).unwrap().summary;
    assert_eq!((summary.duplicates, summary.dead_bytes), (2, 20_480));
}

/// Fails, or gives another number of bytes than it was asked for.
struct Faulty {
    earlier: Earlier,
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Fails,
    TooShort,
    TooLong,
}

impl Faulty {
    fn spoil(&self, bytes: Bytes) -> io::Result<Bytes> {
        match self.fault {
            Fault::Fails => Err(io::Error::other("the disk is gone")),
            Fault::TooShort => Ok(bytes.slice(1..)),
            Fault::TooLong => Ok([&bytes[..], &[0; 5000]].concat().into()),
        }
    }
}

impl Source for Faulty {
    fn block(&mut self, at: u64, len: u32) -> io::Result<Bytes> {
        let bytes = self.earlier.block(at, len)?;
        self.spoil(bytes)
    }

    fn fragment(&mut self, tails: &Fingerprint) -> io::Result<Option<StoredFragment>> {
        let stored = self.earlier.fragment(tails)?;
        stored
            .map(|stored| {
                // A fragment that shrank may have any smaller length, so this is about raw ones.
                let bytes = self.spoil(stored.bytes)?;
                Ok(StoredFragment::new(bytes, stored.raw))
            })
            .transpose()
    }

    fn tail(&mut self, at: u64, len: u32) -> io::Result<Bytes> {
        let bytes = self.earlier.tail(at, len)?;
        self.spoil(bytes)
    }
}

#[test]
fn source_that_fails_or_lies_about_lengths_ends_the_image() {
    let options = options(4096, CODEC, 2);
    for content in [noise(4096, 1), noise(4000, 2), noise(9000, 3)] {
        for with_fragments in [true, false] {
            let mut earlier = Earlier::default();
            let (_, known) = cold(std::slice::from_ref(&content), &options, &mut earlier);
            if !with_fragments {
                earlier.sequences.clear();
            }
            for fault in [Fault::Fails, Fault::TooShort, Fault::TooLong] {
                let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
                writer.replay_from(Faulty {
                    earlier: earlier.clone(),
                    fault,
                });
                let outcome = writer
                    .replay(&known[0].recipe())
                    .and_then(|data| writer.finish(&tree(&[data])).map(|_| ()));
                assert!(
                    matches!(outcome, Err(Error::Source(_))),
                    "{} {fault:?}: {outcome:?}",
                    content.len()
                );
            }
        }
    }
}

#[test]
fn replay_without_source_fails_only_if_one_is_needed() {
    let options = options(4096, CODEC, 1);
    let mut earlier = Earlier::default();
    let bodies = [noise(5000, 1), vec![0; 5 * 4096], Vec::new()];
    let (_, known) = cold(&bodies, &options, &mut earlier);
    let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
    let first = writer.add(&bodies[0][..]).unwrap();
    for known in &known {
        writer.replay(&known.recipe()).unwrap();
    }
    drop(writer.finish(&tree(&[first])).unwrap());
    let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
    let outcome = writer.replay(&known[0].recipe());
    assert!(matches!(outcome, Err(Error::Source(_))), "{outcome:?}");
    let outcome = writer.replay(&known[0].recipe());
    assert!(matches!(outcome, Err(Error::Poisoned)), "{outcome:?}");
}

#[test]
fn recipe_of_another_block_size_is_refused_without_harm() {
    let mut earlier = Earlier::default();
    let bodies = [noise(3 * 4096, 1)];
    let (_, known) = cold(&bodies, &options(4096, CODEC, 1), &mut earlier);
    let other = options(8192, CODEC, 1);
    let (expected, _) = cold(&bodies, &other, &mut Earlier::default());
    let mut writer = DataWriter::new(Vec::new(), &other).unwrap();
    writer.replay_from(earlier);
    let outcome = writer.replay(&known[0].recipe());
    assert!(matches!(outcome, Err(Error::Recipe(_))), "{outcome:?}");
    let data = writer.add(&bodies[0][..]).unwrap();
    let sealed = writer.finish(&tree(&[data])).unwrap();
    assert!([&sealed.superblock[..], &sealed.sink].concat() == expected);
}

#[test]
fn a_replay_can_be_cancelled() {
    let options = options(4096, Compressor::None, 1);
    let mut earlier = Earlier::default();
    let bodies = [noise(50 * 4096, 1)];
    let (_, known) = cold(&bodies, &options, &mut earlier);
    let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
    writer.replay_from(earlier.clone());
    let calls = Arc::new(Mutex::new(0));
    writer.cancel_when(move || {
        let mut calls = calls.lock().unwrap();
        *calls += 1;
        *calls > 60
    });
    let outcome = writer.replay(&known[0].recipe());
    assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
    assert!(earlier.asked()[0] < 50);
}
