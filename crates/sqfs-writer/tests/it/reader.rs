//! A small reader of whole images, as strict as the kernel: `fs/squashfs` is what each check is
//! from.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use crate::tables::{Table, decompress, indexed, table, u16_at, u32_at, u64_at};

/// What a reader finds under a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: u32,
    pub(crate) nlink: u32,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) content: Content,
    /// The first path of the same inode, in bytewise order.
    pub(crate) first_path: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Block(u32),
    Char(u32),
    Fifo,
    Socket,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory => f.write_str("directory"),
            Self::File(bytes) => write!(f, "file of {} bytes", bytes.len()),
            Self::Symlink(target) => write!(f, "symlink to {}", target.escape_ascii()),
            Self::Block(device) => write!(f, "block device {device:#x}"),
            Self::Char(device) => write!(f, "character device {device:#x}"),
            Self::Fifo => f.write_str("fifo"),
            Self::Socket => f.write_str("socket"),
        }
    }
}

/// What a whole image says.
#[derive(Debug)]
pub(crate) struct Image {
    /// By path, with a slash in front; the root is the empty path.
    pub(crate) entries: BTreeMap<Vec<u8>, Entry>,
    pub(crate) fragments: u32,
    pub(crate) bytes_used: u64,
    /// Types of inodes as stored, by path.
    pub(crate) inode_types: BTreeMap<Vec<u8>, u16>,
    /// Points of directory indexes, of all directories.
    pub(crate) index_points: usize,
    /// Positions of blocks of each file, in order, by path: holes are not there.
    pub(crate) blocks: BTreeMap<Vec<u8>, Vec<(u64, u64)>>,
}

const NONE: u64 = u64::MAX;

struct Reader<'i> {
    bytes: &'i [u8],
    compression: u16,
    block_size: u64,
    inodes: Rc<Table>,
    directories: Table,
    fragments: Vec<(u64, u32)>,
    ids: Vec<u32>,
    export: Vec<u64>,
    xattr_values: Option<Table>,
    /// Reference, count, size.
    xattr_sets: Vec<(u64, u32, u32)>,
    image: Image,
    first_paths: BTreeMap<u32, Vec<u8>>,
}

/// Reads everything, and panics at whatever is wrong.
pub(crate) fn read(bytes: &[u8]) -> Image {
    assert_eq!(&bytes[..4], b"hsqs");
    assert_eq!(bytes.len() % 4096, 0, "not padded");
    let inode_count = u32_at(bytes, 4);
    let block_size = u64::from(u32_at(bytes, 12));
    let compression = u16_at(bytes, 20);
    assert_eq!(block_size, 1 << u16_at(bytes, 22));
    assert_eq!((u16_at(bytes, 28), u16_at(bytes, 30)), (4, 0));
    let root = u64_at(bytes, 32);
    let bytes_used = u64_at(bytes, 40);
    assert!(bytes.len() as u64 - bytes_used < 4096);
    assert!(bytes[bytes_used as usize..].iter().all(|&byte| byte == 0));
    let tables: Vec<u64> = (48..96).step_by(8).map(|at| u64_at(bytes, at)).collect();
    let [id, xattr, inode, directory, fragment, lookup] = tables[..] else {
        unreachable!()
    };
    let mut data_start = 96;
    if u16_at(bytes, 24) & 0x400 != 0 {
        data_start += 2 + u64::from(u16_at(bytes, 96) & 0x7FFF);
    }
    assert!(inode >= data_start);

    // From the end: each table ends where the one behind it begins.
    let mut end = bytes_used;
    let (mut xattr_values, mut xattr_sets) = (None, Vec::new());
    if xattr != NONE {
        let at = xattr as usize;
        let count = u32_at(bytes, at + 8) as usize;
        assert!(count > 0, "an empty xattr table");
        let (sets, start) = indexed(bytes, compression, xattr..xattr + 16, end, count, 16);
        xattr_sets = sets
            .chunks(16)
            .map(|set| (u64_at(set, 0), u32_at(set, 8), u32_at(set, 12)))
            .collect();
        let values = u64_at(bytes, at);
        xattr_values = Some(table(bytes, compression, values, start));
        end = values;
    }
    let id_count = usize::from(u16_at(bytes, 26));
    assert!(id_count > 0);
    let (ids, start) = indexed(bytes, compression, id..id, end, id_count, 4);
    end = start;
    let mut export = Vec::new();
    if lookup != NONE {
        let (refs, start) = indexed(
            bytes,
            compression,
            lookup..lookup,
            end,
            inode_count as usize,
            8,
        );
        export = refs.chunks(8).map(|bytes| u64_at(bytes, 0)).collect();
        end = start;
    }
    let fragment_count = u32_at(bytes, 16);
    assert!(
        fragment_count == 0 || u16_at(bytes, 24) & 0x10 == 0,
        "fragments in an image that claims to have none"
    );
    let mut fragments = Vec::new();
    if fragment_count > 0 {
        let count = fragment_count as usize;
        let (entries, start) = indexed(bytes, compression, fragment..fragment, end, count, 16);
        fragments = entries
            .chunks(16)
            .map(|entry| (u64_at(entry, 0), u32_at(entry, 8)))
            .collect();
        end = start;
    } else {
        // GRUB, U-Boot, 7-Zip and go-diskfs take the end of the directory table from it.
        assert_eq!(fragment, end, "an empty fragment table starts elsewhere");
    }
    assert!(directory < end, "no directory table");
    let mut reader = Reader {
        bytes,
        compression,
        block_size,
        inodes: Rc::new(table(bytes, compression, inode, directory)),
        directories: table(bytes, compression, directory, end),
        fragments,
        ids: ids.chunks(4).map(|bytes| u32_at(bytes, 0)).collect(),
        export,
        xattr_values,
        xattr_sets,
        image: Image {
            entries: BTreeMap::new(),
            fragments: fragment_count,
            bytes_used,
            inode_types: BTreeMap::new(),
            index_points: 0,
            blocks: BTreeMap::new(),
        },
        first_paths: BTreeMap::new(),
    };
    reader.walk(root, inode_count);
    reader.image
}

