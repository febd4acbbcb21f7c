//! Archives that cannot be read in place: compressed as a whole, or from a pipe.
//!
//! Layers are read newest first and the manifest before them, and archives hold them in any other order. So members
//! that come before they are needed are written to a file without a name, which vanishes with the process, and are read
//! from there. An uncompressed regular file is read in place.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ociget::{ArchiveStream, OpenArchive, OpenedArchive, Wanted};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::layer::{Decompressed, Pieces};
use crate::options::SpoolOptions;
use crate::regular_file;
use crate::unspooled::Unspooled;

/// Bytes read at a time.
const PIECE: usize = 128 << 10;
/// How long to wait for a silent pipe before checking whether the archive is still wanted.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Opens archives, if necessary with a spool for members that are needed later.
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

    /// Returns the archive in `file`, decompressed as it is read.
    fn stream(&self, file: File, wanted: &Wanted) -> io::Result<OpenedArchive> {
        let wanted = Arc::clone(wanted);
        let bytes = Decompressed::open(Input { file, wanted }, self.zstd_window)?;
        let spool = Kept {
            directory: self.directory.clone(),
            max_bytes: self.max_bytes,
            bytes: 0,
            file: None,
        };
        let stream = ArchiveStream::new(Box::new(bytes), Box::new(spool));
        Ok(OpenedArchive::Stream(stream))
    }
}

impl OpenArchive for ArchiveSpool {
    fn open(&self, path: &Path, wanted: &Wanted) -> io::Result<OpenedArchive> {
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
                false => Ok(OpenedArchive::File(file)),
                true => self.stream(file, wanted),
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
            return Ok(OpenedArchive::File(file));
        }
        if kind == FileType::Directory {
            return Err(io::Error::other("it is a directory"));
        }
        self.stream(file, wanted)
    }
}

/// The parts of an archive that are needed later, in a file without a name. The file is created when the first part has
/// to be kept.
struct Kept {
    directory: PathBuf,
    max_bytes: u64,
    bytes: u64,
    file: Option<Arc<File>>,
}

impl ociget::Spool for Kept {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(length);
        if self.bytes > self.max_bytes {
            return Err(io::Error::other(format!(
                "more than {} bytes of the archive, decompressed, are needed later, which is the limit \
                 on what is spooled; if you trust it, raise SpoolOptions::bytes",
                self.max_bytes
            )));
        }
        let written = self.file()?.write_all_at(bytes, offset);
        written.map_err(|error| self.unspooled(error))
    }

    fn file(&mut self) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let file = unnamed(&self.directory).map_err(|error| self.unspooled(error))?;
        Ok(Arc::clone(self.file.insert(Arc::new(file))))
    }
}

impl Kept {
    fn unspooled(&self, source: io::Error) -> io::Error {
        let directory = self.directory.clone();
        io::Error::new(source.kind(), Unspooled { directory, source })
    }
}

/// Returns whether a regular file starts like a compressed one, whose codec the decoder knows or can name.
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

/// A file or a pipe, for as long as the archive is wanted.
struct Input {
    file: File,
    wanted: Wanted,
}

impl Pieces for Input {
    fn next(&mut self) -> io::Result<Bytes> {
        let mut buffer = vec![0; PIECE];
        loop {
            if !(self.wanted)() {
                return Err(io::Error::other("the archive is no longer wanted"));
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
                // Another process may have made the pipe non-blocking.
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

/// Creates a file of this user alone that has no name, or has one only for a moment.
fn unnamed(directory: &Path) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let opened: OwnedFd = match rustix::fs::open(directory, flags | OFlags::TMPFILE, mode) {
        // Some file systems and kernels have no such files.
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
