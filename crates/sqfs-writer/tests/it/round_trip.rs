//! What goes in comes out.

use std::io::Cursor;

use sqfs_writer::{
    Compressor, DataWriter, Device, FileData, ImageWriter, Kind, Metadata, NodeId, Tree,
};

use crate::expected::{Bodies, CODEC, CODECS, noise, options, text};
use crate::reader::Content;

fn tree() -> Tree<FileData> {
    Tree::new(Metadata::new(0o755))
}

fn put(tree: &mut Tree<FileData>, name: &str, kind: Kind<FileData>) -> NodeId {
    let metadata = Metadata::new(0o644).with_mtime(7);
    tree.insert(NodeId::ROOT, name.as_bytes(), metadata, kind)
        .unwrap()
}

#[test]
fn an_empty_image() {
    for &compressor in CODECS {
        let (bytes, _) = Bodies::new(&options(4096, compressor, 1)).check(&tree());
        assert_eq!(bytes.len(), 4096);
    }
}

#[test]
fn every_type_basic_and_extended() {
    let kinds = |bodies: &mut Bodies| {
        let device = Device {
            major: 0xABC,
            minor: 0xD_EF12,
        };
        [
            ("directory", Kind::directory(), 1),
            ("file", Kind::File(bodies.add(b"content")), 2),
            ("symlink", Kind::Symlink((*b"/target").into()), 3),
            ("block", Kind::BlockDevice(device), 4),
            ("char", Kind::CharDevice(Device::default()), 5),
            ("fifo", Kind::Fifo, 6),
            ("socket", Kind::Socket, 7),
        ]
    };
    let mut bodies = Bodies::new(&options(4096, CODEC, 1));
    let mut tree = tree();
    for (name, kind, _) in kinds(&mut bodies) {
        put(&mut tree, name, kind);
    }
    for (name, kind, _) in kinds(&mut bodies) {
        let metadata = Metadata::new(0o7777)
            .with_owner(1, u32::MAX)
            .with_xattr(*b"user.name", name.as_bytes())
            .with_xattr(*b"security.capability", *b"the same for all of them");
        let name = format!("{name}-x");
        tree.insert(NodeId::ROOT, name.as_bytes(), metadata, kind)
            .unwrap();
    }
    let types: Vec<(&str, u16)> = kinds(&mut bodies).map(|(name, _, n)| (name, n)).into();
    let (_, image) = bodies.check(&tree);
    for (name, number) in types {
        assert_eq!(image.inode_types[format!("/{name}").as_bytes()], number);
        let extended = format!("/{name}-x");
        assert_eq!(image.inode_types[extended.as_bytes()], number + 7);
    }
}

#[test]
fn sizes_around_a_block_with_all_settings_for_tails() {
    for &compressor in CODECS {
        for block_size in [4096, 131_072] {
            for (fragments, tails) in [(true, true), (true, false), (false, true), (false, false)] {
                let mut options = options(block_size, compressor, 2);
                (options.fragments, options.tails) = (fragments, tails);
                let mut bodies = Bodies::new(&options);
                let mut tree = tree();
                let bs = block_size as usize;
                for len in [0, 1, bs - 1, bs, bs + 1, 2 * bs, 3 * bs - 1, 3 * bs + 17] {
                    for (kind, content) in [
                        ("zero", vec![0; len]),
                        ("text", text(len, len as u64)),
                        ("noise", noise(len, len as u64)),
                    ] {
                        let data = bodies.add(&content);
                        put(&mut tree, &format!("{kind}-{len}"), Kind::File(data));
                    }
                }
                let (_, image) = bodies.check(&tree);
                assert_eq!(image.fragments > 0, fragments);
            }
        }
    }
}

#[test]
fn equal_short_files_without_fragments_share_one_block() {
    let mut options = options(4096, CODEC, 1);
    options.fragments = false;
    let mut bodies = Bodies::new(&options);
    let mut tree = tree();
    let content = noise(1000, 1);
    for name in ["a", "b"] {
        let data = bodies.add(&content);
        put(&mut tree, name, Kind::File(data));
    }
    let (_, image) = bodies.check(&tree);
    assert_eq!(image.fragments, 0);
    let blocks = &image.blocks[&b"/a"[..]];
    assert_eq!(blocks.len(), 1);
    assert_eq!(blocks, &image.blocks[&b"/b"[..]]);
}

#[cfg(feature = "gzip")]
/// The zlib format at no effort at all, for those who would rather have another library.
struct Stored;

