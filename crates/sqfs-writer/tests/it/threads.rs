//! The same bytes for every number of threads, both doors, and any chunking of the input.

use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use sqfs_writer::{DataWriter, FileData, ImageWriter, Kind, Metadata, NodeId, Options, Tree};

use crate::expected::{CODEC, CODECS, noise, options, text};

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

// trifectatechfoundation/zlib-rs#459, zlib-ng/zlib-ng#2100: a stream depended on what the compressor had held before.
#[cfg(feature = "gzip")]
#[test]
fn threads_do_not_change_small_files_at_any_gzip_level() {
    let files: Vec<Vec<u8>> = (0..600u64)
        .map(|n| {
            let bytes = noise(20 + (n * 37 % 600) as usize, n).into_iter();
            // Few values, so that matches are short and many.
            let byte = |byte: u8| match byte % 6 {
                0 => 0,
                _ if n % 2 == 0 => 0x81,
                _ => b'A' + byte % 3,
            };
            bytes.map(byte).collect()
        })
        .collect();
    let image = |level, threads| {
        let mut options = options(4096, sqfs_writer::Compressor::Gzip { level }, threads);
        options.fragments = false;
        let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options).unwrap();
        for (n, file) in (0..).zip(&files) {
            let metadata = Metadata::new(0o644);
            image.file(name(n), metadata, &file[..]).unwrap();
        }
        image.finish().unwrap().0.into_inner()
    };
    for level in 1..=9 {
        assert!(image(level, 1) == image(level, 3), "level {level}");
    }
}

#[cfg(feature = "zstd")]
/// Real frames, after a delay that has nothing to do with the block: blocks come back in another
/// order every time.
struct Late {
    codec: zstd::bulk::Compressor<'static>,
    clock: std::time::Instant,
}

#[cfg(feature = "zstd")]
impl sqfs_writer::Codec for Late {
    fn name(&self) -> &'static str {
        "late"
    }

    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> std::io::Result<bool> {
        match self.clock.elapsed().subsec_nanos() % 8 {
            0 => std::thread::sleep(std::time::Duration::from_micros(300)),
            1..4 => std::thread::yield_now(),
            _ => {}
        }
        output.clear();
        output.reserve(zstd::zstd_safe::compress_bound(input.len()));
        self.codec.compress_to_buffer(input, output)?;
        Ok(output.len() < input.len())
    }
}

/// Directories, links, xattrs and contents, so that all tables have several blocks.
fn large_tree(writer: &mut DataWriter<impl Write>, chunk: usize) -> Tree<FileData> {
    let mut tree = Tree::new(Metadata::new(0o755));
    let mut linked = None;
    for (n, content) in (0u32..).zip(contents()) {
        let parent = tree
            .insert(
                NodeId::ROOT,
                &name(n),
                Metadata::new(0o755),
                Kind::directory(),
            )
            .unwrap();
        let mut body = writer.begin();
        for chunk in content.chunks(chunk) {
            body.write_all(chunk).unwrap();
        }
        let kind = Kind::File(body.finish().unwrap());
        let metadata = Metadata::new(0o644)
            .with_xattr(*b"user.number", n.to_le_bytes())
            .with_xattr(*b"user.long", noise(100, u64::from(n % 50)));
        for m in 0..40u32 {
            let metadata = metadata.clone().with_owner(n * 40 + m, 0).with_mtime(m * n);
            let id = tree
                .insert(parent, &name(m), metadata, kind.clone())
                .unwrap();
            linked = linked.or(Some(id));
        }
        tree.link(parent, b"linked", linked.unwrap()).unwrap();
    }
    tree
}

