//! What the format has no room for is a typed error that names the entry.

use std::io::Cursor;

use sqfs_writer::{
    DataWriter, Device, Error, ImageWriter, Kind, Metadata, NodeId, Tree, TreeError,
};

use crate::expected::{CODEC, options};
use crate::reader::Content;

fn finish(edit: impl FnOnce(&mut ImageWriter<Cursor<Vec<u8>>>)) -> Error {
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options(131_072, CODEC, 1)).unwrap();
    edit(&mut image);
    image.finish().unwrap_err()
}

/// Metadata whose xattrs `listxattr` lists in that many bytes, with a NUL after each name.
fn listed(bytes: usize) -> Metadata {
    (0..bytes / 64).fold(Metadata::new(0o644), |metadata, n| {
        let more = if n == 0 { bytes % 64 } else { 0 };
        let name = format!("user.{n:0width$}", width = 58 + more);
        metadata.with_xattr(name.into_bytes(), *b"")
    })
}

#[test]
fn values_out_of_range_name_their_entry() {
    let metadata = || Metadata::new(0o644);
    let device = |major, minor| Kind::CharDevice(Device { major, minor });
    let long_name = format!("user.{}", "n".repeat(251));
    type Kinds = (
        Kind<sqfs_writer::FileData>,
        Metadata,
        &'static str,
        u64,
        u64,
    );
    let cases: [Kinds; 7] = [
        (
            Kind::Symlink(vec![b'x'; 4096].into()),
            metadata(),
            "symlink target length",
            4096,
            4095,
        ),
        (
            device(0x1000, 0),
            metadata(),
            "device major number",
            0x1000,
            0xFFF,
        ),
        (
            device(0xFFF, 0x10_0000),
            metadata(),
            "device minor number",
            0x10_0000,
            0xF_FFFF,
        ),
        (
            device(0, 0x10_0000),
            metadata(),
            "device minor number",
            0x10_0000,
            0xF_FFFF,
        ),
        (
            Kind::Fifo,
            metadata().with_xattr(*b"user.v", vec![0; 65_537]),
            "xattr value length",
            65_537,
            65_536,
        ),
        (
            Kind::Fifo,
            metadata().with_xattr(long_name.into_bytes(), *b""),
            "xattr name length",
            256,
            255,
        ),
        (
            Kind::Fifo,
            listed(65_537),
            "length of all xattr names",
            65_537,
            65_536,
        ),
    ];
    for (kind, metadata, noun, number, most) in cases {
        let error = finish(|image| {
            image.insert("some/where/\n", metadata, kind).unwrap();
        });
        let Error::Limit {
            what,
            entry,
            value,
            max,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(entry, "/some/where/\\n");
        assert_eq!((what, value, max), (noun, number, most));
    }
}

#[test]
fn largest_values_are_written_and_read_back() {
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options(131_072, CODEC, 1)).unwrap();
    let target = vec![b'x'; 4095];
    let symlink = Kind::Symlink(target.clone().into());
    image.insert("s", Metadata::new(0o777), symlink).unwrap();
    let name = format!("user.{}", "n".repeat(250));
    let value = vec![7; 65_536];
    let metadata = Metadata::new(0o644)
        .with_xattr(name.clone().into_bytes(), *b"")
        .with_xattr(*b"user.v", value.clone());
    image.insert("x", metadata, Kind::Fifo).unwrap();
    image.insert("list", listed(65_536), Kind::Fifo).unwrap();
    let device = Device {
        major: 0xFFF,
        minor: 0xF_FFFF,
    };
    let metadata = Metadata::new(0o600);
    image
        .insert("d", metadata, Kind::CharDevice(device))
        .unwrap();
    let (sink, _) = image.finish().unwrap();

    let image = crate::reader::read(&sink.into_inner());
    let content = |path: &str| &image.entries[path.as_bytes()].content;
    assert_eq!(*content("/s"), Content::Symlink(target));
    assert_eq!(*content("/d"), Content::Char(0xFFFF_FFFF));
    let xattrs = &image.entries[&b"/x"[..]].xattrs;
    assert_eq!(xattrs[name.as_bytes()], b"");
    assert_eq!(xattrs[&b"user.v"[..]], value);
    let xattrs = &image.entries[&b"/list"[..]].xattrs;
    assert_eq!(
        xattrs.keys().map(|name| name.len() + 1).sum::<usize>(),
        65_536
    );
}

