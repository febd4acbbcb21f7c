//! The same bytes for every number of threads, both doors, and any chunking of the input.

use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use sqfs_writer::{
    Compressor, DataWriter, FileData, ImageWriter, Kind, Metadata, NodeId, Options, Tree,
};

use crate::expected::{CODECS, noise, options, text};

/// Sizes that make blocks, fragments, holes, raw blocks and duplicates alternate.
fn contents() -> Vec<Vec<u8>> {
    (0..120u64)
        .flat_map(|n| [n, n / 3, n / 2])
        .map(|n| {
            let len = (n * n * 37 % 30_000) as usize;
            match n % 4 {
                0 => noise(len, n),
                1 => [text(len, n), vec![0; 9000], text(100, n)].concat(),
                _ => text(len, n),
            }
        })
        .collect()
}

/// Gives its bytes in pieces of changing sizes.
struct Pieces<'b>(&'b [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
        self.1 = self.1 * 7 % 1009 + 1;
        let len = self.1.min(space.len()).min(self.0.len());
        let (head, rest) = self.0.split_at(len);
        space[..len].copy_from_slice(head);
        self.0 = rest;
        Ok(len)
    }
}

fn write(
    options: &Options,
    mut add: impl FnMut(&mut DataWriter<Vec<u8>>, &[u8]) -> FileData,
) -> Vec<u8> {
    let mut writer = DataWriter::new(Vec::new(), options).unwrap();
    let mut tree = Tree::new(Metadata::new(0o755));
    for (n, content) in (0..).zip(contents()) {
        let data = add(&mut writer, &content);
        tree.insert(
            NodeId::ROOT,
            &name(n),
            Metadata::new(0o644),
            Kind::File(data),
        )
        .unwrap();
    }
    let sealed = writer.finish(&tree).unwrap();
    [&sealed.superblock[..], &sealed.sink].concat()
}

fn name(n: u32) -> Vec<u8> {
    format!("f{n}").into_bytes()
}

#[test]
fn the_number_of_threads_does_not_show() {
    for &compressor in CODECS {
        for block_size in [4096, 16_384] {
            let one = write(&options(block_size, compressor, 1), |writer, content| {
                writer.add(content).unwrap()
            });
            for threads in [2, 3, 8, 64] {
                let many = write(
                    &options(block_size, compressor, threads),
                    |writer, content| writer.add(content).unwrap(),
                );
                assert!(
                    one == many,
                    "{threads} threads, {block_size}, {compressor:?}"
                );
            }
        }
    }
}

#[test]
fn the_chunking_of_the_input_does_not_show() {
    let options = options(4096, Compressor::default(), 2);
    let whole = write(&options, |writer, content| writer.add(content).unwrap());
    let pieces = write(&options, |writer, content| {
        writer.add(Pieces(content, 1)).unwrap()
    });
    assert!(whole == pieces);
    let written = write(&options, |writer, content| {
        let mut body = writer.begin();
        for chunk in content.chunks(1234) {
            body.write_all(chunk).unwrap();
        }
        body.finish().unwrap()
    });
    assert!(whole == written);
}

#[test]
fn both_doors_give_the_same_bytes_and_the_image_may_begin_anywhere() {
    let options = options(4096, Compressor::default(), 1);
    let expected = write(&options, |writer, content| writer.add(content).unwrap());
    for base in [0u64, 1, 5000] {
        let mut sink = Cursor::new(vec![0xAA; base as usize]);
        sink.seek(SeekFrom::End(0)).unwrap();
        let mut image = ImageWriter::new(sink, &options).unwrap();
        for (n, content) in (0..).zip(contents()) {
            image
                .file(name(n), Metadata::new(0o644), &content[..])
                .unwrap();
        }
        let (sink, summary) = image.finish().unwrap();
        assert_eq!(sink.position(), base + summary.image_bytes);
        let bytes = sink.into_inner();
        assert!(bytes[base as usize..] == expected);
        assert!(bytes[..base as usize].iter().all(|&byte| byte == 0xAA));
    }
}

#[test]
fn blocks_of_a_file_follow_each_other() {
    let options = options(4096, Compressor::default(), 3);
    let bytes = write(&options, |writer, content| writer.add(content).unwrap());
    let image = crate::reader::read(&bytes);
    // The reader has found them where the format says: one behind the other. What is left to
    // check is that bodies come in order, and that fragments have places of their own.
    let mut places: Vec<(u64, u64)> = image.blocks.values().flatten().copied().collect();
    places.sort_unstable();
    // Bodies that are equal have all their places in common.
    places.dedup();
    assert!(places.len() > 200 && image.fragments > 20);
    for pair in places.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0);
    }
}
