//! A directory of the host, written into an image with everything below it.
//!
//! Nothing here follows a symlink below the directory, and every entry is opened once, without an access to its content.
//! Type, metadata, attributes and content all come from that one inode, so another process that replaces an entry
//! meanwhile cannot mix two of them, and cannot lead the walk out of the directory.

mod inode;

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use self::inode::{Attributes, Facts, Failure, Identity, Inode, Type};
use crate::data::FileData;
use crate::error::Error;
use crate::image::{ImageWriter, name};
use crate::metadata::Metadata;
use crate::tree::{Kind, NodeId};
use crate::writer::DataWriter;

impl<W: Write + Seek> ImageWriter<W> {
    /// Adds a directory of the host, with everything below it, at `path` in the image; the empty path is the root.
    ///
    /// ```
    /// use std::io::Cursor;
    /// use sqfs_writer::{ImageWriter, Options};
    /// # #[cfg(feature = "zstd")] {
    ///
    /// let mut image = ImageWriter::new(Cursor::new(Vec::new()), &Options::default())?;
    /// image.directory_from("", "src")?;
    /// let (_, summary) = image.finish()?;
    /// assert!(summary.inodes > 20);
    /// # }
    /// # Ok::<(), sqfs_writer::Error>(())
    /// ```
    ///
    /// The image gets every type of inode with mode, owner, modification time, device numbers, extended attributes and
    /// hard links. The walk visits the entries of each directory in bytewise order of their names, so equal directories
    /// give equal images. An entry of the image keeps its place unless the host has one of the same path; directories are
    /// merged.
    ///
    /// `host` itself may be a symlink. The walk follows no symlink below it, and enters file systems that are mounted
    /// below it.
    ///
    /// # Limits
    /// - Feature `host`, which is on by default, and Linux with `/proc`: the writer reads contents and attributes through
    ///   `/proc/thread-self/fd`.
    /// - The image has what this user can see. As another user than root, `trusted.` attributes are missing, and a file
    ///   without read permission is an error.
    /// - An image has seconds from 1970 to 2106. Earlier and later times become the first and the last of them.
    /// - The format stores attributes in `user.`, `trusted.` and `security.`; POSIX ACLs are left out and counted in
    ///   [`Summary::dropped_xattrs`](crate::Summary::dropped_xattrs).
    /// - Names of one inode are hard links of each other within one call, and separate files between two. If another process
    ///   adds or removes a name of such an inode meanwhile, its status time changes, and its next name is an error.
    /// - A file whose size or times change while the writer reads it is an error, and so is a file whose size is not the
    ///   number of its bytes, as in `/proc`. Entries that another process adds meanwhile may be missing.
    /// - The writer reads sparse files in full; their blocks of zeros become holes.
    /// - An image that is written into the same directory becomes part of itself: leave its file out with
    ///   [`directory_from_with`](Self::directory_from_with).
    ///
    /// The walk keeps four files open at most, however deep the directories are. In memory it has the names of one
    /// directory at each level, and 72 bytes for each inode with several names.
    ///
    /// # Errors
    /// Returns [`Error::Host`] if the host refuses something, [`Error::Changed`] if an entry changed while it was read,
    /// and the errors of [`insert`](Self::insert) and [`DataWriter::add`]. The image then has a part of the directory.
    /// After [`Error::Host`] and [`Error::Changed`] the writer can go on.
    pub fn directory_from(
        &mut self,
        path: impl AsRef<[u8]>,
        host: impl AsRef<Path>,
    ) -> Result<NodeId, Error> {
        self.directory_from_with(path, host, |_, _| true)
    }

