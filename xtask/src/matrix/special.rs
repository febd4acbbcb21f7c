//! What is special about an image of the matrix.

use std::fmt;

use anyhow::Result;
use sqfs_writer::{Device, Kind, Metadata};
use tree_listing::Samples;

use super::source::{Source, noise, text};

/// A kind of image that readers and writers get wrong in a way of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Every type of inode, and files cut at every edge of a block.
    Types,
    /// Directories whose listings need an index, and names of every length.
    Directories,
    /// Holes at the start, in the middle and at the end of files.
    Holes,
    /// Extended attributes: short, long, many, shared, on inodes of every type.
    Xattrs,
    /// Hard links to inodes of every type that can have them.
    Links,
    /// A file of more than 4 GiB that is nearly all hole.
    Sparse,
    /// Nothing but a root.
    Empty,
    /// Files of whole blocks and tails in blocks of their own, so that there is no fragment table.
    NoFragments,
}

impl Special {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Types,
        Self::Directories,
        Self::Holes,
        Self::Xattrs,
        Self::Links,
        Self::Sparse,
        Self::Empty,
        Self::NoFragments,
    ];

    /// Returns whether tails of files may share fragments.
    pub(super) fn has_fragments(self) -> bool {
        self != Self::NoFragments
    }

    /// Puts into `source` what is special, for blocks of `block` bytes.
    pub(super) fn fill(self, source: &mut Source, block: usize) -> Result<()> {
        match self {
            Self::Types => types(source, block),
            Self::Directories => directories(source),
            Self::Holes => holes(source, block),
            Self::Xattrs => xattrs(source),
            Self::Links => links(source, block),
            Self::Sparse => sparse(source),
            Self::Empty => Ok(()),
            Self::NoFragments => no_fragments(source, block),
        }
    }
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Types => "inode types",
            Self::Directories => "big directories",
            Self::Holes => "holes",
            Self::Xattrs => "xattrs",
            Self::Links => "hard links",
            Self::Sparse => "over 4 GiB",
            Self::Empty => "empty",
            Self::NoFragments => "no fragments",
        })
    }
}

fn plain() -> Metadata {
    Metadata::new(0o644).with_mtime(1_700_000_000)
}

