//! A part of a file, as a blob or as a document. For a file of its own that part is the whole.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::blob::BlobBody;
use crate::error::Error;
use crate::future::BoxFuture;
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
    pieces: VecDeque<Piece>,
    pub(crate) length: u64,
}

/// What a section is a part of.
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
        Self::of(&file, path, &[Piece::Data { offset: 0, length }])
    }

    /// Returns a section of these pieces of a file, one after the other.
    pub(crate) fn of(file: &Arc<File>, path: PathBuf, pieces: &[Piece]) -> Self {
        Self::made(Where::File(Arc::clone(file)), path, pieces)
    }

    /// A member of an archive that comes once.
    pub(crate) fn arriving(
        archive: &Arc<Arriving>,
        alive: &Arc<()>,
        path: PathBuf,
        found: FoundMember,
    ) -> Self {
        let pieces = found.pieces.clone();
        let bytes = Where::Arriving {
            archive: Arc::clone(archive),
            _found: found,
            _alive: Arc::clone(alive),
        };
        Self::made(bytes, path, &pieces)
    }

    fn made(bytes: Where, path: PathBuf, pieces: &[Piece]) -> Self {
        let lengths = pieces.iter().map(|piece| piece.length());
        Self {
            bytes,
            path,
            pieces: pieces.iter().copied().collect(),
            length: lengths.fold(0, u64::saturating_add),
        }
    }

    /// The first `most` bytes, or all if there are fewer.
    pub(crate) async fn head(&self, most: u64) -> Result<Bytes, Error> {
        if let (Where::Arriving { archive, .. }, Some(Piece::Data { offset, length })) =
            (&self.bytes, self.pieces.front())
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
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }

    /// The next bytes. What they were is forgotten only when they have come, so that dropping the
    /// future loses none.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while self.pieces.front().is_some_and(|piece| piece.length() == 0) {
            self.pieces.pop_front();
        }
        let Some(piece) = self.pieces.front().copied() else {
            return Ok(None);
        };
        let wanted = piece.length().min(self.length).min(CHUNK);
        if wanted == 0 {
            return Ok(None);
        }
        let size = usize::try_from(wanted).unwrap_or(0);
        let bytes = match piece {
            Piece::Zeros(_) => {
                // Nothing is waited for here, and others want to run.
                tokio::task::yield_now().await;
                vec![0; size].into()
            }
            Piece::Data { offset, .. } => self.read_at(offset, size).await?,
        };
        let read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if read == 0 {
            // The file shrank, or the archive is truncated; the reader that counts bytes reports it.
            return Ok(None);
        }
        if let Some(front) = self.pieces.front_mut() {
            *front = match *front {
                Piece::Zeros(length) => Piece::Zeros(length.saturating_sub(read)),
                Piece::Data { offset, length } => Piece::Data {
                    offset: offset.saturating_add(read),
                    length: length.saturating_sub(read),
                },
            };
        }
        self.length = self.length.saturating_sub(read);
        Ok(Some(bytes))
    }

    async fn read_at(&self, offset: u64, size: usize) -> Result<Bytes, Error> {
        let file = match &self.bytes {
            Where::File(file) => Arc::clone(file),
            Where::Arriving { archive, .. } => {
                let read = archive.read(offset, size).await;
                return read.map_err(|source| self.failed(source));
            }
        };
        let reading = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; size];
            let read = file.read_at(&mut buffer, offset)?;
            buffer.truncate(read);
            Ok(buffer.into())
        });
        let outcome = match reading.await {
            Ok(outcome) => outcome,
            Err(stopped) => Err(std::io::Error::other(stopped)),
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
