//! Arbitrary calls of the writer: nothing panics, and an independent reader reads back an image that comes out, every
//! file as it went in.
//!
//! The input is a program: its first two bytes choose the options, then one call after the other,
//! two bytes each and what they ask for.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;

use backhand::{FilesystemReader, InnerNode};
use bytes::Bytes;
use sqfs_writer::{
    Compressor, DataWriter, Device, FileData, Kind, Metadata, NodeId, Options, Tree,
};

/// What a run may be asked for, so that the fuzzer tests code and not patience.
const CALLS: usize = 300;
const LOGICAL_BYTES: usize = 4 << 20;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let [first, second, program @ ..] = input else {
        return;
    };
    let mut writer = DataWriter::new(Vec::new(), &options(*first, *second)).unwrap();
    let mut tree = Tree::new(Metadata::new(0o755));
    let mut contents: HashMap<FileData, Vec<u8>> = HashMap::new();
    let mut nodes = vec![NodeId::ROOT];
    let mut logical = 0;
    for call in program.chunks_exact(4).take(CALLS) {
        let &[what, place, name, value] = call else {
            return;
        };
        let parent = nodes[usize::from(place) % nodes.len()];
        let name = vec![name; usize::from(name) % 3 + 1];
        let kind = match what % 8 {
            0 | 1 => {
                let content = content(what, value);
                logical += content.len();
                if logical > LOGICAL_BYTES {
                    break;
                }
                let mut body = writer.begin();
                let lends = what & 0x08 != 0;
                let half = &content[..content.len() / 2];
                if lends {
                    body.append_bytes(Bytes::copy_from_slice(half)).unwrap();
                } else {
                    body.write_all(half).unwrap();
                }
                if what & 0x80 != 0 {
                    // Dropped half-way: nothing of it may be seen.
                    continue;
                }
                let rest = &content[content.len() / 2..];
                if what & 0x20 != 0 && rest.iter().all(|&byte| byte == 0) {
                    body.hole(rest.len() as u64).unwrap();
                } else if lends {
                    body.append_bytes(Bytes::copy_from_slice(rest)).unwrap();
                } else {
                    body.append(rest).unwrap();
                }
                let data = body.finish().unwrap();
                let known = contents.entry(data).or_insert_with(|| content.clone());
                assert!(*known == content, "two bodies with one handle");
                Kind::File(data)
            }
            2 => Kind::directory(),
            3 => Kind::Symlink(vec![b'x'; usize::from(value)].into()),
            4 => Kind::CharDevice(Device {
                major: u32::from(value) << 4,
                minor: u32::from(value) << 12,
            }),
            5 => {
                let target = nodes[usize::from(value) % nodes.len()];
                let _ = tree.link(parent, &name, target);
                continue;
            }
            6 => {
                let _ = tree.remove(parent, &name);
                continue;
            }
            _ => Kind::Fifo,
        };
        let mut metadata = Metadata::new(u16::from(value) << 4).with_owner(value.into(), 0);
        if value & 1 != 0 {
            metadata = metadata.with_xattr(*b"user.value", vec![value; usize::from(what)]);
        }
        if let Ok(id) = tree.insert(parent, &name, metadata, kind) {
            nodes.push(id);
        }
    }
    // A symlink may be empty: an error, not a panic.
    let Ok(sealed) = writer.finish(&tree) else {
        return;
    };
    let image = [&sealed.superblock[..], &sealed.sink].concat();
    let reader = FilesystemReader::from_reader(io::Cursor::new(image)).unwrap();
    let mut names = 0;
    for node in reader.files() {
        names += 1;
        if let InnerNode::File(file) = &node.inner {
            let mut found = Vec::new();
            reader.file(file).reader().read_to_end(&mut found).unwrap();
            let expected = &contents[&lookup(&tree, &node.fullpath)];
            assert!(found == *expected, "{}", node.fullpath.display());
        }
    }
    let links: u32 = tree.nodes().map(|(_, node)| node.links()).sum();
    assert_eq!(names, usize::try_from(links).unwrap());
}

fn options(first: u8, second: u8) -> Options {
    let mut options = Options::default();
    options.block_size = 4096 << (first % 3);
    options.compressor = match first >> 2 & 3 {
        0 => Compressor::Gzip { level: 1 },
        1 => Compressor::None,
        _ => Compressor::Zstd { level: 1 },
    };
    options.threads = NonZeroUsize::new(usize::from(second % 3) + 1).unwrap();
    options.tails = second & 0x10 != 0;
    options.duplicates = second & 0x20 != 0;
    options.exportable = second & 0x40 != 0;
    if second & 0x80 != 0 {
        options.memory = 1 << 20;
    }
    options.stored.data = first & 0x10 != 0;
    options.stored.fragments = first & 0x20 != 0;
    options.stored.inodes = first & 0x40 != 0;
    options.stored.xattrs = first & 0x80 != 0;
    options.probe = second & 0x08 != 0;
    options
}

/// Lengths around blocks; zeros, text, or something in between; few values, so that some are equal.
fn content(what: u8, value: u8) -> Vec<u8> {
    let len = usize::from(value >> 2) * 1024 + usize::from(value & 3);
    let mut content = vec![what >> 4 & 3; len.saturating_sub(1)];
    if what & 0x40 != 0 {
        for (n, byte) in (0usize..).zip(&mut content) {
            *byte = n.wrapping_mul(n).wrapping_mul(0x9E37).to_le_bytes()[1];
        }
    }
    content
}

fn lookup(tree: &Tree<FileData>, path: &std::path::Path) -> FileData {
    use std::os::unix::ffi::OsStrExt;
    let mut at = NodeId::ROOT;
    for name in path.as_os_str().as_bytes().split(|&byte| byte == b'/') {
        if !name.is_empty() {
            at = tree.lookup(at, name).unwrap().unwrap();
        }
    }
    match tree.get(at).unwrap().kind() {
        Kind::File(data) => *data,
        _ => unreachable!("the reader found a file"),
    }
}
