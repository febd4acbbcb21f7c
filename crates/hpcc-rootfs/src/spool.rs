//! Archives that cannot be read in place: compressed as a whole, or from a pipe.
//!
//! Layers are read newest first and the manifest before them, and archives hold them in any other
//! order. So the plain archive is written to a file without a name, which goes away with the process,
//! and read from there. A regular file that is not compressed is read where it is.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ociget::OpenArchive;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::layer::{self, Pieces};
use crate::options::SpoolOptions;
use crate::regular_file;

/// Bytes read at a time.
const PIECE: usize = 128 << 10;
/// How long a silent pipe is waited for before a look whether somebody still wants the archive.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Opens archives, if need be by way of a spool.
#[derive(Clone, Debug)]
pub(crate) struct ArchiveSpool {
    directory: PathBuf,
    max_bytes: u64,
    zstd_window: u64,
}

impl ArchiveSpool {
    /// Spools into the directory of the options, or into `directory` if they name none.
    pub(crate) fn new(options: &SpoolOptions, directory: &Path, zstd_window: u64) -> Self {
        Self {
            directory: options.directory.as_deref().unwrap_or(directory).to_owned(),
            max_bytes: options.bytes,
            zstd_window,
        }
    }

    /// Writes the archive that comes from `pieces`, decompressed, to a file without a name.
    fn fill(&self, pieces: impl Pieces) -> io::Result<File> {
        let file = unnamed(&self.directory).map_err(|error| {
            let directory = ociget::printable::path(&self.directory);
            let text = format!("cannot spool the archive in {directory}: {error}; name a directory with --spool-dir");
            io::Error::new(error.kind(), text)
        })?;
        let mut length = 0u64;
        let outcome = layer::decompress(pieces, self.zstd_window, |bytes| {
            let at = length;
            length = length.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            if length > self.max_bytes {
                return Err(io::Error::other(format!(
                    "the archive has more than {} bytes decompressed, the limit on what is spooled; if \
                     you trust it, raise --max-spool",
                    self.max_bytes
                )));
            }
            file.write_all_at(bytes, at)
        });
        outcome?;
        Ok(file)
    }
}

impl OpenArchive for ArchiveSpool {
    fn open(&self, path: &Path, wanted: &dyn Fn() -> bool) -> io::Result<File> {
        if path != Path::new("-") {
            let file = regular_file::open(path, OFlags::empty()).map_err(|error| {
                match regular_file::is_other_type(&error) && !path.is_dir() {
                    true => io::Error::other(format!(
                        "it is {error}; write - in its place and redirect standard input from it"
                    )),
                    false => error,
                }
            })?;
            return match is_compressed(&file)? {
                false => Ok(file),
                true => self.fill(Input { file, wanted }),
            };
        }
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Err(io::Error::other(
                "it is a terminal; pipe an archive into this program, or name a file",
            ));
        }
        let mut file = File::from(stdin.as_fd().try_clone_to_owned()?);
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if kind == FileType::RegularFile && file.stream_position()? == 0 && !is_compressed(&file)? {
            return Ok(file);
        }
        if kind == FileType::Directory {
            return Err(io::Error::other("it is a directory"));
        }
        self.fill(Input { file, wanted })
    }
}

/// Whether a regular file starts as a compressed one does that the decoder knows, or tells apart.
fn is_compressed(file: &File) -> io::Result<bool> {
    let mut head = [0; 6];
    let read = file.read_at(&mut head, 0)?;
    Ok(matches!(
        head.get(..read).unwrap_or_default(),
        [0x1f, 0x8b, ..]
            | [0x28, 0xb5, 0x2f, 0xfd, ..]
            | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]
            | [0xfd, b'7', b'z', b'X', b'Z', ..]
            | [b'B', b'Z', b'h', ..]
    ))
}

/// A file or a pipe, for as long as somebody wants it.
struct Input<'a> {
    file: File,
    wanted: &'a dyn Fn() -> bool,
}

impl Pieces for Input<'_> {
    fn next(&mut self) -> io::Result<Bytes> {
        let mut buffer = vec![0; PIECE];
        loop {
            if !(self.wanted)() {
                return Err(io::Error::other("nobody waits for the archive any more"));
            }
            let mut ready = [PollFd::new(&self.file, PollFlags::IN)];
            match rustix::event::poll(&mut ready, Some(&PATIENCE)) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match self.file.read(&mut buffer) {
                Ok(count) => {
                    buffer.truncate(count);
                    return Ok(buffer.into());
                }
                // Another process may have made the pipe one that does not block.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A file of this user alone that has no name, or none for longer than a moment.
fn unnamed(directory: &Path) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let opened: OwnedFd = match rustix::fs::open(directory, flags | OFlags::TMPFILE, mode) {
        // File systems, and kernels, without such files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let name = format!(".spool-{}", std::process::id());
            let path = directory.join(name);
            let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            let opened = rustix::fs::open(&path, flags, mode)?;
            rustix::fs::unlink(&path)?;
            opened
        }
        outcome => outcome?,
    };
    Ok(File::from(opened))
}
