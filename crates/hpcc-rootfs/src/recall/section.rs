//! A part of a recall file: compressed, with a checksum of the stored bytes.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::damaged::damaged;
use super::disk::disk_error;
use crate::growth::Growth as _;
use crate::staging::{Spare, StagedFile};

/// Fast, and a third smaller than uncompressed: a section consists mostly of fingerprints.
const LEVEL: i32 = 1;

/// Bytes that are read or written at a time.
const PIECE: usize = 64 << 10;

/// The largest window of the decoder, as a power of two.
const WINDOW_LOG: u32 = 23;

/// The position of a section in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) length: u64,
    /// BLAKE3 of the stored bytes, as hex.
    pub(super) checksum: String,
}

/// The end of a file that is being written.
pub(super) struct End {
    pub(super) file: Spare<StagedFile>,
    pub(super) offset: u64,
    /// Number of bytes that the file may have.
    pub(super) most: u64,
}

impl End {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.offset + bytes.len() as u64;
        self.fits(end)?;
        let at = self.offset;
        self.file.with(|staged| staged.write_all_at(bytes, at))?;
        self.offset = end;
        Ok(())
    }

    /// Writes the beginning of the file, which was left out.
    pub(super) fn write_head(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.with(|staged| staged.write_all_at(bytes, 0))
    }

    /// Returns an error if the file may not have `bytes` bytes more.
    fn fits(&self, bytes: u64) -> io::Result<()> {
        if bytes > self.most {
            let problem = format!("it takes {bytes} bytes, and {} are allowed", self.most);
            return Err(io::Error::other(problem));
        }
        Ok(())
    }

    /// Lowers the number of bytes that the file may have.
    ///
    /// # Errors
    /// Returns an error if it has more already.
    pub(super) fn limit(&mut self, most: u64) -> io::Result<()> {
        self.most = self.most.min(most);
        self.fits(self.offset)
    }
}

/// A section that is being written.
pub(super) struct SectionWriter {
    encoder: zstd::stream::write::Encoder<'static, Hashed>,
}

struct Hashed {
    end: End,
    start: u64,
    pending: Vec<u8>,
    hasher: blake3::Hasher,
}

impl Hashed {
    fn flush_pending(&mut self) -> io::Result<()> {
        self.hasher.update(&self.pending);
        self.end.write(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.try_append(bytes)?;
        if self.pending.len() >= PIECE {
            self.flush_pending()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SectionWriter {
    pub(super) fn new(end: End) -> io::Result<Self> {
        let hashed = Hashed {
            start: end.offset,
            end,
            pending: Vec::new(),
            hasher: blake3::Hasher::new(),
        };
        let encoder = zstd::stream::write::Encoder::new(hashed, LEVEL)?;
        Ok(Self { encoder })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.encoder.write_all(bytes)
    }

    pub(super) fn finish(self) -> io::Result<(Section, End)> {
        let mut hashed = self.encoder.finish()?;
        hashed.flush_pending()?;
        let section = Section {
            offset: hashed.start,
            length: hashed.end.offset - hashed.start,
            checksum: hashed.hasher.finalize().to_hex().to_string(),
        };
        Ok((section, hashed.end))
    }
}

/// The error of the disk that a recall file is on, if it had one.
pub(super) type Unreadable = Arc<OnceLock<String>>;

/// A section that is being read. Its contents can only be trusted after [`finish`](Self::finish) succeeded.
pub(super) struct SectionReader {
    decoder: BufReader<zstd::stream::read::Decoder<'static, BufReader<Stored>>>,
    checksum: String,
}

/// The stored bytes, hashed as they are read.
struct Stored {
    file: Arc<File>,
    offset: u64,
    left: u64,
    hasher: blake3::Hasher,
    unreadable: Unreadable,
}

impl Read for Stored {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(into.len());
        let into = into.get_mut(..most).unwrap_or_default();
        let read = self.file.read_at(into, self.offset);
        let read = read.inspect_err(|error| {
            if let Some(error) = disk_error(error) {
                let _ = self.unreadable.set(error);
            }
        })?;
        self.hasher.update(into.get(..read).unwrap_or_default());
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

impl SectionReader {
    pub(super) fn new(
        file: Arc<File>,
        section: &Section,
        unreadable: &Unreadable,
    ) -> io::Result<Self> {
        let stored = Stored {
            file,
            offset: section.offset,
            left: section.length,
            hasher: blake3::Hasher::new(),
            unreadable: Arc::clone(unreadable),
        };
        let stored = BufReader::with_capacity(PIECE, stored);
        let mut decoder = zstd::stream::read::Decoder::with_buffer(stored)?;
        decoder.window_log_max(WINDOW_LOG)?;
        Ok(Self {
            decoder: BufReader::new(decoder),
            checksum: section.checksum.clone(),
        })
    }

    /// Returns an error unless this is the end, and all bytes match the checksum.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if !self.decoder.fill_buf()?.is_empty() {
            return Err(damaged("a section continues after its end"));
        }
        let stored = self.decoder.into_inner().finish().into_inner();
        if stored.left > 0 || stored.hasher.finalize().to_hex().as_str() != self.checksum {
            return Err(damaged("a section is not what was written"));
        }
        Ok(())
    }
}

impl Read for SectionReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(into)
    }
}

impl fmt::Debug for SectionReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SectionReader").finish_non_exhaustive()
    }
}
