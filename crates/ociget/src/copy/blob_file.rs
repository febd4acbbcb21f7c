//! One blob on its way into a layout: an unfinished file under a lock, and its name when it is whole.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::blob::{BlobPrefix, BlobStream};
use crate::copy::layout::{Layout, Shelf, blocking};
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::Descriptor;
use crate::regular_file;
use crate::source::Source;

/// Bytes that are written at a time.
const BATCH: usize = 1 << 20;
/// Pause before another look at a blob that another copy is fetching.
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for another copy that fetches the same blob and gets no further.
const LOCK_PATIENCE: Duration = Duration::from_secs(600);

/// The origin of a blob of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// The layout had it.
    Kept,
    /// The source sent this number of bytes.
    Bytes(u64),
}

/// The file of an incomplete blob. It is locked while this value lives, and stays if the copy
/// breaks off, so that another one resumes there.
#[derive(Clone, Debug)]
pub(super) struct BlobFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    shelf: Shelf,
    /// The name while it is not whole.
    partial: String,
    hex: String,
}

impl BlobFile {
    /// Brings the blob of `descriptor` into the layout, unless it has it.
    pub(super) async fn fetch(
        source: &dyn Source,
        layout: &Arc<Layout>,
        descriptor: &Descriptor,
    ) -> Result<Fetched, Error> {
        let (digest, size) = (&descriptor.digest, descriptor.size);
        let Some(file) = Self::claim_missing(layout, digest, size).await? else {
            return Ok(Fetched::Kept);
        };
        let prefix = file.prefix(digest, size).await?;
        let from = prefix.len();
        if from == size && from > 0 {
            if prefix.finish().is_ok() {
                file.publish().await?;
                return Ok(Fetched::Bytes(0));
            }
        } else if from > 0 {
            let stream = source.resume(descriptor, prefix).await?;
            let began = stream.received();
            match file.fill(stream, digest).await {
                // What was there before may be what is wrong.
                Err(Error::Digest { .. }) if began > 0 => {}
                outcome => {
                    outcome?;
                    file.publish().await?;
                    return Ok(Fetched::Bytes(size - began.min(size)));
                }
            }
        }
        file.fill(source.blob(descriptor).await?, digest).await?;
        file.publish().await?;
        Ok(Fetched::Bytes(size))
    }

    /// Brings a document, whose bytes hash to `digest`, into the layout, unless it has it.
    pub(super) async fn store(
        layout: &Arc<Layout>,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<Fetched, Error> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let Some(file) = Self::claim_missing(layout, digest, size).await? else {
            return Ok(Fetched::Kept);
        };
        file.cut(0).await?;
        file.write(0, bytes.into()).await?;
        file.publish().await?;
        Ok(Fetched::Bytes(size))
    }