#[cfg(feature = "gzip")]
impl sqfs_writer::Codec for Stored {
    fn name(&self) -> &'static str {
        "stored"
    }

    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> std::io::Result<bool> {
        output.clear();
        let level = if input.len() > 1000 { 1 } else { 0 };
        let level = flate2::Compression::new(level);
        let mut encoder = flate2::write::ZlibEncoder::new(output, level);
        std::io::Write::write_all(&mut encoder, input)?;
        Ok(encoder.finish()?.len() < input.len())
    }
}

#[test]
fn small_files_and_ends_of_longer_ones_have_separate_fragments() {
    let mut bodies = Bodies::new(&options(4096, Compressor::None, 1));
    let mut tree = tree();
    let (small, long) = (
        [noise(70, 1), noise(90, 2)],
        [noise(4196, 3), noise(8202, 4)],
    );
    for (n, content) in [&small[0], &long[0], &small[1], &long[1]]
        .into_iter()
        .enumerate()
    {
        put(&mut tree, &n.to_string(), Kind::File(bodies.add(content)));
    }
    let (bytes, image) = bodies.check(&tree);
    assert_eq!(image.fragments, 2);
    for fragment in [
        small.concat(),
        [&long[0][4096..], &long[1][8192..]].concat(),
    ] {
        let mut places = bytes.windows(fragment.len());
        assert!(places.any(|bytes| bytes == fragment));
    }
}

#[cfg(feature = "gzip")]
#[test]
fn a_codec_of_the_callers_own() {
    let options = options(4096, Compressor::Gzip { level: 9 }, 2);
    let mut writer = DataWriter::with_codec(Vec::new(), &options, || Ok(Box::new(Stored))).unwrap();
    let content = text(10_000, 1);
    let mut tree = tree();
    let data = writer.add(&content[..]).unwrap();
    put(&mut tree, "file", Kind::File(data));
    let sealed = writer.finish(&tree).unwrap();
    assert!(sealed.summary.raw_blocks < sealed.summary.blocks);
    let image = crate::reader::read(&[&sealed.superblock[..], &sealed.sink].concat());
    assert_eq!(image.entries[&b"/file"[..]].content, Content::File(content));
}

#[test]
fn holes_declared_or_found_are_the_same() {
    const BS: u64 = 4096;
    let full = text(BS as usize, 1);
    let cases: [&[Result<&[u8], u64>]; 12] = [
        &[Err(0)],
        &[Err(1)],
        &[Err(BS)],
        &[Err(100 * BS + 1)],
        &[Err(BS), Ok(&full)],
        &[Ok(&full), Err(BS)],
        &[Ok(&full), Err(3 * BS), Ok(&full)],
        &[Ok(b"x"), Err(3 * BS), Ok(b"y")],
        &[Err(BS - 1), Ok(b"x"), Err(2 * BS)],
        &[Ok(&full), Err(1)],
        &[Err(5), Err(BS), Err(BS - 5)],
        &[Ok(&full), Err(2 * BS), Ok(b"tail")],
    ];
    for pieces in cases {
        let mut declared = Bodies::new(&options(BS as u32, CODEC, 1));
        let mut tree = tree();
        let data = declared.add_pieces(pieces);
        put(&mut tree, "sparse", Kind::File(data));
        let (declared, image) = declared.check(&tree);
        let Content::File(content) = &image.entries[&b"/sparse"[..]].content else {
            panic!();
        };
        let mut found = Bodies::new(&options(BS as u32, CODEC, 1));
        let data = found.add(content);
        put(&mut tree, "sparse", Kind::File(data));
        assert_eq!(found.check(&tree).0, declared, "{pieces:?}");
    }
}

#[test]
fn tail_of_zeros_is_a_hole_and_in_no_fragment() {
    for len in [1, 100, 4095, 4096 + 1, 2 * 4096 - 1] {
        let mut writer = DataWriter::new(Vec::new(), &options(4096, CODEC, 1)).unwrap();
        let data = writer.add(&vec![0; len][..]).unwrap();
        let mut tree = tree();
        put(&mut tree, "zeros", Kind::File(data));
        let sealed = writer.finish(&tree).unwrap();
        let summary = &sealed.summary;
        assert_eq!(summary.hole_bytes, len as u64);
        assert_eq!((summary.fragments, summary.data_bytes), (0, 0), "{len}");
        let image = crate::reader::read(&[&sealed.superblock[..], &sealed.sink].concat());
        let content = &image.entries[&b"/zeros"[..]].content;
        assert_eq!(*content, Content::File(vec![0; len]));
    }
}