/// A directory that is still to be read.
struct Pending {
    path: Vec<u8>,
    number: u32,
    at: usize,
    len: usize,
    subdirectories: u32,
}

impl Reader<'_> {
    fn walk(&mut self, root: u64, inode_count: u32) {
        let mut seen = HashSet::new();
        let mut pending = vec![];
        let number = self.inode(root, b"", inode_count + 1, &mut pending, 1);
        seen.insert(number);
        while let Some(directory) = pending.pop() {
            let mut subdirectories = 0;
            for (name, inode, number, entry_type) in self.listing(&directory) {
                let path = [&directory.path[..], b"/", &name].concat();
                let before = pending.len();
                let found = self.inode(inode, &path, directory.number, &mut pending, entry_type);
                assert_eq!(number, found, "{}", path.escape_ascii());
                assert!((1..=inode_count).contains(&number));
                assert!(seen.insert(number) || pending.len() == before);
                subdirectories += (pending.len() - before) as u32;
            }
            assert_eq!(subdirectories, directory.subdirectories);
        }
        assert_eq!(seen.len(), inode_count as usize, "inodes in the superblock");
        for entry in self.image.entries.values_mut() {
            let number = u32::from_le_bytes(entry.first_path[..].try_into().unwrap());
            entry.first_path.clone_from(&self.first_paths[&number]);
        }
    }

    /// Name, inode reference, inode number, type of each entry.
    fn listing(&mut self, directory: &Pending) -> Vec<(Vec<u8>, u64, u32, u16)> {
        let mut entries: Vec<(Vec<u8>, u64, u32, u16)> = Vec::new();
        let bytes = &self.directories.bytes;
        let end = directory.at + directory.len;
        let mut at = directory.at;
        while at < end {
            let count = u32_at(bytes, at) + 1;
            assert!(count <= 256);
            let start_block = u64::from(u32_at(bytes, at + 4));
            let base = u32_at(bytes, at + 8);
            at += 12;
            for _ in 0..count {
                let offset = u64::from(u16_at(bytes, at));
                let delta = u16_at(bytes, at + 2).cast_signed();
                let entry_type = u16_at(bytes, at + 4);
                let len = usize::from(u16_at(bytes, at + 6)) + 1;
                let name = bytes[at + 8..at + 8 + len].to_vec();
                at += 8 + len;
                let number = base.checked_add_signed(delta.into()).unwrap();
                assert!(entries.last().is_none_or(|(last, ..)| *last < name));
                entries.push((name, start_block << 16 | offset, number, entry_type));
            }
        }
        assert_eq!(at, end);
        entries
    }

    fn inode(
        &mut self,
        inode: u64,
        path: &[u8],
        parent: u32,
        pending: &mut Vec<Pending>,
        entry_type: u16,
    ) -> u32 {
        let at = self.inodes.at(inode >> 16, inode as u16);
        let inodes = Rc::clone(&self.inodes);
        let bytes = &inodes.bytes[at..];
        let inode_type = u16_at(bytes, 0);
        assert_eq!((inode_type - 1) % 7 + 1, entry_type);
        let number = u32_at(bytes, 12);
        if !self.export.is_empty() {
            assert_eq!(self.export[number as usize - 1], inode);
        }
        let mut nlink = 1;
        let mut xattr = u32::MAX;
        let content = match inode_type {
            1 => {
                nlink = u32_at(bytes, 20);
                let len = u32::from(u16_at(bytes, 24));
                let position = (u32_at(bytes, 16), u16_at(bytes, 26));
                self.directory(path, number, position, len, nlink, pending);
                assert_eq!(u32_at(bytes, 28), parent);
                Content::Directory
            }
            8 => {
                nlink = u32_at(bytes, 16);
                xattr = u32_at(bytes, 36);
                let len = u32_at(bytes, 20);
                let position = (u32_at(bytes, 24), u16_at(bytes, 34));
                self.directory(path, number, position, len, nlink, pending);
                assert_eq!(u32_at(bytes, 28), parent);
                let count = usize::from(u16_at(bytes, 32));
                self.index(&bytes[40..], count, position);
                Content::Directory
            }
            2 => {
                let size = u64::from(u32_at(bytes, 28));
                let fragment = (u32_at(bytes, 20), u32_at(bytes, 24));
                let start = u64::from(u32_at(bytes, 16));
                Content::File(self.file(path, start, size, fragment, &bytes[32..], 0))
            }
            9 => {
                nlink = u32_at(bytes, 40);
                xattr = u32_at(bytes, 52);
                let size = u64_at(bytes, 24);
                let fragment = (u32_at(bytes, 44), u32_at(bytes, 48));
                let start = u64_at(bytes, 16);
                let sparse = u64_at(bytes, 32);
                Content::File(self.file(path, start, size, fragment, &bytes[56..], sparse))
            }
            3 | 10 => {
                nlink = u32_at(bytes, 16);
                let len = u32_at(bytes, 20) as usize;
                assert!((1..4096).contains(&len));
                if inode_type == 10 {
                    xattr = u32_at(bytes, 24 + len);
                }
                Content::Symlink(bytes[24..24 + len].to_vec())
            }
            4 | 5 | 11 | 12 => {
                nlink = u32_at(bytes, 16);
                if inode_type > 7 {
                    xattr = u32_at(bytes, 24);
                }
                let device = u32_at(bytes, 20);
                if entry_type == 4 {
                    Content::Block(device)
                } else {
                    Content::Char(device)
                }
            }
            6 | 7 | 13 | 14 => {
                nlink = u32_at(bytes, 16);
                if inode_type > 7 {
                    xattr = u32_at(bytes, 20);
                }
                if entry_type == 6 {
                    Content::Fifo
                } else {
                    Content::Socket
                }
            }
            other => panic!("inode type {other}"),
        };
        let mode = u16_at(bytes, 2);
        assert!(mode <= 0o7777);
        let entry = Entry {
            mode,
            uid: self.ids[usize::from(u16_at(bytes, 4))],
            gid: self.ids[usize::from(u16_at(bytes, 6))],
            mtime: u32_at(bytes, 8),
            nlink,
            xattrs: self.xattrs(xattr),
            content,
            // Replaced when all paths are known.
            first_path: number.to_le_bytes().to_vec(),
        };
        let first = self.first_paths.entry(number).or_insert(path.to_vec());
        if path < &first[..] {
            *first = path.to_vec();
        }
        self.image.inode_types.insert(path.to_vec(), inode_type);
        assert!(self.image.entries.insert(path.to_vec(), entry).is_none());
        number
    }

    fn directory(
        &self,
        path: &[u8],
        number: u32,
        (start_block, offset): (u32, u16),
        len: u32,
        nlink: u32,
        pending: &mut Vec<Pending>,
    ) {
        let len = len.checked_sub(3).unwrap() as usize;
        // The kernel doesn't look at the place of an empty listing.
        let at = if len == 0 {
            0
        } else {
            self.directories.at(u64::from(start_block), offset)
        };
        pending.push(Pending {
            path: path.to_vec(),
            number,
            at,
            len,
            subdirectories: nlink.checked_sub(2).unwrap(),
        });
    }

    /// Finds the header that each point leads to, the way the kernel does.
    fn index(&mut self, bytes: &[u8], count: usize, (start_block, offset): (u32, u16)) {
        let listing = self.directories.at(start_block.into(), offset);
        let mut at = 0;
        let mut last: Option<&[u8]> = None;
        for _ in 0..count {
            let index = u32_at(bytes, at) as usize;
            let block = u64::from(u32_at(bytes, at + 4));
            let len = u32_at(bytes, at + 8) as usize + 1;
            let name = &bytes[at + 12..at + 12 + len];
            at += 12 + len;
            let in_block = (usize::from(offset) + index) % 8192;
            let header = self.directories.at(block, in_block as u16);
            assert_eq!(header, listing + index);
            assert_eq!(
                &self.directories.bytes[header + 20..header + 20 + len],
                name
            );
            assert!(last.is_none_or(|last| last < name));
            last = Some(name);
        }
        self.image.index_points += count;
    }

    fn file(
        &mut self,
        path: &[u8],
        start: u64,
        size: u64,
        (fragment, offset): (u32, u32),
        words: &[u8],
        sparse: u64,
    ) -> Vec<u8> {
        let has_tail = fragment != u32::MAX;
        assert!(!has_tail || !size.is_multiple_of(self.block_size));
        let blocks = if has_tail {
            size / self.block_size
        } else {
            size.div_ceil(self.block_size)
        };
        let mut content = Vec::new();
        let mut holes = 0;
        let mut at = start;
        let mut places = Vec::new();
        for n in 0..blocks {
            let word = u32_at(words, 4 * n as usize);
            let len = (size - n * self.block_size).min(self.block_size) as usize;
            if word == 0 {
                holes += len as u64;
                content.resize(content.len() + len, 0);
                continue;
            }
            let block = self.block(at, word);
            assert_eq!(block.len(), len);
            content.extend(block);
            let stored = u64::from(word & 0xFF_FFFF);
            places.push((at, stored));
            at += stored;
        }
        assert_eq!(sparse, holes);
        if has_tail {
            let (start, word) = self.fragments[fragment as usize];
            let tail = self.block(start, word);
            let offset = offset as usize;
            let len = (size % self.block_size) as usize;
            content.extend(&tail[offset..offset + len]);
        }
        assert_eq!(content.len() as u64, size);
        self.image.blocks.insert(path.to_vec(), places);
        content
    }

    fn block(&self, at: u64, word: u32) -> Vec<u8> {
        let len = word & 0xFF_FFFF;
        assert!(len != 0 && u64::from(len) <= self.block_size);
        let stored = &self.bytes[at as usize..][..len as usize];
        if word & 1 << 24 == 0 {
            decompress(self.compression, stored, self.block_size as usize)
        } else {
            stored.to_vec()
        }
    }

    fn xattrs(&self, index: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut xattrs = BTreeMap::new();
        if index == u32::MAX {
            return xattrs;
        }
        let table = self.xattr_values.as_ref().unwrap();
        let (position, count, size) = self.xattr_sets[index as usize];
        let start = table.at(position >> 16, position as u16);
        let mut at = start;
        for _ in 0..count {
            let kind = u16_at(&table.bytes, at);
            let len = usize::from(u16_at(&table.bytes, at + 2));
            let prefix = [&b"user."[..], b"trusted.", b"security."][usize::from(kind & 0xFF)];
            let name = [prefix, &table.bytes[at + 4..at + 4 + len]].concat();
            at += 4 + len;
            let stored = u32_at(&table.bytes, at) as usize;
            let mut value_at = at;
            if kind & 0x100 != 0 {
                assert_eq!(stored, 8);
                let position = u64_at(&table.bytes, at + 4);
                value_at = table.at(position >> 16, position as u16);
            }
            let len = u32_at(&table.bytes, value_at) as usize;
            let value = table.bytes[value_at + 4..value_at + 4 + len].to_vec();
            at += 4 + stored;
            assert!(xattrs.insert(name, value).is_none());
        }
        assert_eq!(at - start, size as usize);
        xattrs
    }
}
