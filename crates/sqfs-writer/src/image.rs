//! The easy door: paths in, a file out.

use std::fmt;
use std::io::{Read, Seek, SeekFrom, Write};

use crate::data::FileData;
use crate::error::{Error, TreeError};
use crate::format::{Field, Superblock};
use crate::metadata::Metadata;
use crate::options::Options;
use crate::summary::Summary;
use crate::tree::{Kind, NodeId, Tree};
use crate::writer::{DataWriter, Sealed};

/// Writes an image to a file or anything else that can seek.
///
/// The image begins where the sink stands. Paths are bytes; slashes at either end and doubled ones
/// mean nothing, `.` and `..` are refused. Parents that nobody described become directories of mode
/// `0o755`, owned by 0:0, at the time of [`Options::mkfs_time`]. A path can be given again: what had
/// it before is replaced.
///
/// ```
/// use std::io::Cursor;
/// use sqfs_writer::{ImageWriter, Metadata, Options};
/// # #[cfg(feature = "zstd")] {
///
/// let mut image = ImageWriter::new(Cursor::new(Vec::new()), &Options::default())?;
/// let sh = image.file("/usr/bin/sh", Metadata::new(0o755), &b"#!"[..])?;
/// image.link("/usr/bin/dash", sh)?;
/// image.symlink("/bin", Metadata::new(0o777), "usr/bin")?;
/// let (sink, summary) = image.finish()?;
/// assert_eq!(summary.inodes, 5);
/// assert_eq!(sink.into_inner().get(..4), Some(&b"hsqs"[..]));
/// # }
/// # Ok::<(), sqfs_writer::Error>(())
/// ```
///
/// # Order of contents
///
/// File contents lie in the image in the order of the calls to [`file`](Self::file), and names do not affect it. This
/// takes the place of a sort file: a caller that adds the files of a boot first has them next to each other, and short
/// ones in the same fragments.
///
/// ```
/// use std::io::Cursor;
/// use sqfs_writer::{ImageWriter, Metadata, Options};
/// # #[cfg(feature = "zstd")] {
///
/// let mut files = vec![
///     ("/usr/share/doc/readme", "read by nobody"),
///     ("/sbin/init", "first"),
///     ("/lib/libc.so", "second"),
/// ];
/// let boot_order = ["/sbin/init", "/lib/libc.so"];
/// // Files that the boot does not read follow in their own order, because the sort is stable.
/// files.sort_by_key(|(path, _)| boot_order.iter().position(|p| p == path).unwrap_or(usize::MAX));
///
/// let mut image = ImageWriter::new(Cursor::new(Vec::new()), &Options::default())?;
/// for (path, contents) in files {
///     image.file(path, Metadata::new(0o644), contents.as_bytes())?;
/// }
/// image.finish()?;
/// # }
/// # Ok::<(), sqfs_writer::Error>(())
/// ```
pub struct ImageWriter<W: Write + Seek> {
    data: DataWriter<W>,
    tree: Tree<FileData>,
    /// Where the image begins in the sink.
    base: u64,
    implicit: Metadata,
}

impl<W: Write + Seek> ImageWriter<W> {
    /// A writer of an image that begins at the sink's current position.
    ///
    /// # Errors
    /// As [`DataWriter::new`].
    pub fn new(mut sink: W, options: &Options) -> Result<Self, Error> {
        let base = sink.stream_position().map_err(Error::Sink)?;
        // Not a superblock: until the real one is there, nothing can mistake this for an image.
        sink.write_all(&[0; Superblock::SIZE])
            .map_err(Error::Sink)?;
        let implicit = Metadata::new(0o755).with_mtime(options.mkfs_time);
        Ok(Self {
            data: DataWriter::new(sink, options)?,
            tree: Tree::new(implicit.clone()),
            base,
            implicit,
        })
    }

    /// A regular file with everything that `body` gives until its end.
    ///
    /// # Errors
    /// As [`insert`](Self::insert) and [`DataWriter::add`], but [`Error::File`] if `body` fails.
    pub fn file(
        &mut self,
        path: impl AsRef<[u8]>,
        metadata: Metadata,
        body: impl Read,
    ) -> Result<NodeId, Error> {
        let path = path.as_ref();
        let data = self.data.add(body).map_err(|error| name(error, path))?;
        self.insert(path, metadata, Kind::File(data))
    }

