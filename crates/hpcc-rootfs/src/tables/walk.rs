//! Walks all names of an image, each directory before its entries.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::entry::{Entry, EntryKind};
use super::error::Error;
use super::fields::Fields;
use super::inode::{Content, Inode, Listing};
use super::opened::Tables;

/// Largest depth of directories. Those of an image are at most 1024 deep by default.
const DEPTH_MAX: usize = 8192;
/// Largest number of names of an image: four times the default of [`Limits::entries`](crate::layer::Limits::entries).
/// If all of them are directories, the set of their positions takes 113 MB.
const NAMES_MAX: u64 = 1 << 22;
/// Largest number of bytes of all paths and symlink targets together, because an image of a few KiB can have paths of
/// megabytes. Enough for a million names of 256 bytes.
const PATH_BYTES_MAX: u64 = 256 << 20;
/// Largest name in bytes: `SQUASHFS_NAME_LEN`.
const NAME_MAX: usize = 256;
/// Largest number of entries after one header of a listing.
const RUN_MAX: u32 = 256;

/// A directory that is being read.
pub(super) struct Open {
    listing: Listing,
    run: Run,
    /// The name that was read last; empty before the first one.
    last: Vec<u8>,
    /// Bytes of the path up to this directory, without a slash at the end.
    path: usize,
}

/// The fields that the entries after one header have in common.
#[derive(Default)]
struct Run {
    left: u32,
    block: u32,
}