#[cfg(feature = "zstd")]
#[test]
fn image_is_independent_of_threads_chunks_and_sink() {
    let clock = std::time::Instant::now();
    let writer = |threads| {
        let options = options(4096, CODEC, threads);
        DataWriter::with_codec(Vec::new(), &options, move || {
            let codec = zstd::bulk::Compressor::new(3)?;
            Ok(Box::new(Late { codec, clock }))
        })
        .unwrap()
    };
    let mut one = writer(1);
    let tree = large_tree(&mut one, usize::MAX);
    let sealed = one.finish(&tree).unwrap();
    let expected = [&sealed.superblock[..], &sealed.sink].concat();
    let image = crate::reader::read(&expected);
    assert_eq!(image.entries.len(), 1 + 360 * 42);
    for (threads, chunk) in [(2, 1000), (3, 1), (8, 4096), (64, 4097), (64, 100_000)] {
        let mut many = writer(threads);
        let tree = large_tree(&mut many, chunk);
        let sealed = many.finish(&tree).unwrap();
        let bytes = [&sealed.superblock[..], &sealed.sink].concat();
        assert!(bytes == expected, "{threads} threads, chunks of {chunk}");
    }
    // The other door, and a sink that can seek.
    let options = options(4096, CODEC, 3);
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options).unwrap();
    *image.tree() = large_tree(image.data(), 777);
    assert!(image.finish().unwrap().0.into_inner() == expected);
}

#[test]
fn progress_goes_forward_and_times_add_up() {
    use std::sync::{Arc, Mutex};
    for threads in [1, 3] {
        let options = options(4096, CODEC, threads);
        let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&seen);
        writer.on_progress(move |progress| listener.lock().unwrap().push(progress));
        let tree = large_tree(&mut writer, 1000);
        let summary = writer.finish(&tree).unwrap().summary;
        let seen = seen.lock().unwrap();
        // More often than once for each fragment: for blocks and tables as well.
        assert!(seen.len() as u64 > 2 * u64::from(summary.fragments));
        for pair in seen.windows(2) {
            assert!(pair[0].body_bytes <= pair[1].body_bytes);
            assert!(pair[0].image_bytes <= pair[1].image_bytes);
            assert!(pair[0].finishing <= pair[1].finishing);
        }
        let last = seen.last().unwrap();
        assert_eq!(last.image_bytes, summary.image_bytes);
        assert_eq!(last.body_bytes, summary.body_bytes);
        assert!(last.finishing && !seen[0].finishing);
        let times = summary.times;
        let mut sum = times.input + times.tables + times.writing + times.waiting;
        if threads == 1 {
            sum += times.compressing.busy;
        }
        assert!(sum <= times.total, "{times:?}");
        assert!(!times.compressing.busy.is_zero(), "{times:?}");
    }
}

#[test]
fn the_chunking_of_the_input_does_not_show() {
    let options = options(4096, CODEC, 2);
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
fn both_writers_give_the_same_bytes_at_any_offset() {
    let options = options(4096, CODEC, 1);
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
    // Nothing is held back then: what is submitted between two blocks of a file lies between them.
    let mut options = options(4096, CODEC, 3);
    options.duplicates = false;
    let bytes = write(&options, |writer, content| writer.add(content).unwrap());
    let image = crate::reader::read(&bytes);
    // The reader has found them where the format says: one behind the other. What is left to
    // check is that bodies come in order, and that fragments have places of their own.
    let mut places: Vec<(u64, u64)> = image.blocks.values().flatten().copied().collect();
    places.sort_unstable();
    assert!(places.len() > 200 && image.fragments > 20);
    for pair in places.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0);
    }
}

#[test]
fn writers_can_move_to_another_thread_with_all_they_have() {
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options(4096, CODEC, 2)).unwrap();
    let metadata = Metadata::new(0o644);
    image
        .file("here", metadata.clone(), &text(9000, 1)[..])
        .unwrap();
    let there = std::thread::spawn(move || {
        image.file("there", metadata, &text(9000, 2)[..]).unwrap();
        image.finish().unwrap()
    });
    let (sink, _) = there.join().unwrap();
    let image = crate::reader::read(&sink.into_inner());
    assert_eq!(image.entries.len(), 3);
}