#[test]
fn sparse_file_of_a_terabyte_takes_neither_space_nor_time() {
    let mut writer = DataWriter::new(Vec::new(), &options(1 << 20, CODEC, 1)).unwrap();
    let mut body = writer.begin();
    body.hole(1 << 40).unwrap();
    std::io::Write::write_all(&mut body, b"end").unwrap();
    let data = body.finish().unwrap();
    let mut tree = tree();
    put(&mut tree, "large", Kind::File(data));
    let sealed = writer.finish(&tree).unwrap();
    assert_eq!(sealed.summary.hole_bytes, 1 << 40);
    // There are a million block words, of which a codec leaves next to nothing.
    let words = if cfg!(feature = "zstd") { 0 } else { 4 << 20 };
    assert!(sealed.summary.image_bytes <= 4 * 4096 + words);
}

#[test]
fn directories_of_many_sizes_and_one_with_an_index() {
    let mut bodies = Bodies::new(&options(4096, CODEC, 1));
    let mut tree = tree();
    let shared = Kind::File(bodies.add(b"shared"));
    for count in [0, 1, 255, 256, 257, 2000, 65_536] {
        let directory = put(&mut tree, &format!("d{count}"), Kind::directory());
        for n in 0..count {
            let name = format!("{n:05}");
            tree.insert(
                directory,
                name.as_bytes(),
                Metadata::new(0o600),
                shared.clone(),
            )
            .unwrap();
        }
    }
    let (_, image) = bodies.check(&tree);
    assert_eq!(image.inode_types[&b"/d257"[..]], 1);
    assert_eq!(image.inode_types[&b"/d2000"[..]], 8);
    assert!(image.index_points > 65_536 * 13 / 8192);
}

/// Every part of an image stored as it is, one at a time and all of them, and the probe.
#[test]
fn parts_that_are_stored_as_they_are() {
    for part in 0..7 {
        let mut options = options(4096, CODEC, 2);
        options.probe = part == 6;
        options.stored.data = part == 0 || part == 5;
        options.stored.fragments = part == 1 || part == 5;
        options.stored.inodes = part == 2 || part == 5;
        options.stored.ids = part == 3 || part == 5;
        options.stored.xattrs = part == 4 || part == 5;
        let mut bodies = Bodies::new(&options);
        let mut tree = tree();
        for n in 0..600u32 {
            let content = text(n as usize * 17, n.into());
            let metadata = Metadata::new(0o600)
                .with_owner(n, 0)
                .with_xattr(*b"user.n", n.to_be_bytes());
            let kind = Kind::File(bodies.add(&content));
            tree.insert(NodeId::ROOT, n.to_string().as_bytes(), metadata, kind)
                .unwrap();
        }
        let (bytes, _) = bodies.check(&tree);
        let flags = u16::from_le_bytes([bytes[24], bytes[25]]) & 0x90B;
        // Without a codec everything is.
        let part = if CODEC == Compressor::None { 5 } else { part };
        let expected = [2, 8, 1, 0x800, 0x100, 0x90B, 0][part];
        assert_eq!(flags & !expected, 0, "{part}");
        assert_eq!(flags & expected, expected, "{part}");
        let table = |at: usize| {
            let start = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
            bytes[start + 1] & 0x80 != 0
        };
        // Inodes and listings are where the superblock says; of the others that is the index.
        assert_eq!(table(64), part == 2 || part == 5, "{part}");
        assert_eq!(table(72), part == 2 || part == 5, "{part}");
    }
}

#[test]
fn names_of_all_bytes_and_lengths() {
    let bodies = Bodies::new(&options(4096, CODEC, 1));
    let mut tree = tree();
    for byte in (1..=255).filter(|byte| !b"./".contains(byte)) {
        for len in [1, 2, 255] {
            let name = vec![byte; len];
            tree.insert(NodeId::ROOT, &name, Metadata::new(0), Kind::Fifo)
                .unwrap();
        }
    }
    bodies.check(&tree);
}

