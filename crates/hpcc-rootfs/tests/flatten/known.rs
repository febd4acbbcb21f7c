//! Layers that an earlier build left: the same image as from their archives, which are then not read.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use hpcc_rootfs::flatten::{
    Body, BodySink, Counts, Error, Flattened, KnownBody, KnownLayer, LayerSource, LayerSpec,
    Layers, Options, Proof, Remembered, Report, flatten,
};
use hpcc_rootfs::layer::{self, Entry, Stream};
use ociget::Digest;
use proptest::prelude::*;
use sqfs_writer::replay::Fingerprints;

use crate::archive::{Item, layer, tar};
use crate::listing::{listing, notation};
use crate::run::{Blobs, Collector, chain, spec};
use crate::stacks::stacks;

/// A layer as an earlier build took it.
#[derive(Clone, Debug)]
struct Memory {
    counts: Counts,
    entries: Vec<(Entry, Option<KnownBody>)>,
    /// Index of the last entry that can be read; the number of entries if only the end is damaged.
    readable: usize,
    spec: LayerSpec,
}

impl Memory {
    fn body(&mut self, path: &str) -> &mut Option<KnownBody> {
        let mut entries = self.entries.iter_mut();
        let found = entries.find(|(entry, _)| entry.path == path.as_bytes());
        &mut found.unwrap().1
    }

    fn remembered(&self) -> Remembered {
        Remembered::new(Digest::of(b"blob"), self.spec.diff_id.clone())
    }
}

/// Reads a [`Memory`] once.
struct Reading {
    memory: Memory,
    next: usize,
}

impl KnownLayer for Reading {
    fn counts(&self) -> Counts {
        self.memory.counts
    }

    fn next(&mut self, entry: &mut Entry) -> io::Result<Option<Option<KnownBody>>> {
        if self.next > self.memory.readable {
            return Err(io::Error::other("damaged"));
        }
        let Some((known, body)) = self.memory.entries.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        entry.clone_from(known);
        Ok(Some(body.clone()))
    }

    fn finish(self: Box<Self>) -> io::Result<Remembered> {
        assert_eq!(self.next, self.memory.entries.len(), "not read to its end");
        match self.memory.readable > self.next {
            true => Ok(self.memory.remembered()),
            false => Err(io::Error::other("damaged end")),
        }
    }
}

/// Bodies in memory, and what an earlier build would leave of each layer. The layers come newest first.
#[derive(Default)]
struct Recorder {
    bodies: Vec<Vec<u8>>,
    layers: Vec<Memory>,
    proofs: Vec<Proof>,
    recovered: Vec<(usize, u64)>,
    /// The layer and the entry of the next body; `None` for the entry that came last.
    next: Option<(usize, u64)>,
    count: usize,
}

impl Recorder {
    /// Remembers that the next body is this one.
    fn record(&mut self, body: KnownBody) {
        let (layer, ordinal) = match self.next.take() {
            Some((layer, ordinal)) => (self.count - 1 - layer, usize::try_from(ordinal).unwrap()),
            None => {
                let layer = self.layers.len() - 1;
                (layer, self.layers[layer].entries.len() - 1)
            }
        };
        self.layers[layer].entries[ordinal].1 = Some(body);
    }
}

struct Recording<'a> {
    recorder: &'a mut Recorder,
    body: Vec<u8>,
}

impl BodySink for Recorder {
    type Handle = Vec<u8>;
    type Error = Infallible;
    type Body<'a> = Recording<'a>;