    /// A directory. If there already is one it keeps its entries, and only its metadata changes;
    /// the empty path is the root.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn directory(
        &mut self,
        path: impl AsRef<[u8]>,
        metadata: Metadata,
    ) -> Result<NodeId, Error> {
        let path = path.as_ref();
        self.put_directory(path, metadata)
            .map_err(|error| name(error, path))
    }

    /// A symbolic link. The target is stored as it is.
    ///
    /// # Errors
    /// As [`insert`](Self::insert). The length of the target, 1 to 4095 bytes, is checked when the
    /// image is finished.
    pub fn symlink(
        &mut self,
        path: impl AsRef<[u8]>,
        metadata: Metadata,
        target: impl AsRef<[u8]>,
    ) -> Result<NodeId, Error> {
        self.insert(path, metadata, Kind::Symlink(target.as_ref().into()))
    }

    /// One more name for what is not a directory.
    ///
    /// # Errors
    /// [`Error::Tree`] if `target` is a directory or no longer there; [`Error::Name`].
    pub fn link(&mut self, path: impl AsRef<[u8]>, target: NodeId) -> Result<(), Error> {
        let path = path.as_ref();
        let place = self.parent(path).and_then(not_root);
        place
            .and_then(|(parent, name)| self.tree.link(parent, name, target))
            .map_err(|error| name(error, path))
    }

    /// Anything. What had the path before is replaced.
    ///
    /// # Errors
    /// [`Error::Name`] if a part of the path can't be a name, [`Error::Tree`] if the path leads
    /// through something that is not a directory, is the root, or the mode has bits above
    /// `0o7777`.
    pub fn insert(
        &mut self,
        path: impl AsRef<[u8]>,
        metadata: Metadata,
        kind: Kind<FileData>,
    ) -> Result<NodeId, Error> {
        let path = path.as_ref();
        let place = self.parent(path).and_then(not_root);
        place
            .and_then(|(parent, name)| self.tree.insert(parent, name, metadata, kind))
            .map_err(|error| name(error, path))
    }

    /// The tree so far, to look things up, remove them, or edit it by handle instead of by path.
    pub fn tree(&mut self) -> &mut Tree<FileData> {
        &mut self.tree
    }

    /// The data plane, for bodies that come in pieces, have holes, or are shared by several files.
    pub fn data(&mut self) -> &mut DataWriter<W> {
        &mut self.data
    }

    /// Writes the tables and, last of all, the superblock. The sink is left flushed, standing
    /// behind the image.
    ///
    /// # Errors
    /// As [`DataWriter::finish`]. What is in the sink then can't be mounted.
    pub fn finish(self) -> Result<(W, Summary), Error> {
        let Sealed {
            superblock,
            mut sink,
            summary,
            ..
        } = self.data.finish(&self.tree)?;
        put_superblock(&mut sink, self.base, &superblock, summary.image_bytes)
            .map_err(Error::Sink)?;
        Ok((sink, summary))
    }

    /// The directory a path is in, made if need be, and the last part of the path. `None` for the
    /// root.
    fn parent<'p>(&mut self, path: &'p [u8]) -> Result<Option<(NodeId, &'p [u8])>, Error> {
        let mut parts = path
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty());
        let Some(mut name) = parts.next() else {
            return Ok(None);
        };
        let mut parent = NodeId::ROOT;
        for next in parts {
            parent = match self.tree.lookup(parent, name)? {
                Some(id) => id,
                None => {
                    let metadata = self.implicit.clone();
                    self.tree
                        .insert(parent, name, metadata, Kind::directory())?
                }
            };
            name = next;
        }
        Ok(Some((parent, name)))
    }

    fn put_directory(&mut self, path: &[u8], metadata: Metadata) -> Result<NodeId, Error> {
        let Some((parent, name)) = self.parent(path)? else {
            self.tree.set_metadata(NodeId::ROOT, metadata)?;
            return Ok(NodeId::ROOT);
        };
        let known = self.tree.lookup(parent, name)?;
        if let Some(id) = known.filter(|&id| self.is_directory(id)) {
            self.tree.set_metadata(id, metadata)?;
            return Ok(id);
        }
        self.tree.insert(parent, name, metadata, Kind::directory())
    }

    fn is_directory(&self, id: NodeId) -> bool {
        self.tree
            .get(id)
            .is_some_and(|node| node.kind().is_directory())
    }
}

impl<W: Write + Seek> fmt::Debug for ImageWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageWriter")
            .field("inodes", &self.tree.len())
            .finish_non_exhaustive()
    }
}

/// Only the root has no place in a directory.
fn not_root<T>(place: Option<T>) -> Result<T, Error> {
    place.ok_or_else(|| TreeError::Root.into())
}

/// Says which entry it was: the data plane knows no names, and the tree no paths.
fn name(error: Error, path: &[u8]) -> Error {
    let path = path.escape_ascii().to_string();
    match error {
        Error::Body(source) => Error::File { path, source },
        Error::Tree { reason, .. } => Error::Tree {
            entry: Some(path),
            reason,
        },
        Error::Limit {
            what: what @ "length",
            value,
            max,
            ..
        } => Error::Limit {
            what,
            entry: path,
            value,
            max,
        },
        other => other,
    }
}

fn put_superblock(
    sink: &mut (impl Write + Seek),
    base: u64,
    superblock: &[u8],
    image_bytes: u64,
) -> std::io::Result<()> {
    sink.seek(SeekFrom::Start(base))?;
    sink.write_all(superblock)?;
    sink.seek(SeekFrom::Start(base + image_bytes))?;
    sink.flush()
}