#[test]
fn an_empty_symlink_target_names_its_entry() {
    let error = finish(|image| {
        image.symlink("a/b", Metadata::new(0o777), "").unwrap();
    });
    assert_eq!(error.to_string(), "the symlink /a/b has an empty target");
}

#[test]
fn ids_up_to_65535_are_stored_and_65536_fail() {
    for (count, good) in [(65_535u32, true), (65_536, false)] {
        let mut image =
            ImageWriter::new(Cursor::new(Vec::new()), &options(131_072, CODEC, 1)).unwrap();
        for n in 0..count.div_ceil(2) {
            let metadata = Metadata::new(0).with_owner(2 * n, (2 * n + 1).min(count - 1));
            image.insert(format!("{n}"), metadata, Kind::Fifo).unwrap();
        }
        match image.finish() {
            Ok((_, summary)) => assert!(good && u32::from(summary.ids) == count),
            Err(Error::Limit {
                value: 65_536,
                max: 65_535,
                ..
            }) => assert!(!good),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_hundred_thousand_links_and_subdirectories_are_counted() {
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options(131_072, CODEC, 1)).unwrap();
    let file = image.file("f", Metadata::new(0o644), &b"x"[..]).unwrap();
    for n in 0..100_000 {
        image.link(format!("links/{n}"), file).unwrap();
        image
            .directory(format!("dirs/{n}"), Metadata::new(0o755))
            .unwrap();
    }
    let (sink, _) = image.finish().unwrap();
    let image = crate::reader::read(&sink.into_inner());
    assert_eq!(image.entries[&b"/f"[..]].nlink, 100_001);
    assert_eq!(image.entries[&b"/dirs"[..]].nlink, 100_002);
}

#[test]
fn file_of_too_many_blocks_is_refused_before_writing() {
    let mut writer = DataWriter::new(Vec::new(), &options(4096, CODEC, 1)).unwrap();
    let max = 4096 * (u64::from(u32::MAX) >> 1);
    for len in [max + 1, u64::MAX] {
        let mut body = writer.begin();
        assert!(matches!(body.hole(len), Err(Error::Limit { .. })));
    }
    let mut body = writer.begin();
    body.hole(max).unwrap();
    assert!(matches!(body.hole(1), Err(Error::Limit { .. })));
}

#[test]
fn bodies_of_another_writer_are_refused() {
    let options = options(131_072, CODEC, 1);
    let mut other = DataWriter::new(Vec::new(), &options).unwrap();
    let data = other.add(&b"x"[..]).unwrap();
    let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
    // It has a body of the same length in the same place.
    writer.add(&b"y"[..]).unwrap();
    let mut tree = Tree::new(Metadata::new(0o755));
    tree.insert(NodeId::ROOT, b"f", Metadata::new(0), Kind::File(data))
        .unwrap();
    let result = writer.finish(&tree);
    let error = result.err().unwrap();
    assert_eq!(
        error.to_string(),
        "/f: the content of a file was not written by this writer"
    );
}

#[test]
fn nodes_of_another_tree_are_stale() {
    let new = || ImageWriter::new(Cursor::new(Vec::new()), &options(131_072, CODEC, 1)).unwrap();
    let (mut one, mut other) = (new(), new());
    let metadata = || Metadata::new(0o644);
    let foreign = one.file("f", metadata(), &b""[..]).unwrap();
    let own = other.file("f", metadata(), &b""[..]).unwrap();
    assert_ne!(foreign, own);
    let error = other.link("a/l", foreign).unwrap_err();
    assert_eq!(error.to_string(), "a/l: the node is no longer in the tree");
    assert!(other.tree().get(foreign).is_none());
    assert!(other.tree().set_metadata(foreign, metadata()).is_err());
    assert_eq!(other.tree().len(), 2, "nothing was made for the link");
    other.link("l", own).unwrap();
    // Every tree has a root, of the same handle.
    let a = other.directory("a", metadata()).unwrap();
    let parent = other.tree().get(a).and_then(|node| node.as_directory());
    assert_eq!(parent.map(|parent| parent.parent()), Some(NodeId::ROOT));
}

#[test]
fn refused_entry_leaves_neither_parents_nor_content() {
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options(4096, CODEC, 1)).unwrap();
    let content = crate::expected::noise(50_000, 1);
    let file = image.file("a/../b", Metadata::new(0o644), &content[..]);
    assert_eq!(
        file.unwrap_err().to_string(),
        "invalid name \"..\" in a/../b: it has a meaning of its own"
    );
    let file = image.file("a/b", Metadata::new(0o100_644), &content[..]);
    assert_eq!(
        file.unwrap_err().to_string(),
        "a/b: mode has bits above 0o7777"
    );
    assert!(image.directory("c/d", Metadata::new(0o40_755)).is_err());
    assert!(image.link("e/f", NodeId::ROOT).is_err());
    image.symlink("s", Metadata::new(0o777), "x").unwrap();
    for (path, reason) in [
        ("/", "the root directory cannot be replaced or removed"),
        ("s/x", "the parent is not a directory"),
        ("s/new/x", "the parent is not a directory"),
    ] {
        let file = image.file(path, Metadata::new(0o644), &content[..]);
        assert_eq!(file.unwrap_err().to_string(), format!("{path}: {reason}"));
    }
    let (_, summary) = image.finish().unwrap();
    assert_eq!((summary.inodes, summary.body_bytes), (2, 0));
}

#[test]
fn path_of_a_million_directories_is_cut_in_messages() {
    let mut tree = Tree::new(Metadata::new(0o755));
    let mut directory = NodeId::ROOT;
    for _ in 0..1_000_000 {
        let kind = Kind::directory();
        directory = tree
            .insert(directory, b"n", Metadata::new(0o755), kind)
            .unwrap();
    }
    let target = Kind::Symlink(Box::new([]));
    tree.insert(directory, b"last", Metadata::new(0o777), target)
        .unwrap();
    let writer = DataWriter::new(Vec::new(), &options(4096, CODEC, 1)).unwrap();
    let text = writer.finish(&tree).err().unwrap().to_string();
    assert!(
        text.len() < 6000 && text.contains("/n/last has an"),
        "{text}"
    );
    assert!(text.contains("[1995005 characters]"), "{text}");
}

#[test]
fn symlink_target_with_a_nul_byte_names_its_entry() {
    let error = finish(|image| {
        image.symlink("d/s", Metadata::new(0o777), "a\0b").unwrap();
    });
    let expected = "the target of the symlink /d/s holds a NUL byte";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn largest_numbers_of_threads_and_memory_do_not_overflow() {
    let mut options = options(4096, CODEC, 1);
    options.threads = std::num::NonZeroUsize::MAX;
    for memory in [8 << 20, 16 << 20] {
        options.memory = memory;
        let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options).unwrap();
        image
            .file("f", Metadata::new(0o644), &[7; 9000][..])
            .unwrap();
        image.finish().unwrap();
    }
    options.threads = std::num::NonZeroUsize::MIN;
    options.memory = usize::MAX;
    let image = ImageWriter::new(Cursor::new(Vec::new()), &options).unwrap();
    image.finish().unwrap();
}

#[test]
fn debug_shows_names_and_targets_as_text() {
    let metadata = Metadata::new(0o644).with_xattr(*b"user.a", *b"x\n");
    assert!(format!("{metadata:?}").contains(r#"{"user.a": "x\n"}"#));
    let target: Kind<u8> = Kind::Symlink((*b"usr/bin").into());
    assert_eq!(format!("{target:?}"), r#"Symlink("usr/bin")"#);
    let mut tree = Tree::new(Metadata::new(0o755));
    tree.insert(NodeId::ROOT, b"bin", metadata, target).unwrap();
    let root = tree.get(NodeId::ROOT).map(|root| root.kind());
    assert_eq!(format!("{root:?}"), r#"Some(Directory({"bin": 1}))"#);
}

#[test]
fn paths_lead_through_directories_only() {
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options(131_072, CODEC, 1)).unwrap();
    let metadata = || Metadata::new(0o755);
    image.file("f", metadata(), &b""[..]).unwrap();
    let result = image.directory("f/below", metadata());
    let error = result.unwrap_err();
    assert!(matches!(
        error,
        Error::Tree {
            reason: TreeError::NotADirectory,
            ..
        }
    ));
    assert_eq!(error.to_string(), "f/below: the parent is not a directory");
    let linked = image.link("f/linked", NodeId::ROOT).unwrap_err();
    assert!(linked.to_string().starts_with("f/linked: "), "{linked}");
    for path in ["", "/", "//"] {
        let result = image.symlink(path, metadata(), "x");
        let error = result.unwrap_err().to_string();
        let expected = format!("{path}: the root directory cannot be replaced or removed");
        assert_eq!(error, expected);
        assert_eq!(image.directory(path, metadata()).unwrap(), NodeId::ROOT);
    }
    for path in ["a/../b", "./a", ".."] {
        let result = image.directory(path, metadata());
        assert!(matches!(result, Err(Error::Name { .. })), "{path}");
    }
}
