//! The bytes of an archive that comes once, and what becomes of each body.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::open_archive::{ArchiveStream, CheckedRead, Spool, Wanted, unwanted};
use crate::source::by_offset::ByOffset;
use crate::source::tar_headers::beyond;
use crate::source::tar_index::repeated;

/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// Most bytes that are passed over. No archive of images is larger, and what decompresses to more is
/// made to waste time.
const MAX_PASSED: u64 = 1 << 40;

/// The use of a body.
#[derive(Debug)]
pub(super) enum Use {
    /// It is not looked at: a body that belongs to no member.
    Nothing,
    /// Nothing of it was read yet.
    Undecided,
    Kept,
    /// Read and thrown away, but for its hash.
    Passed(Hasher),
    /// Given to its reader, but for its hash.
    Direct(Hasher),
    /// Compared with the body of the same name at this offset of the spool.
    SameAs(u64),
    /// Compared with the hash of the body of the same name.
    Hashed(Hasher, Digest),
}

/// The body that comes now, or came last.
#[derive(Debug)]
pub(super) struct Body {
    /// Offset of its header.
    pub(super) at: u64,
    pub(super) start: u64,
    /// Without its padding.
    pub(super) end: u64,
    pub(super) name: String,
    pub(super) its_use: Use,
}

pub(super) struct Arrival {
    bytes: CheckedRead,
    spool: Box<dyn Spool>,
    wanted: Wanted,
    moved: Arc<Notify>,
    buffer: Box<[u8]>,
    /// Start of the bytes in the buffer that have arrived and were not consumed.
    from: usize,
    to: usize,
    /// The offset of the next byte.
    pub(super) position: u64,
    pub(super) body: Option<Body>,
    passed: u64,
    /// Bodies that were not kept: from where to where.
    lost: BTreeMap<u64, u64>,
    hashes: HashMap<u64, Digest>,
    scratch: Vec<u8>,
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival")
            .field("position", &self.position)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl Arrival {
    pub(super) fn new(stream: ArchiveStream, wanted: Wanted, moved: Arc<Notify>) -> Self {
        let ArchiveStream { bytes, spool } = stream;
        Self {
            bytes,
            spool,
            wanted,
            moved,
            buffer: vec![0; PIECE].into(),
            from: 0,
            to: 0,
            position: 0,
            body: None,
            passed: 0,
            lost: BTreeMap::new(),
            hashes: HashMap::new(),
            scratch: Vec::new(),
        }
    }

    /// The number of bytes that have come.
    pub(super) fn arrived(&self) -> u64 {
        let buffered = u64::try_from(self.to.saturating_sub(self.from)).unwrap_or(u64::MAX);
        self.position.saturating_add(buffered)
    }

    /// The hash of a body that was not kept and begins at `start`.
    pub(super) fn hash_of(&self, start: u64) -> Option<&Digest> {
        self.hashes.get(&start)
    }

    /// Sets the use of a body of which nothing was read yet.
    pub(super) fn set_use(&mut self, its_use: Use) {
        if let Some(body) = &mut self.body {
            if matches!(its_use, Use::Passed(_) | Use::Direct(_)) && body.end > body.start {
                self.lost.insert(body.start, body.end);
            }
            body.its_use = its_use;
        }
    }

    /// Whether some of the body that comes now is still to come.
    pub(super) fn is_in_body(&self) -> bool {
        let body = self.body.as_ref();
        body.is_some_and(|body| (body.start..body.end).contains(&self.position))
    }

    /// Bytes that were kept at `offset`, at most `size`.
    pub(super) fn kept(&mut self, offset: u64, size: usize) -> io::Result<Bytes> {
        let before = self.lost.range(..=offset).next_back();
        if before.is_some_and(|(_, end)| offset < *end) {
            return Err(io::Error::other(
                "this member has come and was not kept, because the plan was to read it once; name a \
                 file that can be read again",
            ));
        }
        let there = usize::try_from(self.position.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; size.min(there)];
        let file = self.spool.file()?;
        let count = read_full(&file, &mut buffer, offset)?;
        buffer.truncate(count);
        Ok(buffer.into())
    }

    /// The next bytes of the body, which its reader takes.
    pub(super) fn direct(&mut self, size: usize) -> io::Result<Bytes> {
        self.fill(1)?;
        let left = self.left_of_body();
        let count = (self.to - self.from).min(size).min(left);
        let bytes = self.buffer.get(self.from..self.from + count);
        let bytes = Bytes::copy_from_slice(bytes.unwrap_or_default());
        if bytes.is_empty() && left > 0 {
            return Err(beyond(self.body.as_ref().map_or(0, |body| body.at)));
        }
        self.consume(count)?;
        Ok(bytes)
    }

    /// The next bytes of the body, without consuming them.
    pub(super) fn peek(&mut self, size: usize) -> io::Result<Bytes> {
        self.fill(size.min(PIECE))?;
        let count = (self.to - self.from).min(size).min(self.left_of_body());
        let bytes = self.buffer.get(self.from..self.from + count);
        Ok(Bytes::copy_from_slice(bytes.unwrap_or_default()))
    }

    fn left_of_body(&self) -> usize {
        let end = self.body.as_ref().map_or(0, |body| body.end);
        usize::try_from(end.saturating_sub(self.position)).unwrap_or(usize::MAX)
    }

    /// Goes on to `offset`. Does not get there if the archive ends in the padding before it.
    pub(super) fn pass_to(&mut self, offset: u64) -> io::Result<()> {
        while self.position < offset {
            let in_body = self.is_in_body();
            if !self.fill(1)? {
                return match &self.body {
                    Some(body) if in_body => Err(beyond(body.at)),
                    _ => Ok(()),
                };
            }
            let mut left = usize::try_from(offset - self.position).unwrap_or(usize::MAX);
            if in_body {
                left = left.min(self.left_of_body());
            }
            self.consume(left.min(self.to - self.from))?;
        }
        Ok(())
    }

    /// Reads what is left, whatever it is.
    pub(super) fn pass_to_end(&mut self) -> io::Result<()> {
        while self.fill(1)? {
            self.consume(self.to - self.from)?;
        }
        Ok(())
    }

    /// Consumes bytes that have come, and does with them what the body needs.
    fn consume(&mut self, count: usize) -> io::Result<()> {
        let in_body = self.is_in_body();
        let bytes = self.buffer.get(self.from..self.from + count);
        let bytes = bytes.unwrap_or_default();
        let mut is_passed = !in_body;
        if let Some(body) = self.body.as_mut().filter(|_| in_body) {
            match &mut body.its_use {
                Use::Kept | Use::Undecided => self.spool.write_at(bytes, self.position)?,
                Use::Direct(hasher) => hasher.update(bytes),
                Use::Passed(hasher) | Use::Hashed(hasher, _) => {
                    hasher.update(bytes);
                    is_passed = true;
                }
                Use::SameAs(offset) => {
                    is_passed = true;
                    self.scratch.resize(bytes.len(), 0);
                    let file = self.spool.file()?;
                    let at = *offset + (self.position - body.start);
                    let same = read_full(&file, &mut self.scratch, at)?;
                    if self.scratch.get(..same) != Some(bytes) {
                        return Err(repeated(body.at));
                    }
                }
                Use::Nothing => is_passed = true,
            }
        }
        let length = u64::try_from(count).unwrap_or(u64::MAX);
        if is_passed {
            self.passed = self.passed.saturating_add(length);
            if self.passed > MAX_PASSED {
                return Err(io::Error::other(
                    "more than 1 TiB of the archive is of no image that is wanted",
                ));
            }
        }
        self.from += count;
        self.position = self.position.saturating_add(length);
        match in_body && !self.is_in_body() {
            true => self.end_body(),
            false => Ok(()),
        }
    }

    fn end_body(&mut self) -> io::Result<()> {
        let Some(body) = &mut self.body else {
            return Ok(());
        };
        match std::mem::replace(&mut body.its_use, Use::Nothing) {
            Use::Direct(hasher) => {
                self.hashes.insert(body.start, hasher.finish());
                self.moved.notify_waiters();
            }
            Use::Passed(hasher) => {
                self.hashes.insert(body.start, hasher.finish());
            }
            Use::Hashed(hasher, expected) => {
                return match hasher.finish() == expected {
                    true => Ok(()),
                    false => Err(repeated(body.at)),
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads until the buffer has `count` bytes that are not consumed. `false` if the archive ends before.
    fn fill(&mut self, count: usize) -> io::Result<bool> {
        if self.to - self.from < count && self.from > 0 {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        while self.to - self.from < count {
            if !(self.wanted)() {
                return Err(unwanted());
            }
            match self
                .bytes
                .read(self.buffer.get_mut(self.to..).unwrap_or_default())
            {
                Ok(0) => return Ok(false),
                Ok(read) => self.to += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    pub(super) fn hasher() -> Hasher {
        Algorithm::Sha256.hasher()
    }
}

impl ByOffset for Arrival {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.pass_to(offset)?;
        // A header may come in parts, and an extended one may be longer than the buffer.
        let mut filled = 0;
        while filled < buffer.len() && self.position >= offset && self.fill(1)? {
            let count = (self.to - self.from).min(buffer.len() - filled);
            let (Some(into), Some(bytes)) = (
                buffer.get_mut(filled..filled + count),
                self.buffer.get(self.from..self.from + count),
            ) else {
                break;
            };
            into.copy_from_slice(bytes);
            self.from += count;
            self.position = self
                .position
                .saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            filled += count;
        }
        Ok(filled)
    }

    fn end(&self) -> u64 {
        u64::MAX
    }

    fn is_wanted(&self) -> bool {
        (self.wanted)()
    }
}

fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