/// Nodes without content, one of each type, with a name for each.
fn nodes() -> [(&'static str, Kind<()>); 5] {
    let device = |major, minor| Device { major, minor };
    [
        ("symlink", Kind::Symlink((*b"../a/target").into())),
        ("char", Kind::CharDevice(device(1, 3))),
        ("block", Kind::BlockDevice(device(259, 70_000))),
        ("fifo", Kind::Fifo),
        ("socket", Kind::Socket),
    ]
}

fn mode_of(kind: &Kind<()>, metadata: Metadata) -> Metadata {
    match kind {
        Kind::Symlink(_) => {
            let mut metadata = metadata;
            metadata.mode = 0o777;
            metadata
        }
        _ => metadata,
    }
}

fn types(source: &mut Source, block: usize) -> Result<()> {
    for (name, kind) in nodes() {
        let metadata = mode_of(&kind, plain().with_owner(70_000, 5));
        source.node(&format!("/{name}"), metadata, kind)?;
    }
    source.node(
        "/whiteout",
        plain(),
        Kind::<()>::CharDevice(Device::default()),
    )?;
    source.directory(
        "/directory",
        Metadata::new(0o7777).with_owner(u32::MAX - 1, 1),
    )?;
    for length in [0, 1, block - 1, block, block + 1, 2 * block + 17] {
        let content = text(length, 7);
        source.file(format!("/directory/text-{length}"), plain(), &content)?;
    }
    for length in [1, block - 1, block + 1] {
        let content = noise(length, 9);
        source.file(format!("/directory/noise-{length}"), plain(), &content)?;
    }
    source.file(
        "/last-second",
        Metadata::new(0).with_mtime(u32::MAX),
        b"2106",
    )
}

fn directories(source: &mut Source) -> Result<()> {
    // Three blocks of 8 KiB, each of which an index leads to.
    for number in 0..300 {
        let name = format!("{number:04}{}", "n".repeat(56));
        source.node(&format!("/indexed/{name}"), plain(), Kind::<()>::Fifo)?;
    }
    // One more than a header stands for.
    for number in 0..257 {
        source.node(&format!("/over/{number}"), plain(), Kind::<()>::Socket)?;
    }
    for parent in ["/indexed", "/over"] {
        source.directory(parent, Metadata::new(0o755).with_mtime(1))?;
    }
    for length in [1, 2, 127, 254, 255] {
        source.file(format!("/{}", "x".repeat(length)), plain(), b"name")?;
    }
    source.file(b"/not\xff\ntext", plain(), b"bytes")?;
    let mut deep = String::new();
    for _ in 0..40 {
        deep.push_str("/down");
        source.directory(&deep, Metadata::new(0o755))?;
    }
    Ok(())
}

fn holes(source: &mut Source, block: usize) -> Result<()> {
    let (full, hole) = (text(block, 1), vec![0; block]);
    for (name, parts) in [
        ("start", [&hole, &hole, &full]),
        ("middle", [&full, &hole, &full]),
        ("end", [&full, &hole, &hole]),
        ("all", [&hole, &hole, &hole]),
    ] {
        let content = parts.map(|part| part.as_slice()).concat();
        source.file(format!("/{name}"), plain(), &content)?;
        let tail: &[u8] = if name == "end" { &[0; 5] } else { b"tail" };
        let content = [content.as_slice(), tail].concat();
        source.file(format!("/{name}-tail"), plain(), &content)?;
    }
    source.file("/short", plain(), &[0; 100])
}

/// `cap_net_raw=ep` as the kernel stores it: it reads back nothing that is not a capability.
const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

fn xattrs(source: &mut Source) -> Result<()> {
    let rich = |metadata: Metadata| {
        metadata
            .with_xattr(*b"security.capability", CAPABILITY)
            .with_xattr(*b"trusted.long", noise(300, 3))
    };
    source.file(
        "/few",
        rich(plain()).with_xattr(*b"user.short", *b"v"),
        b"few",
    )?;
    source.file(
        "/same",
        rich(plain()).with_xattr(*b"user.short", *b"v"),
        b"same",
    )?;
    source.file("/empty", plain().with_xattr(*b"user.empty", *b""), b"")?;
    let largest = plain()
        .with_xattr(*b"user.large", noise(60_000, 5))
        .with_xattr([&b"user."[..], &[b'n'; 250]].concat(), *b"longest name");
    source.file("/large", largest, b"large")?;
    let many = (0_u32..200).fold(plain(), |metadata, number| {
        metadata.with_xattr(format!("user.{number}").into_bytes(), number.to_le_bytes())
    });
    source.file("/many", many, b"many")?;
    source.directory("/directory", rich(Metadata::new(0o700)))?;
    for (name, kind) in nodes() {
        let metadata = mode_of(&kind, rich(plain()));
        source.node(&format!("/directory/{name}"), metadata, kind)?;
    }
    // More sets than one block of the table of sets holds. The kernel hides `user` attributes of what is not a file or a
    // directory (xattr(7)).
    for number in 0_u32..520 {
        let metadata = plain().with_xattr(*b"trusted.n", number.to_le_bytes());
        source.node(&format!("/sets/{number}"), metadata, Kind::<()>::Fifo)?;
    }
    source.directory("/sets", Metadata::new(0o755))
}

fn links(source: &mut Source, block: usize) -> Result<()> {
    for directory in ["/a", "/b", "/b/c"] {
        source.directory(directory, Metadata::new(0o755))?;
    }
    source.file("/a/file", plain(), &text(block + 5, 2))?;
    source.links("/a/file", &["/file".into(), "/b/c/file".into()])?;
    source.file("/b/empty", plain(), b"")?;
    source.links("/b/empty", &["/b/empty2".into()])?;
    source.file("/often", plain(), b"linked")?;
    let names: Vec<_> = (0..100).map(|number| format!("/b/c/{number}")).collect();
    source.links("/often", &names)?;
    for (name, kind) in nodes() {
        let metadata = mode_of(&kind, plain());
        let first = format!("/b/{name}");
        source.node(&first, metadata, kind)?;
        source.links(&first, &[format!("/a/{name}"), format!("/{name}")])?;
    }
    Ok(())
}

fn sparse(source: &mut Source) -> Result<()> {
    let size = (4 << 30) + (300 << 20) + 12_345;
    // At places that are read, one of them across 4 GiB, and the last one in the tail.
    let places = Samples::of(size).starts().enumerate();
    let data: Vec<_> = places
        .filter(|(number, _)| number % 8 == 0 || *number > 15)
        .map(|(number, start)| (start + 20_000, noise(20_000, number as u64)))
        .collect();
    source.sparse("/sparse", plain(), size, &data)?;
    source.file("/behind", plain(), &text(5000, 3))
}

fn no_fragments(source: &mut Source, block: usize) -> Result<()> {
    for length in [0, block, 2 * block + 17] {
        source.file(format!("/text-{length}"), plain(), &text(length, 4))?;
        source.file(format!("/noise-{length}"), plain(), &noise(length, 6))?;
    }
    Ok(())
}
