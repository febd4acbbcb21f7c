//! Hostile layers to an image: nothing panics, limits hold, and an independent reader can read an image that comes out.
//!
//! The input is up to four layer blobs. Its first byte says how many; each blob is preceded by its
//! length in two bytes. A DiffID that fits is computed for a plain tar, so that mutations get past
//! the hash; compressed blobs reach the decoders and usually end there.

use std::io;

use hpcc_rootfs::flatten::{self, LayerSource, LayerSpec, Layers, Options};
use hpcc_rootfs::layer::{self, Stream};
use ociget::{DiffId, Digest};
use sqfs_writer::DataWriter;

const LAYERS_MAX: u8 = 4;
/// What a run may be asked for, so that the fuzzer tests code and not patience.
const ENTRIES: u64 = 2_000;
const LOGICAL_BYTES: u64 = 1 << 20;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let blobs = split(input);
    let layers: Vec<_> = blobs
        .iter()
        .map(|blob| LayerSpec::new(blob.len() as u64, DiffId(Digest::of(blob))))
        .collect();
    let mut options = Options::default();
    options.limits.entries = ENTRIES;
    options.limits.logical_bytes = LOGICAL_BYTES;
    options.limits.layer_bytes = 4 << 20;

    let mut writer = DataWriter::new(Vec::new(), &sqfs_writer::Options::default()).unwrap();
    let flattened = flatten::flatten(&layers, &mut Blobs(&blobs), &mut writer, &options);
    let Ok(flattened) = flattened else { return };
    assert!(flattened.report.entries <= ENTRIES);
    assert!(flattened.report.logical_bytes <= LOGICAL_BYTES);
    assert_eq!(flattened.proofs.len(), layers.len());
    assert!(
        flattened
            .tree
            .lookup(sqfs_writer::NodeId::ROOT, flatten::RESERVED)
            .unwrap()
            .is_none()
    );

    // A symlink's target may be longer than squashfs can hold; that is an error, not a panic.
    let Ok(sealed) = writer.finish(&flattened.tree) else {
        return;
    };
    let image = [&sealed.superblock[..], &sealed.sink].concat();
    let read = backhand::FilesystemReader::from_reader(io::Cursor::new(image)).unwrap();
    let names = read.files().count();
    let links: u32 = flattened.tree.nodes().map(|(_, node)| node.links()).sum();
    assert_eq!(names, usize::try_from(links).unwrap());
}

fn split(input: &[u8]) -> Vec<&[u8]> {
    let Some((&count, mut rest)) = input.split_first() else {
        return Vec::new();
    };
    let mut blobs = Vec::new();
    for _ in 0..count % (LAYERS_MAX + 1) {
        let Some((length, body)) = rest.split_first_chunk() else {
            break;
        };
        let length = usize::from(u16::from_le_bytes(*length)).min(body.len());
        let (blob, next) = body.split_at(length);
        blobs.push(blob);
        rest = next;
    }
    blobs
}

struct Blobs<'a>(&'a [&'a [u8]]);

impl LayerSource for Blobs<'_> {
    fn open(&mut self, layer: usize, layers: Layers<'_>) -> Result<Stream<'_>, layer::Error> {
        layers.stream(layer, self.0[layer])
    }
}