impl Tables<'_> {
    /// Calls `visit` for every name, each directory before its entries, which come in the order of the image: by the
    /// bytes of their names.
    ///
    /// # Errors
    /// Returns [`Error`] if the tables cannot be read to their end. The names visited until then may be wrong.
    pub fn walk(&mut self, mut visit: impl FnMut(&Entry<'_>)) -> Result<(), Error> {
        let walked = self.walk_until(|entry| {
            visit(entry);
            ControlFlow::<()>::Continue(())
        });
        walked.map(drop)
    }

    /// Calls `visit` for every name as [`walk`](Self::walk) does, until it returns
    /// [`ControlFlow::Break`]. Returns the value of that break.
    ///
    /// # Errors
    /// Returns [`Error`] if the tables cannot be read up to there.
    pub fn walk_until<B>(
        &mut self,
        mut visit: impl FnMut(&Entry<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, Error> {
        self.inodes(|_, path, inode| {
            Ok(visit(&Entry {
                path,
                kind: kind(&inode.content),
                mode: inode.mode,
                uid: inode.uid,
                gid: inode.gid,
                mtime: inode.mtime,
                inode: inode.number,
            }))
        })
    }

    /// Walks like [`walk_until`](Self::walk_until), with the inodes themselves.
    pub(super) fn inodes<B>(
        &mut self,
        mut visit: impl FnMut(&mut Self, &[u8], &Inode) -> Result<ControlFlow<B>, Error>,
    ) -> Result<ControlFlow<B>, Error> {
        let root = self.inode(self.superblock.root)?;
        if let stop @ ControlFlow::Break(_) = visit(self, b"/", &root)? {
            return Ok(stop);
        }
        let Content::Directory(listing) = root.content else {
            return Err(Error::Damaged("the root is not a directory"));
        };
        let (mut path, mut used) = (Vec::new(), Used::default());
        used.directory(&listing, &[])?;
        let mut stack = vec![Open::new(listing, 0)];
        while let Some(directory) = stack.last_mut() {
            path.truncate(directory.path);
            path.push(b'/');
            let Some(reference) = self.next_name(directory, &mut path)? else {
                stack.pop();
                continue;
            };
            let inode = self.inode(reference)?;
            used.name(&path, &inode.content)?;
            if let Content::Directory(listing) = &inode.content {
                used.directory(listing, &stack)?;
            }
            if let stop @ ControlFlow::Break(_) = visit(self, &path, &inode)? {
                return Ok(stop);
            }
            if let Content::Directory(listing) = inode.content {
                stack.push(Open::new(listing, path.len()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Appends the next name of a directory to the path, and returns the reference of its inode.
    pub(super) fn next_name(
        &mut self,
        open: &mut Open,
        path: &mut Vec<u8>,
    ) -> Result<Option<u64>, Error> {
        if open.run.left == 0 {
            if open.listing.length == 0 {
                return Ok(None);
            }
            let header: [u8; 12] = self.take(&mut open.listing)?;
            let mut fields = Fields(&header);
            // The field is one less than their number.
            let (count, block) = (fields.u32(), fields.u32());
            if count >= RUN_MAX {
                return Err(Error::Damaged("a listing has too many entries in a run"));
            }
            open.run = Run {
                left: count + 1,
                block,
            };
        }
        open.run.left -= 1;
        let entry: [u8; 8] = self.take(&mut open.listing)?;
        let mut fields = Fields(&entry);
        let (offset, _number, _kind) = (fields.u16(), fields.i16(), fields.u16());
        let length = usize::from(fields.u16()) + 1;
        if length > NAME_MAX {
            return Err(Error::Damaged("a name is longer than any can be"));
        }
        let start = path.len();
        path.resize(start + length, 0);
        let name = path.get_mut(start..).unwrap_or_default();
        open.listing.spend(length)?;
        self.metadata.fill(&mut open.listing.cursor, name)?;
        if name.contains(&b'/') || name.contains(&0) || matches!(&*name, b"." | b"..") {
            return Err(Error::Damaged("a name is not valid for a file"));
        }
        // Linux finds the first of two equal names and none that comes too late, so a path would not mean one file.
        if *name <= *open.last {
            return Err(Error::Damaged("the names of a directory are not in order"));
        }
        open.last.clear();
        open.last.extend_from_slice(name);
        Ok(Some(u64::from(open.run.block) << 16 | u64::from(offset)))
    }

    fn take<const N: usize>(&mut self, listing: &mut Listing) -> Result<[u8; N], Error> {
        listing.spend(N)?;
        self.metadata.read(&mut listing.cursor)
    }
}

/// The amounts of its limits that a walk has used.
#[derive(Default)]
struct Used {
    names: u64,
    path_bytes: u64,
    /// Positions of the listings that were opened. No two directories share one, so each is read once: otherwise a few
    /// directories inside each other would have exponentially many paths.
    listings: HashSet<u64>,
}

impl Used {
    fn name(&mut self, path: &[u8], content: &Content) -> Result<(), Error> {
        self.names += 1;
        if self.names > NAMES_MAX {
            let (what, max) = ("names", NAMES_MAX);
            return Err(Error::TooMuch { what, max });
        }
        self.path_bytes += path.len() as u64;
        if let Content::Symlink(target) = content {
            self.path_bytes += target.len() as u64;
        }
        if self.path_bytes > PATH_BYTES_MAX {
            let (what, max) = ("bytes of paths", PATH_BYTES_MAX);
            return Err(Error::TooMuch { what, max });
        }
        Ok(())
    }

    /// Counts a directory inside those of `stack`. Empty ones have no listing, whatever position they name.
    fn directory(&mut self, listing: &Listing, stack: &[Open]) -> Result<(), Error> {
        if listing.length == 0 {
            return Ok(());
        }
        if !self.listings.insert(listing.position) {
            let own = |open: &Open| open.listing.position == listing.position;
            return Err(Error::Damaged(if stack.iter().any(own) {
                "a directory contains itself"
            } else {
                "two directories have the same listing"
            }));
        }
        if stack.len() >= DEPTH_MAX {
            return Err(Error::Damaged("directories are nested deeper than 8192"));
        }
        Ok(())
    }
}

impl Open {
    pub(super) fn new(listing: Listing, path: usize) -> Self {
        Self {
            listing,
            run: Run::default(),
            last: Vec::new(),
            path,
        }
    }
}

impl Listing {
    fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        let left = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.length.checked_sub(bytes));
        self.length = left.ok_or(Error::Damaged("a listing ends inside an entry"))?;
        Ok(())
    }
}

fn kind(content: &Content) -> EntryKind<'_> {
    // Linux's `new_decode_dev`.
    let device = |device: u32| {
        (
            (device & 0xF_FF00) >> 8,
            (device & 0xFF) | ((device >> 12) & 0xF_FF00),
        )
    };
    match content {
        Content::Directory(_) => EntryKind::Directory,
        Content::File(file) => EntryKind::File { size: file.size },
        Content::Symlink(target) => EntryKind::Symlink { target },
        Content::Block(number) => {
            let (major, minor) = device(*number);
            EntryKind::BlockDevice { major, minor }
        }
        Content::Char(number) => {
            let (major, minor) = device(*number);
            EntryKind::CharDevice { major, minor }
        }
        Content::Fifo => EntryKind::Fifo,
        Content::Socket => EntryKind::Socket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is_too_much(result: Result<(), Error>, unit: &str) {
        assert!(matches!(result, Err(Error::TooMuch { what, .. }) if what == unit));
    }

    #[test]
    fn name_at_the_limit_is_accepted_and_one_more_refused() {
        let names = NAMES_MAX - 1;
        let mut used = Used {
            names,
            ..Used::default()
        };
        used.name(b"/a", &Content::Fifo).unwrap();
        is_too_much(used.name(b"/b", &Content::Fifo), "names");
    }

    #[test]
    fn bytes_of_paths_and_targets_share_one_limit() {
        let path_bytes = PATH_BYTES_MAX - 9;
        let used = || Used {
            path_bytes,
            ..Used::default()
        };
        let link = |length| Content::Symlink(vec![b'x'; length]);
        let mut exact = used();
        exact.name(b"/abc", &link(3)).unwrap();
        exact.name(b"/d", &Content::Socket).unwrap();
        is_too_much(exact.name(b"/", &Content::Socket), "bytes of paths");
        is_too_much(used().name(b"/abc", &link(6)), "bytes of paths");
    }
}
