//! Any stack of layers to a squashfs image, which another implementation reads back and the naive model predicts.
//!
//! The first two bytes choose how layers and image are compressed; the rest is a stack, as for `flatten_model`.

use std::io::{self, Read as _, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;

use backhand::{FilesystemReader, InnerNode};
use flate2::write::GzEncoder;
use hpcc_rootfs::flatten::{LayerSource, LayerSpec, Layers, Options, flatten};
use hpcc_rootfs::layer::{self, Stream};
use ociget::{DiffId, Digest};
use sqfs_writer::{Compressor, DataWriter};

use crate::archive::{Item, What, tar};
use crate::listing::Listing;
use crate::{fuzzed, repair, run};

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let [first, second, stack @ ..] = input else {
        return;
    };
    let mut layers = fuzzed::stack(stack);
    for item in layers.iter_mut().flatten() {
        grow(item);
    }
    let model = match repair::repair(&mut layers) {
        Ok(model) => model,
        Err(difference) => panic!("{difference}\n{layers:#?}"),
    };
    let expected = model.listing();
    let image = image(&layers, *first, *second);
    compare(image, &expected);
}

/// Turns some short files into ones of several blocks, and some into holes.
fn grow(item: &mut Item) {
    let What::File(text) = &mut item.what else {
        return;
    };
    match text.parse::<u8>() {
        Ok(number @ 192..) => *text = text.repeat((usize::from(number) - 191) * 97),
        Ok(number @ 128..192) => *text = "\0".repeat((usize::from(number) - 127) * 311),
        _ => {}
    }
}

fn image(layers: &[Vec<Item>], first: u8, second: u8) -> Vec<u8> {
    let tars: Vec<Vec<u8>> = layers.iter().map(|items| tar(items)).collect();
    let blobs: Vec<Vec<u8>> = tars
        .iter()
        .zip(
            [first, first >> 2, first >> 4, first >> 6]
                .into_iter()
                .cycle(),
        )
        .map(|(tar, way)| compressed(tar, way))
        .collect();
    let specs: Vec<LayerSpec> = tars
        .iter()
        .zip(&blobs)
        .map(|(tar, blob)| LayerSpec::new(blob.len() as u64, DiffId(Digest::of(tar))))
        .collect();
    let mut writer = DataWriter::new(Vec::new(), &options(second)).unwrap();
    let flattened = flatten(&specs, &mut Blobs(&blobs), &mut writer, &Options::default());
    let flattened = match flattened {
        Ok(flattened) => flattened,
        Err(error) => panic!("refused: {}\n{layers:#?}", run::chain(&error)),
    };
    let sealed = writer.finish(&flattened.tree).unwrap();
    [&sealed.superblock[..], &sealed.sink].concat()
}

fn compressed(tar: &[u8], way: u8) -> Vec<u8> {
    match way & 3 {
        0 | 1 => tar.to_vec(),
        2 => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        }
        _ => zstd::encode_all(tar, 1).unwrap(),
    }
}

fn options(second: u8) -> sqfs_writer::Options {
    let mut options = sqfs_writer::Options::default();
    options.block_size = 4096 << (second % 4);
    options.compressor = match second >> 2 & 3 {
        0 => Compressor::Gzip { level: 1 },
        1 => Compressor::None,
        _ => Compressor::Zstd { level: 1 },
    };
    options.threads = NonZeroUsize::new(usize::from(second >> 4 & 1) + 1).unwrap();
    options.tails = second & 0x20 != 0;
    options.duplicates = second & 0x40 != 0;
    options.exportable = second & 0x80 != 0;
    options.memory = 4 << 20;
    options
}

/// Compares all that the reader sees: it knows neither link counts nor xattrs.
fn compare(image: Vec<u8>, expected: &Listing) {
    let reader = FilesystemReader::from_reader(io::Cursor::new(image)).unwrap();
    let mut names = 0;
    for node in reader.files() {
        names += 1;
        let path = node.fullpath.as_os_str().as_bytes();
        let path = str::from_utf8(path).unwrap().trim_start_matches('/');
        let line = expected
            .get(path)
            .unwrap_or_else(|| panic!("{path:?} is extra"));
        let what = match &node.inner {
            InnerNode::Dir(_) => "/".to_owned(),
            InnerNode::File(file) => {
                let mut body = String::from("=");
                let mut contents = reader.file(file).reader();
                contents.read_to_string(&mut body).unwrap();
                body
            }
            InnerNode::Symlink(symlink) => format!("->{}", symlink.link.display()),
            InnerNode::NamedPipe => "fifo".to_owned(),
            other => panic!("{path:?} is {other:?}"),
        };
        assert!(
            what == line.what,
            "{path:?} is {what:?}, not {:?}",
            line.what
        );
        let header = &node.header;
        assert_eq!(
            (
                header.permissions & 0o7777,
                header.uid,
                header.gid,
                header.mtime
            ),
            (line.mode, line.uid, line.gid, line.mtime),
            "{path:?}"
        );
    }
    assert_eq!(names, expected.len(), "names are missing");
}

struct Blobs<'a>(&'a [Vec<u8>]);

impl LayerSource for Blobs<'_> {
    fn open(&mut self, layer: usize, layers: Layers<'_>) -> Result<Stream<'_>, layer::Error> {
        layers.stream(layer, self.0[layer].as_slice())
    }
}
