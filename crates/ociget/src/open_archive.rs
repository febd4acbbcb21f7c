//! How the file of an archive is opened.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::regular_file;

/// Opens archives so that they can be read in place: as regular files that are not compressed.
///
/// This crate neither decompresses nor keeps files, so it opens nothing else by itself. A caller that
/// can do both, such as for an archive from a pipe, implements this trait and sets
/// [`Options::archives`](crate::Options::archives).
pub trait OpenArchive: Send + Sync + fmt::Debug {
    /// Opens the archive at `path`; `-` is standard input. It is called on a thread that may block, and
    /// has to return soon after `wanted` returns `false`.
    ///
    /// # Errors
    /// Returns an error if there is no such file, or if it cannot be made one that is read in place.
    fn open(&self, path: &Path, wanted: &dyn Fn() -> bool) -> io::Result<File>;
}

/// Opens regular files, and refuses compressed ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainFiles;

/// First bytes of compressed files.
const COMPRESSED: [(&[u8], &str); 4] = [
    (b"\x1f\x8b", "gunzip"),
    (b"\x28\xb5\x2f\xfd", "unzstd"),
    (b"\xfd7zXZ", "unxz"),
    (b"BZh", "bunzip2"),
];

impl OpenArchive for PlainFiles {
    fn open(&self, path: &Path, _wanted: &dyn Fn() -> bool) -> io::Result<File> {
        if path == Path::new("-") {
            return Err(io::Error::other(
                "archives from standard input need a caller that spools them; name a file",
            ));
        }
        let (file, _) = regular_file::open(path)?;
        match compressed_with(&file)? {
            None => Ok(file),
            Some(tool) => Err(io::Error::other(format!(
                "the archive is compressed; unpack it first, with {tool}"
            ))),
        }
    }
}

/// The tool that decompresses `file`, if it starts as a compressed file does.
pub(crate) fn compressed_with(file: &File) -> io::Result<Option<&'static str>> {
    use std::os::unix::fs::FileExt as _;
    let mut magic = [0; 6];
    let read = file.read_at(&mut magic, 0)?;
    let magic = magic.get(..read).unwrap_or_default();
    let found = COMPRESSED
        .iter()
        .find(|(start, _)| magic.starts_with(start));
    Ok(found.map(|(_, tool)| *tool))
}
