//! Inodes, as far as they lead to names and contents.

use super::error::Error;
use super::fields::{Fields, stored_length};
use super::metadata::Cursor;
use super::opened::Tables;

/// Longest symlink target that a kernel reads: a page.
const TARGET_MAX: u32 = 65_535;
/// Value of the fragment field of a file without a tail in a fragment.
const NO_FRAGMENT: u32 = u32::MAX;

/// An inode.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: u32,
    pub(super) number: u32,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Directory(Listing),
    File(File),
    Symlink(Vec<u8>),
    Block(u32),
    Char(u32),
    Fifo,
    Socket,
}

/// The position of a directory's entries.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) cursor: Cursor,
    /// Position of its first byte in the directory table, which no other directory shares.
    pub(super) position: u64,
    /// Its length in bytes.
    pub(super) length: u32,
}

/// The position of a file's contents.
#[derive(Debug)]
pub(super) struct File {
    pub(super) size: u64,
    /// Offset of the first of its blocks; the others follow directly.
    pub(super) start: u64,
    /// The fragment that its tail is in.
    pub(super) fragment: Option<u32>,
    /// Offset of the tail in the decompressed fragment.
    pub(super) offset: u32,
    /// The lengths of its blocks.
    pub(super) words: Cursor,
    pub(super) blocks: u64,
}

impl Tables<'_> {
    /// Returns the inode at a position in the table.
    pub(super) fn inode(&mut self, reference: u64) -> Result<Inode, Error> {
        let mut cursor = Cursor::at(&self.superblock.inodes, reference);
        let header: [u8; 16] = self.metadata.read(&mut cursor)?;
        let mut fields = Fields(&header);
        let (kind, mode) = (fields.u16(), fields.u16());
        let (uid, gid) = (self.id(fields.u16())?, self.id(fields.u16())?);
        let (mtime, number) = (fields.u32(), fields.u32());
        Ok(Inode {
            mode,
            uid,
            gid,
            mtime,
            number,
            content: self.content(kind, cursor)?,
        })
    }

    fn id(&self, index: u16) -> Result<u32, Error> {
        let id = self.ids.get(usize::from(index));
        id.copied()
            .ok_or(Error::Damaged("an owner is not in its table"))
    }

    /// Reads the fields after the header. Types from 8 on are the extended forms.
    fn content(&mut self, kind: u16, mut cursor: Cursor) -> Result<Content, Error> {
        match kind {
            1 | 8 => self.directory(kind == 8, cursor).map(Content::Directory),
            2 | 9 => self.file(kind == 9, cursor).map(Content::File),
            3 | 10 => self.symlink(cursor).map(Content::Symlink),
            4 | 5 | 11 | 12 => {
                let bytes: [u8; 8] = self.metadata.read(&mut cursor)?;
                let mut fields = Fields(&bytes);
                let (_links, device) = (fields.u32(), fields.u32());
                Ok(match kind {
                    4 | 11 => Content::Block(device),
                    _ => Content::Char(device),
                })
            }
            6 | 13 => Ok(Content::Fifo),
            7 | 14 => Ok(Content::Socket),
            _ => Err(Error::Damaged("an inode has no known type")),
        }
    }

    fn directory(&mut self, extended: bool, mut cursor: Cursor) -> Result<Listing, Error> {
        let (start, length, offset);
        if extended {
            let bytes: [u8; 24] = self.metadata.read(&mut cursor)?;
            let mut fields = Fields(&bytes);
            let _links = fields.u32();
            (length, start) = (fields.u32(), fields.u32());
            let (_parent, _index_count) = (fields.u32(), fields.u16());
            offset = fields.u16();
        } else {
            let bytes: [u8; 16] = self.metadata.read(&mut cursor)?;
            let mut fields = Fields(&bytes);
            start = fields.u32();
            let _links = fields.u32();
            (length, offset) = (fields.u16().into(), fields.u16());
        }
        Ok(Listing {
            cursor: Cursor::new(&self.superblock.directories, start.into(), offset),
            position: u64::from(start) << 16 | u64::from(offset),
            // Three bytes stand for `.` and `..`, which are not stored.
            length: length.saturating_sub(3),
        })
    }

    fn file(&mut self, extended: bool, mut cursor: Cursor) -> Result<File, Error> {
        let (start, size, fragment, offset);
        if extended {
            let bytes: [u8; 40] = self.metadata.read(&mut cursor)?;
            let mut fields = Fields(&bytes);
            (start, size) = (fields.u64(), fields.u64());
            let (_sparse, _links) = (fields.u64(), fields.u32());
            (fragment, offset) = (fields.u32(), fields.u32());
        } else {
            let bytes: [u8; 16] = self.metadata.read(&mut cursor)?;
            let mut fields = Fields(&bytes);
            (start, fragment) = (fields.u32().into(), fields.u32());
            offset = fields.u32();
            size = fields.u32().into();
        }
        let fragment = Some(fragment).filter(|fragment| *fragment != NO_FRAGMENT);
        let block_size = u64::from(self.superblock.block_size);
        Ok(File {
            size,
            start,
            fragment,
            offset,
            words: cursor,
            blocks: match fragment {
                Some(_) => size / block_size,
                None => size.div_ceil(block_size),
            },
        })
    }

    fn symlink(&mut self, mut cursor: Cursor) -> Result<Vec<u8>, Error> {
        let bytes: [u8; 8] = self.metadata.read(&mut cursor)?;
        let mut fields = Fields(&bytes);
        let (_links, length) = (fields.u32(), fields.u32());
        if length > TARGET_MAX {
            return Err(Error::Damaged("a symlink is longer than any can be"));
        }
        let mut target = vec![0; usize::try_from(length).unwrap_or_default()];
        self.metadata.fill(&mut cursor, &mut target)?;
        Ok(target)
    }

    /// Returns how many bytes a file's blocks take in the image, holes left out.
    pub(super) fn stored(&mut self, file: &File) -> Result<u64, Error> {
        let (mut cursor, mut stored) = (file.words.clone(), 0_u64);
        let (mut buffer, mut left) = ([0; 4096], file.blocks);
        while left > 0 {
            // As many words as the buffer holds, because the size of a file may claim 2^52 of them.
            let count = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len() / 4);
            let words = buffer.get_mut(..4 * count).unwrap_or_default();
            self.metadata.fill(&mut cursor, words)?;
            for word in words.as_chunks().0 {
                stored = stored.saturating_add(stored_length(u32::from_le_bytes(*word)));
            }
            left -= count as u64;
        }
        Ok(stored)
    }

    /// Returns the offset of a fragment, and how many bytes it takes.
    pub(super) fn fragment(&mut self, index: u32) -> Result<(u64, u64), Error> {
        let (start, word) = self.fragment_word(index)?;
        Ok((start, stored_length(word)))
    }

    /// Returns the offset of a fragment, and the word with its length and whether it is compressed.
    pub(super) fn fragment_word(&mut self, index: u32) -> Result<(u64, u32), Error> {
        if index >= self.superblock.fragments {
            return Err(Error::Damaged("a fragment is not in its table"));
        }
        let (table, end) = (self.superblock.fragment_table, self.superblock.bytes_used);
        let bytes: [u8; 16] = self.metadata.element(table, index.into(), end)?;
        let mut fields = Fields(&bytes);
        Ok((fields.u64(), fields.u32()))
    }
}
