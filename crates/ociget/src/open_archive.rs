//! How the file of an archive is opened.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::regular_file;
use crate::tar_fields::is_header;

/// Returns whether a reader still waits for an archive. Cheap, and called often.
pub type Wanted = Arc<dyn Fn() -> bool + Send + Sync>;

/// Opens archives.
///
/// This crate neither decompresses nor keeps files, so it opens nothing but regular files that are not
/// compressed by itself. A caller that can do both, such as for an archive from a pipe, implements this
/// trait and sets [`Options::archives`](crate::Options::archives).
pub trait OpenArchive: Send + Sync + fmt::Debug {
    /// Opens the archive at `path`; `-` is standard input. It is called on a thread that may block, and
    /// has to return soon after `wanted` returns `false`. The same holds for reading from the result.
    ///
    /// # Errors
    /// Returns an error if there is no such file, or if it cannot be read.
    fn open(&self, path: &Path, wanted: &Wanted) -> io::Result<OpenedArchive>;
}

/// An archive that is open.
#[non_exhaustive]
pub enum OpenedArchive {
    /// A regular file that is not compressed. It is read in place and in any order.
    File(File),
    /// Bytes that come once, from first to last.
    Stream(ArchiveStream),
}

/// An archive that is read once, from its start, and where those parts of it go that are needed
/// later.
pub struct ArchiveStream {
    pub(crate) bytes: CheckedRead,
    pub(crate) spool: Box<dyn Spool>,
}

impl ArchiveStream {
    /// Reads `bytes`, which are not compressed, and keeps parts of them in `spool`.
    #[must_use]
    pub fn new(bytes: Box<dyn Read + Send>, spool: Box<dyn Spool>) -> Self {
        let bytes = CheckedRead { bytes, wrong: None };
        Self { bytes, spool }
    }

    /// Keeps all of it, and returns the file.
    pub(crate) fn into_file(mut self, wanted: &Wanted) -> io::Result<Arc<File>> {
        let mut buffer = vec![0; 128 << 10];
        let mut at = 0u64;
        loop {
            if !wanted() {
                return Err(unwanted());
            }
            let count = match self.bytes.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return self.spool.file();
            }
            self.spool.write_at(bytes, at)?;
            at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }
}

/// A reader of a caller, which may say that it filled more than its buffer (rust-lang/rust#80895, #82892). After such a
/// count it reads nothing more: it is unknown which bytes are missing.
pub(crate) struct CheckedRead {
    bytes: Box<dyn Read + Send>,
    /// The count that was too large, and the length of the buffer.
    wrong: Option<(usize, usize)>,
}

impl Read for CheckedRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, room) = match self.wrong {
            Some(wrong) => wrong,
            None => (self.bytes.read(buffer)?, buffer.len()),
        };
        if count <= room {
            return Ok(count);
        }
        self.wrong = Some((count, room));
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("its reader returned {count} bytes for a buffer of {room}"),
        ))
    }
}

impl fmt::Debug for ArchiveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveStream").finish_non_exhaustive()
    }
}

/// Keeps parts of an archive until they are read.
///
/// A byte is kept at the offset that it has in the archive. What is not kept stays a hole.
pub trait Spool: Send {
    /// Keeps `bytes`, which are at `offset` of the archive. Each byte is kept once, in ascending order.
    ///
    /// # Errors
    /// Returns an error if they cannot be written, or are more than may be kept.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns the file that holds what was kept, always the same one.
    ///
    /// # Errors
    /// Returns an error if there is none yet and it cannot be made.
    fn file(&mut self) -> io::Result<Arc<File>>;
}

/// Returns the error of an archive that is no longer needed.
pub(crate) fn unwanted() -> io::Error {
    io::Error::other("the archive is no longer needed")
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
    fn open(&self, path: &Path, _wanted: &Wanted) -> io::Result<OpenedArchive> {
        if path == Path::new("-") {
            return Err(io::Error::other(
                "archives from standard input need a caller that spools them; name a file",
            ));
        }
        let (file, _) = regular_file::open(path)?;
        match compressed_with(&file)? {
            None => Ok(OpenedArchive::File(file)),
            Some(tool) => Err(io::Error::other(format!(
                "the archive is compressed; unpack it first, with {tool}"
            ))),
        }
    }
}

/// The tool that decompresses `file`, if it starts as a compressed file does.
///
/// A tar file starts with the name of its first member, and a name may start as a compressed file does.
pub(crate) fn compressed_with(file: &File) -> io::Result<Option<&'static str>> {
    use std::os::unix::fs::FileExt as _;
    let mut block = [0; 512];
    let read = file.read_at(&mut block, 0)?;
    let start = block.get(..read).unwrap_or_default();
    if is_header(start) {
        return Ok(None);
    }
    let found = COMPRESSED
        .iter()
        .find(|(magic, _)| start.starts_with(magic));
    Ok(found.map(|(_, tool)| *tool))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn opens(bytes: &[u8]) -> Result<(), String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let wanted: Wanted = Arc::new(|| true);
        let opened = PlainFiles.open(file.path(), &wanted);
        opened.map(drop).map_err(|error| error.to_string())
    }

    struct Kept(Arc<File>);

    impl Spool for Kept {
        fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
            std::os::unix::fs::FileExt::write_all_at(&*self.0, bytes, offset)
        }

        fn file(&mut self) -> io::Result<Arc<File>> {
            Ok(Arc::clone(&self.0))
        }
    }

    /// Says at its third call that it filled more than the buffer, and ends after that.
    struct Overstating(u32);

    impl Read for Overstating {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            Ok(match self.0 {
                1 | 2 => 1000,
                3 => buffer.len() + 1,
                _ => 0,
            })
        }
    }

    /// rust-lang/rust#80895, #82892
    #[test]
    fn archive_whose_reader_overstates_its_count_is_refused() {
        let spool = || Box::new(Kept(Arc::new(tempfile::tempfile().unwrap())));
        let expected = "its reader returned 131073 bytes for a buffer of 131072";
        let wanted: Wanted = Arc::new(|| true);
        let stream = ArchiveStream::new(Box::new(Overstating(0)), spool());
        let error = stream.into_file(&wanted).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), expected);

        let mut stream = ArchiveStream::new(Box::new(Overstating(2)), spool());
        for _ in 0..2 {
            let error = stream.bytes.read(&mut [0; 131_072]).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn compressed_archive_is_refused_with_the_tool_for_it() {
        for (magic, tool) in COMPRESSED {
            for length in [0, 1000] {
                let said = opens(&[magic, &vec![7; length]].concat()).unwrap_err();
                assert!(said.ends_with(tool), "{said}");
            }
        }
    }

    #[test]
    fn name_of_a_first_member_is_no_magic() {
        for (magic, _) in COMPRESSED {
            let mut header = [0; 512];
            header[..magic.len()].copy_from_slice(magic);
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            assert_eq!(opens(&header), Ok(()), "{magic:?}");
        }
    }
}
