//! What a reader has to find for a tree, and the ways to write it.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::num::NonZeroUsize;

use sqfs_writer::{Body, Compressor, DataWriter, FileData, Kind, NodeId, Options, Tree};

use crate::reader::{Content, Entry, Image};

pub(crate) fn options(block_size: u32, compressor: Compressor, threads: usize) -> Options {
    let mut options = Options::default();
    options.block_size = block_size;
    options.compressor = compressor;
    options.threads = NonZeroUsize::new(threads).unwrap();
    options
}

/// Every codec that is compiled in.
pub(crate) const CODECS: &[Compressor] = &[
    #[cfg(feature = "zstd")]
    Compressor::Zstd { level: 3 },
    #[cfg(feature = "gzip")]
    Compressor::Gzip { level: 6 },
    #[cfg(feature = "xz")]
    Compressor::Xz { level: 2 },
    #[cfg(feature = "lz4")]
    Compressor::Lz4 { high: false },
    #[cfg(feature = "lz4")]
    Compressor::Lz4 { high: true },
    Compressor::None,
];

/// One of them, where that is enough. Not xz, which takes ten times as long for the same tests.
pub(crate) const CODEC: Compressor = if cfg!(feature = "zstd") {
    Compressor::Zstd { level: 3 }
} else if cfg!(feature = "gzip") {
    Compressor::Gzip { level: 6 }
} else if cfg!(feature = "lz4") {
    Compressor::Lz4 { high: false }
} else {
    Compressor::None
};

/// Bodies that were written, so that what a reader finds can be compared with them.
pub(crate) struct Bodies {
    writer: DataWriter<Vec<u8>>,
    contents: HashMap<FileData, Vec<u8>>,
}

impl Bodies {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            writer: DataWriter::new(Vec::new(), options).unwrap(),
            contents: HashMap::new(),
        }
    }

    pub(crate) fn add(&mut self, content: &[u8]) -> FileData {
        let data = self.writer.add(Cursor::new(content)).unwrap();
        assert_eq!(data.len(), content.len() as u64);
        self.contents.insert(data, content.to_vec());
        data
    }

    pub(crate) fn begin(&mut self) -> Body<'_, Vec<u8>> {
        self.writer.begin()
    }

    /// A body in pieces: bytes, or holes.
    pub(crate) fn add_pieces(&mut self, pieces: &[Result<&[u8], u64>]) -> FileData {
        let mut body = self.writer.begin();
        let mut content = Vec::new();
        for piece in pieces {
            match piece {
                Ok(bytes) => {
                    std::io::Write::write_all(&mut body, bytes).unwrap();
                    content.extend_from_slice(bytes);
                }
                Err(hole) => {
                    body.hole(*hole).unwrap();
                    content.resize(content.len() + *hole as usize, 0);
                }
            }
        }
        let data = body.finish().unwrap();
        self.contents.insert(data, content);
        data
    }

    /// Finishes, reads back, and compares every entry.
    pub(crate) fn check(self, tree: &Tree<FileData>) -> (Vec<u8>, Image) {
        let expected = expected(tree, &self.contents);
        let sealed = self.writer.finish(tree).unwrap();
        let bytes = [&sealed.superblock[..], &sealed.sink].concat();
        assert_eq!(bytes.len() as u64, sealed.summary.image_bytes);
        let image = crate::reader::read(&bytes);
        assert_eq!(image.bytes_used, sealed.summary.bytes_used);
        assert_eq!(image.fragments, sealed.summary.fragments);
        for (path, entry) in &expected {
            let found = image.entries.get(path);
            assert_eq!(found, Some(entry), "{}", path.escape_ascii());
        }
        assert_eq!(image.entries.len(), expected.len());
        (bytes, image)
    }
}

fn expected(
    tree: &Tree<FileData>,
    contents: &HashMap<FileData, Vec<u8>>,
) -> BTreeMap<Vec<u8>, Entry> {
    let mut entries = BTreeMap::new();
    let mut first_paths: HashMap<NodeId, Vec<u8>> = HashMap::new();
    let mut paths = vec![(Vec::new(), NodeId::ROOT)];
    let mut at = 0;
    while let Some((path, id)) = paths.get(at).cloned() {
        at += 1;
        let first = first_paths.entry(id).or_insert_with(|| path.clone());
        if path < *first {
            first.clone_from(&path);
        }
        let directory = tree.get(id).unwrap().as_directory();
        paths.extend(
            directory
                .into_iter()
                .flat_map(|directory| directory.iter())
                .map(|(name, id)| ([&path[..], b"/", name].concat(), id)),
        );
    }
    for (path, id) in paths {
        let node = tree.get(id).unwrap();
        let metadata = node.metadata();
        let mut nlink = node.links();
        let rdev = |device: &sqfs_writer::Device| {
            (device.minor & 0xFF) | device.major << 8 | (device.minor >> 8) << 20
        };
        let content = match node.kind() {
            Kind::Directory(directory) => {
                let is_directory = |id| tree.get(id).unwrap().kind().is_directory();
                nlink = 2 + directory.iter().filter(|(_, id)| is_directory(*id)).count() as u32;
                Content::Directory
            }
            Kind::File(data) => Content::File(contents[data].clone()),
            Kind::Symlink(target) => Content::Symlink(target.to_vec()),
            Kind::BlockDevice(device) => Content::Block(rdev(device)),
            Kind::CharDevice(device) => Content::Char(rdev(device)),
            Kind::Fifo => Content::Fifo,
            Kind::Socket => Content::Socket,
            other => panic!("{other:?}"),
        };
        let supported = |name: &[u8]| {
            [&b"user."[..], b"trusted.", b"security."]
                .iter()
                .any(|prefix| name.len() > prefix.len() && name.starts_with(prefix))
        };
        let entry = Entry {
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: metadata.mtime,
            nlink,
            xattrs: metadata
                .xattrs
                .iter()
                .filter(|(name, _)| supported(name))
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect(),
            content,
            first_path: first_paths[&id].clone(),
        };
        entries.insert(path, entry);
    }
    entries
}

/// Bytes that don't compress, the same for the same seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut step = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8))
        .flat_map(|_| step())
        .take(len)
        .collect()
}

/// Bytes that compress, the same for the same seed.
pub(crate) fn text(len: usize, seed: u64) -> Vec<u8> {
    let words = noise(32, seed);
    (0..len).map(|n| words[n * n / 7 % 32] | 1).collect()
}
