//! The writer that takes paths, and writes to a sink that can seek.

use std::cmp::Ordering;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use crate::compress::Codec;
use crate::data::{FileData, Places};
use crate::error::{Error, TreeError, shown};
use crate::format::{Field, Superblock};
use crate::metadata::Metadata;
use crate::options::Options;
use crate::output::flush;
use crate::summary::Summary;
use crate::tree::{Kind, NodeId, Tree, check_mode, check_name};
use crate::writer::{DataWriter, Sealed};

/// Writes an image to a file, or to another sink that can seek.
///
/// The image begins at the sink's current position. Paths are bytes. Slashes at either end and doubled slashes have no
/// meaning, and `.` and `..` are refused. Parents without an entry of their own become directories of mode `0o755`, owned
/// by 0:0, at the time [`Options::mkfs_time`]. An entry replaces an earlier one of the same path.
///
/// To add a whole directory of the host, call [`directory_from`](#method.directory_from).
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
///     ("/usr/share/doc/readme", "not read"),
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
    /// Position in the sink at which the image begins.
    base: u64,
    implicit: Metadata,
}

impl<W: Write + Seek> ImageWriter<W> {
    /// Returns a writer of an image that begins at the sink's current position. It overwrites what the sink holds there, but
    /// not if it returns [`Error::Options`] or [`Error::Codec`].
    ///
    /// # Errors
    /// As [`DataWriter::new`], and [`Error::Sink`] if the sink does not write at its position: a file that was opened
    /// for appending writes at its end.
    pub fn new(sink: W, options: &Options) -> Result<Self, Error> {
        let begun = DataWriter::begun(sink, options.resolve(None)?, begin)?;
        Ok(Self::of(begun, options))
    }

    /// Returns a writer as [`new`](Self::new) does, which compresses with a codec of the caller's; see
    /// [`DataWriter::with_codec`].
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_codec(
        sink: W,
        options: &Options,
        codec: impl Fn() -> io::Result<Box<dyn Codec>> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let resolved = options.resolve(Some(Arc::new(codec)))?;
        Ok(Self::of(DataWriter::begun(sink, resolved, begin)?, options))
    }

    fn of((data, base): (DataWriter<W>, u64), options: &Options) -> Self {
        let implicit = Metadata::new(0o755).with_mtime(options.mkfs_time);
        Self {
            data,
            tree: Tree::new(implicit.clone()),
            base,
            implicit,
        }
    }

