//! A part of a file, as a blob or as a document. For a file of its own that part is the whole.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::background;
use crate::blob::BlobBody;
use crate::error::Error;
use crate::future::BoxFuture;
use crate::json;
use crate::manifest::MAX_DOCUMENT;
use crate::source::arriving::Arriving;
use crate::source::arriving::plan::FoundMember;
use crate::source::piece::Piece;

/// Bytes read at a time.
const CHUNK: u64 = 256 << 10;

/// Where some bytes are. Reading does not move the file's position, so that sections of one file
/// are read in parallel.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    bytes: Where,
    /// For people.
    pub(crate) path: PathBuf,
    pieces: Arc<[Piece]>,
    /// The piece whose bytes come next, and the number of its bytes that have come.
    piece: usize,
    done: u64,
    pub(crate) length: u64,
}

/// The file or archive of a section.
#[derive(Clone, Debug)]
enum Where {
    File(Arc<File>),
    Arriving {
        archive: Arc<Arriving>,
        /// Its reader waits for it, and others for its reader.
        _found: FoundMember,
        /// While it is alive, the archive is still needed.
        _alive: Arc<()>,
    },
}

impl Section {
    /// A whole file of this length.
    pub(crate) fn whole(file: Arc<File>, path: PathBuf, length: u64) -> Self {
        Self::of(&file, path, [Piece::Data { offset: 0, length }].into())
    }

    /// Returns a section of these pieces of a file, one after the other.
    pub(crate) fn of(file: &Arc<File>, path: PathBuf, pieces: Arc<[Piece]>) -> Self {
        Self::made(Where::File(Arc::clone(file)), path, pieces)
    }

    /// A member of an archive that comes once.
    pub(crate) fn arriving(
        archive: &Arc<Arriving>,
        alive: &Arc<()>,
        path: PathBuf,
        found: FoundMember,
    ) -> Self {
        let pieces = Arc::clone(&found.pieces);
        let bytes = Where::Arriving {
            archive: Arc::clone(archive),
            _found: found,
            _alive: Arc::clone(alive),
        };
        Self::made(bytes, path, pieces)
    }

    fn made(bytes: Where, path: PathBuf, pieces: Arc<[Piece]>) -> Self {
        let lengths = pieces.iter().map(|piece| piece.length());
        Self {
            bytes,
            path,
            length: lengths.fold(0, u64::saturating_add),
            pieces,
            piece: 0,
            done: 0,
        }
    }

    /// Returns how many of the bytes the file does not have, because they are zeros.
    pub(crate) fn holes(&self) -> u64 {
        let holes = self.pieces.iter().map(|piece| match *piece {
            Piece::Zeros(length) => length,
            Piece::Data { .. } => 0,
        });
        holes.fold(0, u64::saturating_add)
    }

    /// The first `most` bytes, or all if there are fewer.
    pub(crate) async fn head(&self, most: u64) -> Result<Bytes, Error> {
        if let (Where::Arriving { archive, .. }, Some(Piece::Data { offset, length })) =
            (&self.bytes, self.pieces.first())
            && (*length >= most || self.pieces.len() == 1)
        {
            // Reading would keep all that is read.
            let size = usize::try_from(most.min(*length)).unwrap_or(0);
            let peeked = archive.peek(*offset, size).await;
            return peeked.map_err(|source| self.failed(source));
        }
        let mut head = self.clone();
        head.length = head.length.min(most);
        head.read().await
    }

    /// All of it, if that is a document's size.
    pub(crate) async fn read(mut self) -> Result<Bytes, Error> {
        if self.length > MAX_DOCUMENT {
            return Err(Error::Unsupported {
                at: self.path.display().to_string(),
                what: format!(
                    "a document of {} bytes; {MAX_DOCUMENT} are the most",
                    self.length
                ),
            });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = self.next().await? {
            let reserved = bytes.try_reserve(chunk.len());
            reserved.map_err(|error| self.failed(error.into()))?;
            bytes.extend_from_slice(&chunk);
        }
        json::reserve(&bytes).map_err(|source| self.failed(source))?;
        Ok(bytes.into())
    }

    /// The next bytes. What they were is forgotten only when they have come, so that dropping the
    /// future loses none.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let stored = match self.stored() {
            Some((offset, size)) => self.read_at(offset, size).await?,
            None => {
                // Nothing is waited for here, and others want to run.
                tokio::task::yield_now().await;
                Bytes::new()
            }
        };
        // None of them: the file shrank, or the archive is truncated. The reader that counts bytes
        // reports it.
        let bytes = self.take(stored);
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Where the stored bytes among the next [`CHUNK`] bytes are. Those of a member follow each
    /// other, however many holes are between them, so that one read is enough for many pieces.
    fn stored(&self) -> Option<(u64, usize)> {
        let mut left = self.length.min(CHUNK);
        let mut done = self.done;
        let mut stored: Option<(u64, u64)> = None;
        for piece in self.pieces.iter().skip(self.piece) {
            let count = piece.length().saturating_sub(done).min(left);
            if let Piece::Data { offset, .. } = *piece
                && count > 0
            {
                let from = offset.saturating_add(done);
                match &mut stored {
                    None => stored = Some((from, count)),
                    Some((offset, length)) if offset.saturating_add(*length) == from => {
                        *length += count;
                    }
                    Some(_) => break,
                }
            }
            (left, done) = (left - count, 0);
            if left == 0 {
                break;
            }
        }
        let (offset, length) = stored?;
        Some((offset, usize::try_from(length).unwrap_or(0)))
    }

