//! A part of a file, as a blob or as a document. For a file of its own that part is the whole.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::blob::BlobBody;
use crate::error::Error;
use crate::future::BoxFuture;
use crate::manifest::MAX_DOCUMENT;

/// Bytes read at a time.
const CHUNK: u64 = 256 << 10;

/// Where some bytes are. Reading does not move the file's position, so that sections of one file
/// are read in parallel.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) file: Arc<File>,
    /// For people.
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Section {
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
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let wanted = self.length.min(CHUNK);
        if wanted == 0 {
            return Ok(None);
        }
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let reading = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; usize::try_from(wanted).unwrap_or(0)];
            let read = file.read_at(&mut buffer, offset)?;
            buffer.truncate(read);
            Ok(buffer)
        });
        let outcome = match reading.await {
            Ok(outcome) => outcome,
            Err(stopped) => Err(std::io::Error::other(stopped)),
        };
        let bytes = outcome.map_err(|source| Error::Io {
            path: self.path.clone(),
            source,
        })?;
        let read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if read == 0 {
            // It shrank, or the archive was cut short; whoever counts will say so.
            return Ok(None);
        }
        self.offset = self.offset.saturating_add(read);
        self.length = self.length.saturating_sub(read);
        Ok(Some(bytes.into()))
    }
}

impl BlobBody for Section {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        Box::pin(self.next())
    }
}