    fn begin(&mut self, _size: u64) -> Result<Recording<'_>, Infallible> {
        Ok(Recording {
            recorder: self,
            body: Vec::new(),
        })
    }

    fn replay(&mut self, body: &KnownBody) -> Result<Option<Vec<u8>>, Infallible> {
        self.record(body.clone());
        Ok(Some(
            self.bodies[usize::try_from(body.start).unwrap()].clone(),
        ))
    }

    fn begin_layer(&mut self, spec: &LayerSpec) {
        self.layers.push(Memory {
            counts: Counts::default(),
            entries: Vec::new(),
            readable: usize::MAX,
            spec: spec.clone(),
        });
    }

    fn entry(&mut self, entry: &Entry) {
        let layer = self.layers.last_mut().unwrap();
        layer.entries.push((entry.clone(), None));
    }

    fn recovers(&mut self, layer: usize, ordinal: u64) {
        self.recovered.push((layer, ordinal));
        self.next = Some((layer, ordinal));
    }

    fn end_layer(&mut self, counts: Counts, proof: &Proof) {
        self.layers.last_mut().unwrap().counts = counts;
        self.proofs.push(proof.clone());
    }
}

impl Body for Recording<'_> {
    type Handle = Vec<u8>;
    type Error = Infallible;

    fn data(&mut self, bytes: Bytes) -> Result<(), Infallible> {
        self.body.extend(bytes);
        Ok(())
    }

    fn hole(&mut self, length: u64) -> Result<(), Infallible> {
        let length = self.body.len() + usize::try_from(length).unwrap();
        self.body.resize(length, 0);
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, Infallible> {
        let len = self.body.len() as u64;
        let fingerprints = Fingerprints::new(len, None, None);
        let mut known = KnownBody::new(fingerprints, len, Vec::new());
        known.start = self.recorder.bodies.len() as u64;
        self.recorder.record(known);
        self.recorder.bodies.push(self.body.clone());
        Ok(self.body)
    }
}

/// Archives, and for each layer, oldest first, what earlier builds left of it.
struct Source {
    archives: Blobs,
    known: Vec<Vec<Memory>>,
}

impl LayerSource for Source {
    fn open(&mut self, layer: usize, layers: Layers<'_>) -> Result<Stream<'_>, layer::Error> {
        self.archives.open(layer, layers)
    }

    fn known(&mut self, layer: usize, choice: usize) -> Option<Box<dyn KnownLayer>> {
        let memory = self.known.get(layer)?.get(choice)?.clone();
        Some(Box::new(Reading { memory, next: 0 }))
    }
}

/// A build: the image or why there is none, the layers whose archives were read, what was recorded.
struct Build {
    result: Result<Flattened<Vec<u8>>, Error>,
    opened: Vec<usize>,
    recorder: Recorder,
}

impl Build {
    fn report(&self) -> &Report {
        &self.result.as_ref().unwrap().report
    }