#[test]
fn hard_links_with_numbers_too_far_for_one_header() {
    let bodies = Bodies::new(&options(4096, CODEC, 1));
    let mut tree = tree();
    let first = put(&mut tree, "a", Kind::directory());
    let shared = tree
        .insert(first, b"shared", Metadata::new(0o600), Kind::Fifo)
        .unwrap();
    let many = put(&mut tree, "b", Kind::directory());
    for n in 0..70_000u32 {
        tree.insert(
            many,
            &n.to_be_bytes().map(|byte| byte | 128),
            Metadata::new(0),
            Kind::Fifo,
        )
        .unwrap();
    }
    let last = put(&mut tree, "c", Kind::directory());
    for name in [&b"0"[..], b"m", b"z"] {
        tree.link(last, name, shared).unwrap();
    }
    tree.insert(last, b"n", Metadata::new(0), Kind::Fifo)
        .unwrap();
    let (_, image) = bodies.check(&tree);
    assert_eq!(image.entries[&b"/c/m"[..]].nlink, 4);
}

#[test]
fn a_deep_tree_is_written_without_recursion() {
    let writer = DataWriter::new(Vec::new(), &options(4096, CODEC, 1)).unwrap();
    let mut tree = tree();
    let mut at = NodeId::ROOT;
    for _ in 0..200_000 {
        at = tree
            .insert(at, b"d", Metadata::new(0o755), Kind::directory())
            .unwrap();
    }
    let sealed = writer.finish(&tree).unwrap();
    assert_eq!(sealed.summary.inodes, 200_001);
}

#[test]
fn table_sizes_around_a_metadata_block() {
    // 512 fragments, 2048 ids, 1024 exports, 512 xattr sets fill one block of their tables.
    for count in [511u32, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049] {
        let mut bodies = Bodies::new(&options(4096, CODEC, 1));
        let mut tree = tree();
        for n in 0..count - 1 {
            let content = noise(if count < 520 { 4095 } else { 1 }, n.into());
            let metadata = Metadata::new(0o600)
                .with_owner(n + 1, 0)
                .with_xattr(*b"user.n", n.to_le_bytes());
            let kind = Kind::File(bodies.add(&content));
            tree.insert(
                NodeId::ROOT,
                &n.to_be_bytes().map(|b| b | 128),
                metadata,
                kind,
            )
            .unwrap();
        }
        let (_, image) = bodies.check(&tree);
        if count < 520 {
            assert_eq!(image.fragments, count - 1);
        }
    }
}

#[test]
fn bodies_shared_replaced_and_discarded() {
    let mut writer = DataWriter::new(Vec::new(), &options(4096, CODEC, 2)).unwrap();
    let mut body = writer.begin();
    std::io::Write::write_all(&mut body, &noise(9000, 1)).unwrap();
    drop(body);
    let kept = writer.add(&noise(8192, 2)[..]).unwrap();
    writer.add(&noise(4096, 3)[..]).unwrap();
    let mut tree = tree();
    put(&mut tree, "one", Kind::File(kept));
    put(&mut tree, "two", Kind::File(kept));
    let sealed = writer.finish(&tree).unwrap();
    assert_eq!(sealed.summary.dead_bytes, 4096);
    let image = crate::reader::read(&[&sealed.superblock[..], &sealed.sink].concat());
    for path in [&b"/one"[..], b"/two"] {
        assert_eq!(image.entries[path].content, Content::File(noise(8192, 2)));
        assert_eq!(image.entries[path].nlink, 1);
    }
}

#[test]
fn without_tails_only_short_files_go_into_fragments() {
    for (tails, fragments, stored) in [
        (true, true, [0, 1, 1]),
        (false, true, [0, 1, 2]),
        (false, false, [1, 1, 2]),
    ] {
        let mut options = options(4096, CODEC, 1);
        (options.tails, options.fragments) = (tails, fragments);
        let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options).unwrap();
        for (name, len) in [("a", 4095), ("b", 4096), ("c", 4097)] {
            let content = noise(len, len as u64);
            image
                .file(name, Metadata::new(0o644), &content[..])
                .unwrap();
        }
        let (sink, _) = image.finish().unwrap();
        let image = crate::reader::read(&sink.into_inner());
        for ((name, len), blocks) in [("/a", 4095), ("/b", 4096), ("/c", 4097)]
            .into_iter()
            .zip(stored)
        {
            let case = format!("{tails} {fragments} {name}");
            let found = &image.entries[name.as_bytes()].content;
            assert_eq!(*found, Content::File(noise(len, len as u64)), "{case}");
            let found = image.blocks.get(name.as_bytes()).map_or(0, Vec::len);
            assert_eq!(found, blocks, "{case}");
        }
    }
}