    /// Adds a directory of the host as [`directory_from`](Self::directory_from) does, and lets `choose` leave entries out
    /// and change metadata.
    ///
    /// `choose` receives the path of an entry below `host` and its metadata, and returns whether the entry goes into the
    /// image. Without a directory, the writer does not look at what is below it; without a file, it does not open the
    /// file. The first call is for `host` itself, with the empty path, and its answer has no effect. An inode with several
    /// names has the metadata that the call for the first of them left.
    ///
    /// ```
    /// use std::io::Cursor;
    /// use sqfs_writer::{ImageWriter, Options};
    /// # #[cfg(feature = "zstd")] {
    ///
    /// let mut image = ImageWriter::new(Cursor::new(Vec::new()), &Options::default())?;
    /// // Everything belongs to root, and times do not matter.
    /// image.directory_from_with("usr/src", "src", |path, metadata| {
    ///     (metadata.uid, metadata.gid, metadata.mtime) = (0, 0, 0);
    ///     !path.ends_with("tests.rs")
    /// })?;
    /// image.finish()?;
    /// # }
    /// # Ok::<(), sqfs_writer::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`directory_from`](Self::directory_from).
    pub fn directory_from_with(
        &mut self,
        path: impl AsRef<[u8]>,
        host: impl AsRef<Path>,
        choose: impl FnMut(&Path, &mut Metadata) -> bool,
    ) -> Result<NodeId, Error> {
        let mut walk = Walk {
            image: self,
            host: host.as_ref(),
            below: Vec::new(),
            choose,
            links: HashMap::new(),
            attributes: Attributes::new(),
        };
        walk.run(path.as_ref())
    }
}

/// A directory between the top and the current entry, the last one included.
struct Level {
    node: NodeId,
    identity: Identity,
    /// Names that are still to visit, the next one last.
    names: Vec<CString>,
    /// Bytes of [`Walk::below`] that lead here.
    len: usize,
}

struct Walk<'w, W: Write + Seek, C> {
    image: &'w mut ImageWriter<W>,
    host: &'w Path,
    /// The path of the current entry below `host`.
    below: Vec<u8>,
    choose: C,
    /// The nodes of inodes that have several names, and what the walk found at the first of them. A number alone does not
    /// identify an inode: once all its names are removed, the file system gives it to a new file.
    links: HashMap<Identity, (NodeId, Facts)>,
    attributes: Attributes,
}