    fn tree(&self) -> String {
        notation(&listing(self.result.as_ref().unwrap()))
    }
}

fn build(blobs: &[Vec<u8>], known: Vec<Vec<Memory>>, bodies: Vec<Vec<u8>>) -> Build {
    build_within(&Options::default(), blobs, known, bodies)
}

fn build_within(
    options: &Options,
    blobs: &[Vec<u8>],
    known: Vec<Vec<Memory>>,
    bodies: Vec<Vec<u8>>,
) -> Build {
    let specs: Vec<_> = blobs.iter().map(|blob| spec(blob)).collect();
    let archives = Blobs {
        blobs: blobs.to_vec(),
        opened: Vec::new(),
    };
    let mut source = Source { archives, known };
    let mut recorder = Recorder {
        bodies,
        count: blobs.len(),
        ..Recorder::default()
    };
    let result = flatten(&specs, &mut source, &mut recorder, options);
    recorder.layers.reverse();
    recorder.proofs.reverse();
    Build {
        result,
        opened: source.archives.opened,
        recorder,
    }
}

fn archives(layers: &[&str]) -> Vec<Vec<u8>> {
    layers.iter().map(|text| tar(&layer(text))).collect()
}

/// What a build of these archives leaves: the layers, oldest first, and all bodies.
fn remember(blobs: &[Vec<u8>]) -> (Vec<Memory>, Vec<Vec<u8>>) {
    let recorder = build(blobs, Vec::new(), Vec::new()).recorder;
    (recorder.layers, recorder.bodies)
}

/// The last layers replace, remove and link what the first one has; one file has to be read a second time.
const STACK: [&str; 3] = [
    "d/ d/gone=1 d/kept=22 t=333 n==t s->d .wh..wh.plnk/1=4444 e=",
    "t=new d/.wh.gone m==d/kept other=55555",
    "other=666 x/ x/.wh..wh..opq x/.wh.y/ z=7",
];

#[test]
fn counts_of_layers_add_up_to_those_of_the_image() {
    let blobs = archives(&STACK);
    let build = build(&blobs, Vec::new(), Vec::new());
    assert_eq!(build.recorder.layers.len(), 3);
    let sum = |of: fn(&Counts) -> u64| -> u64 {
        let layers = build.recorder.layers.iter();
        layers.map(|layer| of(&layer.counts)).sum()
    };
    assert_eq!(sum(|counts| counts.entries), build.report().entries);
    let logical = build.report().logical_bytes;
    assert_eq!(sum(|counts| counts.logical_bytes), logical);
    for ((layer, blob), text) in build.recorder.layers.iter().zip(&blobs).zip(STACK) {
        let entries = text.split(' ').count() as u64;
        assert_eq!(layer.counts.entries, entries, "{text}");
        assert_eq!(layer.counts.unpacked_bytes, blob.len() as u64, "{text}");
    }
}

#[test]
fn known_layers_make_the_same_image_without_their_archives() {
    let blobs = archives(&STACK);
    let first = build(&blobs, Vec::new(), Vec::new());
    assert_eq!(first.report().layers_read_again, [0]);
    assert_eq!(first.recorder.recovered, [(0, 3)]);
    let known: Vec<_> = first
        .recorder
        .layers
        .iter()
        .cloned()
        .map(|l| vec![l])
        .collect();
    let second = build(&blobs, known, first.recorder.bodies.clone());
    assert_eq!(second.opened, [0; 0]);
    assert_eq!(second.tree(), first.tree());
    let mut expected = first.report().clone();
    expected.layers_read_again.clear();
    assert_eq!(*second.report(), expected);
    // It leaves what it found, so that a third build finds that as well.
    assert_eq!(second.recorder.recovered, first.recorder.recovered);
    for (again, layer) in second.recorder.layers.iter().zip(&first.recorder.layers) {
        assert_eq!(again.entries, layer.entries);
        assert_eq!(again.counts, layer.counts);
    }
    let remembered: Vec<_> = first
        .recorder
        .layers
        .iter()
        .map(Memory::remembered)
        .collect();
    let proofs: Vec<_> = remembered.into_iter().map(Proof::Remembered).collect();
    assert_eq!(second.recorder.proofs, proofs);
    assert_eq!(second.result.unwrap().proofs, proofs);
}

#[test]
fn layers_without_a_needed_body_are_read_from_their_archives() {
    let blobs = archives(&STACK);
    let (layers, bodies) = remember(&blobs);
    for (index, path, opened) in [
        (0, "d/kept", &[0][..]),
        (0, ".wh..wh.plnk/1", &[0]),
        (0, "e", &[0]),
        (1, "t", &[1]),
        (2, "z", &[2]),
        // Replaced or removed by a newer layer.
        (0, "d/gone", &[]),
        (1, "other", &[]),
        // Only found to be needed once all layers are read.
        (0, "t", &[0]),
    ] {
        let mut known: Vec<_> = layers.iter().cloned().map(|layer| vec![layer]).collect();
        *known[index][0].body(path) = None;
        let one = build(&blobs, known.clone(), bodies.clone());
        assert_eq!(one.opened, opened, "{index} {path}");
        // Another build left that body.
        known[index].push(layers[index].clone());
        let two = build(&blobs, known, bodies.clone());
        assert_eq!(two.opened, [0; 0], "{index} {path}");
        assert_eq!(two.tree(), one.tree(), "{index} {path}");
    }
}

#[test]
fn damaged_memories_of_layers_are_passed_over() {
    let blobs = archives(&STACK);
    let (layers, bodies) = remember(&blobs);
    let whole: Vec<_> = layers.iter().cloned().map(|layer| vec![layer]).collect();
    let expected = build(&blobs, Vec::new(), Vec::new()).tree();
    for index in 0..layers.len() {
        for readable in 0..=layers[index].entries.len() {
            let mut known = whole.clone();
            known[index][0].readable = readable;
            let built = build(&blobs, known, bodies.clone());
            assert!(built.opened.starts_with(&[index]), "{index} {readable}");
            assert_eq!(built.tree(), expected, "{index} {readable}");
        }
    }
}

#[test]
fn known_layers_count_against_the_limits_of_the_image() {
    let blobs = archives(&STACK);
    let (layers, bodies) = remember(&blobs);
    let known: Vec<_> = layers.iter().cloned().map(|layer| vec![layer]).collect();
    let counts = layers.iter().map(|layer| layer.counts);
    let entries = counts.clone().map(|counts| counts.entries).sum::<u64>();
    let logical = counts
        .clone()
        .map(|counts| counts.logical_bytes)
        .sum::<u64>();
    let unpacked = counts.map(|counts| counts.unpacked_bytes).sum::<u64>();
    let mut exact = Options::default();
    exact.limits.entries = entries;
    exact.limits.logical_bytes = logical;
    exact.limits.unpacked_bytes = unpacked;
    let built = build_within(&exact, &blobs, known.clone(), bodies.clone());
    assert_eq!(built.opened, [0; 0]);
    let less: [fn(&mut Options); 3] = [
        |options| options.limits.entries -= 1,
        |options| options.limits.logical_bytes -= 1,
        |options| options.limits.unpacked_bytes -= 1,
    ];
    for less in less {
        let mut options = exact.clone();
        less(&mut options);
        let built = build_within(&options, &blobs, known.clone(), bodies.clone());
        // The oldest one no longer fits, so its archive has to say what is wrong.
        assert_eq!(built.opened, [0]);
        let error = chain(&built.result.unwrap_err());
        assert!(
            error.contains("layer 1") && error.contains("limit"),
            "{error}"
        );
    }
    // Memory is charged as for an archive.
    let charged = built.report().metadata_bytes;
    let mut options = exact;
    options.limits.metadata_bytes = charged;
    let built = build_within(&options, &blobs, known.clone(), bodies.clone());
    assert_eq!(built.report().metadata_bytes, charged);
    options.limits.metadata_bytes = charged - 1;
    let built = build_within(&options, &blobs, known, bodies);
    let error = chain(&built.result.unwrap_err());
    assert!(error.contains("Limits::metadata_bytes"), "{error}");
}

#[test]
fn a_sink_of_bytes_alone_takes_no_known_layer() {
    let blobs = archives(&["f=1"]);
    let (layers, _) = remember(&blobs);
    let specs: Vec<_> = blobs.iter().map(|blob| spec(blob)).collect();
    let archives = Blobs {
        blobs,
        opened: Vec::new(),
    };
    let known = vec![layers];
    let mut source = Source { archives, known };
    let mut bodies = Collector { written: 0 };
    let result = flatten(&specs, &mut source, &mut bodies, &Options::default());
    assert!(matches!(result, Err(Error::Lost { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_image_is_the_same_from_known_layers(layers in stacks(), known in any::<[bool; 4]>()) {
        let blobs: Vec<_> = layers.iter().map(|items: &Vec<Item>| tar(items)).collect();
        let first = build(&blobs, Vec::new(), Vec::new());
        if first.result.is_err() {
            return Ok(());
        }
        let (memories, bodies) = (first.recorder.layers.clone(), first.recorder.bodies.clone());
        let chosen = memories.into_iter().zip(known);
        let chosen = chosen.map(|(layer, known)| if known { vec![layer] } else { Vec::new() });
        let second = build(&blobs, chosen.collect(), bodies);
        prop_assert!(second.opened.iter().all(|layer| !known[*layer]));
        prop_assert_eq!(listing(&second.result.unwrap()), listing(&first.result.unwrap()));
    }
}