    /// Adds a regular file whose content is what `body` returns until its end.
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
        self.check(path, &metadata)?;
        self.check_place(path).map_err(|error| name(error, path))?;
        let data = self.data.add(body).map_err(|error| name(error, path))?;
        self.insert(path, metadata, Kind::File(data))
    }

    /// Adds a directory; the empty path is the root. A directory that exists keeps its entries, and only its metadata
    /// changes.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn directory(
        &mut self,
        path: impl AsRef<[u8]>,
        metadata: Metadata,
    ) -> Result<NodeId, Error> {
        let path = path.as_ref();
        self.check(path, &metadata)?;
        self.put_directory(path, metadata)
            .map_err(|error| name(error, path))
    }

    /// Adds a symbolic link. The target is stored without being interpreted.
    ///
    /// # Errors
    /// As [`insert`](Self::insert). [`finish`](Self::finish) checks the target: 1 to 4095 bytes, without NUL.
    pub fn symlink(
        &mut self,
        path: impl AsRef<[u8]>,
        metadata: Metadata,
        target: impl AsRef<[u8]>,
    ) -> Result<NodeId, Error> {
        self.insert(path, metadata, Kind::Symlink(target.as_ref().into()))
    }

    /// Adds a hard link: one more name for a node that is not a directory.
    ///
    /// # Errors
    /// Returns [`Error::Tree`] if `target` is a directory or no longer in the tree, and [`Error::Name`] for an invalid
    /// name.
    pub fn link(&mut self, path: impl AsRef<[u8]>, target: NodeId) -> Result<(), Error> {
        let path = path.as_ref();
        check_path(path).map_err(|error| name(error, path))?;
        let checked = self.tree.check_target(target).map_err(Error::from);
        let place = checked.and_then(|()| self.parent(path)).and_then(not_root);
        place
            .and_then(|(parent, name)| self.tree.link(parent, name, target))
            .map_err(|error| name(error, path))
    }

    /// Adds an entry of any kind, and replaces an earlier one of the same path.
    ///
    /// # Errors
    /// Returns [`Error::Name`] if a part of the path cannot be a name. Returns [`Error::Tree`] if the path is the root, if
    /// it leads through an entry that is not a directory, or if the mode has bits above `0o7777`.
    pub fn insert(
        &mut self,
        path: impl AsRef<[u8]>,
        metadata: Metadata,
        kind: Kind<FileData>,
    ) -> Result<NodeId, Error> {
        let path = path.as_ref();
        self.check(path, &metadata)?;
        let place = self.parent(path).and_then(not_root);
        place
            .and_then(|(parent, name)| self.tree.insert(parent, name, metadata, kind))
            .map_err(|error| name(error, path))
    }

    /// Returns the tree so far, to look nodes up, to remove them, or to edit it by handle instead of by path.
    pub fn tree(&mut self) -> &mut Tree<FileData> {
        &mut self.tree
    }

    /// Returns the data plane, for bodies that come in pieces, have holes, or belong to several files.
    pub fn data(&mut self) -> &mut DataWriter<W> {
        &mut self.data
    }

    /// Writes the tables and then the superblock. Returns the sink, flushed and positioned after the image.
    ///
    /// # Errors
    /// As [`DataWriter::finish`], and [`Error::Sink`] if the sink's position is not that of the end of the image: another
    /// handle of the same file has moved it.
    ///
    /// The sink then holds nothing that mounts, because the first 4 bytes of the image are written last. The exception is a
    /// sink that fails after it has taken them, and then takes no zeros in their place.
    pub fn finish(self) -> Result<(W, Summary), Error> {
        let (sink, summary, _) = self.finish_recorded()?;
        Ok((sink, summary))
    }

    /// Writes the image as [`finish`](Self::finish) does, and returns the positions of bodies and fragments too, if
    /// [`DataWriter::keep_places`] was called.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_recorded(self) -> Result<(W, Summary, Option<Places>), Error> {
        let Sealed {
            superblock,
            mut sink,
            summary,
            places,
        } = self.data.finish(&self.tree)?;
        put_superblock(&mut sink, self.base, &superblock, summary.image_bytes)
            .map_err(Error::Sink)?;
        Ok((sink, summary, places))
    }

    /// Checks path and mode of an entry, before parents are made and its content is written for nothing.
    fn check(&self, path: &[u8], metadata: &Metadata) -> Result<(), Error> {
        let mode = |()| check_mode(metadata).map_err(Error::from);
        check_path(path)
            .and_then(mode)
            .map_err(|error| name(error, path))
    }

    /// Checks that an entry can have this path, before its content is written for nothing. It makes no parents, because the
    /// content may be refused as well.
    fn check_place(&self, path: &[u8]) -> Result<(), Error> {
        let mut place = None;
        for part in parts(path) {
            match self.tree.lookup(place.unwrap_or(NodeId::ROOT), part)? {
                Some(id) => place = Some(id),
                None => return Ok(()),
            }
        }
        not_root(place).map(drop)
    }

    /// Returns the directory that a path is in, which it makes if necessary, and the last part of the path. `None` for the
    /// root.
    fn parent<'p>(&mut self, path: &'p [u8]) -> Result<Option<(NodeId, &'p [u8])>, Error> {
        let mut parts = parts(path);
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
        self.directory_in(parent, name, metadata)
    }

    /// Adds a directory as [`directory`](Self::directory) does, by the node that it is in.
    pub(crate) fn directory_in(
        &mut self,
        parent: NodeId,
        name: &[u8],
        metadata: Metadata,
    ) -> Result<NodeId, Error> {
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

/// Refuses the root, the only entry that no directory holds.
fn not_root<T>(place: Option<T>) -> Result<T, Error> {
    place.ok_or_else(|| TreeError::Root.into())
}

/// Adds the path to an error, because the data plane knows no names, and the tree no paths.
pub(crate) fn name(error: Error, path: &[u8]) -> Error {
    let path = shown(path);
    match error {
        Error::Name {
            name,
            path: None,
            reason,
        } if name != path => Error::Name {
            name,
            path: Some(path),
            reason,
        },
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

/// Checks the names in a path.
fn check_path(path: &[u8]) -> Result<(), Error> {
    parts(path).try_for_each(check_name)
}

/// Returns the names in a path.
fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty())
}

/// Makes room for the superblock, and returns its position in the sink.
fn begin<W: Write + Seek>(sink: &mut W) -> io::Result<u64> {
    let base = sink.stream_position()?;
    // Zeros, so that no reader takes an unfinished image for one. Twice, because an empty file shows only the second time
    // that it appends.
    write_at(sink, base, &[0; Superblock::SIZE])?;
    write_at(sink, base, &[0; Superblock::SIZE])?;
    Ok(base)
}

/// Writes bytes at a position, and checks that they went there.
fn write_at(sink: &mut (impl Write + Seek), at: u64, bytes: &[u8]) -> io::Result<()> {
    let end = position(at, bytes.len() as u64)?;
    sink.seek(SeekFrom::Start(at))?;
    sink.write_all(bytes)?;
    let found = sink.stream_position()?;
    let advice = match found.cmp(&end) {
        Ordering::Equal => return Ok(()),
        Ordering::Greater => "open the file for writing and not for appending",
        Ordering::Less => "it does not keep its position, so it can hold no image",
    };
    Err(io::Error::other(format!(
        "after writing {} bytes at {at} the sink is at {found} instead of {end}: {advice}",
        bytes.len()
    )))
}

/// Returns the position `len` bytes after `base`.
fn position(base: u64, len: u64) -> io::Result<u64> {
    base.checked_add(len).ok_or_else(|| {
        let text = format!("the sink has no position {len} bytes after {base}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

/// Writes the superblock of an image that the sink has just taken. Its first four bytes come last, because no reader takes a
/// file without them for an image.
fn put_superblock(
    sink: &mut (impl Write + Seek),
    base: u64,
    superblock: &[u8; Superblock::SIZE],
    image_bytes: u64,
) -> io::Result<()> {
    let (end, found) = (position(base, image_bytes)?, sink.stream_position()?);
    if found != end {
        return Err(io::Error::other(format!(
            "the sink is at {found} instead of {end} after the image: another handle moved it while the image was written"
        )));
    }
    let &[a, b, c, d, ref rest @ ..] = superblock;
    write_at(sink, position(base, 4)?, rest)?;
    flush(sink)?;
    let outcome = put_magic(sink, base, [a, b, c, d], end);
    if outcome.is_err() {
        // A second error would hide the first, which has the cause.
        let _ = write_at(sink, base, &[0; 4]).and_then(|()| flush(sink));
    }
    outcome
}

fn put_magic(
    sink: &mut (impl Write + Seek),
    base: u64,
    magic: [u8; 4],
    end: u64,
) -> io::Result<()> {
    write_at(sink, base, &magic)?;
    sink.seek(SeekFrom::Start(end))?;
    flush(sink)
}