    /// Puts the holes between the `stored` bytes, as far as those go, and moves on.
    fn take(&mut self, stored: Bytes) -> Bytes {
        let mut left = usize::try_from(self.length.min(CHUNK)).unwrap_or(0);
        let mut rest = &stored[..];
        let mut bytes = Vec::new();
        while left > 0
            && let Some(piece) = self.pieces.get(self.piece).copied()
        {
            let of_piece = piece.length().saturating_sub(self.done);
            let of_piece = usize::try_from(of_piece).unwrap_or(usize::MAX);
            if let Piece::Data { .. } = piece
                && bytes.is_empty()
                && (1..=of_piece).contains(&rest.len())
            {
                self.go_on(rest.len(), of_piece);
                return stored;
            }
            let count = match piece {
                Piece::Zeros(_) => of_piece.min(left),
                Piece::Data { .. } => of_piece.min(left).min(rest.len()),
            };
            match piece {
                Piece::Zeros(_) => bytes.resize(bytes.len() + count, 0),
                Piece::Data { .. } => {
                    let (some, more) = rest.split_at(count);
                    bytes.extend_from_slice(some);
                    rest = more;
                }
            }
            let is_cut = count < of_piece;
            self.go_on(count, of_piece);
            left -= count;
            if is_cut {
                break;
            }
        }
        bytes.into()
    }

    /// Counts `count` of the `of_piece` bytes that the piece still had.
    fn go_on(&mut self, count: usize, of_piece: usize) {
        let read = u64::try_from(count).unwrap_or(u64::MAX);
        self.length = self.length.saturating_sub(read);
        match count < of_piece {
            true => self.done = self.done.saturating_add(read),
            false => (self.piece, self.done) = (self.piece + 1, 0),
        }
    }

    async fn read_at(&self, offset: u64, size: usize) -> Result<Bytes, Error> {
        let file = match &self.bytes {
            Where::File(file) => Arc::clone(file),
            Where::Arriving { archive, .. } => {
                let read = archive.read(offset, size).await;
                return read.map_err(|source| self.failed(source));
            }
        };
        let reading = background::run(move || {
            let mut buffer = Vec::new();
            buffer.try_reserve_exact(size)?;
            buffer.resize(size, 0);
            let read = file.read_at(&mut buffer, offset)?;
            buffer.truncate(read);
            Ok(buffer.into())
        });
        let outcome = match reading.await {
            Ok(outcome) => outcome,
            Err(stopped) => Err(stopped),
        };
        outcome.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Io {
            path: self.path.clone(),
            source,
        }
    }
}

impl BlobBody for Section {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        Box::pin(self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of `count` bytes of data, each with a hole of `hole` bytes before it.
    fn comb(count: u64, hole: u64) -> (Section, Vec<u8>) {
        let data: Vec<u8> = (1..=250)
            .cycle()
            .take(usize::try_from(count).unwrap())
            .collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&data, 0).unwrap();
        let pieces =
            (0..count).flat_map(|offset| [Piece::Zeros(hole), Piece::Data { offset, length: 1 }]);
        let pieces: Vec<Piece> = pieces.collect();
        let gap = vec![0; usize::try_from(hole).unwrap()];
        let whole = data.iter().flat_map(|byte| [&gap[..], &[*byte]].concat());
        let whole = whole.collect();
        (
            Section::of(&Arc::new(file), PathBuf::new(), pieces.into()),
            whole,
        )
    }

    async fn chunks(mut section: Section) -> Vec<Bytes> {
        let mut chunks = Vec::new();
        while let Some(chunk) = section.next().await.unwrap() {
            chunks.push(chunk);
        }
        assert_eq!(section.length, 0);
        chunks
    }

    #[tokio::test]
    async fn pieces_are_read_many_at_a_time() {
        for (count, hole) in [(65_536, 1), (1000, 511), (3, 3 * CHUNK / 2), (1, 0)] {
            let (section, whole) = comb(count, hole);
            assert_eq!(section.length, u64::try_from(whole.len()).unwrap());
            assert_eq!(section.holes(), count * hole);
            let most = section.length / CHUNK + 2 * count.min(section.length / CHUNK + 1);
            let chunks = chunks(section).await;
            assert!(
                u64::try_from(chunks.len()).unwrap() <= most,
                "{}",
                chunks.len()
            );
            assert_eq!(chunks.concat(), whole);
        }
    }

    #[tokio::test]
    async fn pieces_in_any_order_are_read_in_theirs() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"0123456789", 0).unwrap();
        let data = |offset, length| Piece::Data { offset, length };
        let pieces = [
            data(5, 5),
            Piece::Zeros(0),
            data(0, 2),
            Piece::Zeros(2),
            data(2, 0),
            data(4, 1),
        ];
        let section = Section::of(&Arc::new(file), PathBuf::new(), pieces.into());
        assert_eq!(section.clone().head(6).await.unwrap(), &b"567890"[..]);
        assert_eq!(chunks(section).await.concat(), b"5678901\0\x004");
    }

    #[tokio::test]
    async fn section_of_a_file_that_shrank_ends_early() {
        let (mut section, whole) = comb(1000, 9);
        let Where::File(file) = &section.bytes else {
            panic!("not a file");
        };
        file.set_len(500).unwrap();
        let first = section.next().await.unwrap().unwrap();
        assert_eq!(first, whole[..5009]);
        assert_eq!(section.next().await.unwrap(), None);
    }
}
