//! Contents of one small file: the description that this program put into an image.

use super::error::Error;
use super::fields::stored_length;
use super::inode::{Content, File};
use super::opened::Tables;

impl Tables<'_> {
    /// Returns the contents of the regular file with this path, or `None` if there is none. The path begins with a
    /// slash, and no symlink is followed.
    ///
    /// # Errors
    /// Returns [`Error`] if the tables cannot be read up to there, or the file has more than `max` bytes.
    pub fn contents(&mut self, path: &[u8], max: usize) -> Result<Option<Vec<u8>>, Error> {
        let file = self.regular_file(path)?;
        file.map(|file| self.read_file(&file, max)).transpose()
    }

    /// Returns the first bytes of the regular file with this path, at most `max`, or `None` if there is none. Otherwise
    /// behaves like [`contents`](Self::contents).
    ///
    /// # Errors
    /// Returns [`Error`] if the tables or those bytes cannot be read.
    pub fn start(&mut self, path: &[u8], max: usize) -> Result<Option<Vec<u8>>, Error> {
        let file = self.regular_file(path)?;
        file.map(|file| self.read_start(&file, max)).transpose()
    }

    /// Reads the listings on the way alone, because the image's author chose all others.
    fn regular_file(&mut self, path: &[u8]) -> Result<Option<File>, Error> {
        let Some(names) = path.strip_prefix(b"/") else {
            return Ok(None);
        };
        let mut inode = self.inode(self.superblock.root)?;
        for name in names.split(|byte| *byte == b'/') {
            let Some((_, child)) = self.child(inode, name)? else {
                return Ok(None);
            };
            inode = child;
        }
        Ok(match inode.content {
            Content::File(file) => Some(file),
            _ => None,
        })
    }

    fn read_start(&mut self, file: &File, max: usize) -> Result<Vec<u8>, Error> {
        let size = usize::try_from(file.size).unwrap_or(usize::MAX);
        let mut start = self.read_blocks(file, size, max)?;
        start.truncate(max);
        Ok(start)
    }

    fn read_file(&mut self, file: &File, max: usize) -> Result<Vec<u8>, Error> {
        let damaged = |what| Err(Error::Damaged(what));
        let size = usize::try_from(file.size).ok().filter(|size| *size <= max);
        let size = size.ok_or(Error::TooLong {
            size: file.size,
            max: max as u64,
        })?;
        let contents = self.read_blocks(file, size, size)?;
        match contents.len() == size {
            true => Ok(contents),
            false => damaged("a file is shorter than it says"),
        }
    }

    /// Reads blocks of a file of this size until at least `enough` bytes are read.
    fn read_blocks(&mut self, file: &File, size: usize, enough: usize) -> Result<Vec<u8>, Error> {
        let damaged = |what| Err(Error::Damaged(what));
        let room = usize::try_from(self.superblock.block_size).unwrap_or(usize::MAX);
        let mut contents = Vec::new();
        let (mut words, mut at) = (file.words.clone(), file.start);
        for _ in 0..file.blocks {
            if contents.len() >= enough {
                return Ok(contents);
            }
            let length = room.min(size - contents.len());
            let word = u32::from_le_bytes(self.metadata.read(&mut words)?);
            let stored = stored_length(word);
            if stored == 0 {
                contents.resize(contents.len() + length, 0);
                continue;
            }
            let block = self.metadata.data(at, word, room)?;
            if block.len() != length {
                return damaged("a block has another length than its file says");
            }
            contents.extend_from_slice(&block);
            at = at.saturating_add(stored);
        }
        let tail = size - contents.len();
        if let Some(index) = file.fragment.filter(|_| tail > 0) {
            let (start, word) = self.fragment_word(index)?;
            let fragment = self.metadata.data(start, word, room)?;
            let offset = usize::try_from(file.offset).unwrap_or(usize::MAX);
            let end = offset.saturating_add(tail);
            let Some(bytes) = fragment.get(offset..end) else {
                return damaged("a tail lies after the end of its fragment");
            };
            contents.extend_from_slice(bytes);
        }
        Ok(contents)
    }
}