impl<W: Write + Seek, C: FnMut(&Path, &mut Metadata) -> bool> Walk<'_, W, C> {
    fn run(&mut self, path: &[u8]) -> Result<NodeId, Error> {
        let mut directory = Inode::top(self.host).map_err(|failure| self.failed(failure))?;
        let metadata = self.metadata(&directory)?;
        let top = self.image.directory(path, metadata.1)?;
        let mut levels = vec![self.level(top, &directory)?];
        while let Some(level) = levels.last_mut() {
            self.below.truncate(level.len);
            let Some(entry) = level.names.pop() else {
                levels.pop();
                if let Some(parent) = levels.last() {
                    let above = directory.parent(parent.identity);
                    directory = above.map_err(|failure| self.failed(failure))?;
                }
                continue;
            };
            if !self.below.is_empty() {
                self.below.push(b'/');
            }
            self.below.extend_from_slice(entry.to_bytes());
            self.image.data().check_cancelled()?;
            let inode = directory.entry(&entry);
            let inode = inode.map_err(|failure| self.failed(failure))?;
            if let Some(node) = self.add(level.node, entry.to_bytes(), &inode)? {
                levels.push(self.level(node, &inode)?);
                directory = inode;
            }
        }
        Ok(top)
    }

    /// Adds an entry, and returns its node if it is a directory whose entries come next.
    fn add(
        &mut self,
        parent: NodeId,
        entry: &[u8],
        inode: &Inode,
    ) -> Result<Option<NodeId>, Error> {
        let (chosen, metadata) = self.metadata(inode)?;
        if !chosen {
            return Ok(None);
        }
        let linked = self.linked(inode)?;
        let kind = match inode.kind() {
            Type::Directory => {
                let node = self.image.directory_in(parent, entry, metadata);
                return node.map(Some).map_err(|error| name(error, &self.below));
            }
            _ if linked.is_some() => None,
            Type::File => Some(Kind::File(self.content(inode)?)),
            Type::Symlink => {
                let target = inode.target().map_err(|failure| self.failed(failure))?;
                Some(Kind::Symlink(target.into_bytes().into()))
            }
            Type::CharDevice(device) => Some(Kind::CharDevice(device)),
            Type::BlockDevice(device) => Some(Kind::BlockDevice(device)),
            Type::Fifo => Some(Kind::Fifo),
            Type::Socket => Some(Kind::Socket),
        };
        let tree = self.image.tree();
        let added = match (kind, linked) {
            (Some(kind), _) => tree.insert(parent, entry, metadata, kind).map(Some),
            (None, Some(node)) => tree.link(parent, entry, node).map(|()| None),
            (None, None) => Ok(None),
        };
        let node = added.map_err(|error| name(error, &self.below))?;
        if let Some(node) = node.filter(|_| inode.has_more_names()) {
            self.links.insert(inode.identity(), (node, inode.facts()));
        }
        Ok(None)
    }

    /// Returns the node of an inode that the walk has met by another name. It must be as it was there.
    fn linked(&self, inode: &Inode) -> Result<Option<NodeId>, Error> {
        match (inode.kind(), self.links.get(&inode.identity())) {
            (Type::Directory, _) | (_, None) => Ok(None),
            (_, Some(&(node, first))) => {
                let same = inode.is_as(first);
                same.map_err(|failure| self.failed(failure))?;
                Ok(Some(node))
            }
        }
    }

    /// Returns whether an entry goes into the image, and its metadata.
    fn metadata(&mut self, inode: &Inode) -> Result<(bool, Metadata), Error> {
        let metadata = inode.metadata(&mut self.attributes);
        let mut metadata = metadata.map_err(|failure| self.failed(failure))?;
        let path = Path::new(OsStr::from_bytes(&self.below));
        let chosen = (self.choose)(path, &mut metadata);
        Ok((chosen, metadata))
    }

    fn level(&self, node: NodeId, directory: &Inode) -> Result<Level, Error> {
        let names = directory.names();
        let mut names = names.map_err(|failure| self.failed(failure))?;
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Level {
            node,
            identity: directory.identity(),
            names,
            len: self.below.len(),
        })
    }

    fn content(&mut self, inode: &Inode) -> Result<FileData, Error> {
        let file = inode.open().map_err(|failure| self.failed(failure))?;
        let data = copy(self.image.data(), &file, inode.size());
        let data = match data {
            Err(Error::Body(source)) => return Err(self.failed(Failure::Io("read", source))),
            other => other.map_err(|error| name(error, &self.below))?,
        };
        let data = data.map_err(|what| self.failed(Failure::Changed(what)))?;
        let same = inode.is_unchanged();
        same.map_err(|failure| self.failed(failure))?;
        Ok(data)
    }

    /// Says which entry of the host it was.
    fn failed(&self, failure: Failure) -> Error {
        let path = match self.below.as_slice() {
            [] => self.host.to_path_buf(),
            below => self.host.join(OsStr::from_bytes(below)),
        };
        let path = escaped(path);
        match failure {
            Failure::Io(action, source) => Error::Host {
                action,
                path,
                source,
            },
            Failure::Changed(found) => Error::Changed { path, found },
        }
    }
}

fn escaped(path: PathBuf) -> String {
    path.as_os_str().as_bytes().escape_ascii().to_string()
}

/// Writes the `size` bytes that `file` must have. The inner error is what is wrong with their number.
fn copy<W: Write>(
    data: &mut DataWriter<W>,
    file: &std::fs::File,
    size: u64,
) -> Result<Result<FileData, &'static str>, Error> {
    let mut body = data.begin();
    // Not to the end: a file that grows as fast as it is read has none. Holes are not asked for with SEEK_DATA, because
    // file systems have reported data as a hole that was not yet on the disk (openzfs/zfs#15526).
    let len = body.append(file.take(size))?;
    if len < size {
        return Ok(Err("it has fewer bytes than its size"));
    }
    let more = loop {
        let mut file = file;
        match file.read(&mut [0]) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => break result.map_err(Error::Body)?,
        }
    };
    if more > 0 {
        return Ok(Err("it has more bytes than its size"));
    }
    body.finish().map(Ok)
}