    /// The locked file for a blob that the layout does not have intact. `None` if it has it, perhaps by now.
    async fn claim_missing(
        layout: &Arc<Layout>,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Self>, Error> {
        let mut since = Instant::now();
        let mut length = None;
        loop {
            if layout.holds(digest, size).await? {
                return Ok(None);
            }
            match Self::claim(layout, digest).await? {
                Claim::Ours(file) => {
                    // Another copy may have finished it between the two looks.
                    if layout.holds(digest, size).await? {
                        file.discard().await?;
                        return Ok(None);
                    }
                    return Ok(Some(file));
                }
                Claim::Gone => {}
                Claim::Theirs(found) => {
                    if length.replace(found) != Some(found) {
                        since = Instant::now();
                    }
                    if since.elapsed() > LOCK_PATIENCE {
                        return Err(Error::Write {
                            path: layout.path.clone(),
                            source: io::Error::other(format!(
                                "another process keeps {digest} locked and gets no further"
                            )),
                        });
                    }
                }
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    async fn claim(layout: &Arc<Layout>, digest: &Digest) -> Result<Claim, Error> {
        let (layout, digest) = (Arc::clone(layout), digest.clone());
        blocking(move || {
            let shelf = layout.shelf(digest.algorithm())?;
            let partial = format!(".partial-{}", digest.hex());
            let path = shelf.path.join(&partial);
            let claim = move || -> io::Result<Claim> {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
                let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                let mode = Mode::from_raw_mode(0o644);
                let file = File::from(rustix::fs::openat(&shelf.dir, &*partial, flags, mode)?);
                let metadata = file.metadata()?;
                regular_file::is_regular(&metadata)?;
                match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) => {}
                    Err(Errno::WOULDBLOCK) => return Ok(Claim::Theirs(metadata.len())),
                    Err(error) => return Err(error.into()),
                }
                // A copy that finished in between has given the file its final name.
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                match rustix::fs::statat(&shelf.dir, &*partial, flags) {
                    Ok(found) if found.st_ino == metadata.ino() => {}
                    Ok(_) | Err(Errno::NOENT) => return Ok(Claim::Gone),
                    Err(error) => return Err(error.into()),
                }
                Ok(Claim::Ours(Self(Arc::new(Inner {
                    file,
                    shelf,
                    partial,
                    hex: digest.hex().to_owned(),
                }))))
            };
            claim().map_err(|source| Error::Write { path, source })
        })
        .await
    }

    /// Hashes what an earlier copy left. More bytes than the blob has are none.
    async fn prefix(&self, digest: &Digest, size: u64) -> Result<BlobPrefix, Error> {
        let digest = digest.clone();
        self.run(move |inner| {
            let mut prefix = BlobPrefix::new(digest);
            if inner.file.metadata()?.len() > size {
                inner.file.set_len(0)?;
            }
            let mut buffer = vec![0; BATCH];
            let mut reader = &inner.file;
            loop {
                match reader.read(&mut buffer)? {
                    0 => return Ok(prefix),
                    count => prefix.update(&buffer[..count]),
                }
            }
        })
        .await
    }

    /// Writes what `stream` brings after the bytes that it begins with, up to the proof.
    async fn fill(&self, mut stream: BlobStream, digest: &Digest) -> Result<(), Error> {
        let mut at = stream.received();
        self.cut(at).await?;
        let mut batch = Vec::new();
        let outcome = loop {
            match stream.chunk().await {
                Ok(Some(chunk)) => batch.extend_from_slice(&chunk),
                Ok(None) => break stream.finish_as(digest).await.map(drop),
                Err(error) => break Err(error),
            }
            if batch.len() >= BATCH {
                let full = std::mem::take(&mut batch);
                at = self.write(at, full).await?;
            }
        };
        match outcome {
            // Those bytes would be wrong again.
            Err(error @ (Error::Digest { .. } | Error::Size { .. })) => {
                self.cut(0).await?;
                Err(error)
            }
            outcome => {
                self.write(at, batch).await?;
                outcome
            }
        }
    }

    async fn cut(&self, length: u64) -> Result<(), Error> {
        self.run(move |inner| inner.file.set_len(length)).await
    }

    /// Returns the position after `bytes`.
    async fn write(&self, at: u64, bytes: Vec<u8>) -> Result<u64, Error> {
        let end = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.run(move |inner| inner.file.write_all_at(&bytes, at).map(|()| end))
            .await
    }

    /// Gives the file the name of its digest, once its bytes are on the disk.
    async fn publish(self) -> Result<(), Error> {
        self.run(|inner| {
            inner.file.sync_data()?;
            let dir = &inner.shelf.dir;
            Ok(rustix::fs::renameat(
                dir,
                &*inner.partial,
                dir,
                &*inner.hex,
            )?)
        })
        .await
    }

    async fn discard(self) -> Result<(), Error> {
        self.run(|inner| {
            let dir = &inner.shelf.dir;
            Ok(rustix::fs::unlinkat(
                dir,
                &*inner.partial,
                AtFlags::empty(),
            )?)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        // The file stays locked until the work is done, even if the caller no longer waits for it.
        let inner = Arc::clone(&self.0);
        blocking(move || {
            work(&inner).map_err(|source| Error::Write {
                path: inner.shelf.path.join(&inner.partial),
                source,
            })
        })
        .await
    }
}

/// The result of an attempt to lock an unfinished blob.
enum Claim {
    Ours(BlobFile),
    /// Another copy is writing it, and has this number of bytes.
    Theirs(u64),
    /// It was finished or discarded in between.
    Gone,
}
