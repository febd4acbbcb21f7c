//! Paths of an image, resolved as by a kernel whose root it is, and the files to which they lead.

use super::error::Error;
use super::fields::stored_length;
use super::inode::{Content, File, Inode};
use super::opened::Tables;
use super::walk::Open;

/// Number of symlinks that are followed (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;
/// Largest path in bytes, with the zero byte after it (`PATH_MAX`).
const PATH_MAX: usize = 4096;

/// A regular file to which a path leads.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Permissions, with the setuid, setgid and sticky bits.
    pub(crate) mode: u16,
    file: File,
}

/// The reason why a path leads to no regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stray {
    /// The image does not have the last of the names on the way, which is this path without symlinks.
    Missing(Vec<u8>),
    /// The path is a directory.
    Directory,
    /// The path is a device, a FIFO or a socket.
    Special,
    /// There are more symlinks on the way than a kernel follows.
    Links,
    /// The path, or a symlink's target, is longer than a kernel takes.
    TooLong,
}

impl Tables<'_> {
    /// Lets no more than `max` steps of work be taken from here on. An image chooses how long the path to a file is: 40
    /// symlinks can lead through a large directory 50 000 times.
    pub(crate) fn limit_work(&mut self, max: u64) {
        self.metadata.limit_work(max);
    }

    /// Returns the file to which a path leads. Symlinks are followed, and none leads out of the image. A path without a
    /// slash at its beginning is relative to the root.
    ///
    /// # Errors
    /// Returns [`Error`] if the tables cannot be read up to there.
    pub(crate) fn open_file(&mut self, path: &[u8]) -> Result<Result<Opened, Stray>, Error> {
        if path.is_empty() {
            return Ok(Err(Stray::Missing(Vec::new())));
        }
        if path.len() >= PATH_MAX {
            return Ok(Err(Stray::TooLong));
        }
        let root = self.superblock.root;
        // The names that are left to resolve, the next one last.
        let mut left = names(path);
        // The directories on the way, as inodes, and their path.
        let (mut way, mut at) = (vec![root], Vec::new());
        let (mut links, mut last) = (0, self.inode(root)?);
        while let Some(name) = left.pop() {
            let parent = at.len();
            if !matches!(last.content, Content::Directory(_)) {
                at.push(b'/');
                at.extend_from_slice(&name);
                return Ok(Err(Stray::Missing(at)));
            }
            if matches!(&*name, b"." | b"..") {
                if *name == *b".." && way.len() > 1 {
                    way.pop();
                    let up = at.iter().rposition(|byte| *byte == b'/');
                    at.truncate(up.unwrap_or_default());
                }
                last = self.inode(way.last().copied().unwrap_or(root))?;
                continue;
            }
            at.push(b'/');
            at.extend_from_slice(&name);
            let Some((reference, inode)) = self.child(last, &name)? else {
                return Ok(Err(Stray::Missing(at)));
            };
            match &inode.content {
                Content::Symlink(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Ok(Err(Stray::Links));
                    }
                    if target.len() >= PATH_MAX {
                        return Ok(Err(Stray::TooLong));
                    }
                    at.truncate(parent);
                    if target.starts_with(b"/") {
                        at.clear();
                        way.truncate(1);
                    }
                    left.extend(names(target));
                    last = self.inode(way.last().copied().unwrap_or(root))?;
                }
                Content::Directory(_) => {
                    way.push(reference);
                    last = inode;
                }
                _ => last = inode,
            }
        }
        Ok(match last.content {
            Content::File(file) => Ok(Opened {
                mode: last.mode,
                file,
            }),
            Content::Directory(_) => Err(Stray::Directory),
            _ => Err(Stray::Special),
        })
    }

    /// Returns the inode of a name in a directory, with its reference.
    pub(super) fn child(
        &mut self,
        directory: Inode,
        name: &[u8],
    ) -> Result<Option<(u64, Inode)>, Error> {
        let Content::Directory(listing) = directory.content else {
            return Ok(None);
        };
        let (mut open, mut found) = (Open::new(listing, 0), Vec::new());
        while let Some(reference) = self.next_name(&mut open, &mut found)? {
            if found == name {
                return Ok(Some((reference, self.inode(reference)?)));
            }
            found.clear();
        }
        Ok(None)
    }

    /// Fills `buffer` with the bytes of a file at `offset`, up to the end of the file, and returns how many it has read.
    ///
    /// # Errors
    /// Returns [`Error`] if they cannot be read.
    pub(crate) fn read_at(
        &mut self,
        opened: &Opened,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<usize, Error> {
        let (file, block_size) = (&opened.file, u64::from(self.superblock.block_size));
        let (mut done, mut at) = (0, offset);
        while let Some(missing) = buffer.get_mut(done..).filter(|missing| !missing.is_empty()) {
            if at >= file.size {
                break;
            }
            let bytes = self.block_of(file, at / block_size)?;
            let within = usize::try_from(at % block_size).unwrap_or(usize::MAX);
            let bytes = bytes.get(within..).unwrap_or_default();
            let taken = bytes.len().min(missing.len());
            if taken == 0 {
                return Err(Error::Damaged("a file is shorter than it says"));
            }
            let (now, bytes) = (missing.get_mut(..taken), bytes.get(..taken));
            if let Some((now, bytes)) = now.zip(bytes) {
                now.copy_from_slice(bytes);
            }
            done += taken;
            at += taken as u64;
        }
        Ok(done)
    }

    /// Returns the contents of the block with this number, or of the tail after the last one.
    fn block_of(&mut self, file: &File, number: u64) -> Result<Vec<u8>, Error> {
        let block_size = u64::from(self.superblock.block_size);
        let room = usize::try_from(block_size).unwrap_or(usize::MAX);
        let length = (file.size - number * block_size).min(block_size);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if number >= file.blocks {
            let Some(index) = file.fragment else {
                return Err(Error::Damaged("a file has fewer blocks than it says"));
            };
            let (start, word) = self.fragment_word(index)?;
            let mut fragment = self.metadata.data(start, word, room)?;
            let offset = usize::try_from(file.offset).unwrap_or(usize::MAX);
            let end = offset.saturating_add(length);
            if end > fragment.len() {
                return Err(Error::Damaged("a tail lies after the end of its fragment"));
            }
            fragment.truncate(end);
            fragment.drain(..offset);
            return Ok(fragment);
        }
        let (mut words, mut at) = (file.words.clone(), file.start);
        for _ in 0..number {
            let word = u32::from_le_bytes(self.metadata.read(&mut words)?);
            at = at.saturating_add(stored_length(word));
        }
        let word = u32::from_le_bytes(self.metadata.read(&mut words)?);
        if stored_length(word) == 0 {
            return Ok(vec![0; length]);
        }
        let block = self.metadata.data(at, word, room)?;
        match block.len() == length {
            true => Ok(block),
            false => Err(Error::Damaged(
                "a block has another length than its file says",
            )),
        }
    }
}

/// Returns the names of a path, the first one last. A slash at the end asks for a directory, as `.` does.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/');
    let mut names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    if path.ends_with(b"/") {
        names.push(b".");
    }
    names.into_iter().rev().map(<[u8]>::to_vec).collect()
}
