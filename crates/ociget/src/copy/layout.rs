//! An OCI image layout that is written to: its directories, its locks, and what it already has.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::Deserialize;

use crate::background;
use crate::copy::listing::{self, Listed};
use crate::digest::{Algorithm, Digest};
use crate::error::Error;
use crate::manifest::MAX_DOCUMENT;
use crate::regular_file;

/// Directories and files of a layout, as everybody makes them.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
/// Longest wait for another copy that changes `index.json`, which takes moments.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A layout. Names in it are opened one by one and never through a symlink.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) path: PathBuf,
    root: OwnedFd,
}

/// The path of a blob that exists or is to be written.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) dir: OwnedFd,
    pub(super) path: PathBuf,
}

impl Layout {
    /// Opens the layout in `path`, or makes one.
    pub(super) async fn open(path: &Path) -> Result<Arc<Self>, Error> {
        let path = path.to_owned();
        blocking(move || Self::open_now(path)).await.map(Arc::new)
    }

    fn open_now(path: PathBuf) -> Result<Self, Error> {
        let root = std::fs::create_dir_all(&path).and_then(|()| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(rustix::fs::open(&path, flags, Mode::empty())?)
        });
        let root = root.map_err(|source| Error::Write {
            path: path.clone(),
            source,
        })?;
        let layout = Self { path, root };
        let _lock = layout.lock()?;
        layout.mark()?;
        Ok(layout)
    }

    /// The bytes of a document that the layout has, if it is intact.
    pub(super) async fn document(
        self: &Arc<Self>,
        digest: &Digest,
    ) -> Result<Option<Bytes>, Error> {
        let (layout, digest) = (Arc::clone(self), digest.clone());
        blocking(move || {
            let shelf = layout.shelf(digest.algorithm())?;
            let mut bytes = Vec::new();
            let reading = open_regular(&shelf.dir, digest.hex())
                .and_then(|file| file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes));
            let mut hasher = digest.algorithm().hasher();
            hasher.update(&bytes);
            let is_intact = reading.is_ok() && hasher.finish() == digest;
            Ok(is_intact.then(|| bytes.into()))
        })
        .await
    }

    /// Whether the layout has a blob, intact.
    pub(super) async fn holds(self: &Arc<Self>, digest: &Digest, size: u64) -> Result<bool, Error> {
        let (layout, digest) = (Arc::clone(self), digest.clone());
        blocking(move || layout.is_intact(&digest, size)).await
    }

    /// Lists `listed` in `index.json`, after everything that it leads to is on the disk.
    pub(super) async fn list(self: &Arc<Self>, listed: Listed) -> Result<(), Error> {
        let layout = Arc::clone(self);
        blocking(move || {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                layout.sync(algorithm)?;
            }
            let _lock = layout.lock()?;
            let before = layout.read(INDEX)?;
            let at = layout.path.join(INDEX).display().to_string();
            let after = listing::with(before.as_deref(), &listed)
                .map_err(|reason| Error::document(&at, reason))?;
            match after {
                Some(after) => layout.replace(INDEX, &after),
                None => Ok(()),
            }
        })
        .await
    }

    /// Returns the directory of the blobs of `algorithm`, and makes it.
    pub(super) fn shelf(&self, algorithm: Algorithm) -> Result<Shelf, Error> {
        let mut path = self.path.clone();
        let mut dir: Option<OwnedFd> = None;
        for name in ["blobs", algorithm.as_str()] {
            let parent = dir.as_ref().unwrap_or(&self.root);
            path.push(name);
            let opened = match rustix::fs::mkdirat(parent, name, DIRECTORY_MODE) {
                Ok(()) | Err(Errno::EXIST) => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    rustix::fs::openat(parent, name, flags | OFlags::NOFOLLOW, Mode::empty())
                }
                Err(error) => Err(error),
            };
            dir = Some(opened.map_err(|error| Error::Write {
                path: path.clone(),
                source: match error {
                    Errno::LOOP | Errno::NOTDIR => {
                        io::Error::other("it is not a directory, or it is a symlink")
                    }
                    error => error.into(),
                },
            })?);
        }
        match dir {
            Some(dir) => Ok(Shelf { dir, path }),
            None => Err(Error::Usage("a blob has no directory".to_owned())),
        }
    }

    /// Returns the path of a blob, for people.
    pub(super) fn shown(&self, digest: &Digest) -> String {
        let blobs = self.path.join("blobs").join(digest.algorithm().as_str());
        blobs.join(digest.hex()).display().to_string()
    }

    /// Whether a blob has a file with the right bytes. A file that has others is as good as none.
    fn is_intact(&self, digest: &Digest, size: u64) -> Result<bool, Error> {
        let shelf = self.shelf(digest.algorithm())?;
        let hash = || -> io::Result<bool> {
            let mut file = open_regular(&shelf.dir, digest.hex())?;
            if file.metadata()?.len() != size {
                return Ok(false);
            }
            let mut hasher = digest.algorithm().hasher();
            let mut buffer = vec![0; 256 << 10];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(hasher.finish() == *digest),
                    count => hasher.update(&buffer[..count]),
                }
            }
        };
        Ok(hash().unwrap_or(false))
    }

    /// Makes sure that this is a layout of the version that is known.
    fn mark(&self) -> Result<(), Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Marker {
            image_layout_version: String,
        }
        let Some(marker) = self.read(MARKER)? else {
            if !self.is_empty()? {
                return Err(Error::Usage(format!(
                    "{} is not empty and not an OCI image layout (it has no file oci-layout); name \
                     another directory",
                    self.path.display()
                )));
            }
            return self.replace(MARKER, br#"{"imageLayoutVersion":"1.0.0"}"#);
        };
        let version = crate::json::read(&marker).map(|m: Marker| m.image_layout_version);
        if matches!(version.as_deref(), Ok("1.0.0")) {
            return Ok(());
        }
        Err(Error::Unsupported {
            at: self.path.join(MARKER).display().to_string(),
            what: "a layout of another version than 1.0.0".to_owned(),
        })
    }

    fn is_empty(&self) -> Result<bool, Error> {
        let entries =
            Dir::read_from(&self.root).map_err(|error| self.unreadable("", error.into()))?;
        for entry in entries {
            let entry = entry.map_err(|error| self.unreadable("", error.into()))?;
            let name = entry.file_name().to_bytes();
            // What a copy leaves that is killed before it has written the marker.
            let is_own = name == format!(".{MARKER}.partial").as_bytes();
            if !matches!(name, b"." | b"..") && !is_own {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A small file of the layout; `None` if there is none.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let file = match open_regular(&self.root, name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unreadable(name, error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.unreadable(name, error))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_DOCUMENT) {
            let error = io::Error::other(format!("it has more than {MAX_DOCUMENT} bytes"));
            return Err(self.unreadable(name, error));
        }
        Ok(Some(bytes))
    }

    /// Replaces a file, so that a reader sees the old one or the new one. The caller holds the lock.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let partial = format!(".{name}.partial");
        let write = || -> io::Result<()> {
            let _gone = rustix::fs::unlinkat(&self.root, &*partial, AtFlags::empty());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let flags = flags | OFlags::NOFOLLOW;
            let mut file = File::from(rustix::fs::openat(&self.root, &*partial, flags, FILE_MODE)?);
            file.write_all(bytes)?;
            file.sync_all()?;
            rustix::fs::renameat(&self.root, &*partial, &self.root, name)?;
            Ok(rustix::fs::fsync(&self.root)?)
        };
        write().map_err(|source| Error::Write {
            path: self.path.join(name),
            source,
        })
    }

    fn sync(&self, algorithm: Algorithm) -> Result<(), Error> {
        let path = self.path.join("blobs").join(algorithm.as_str());
        match File::open(&path).and_then(|dir| dir.sync_all()) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::Write { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Keeps other copies from changing `oci-layout` and `index.json` while the file is open. The lock is
    /// on the directory, because `index.json` is replaced.
    fn lock(&self) -> Result<OwnedFd, Error> {
        let start = Instant::now();
        let lock = || -> io::Result<OwnedFd> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = rustix::fs::openat(&self.root, ".", flags, Mode::empty())?;
            loop {
                match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) => return Ok(dir),
                    Err(Errno::WOULDBLOCK) if start.elapsed() < LOCK_PATIENCE => {
                        std::thread::sleep(LOCK_PAUSE);
                    }
                    Err(Errno::WOULDBLOCK) => {
                        return Err(io::Error::other("another process keeps it locked"));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        lock().map_err(|source| Error::Write {
            path: self.path.clone(),
            source,
        })
    }

    fn unreadable(&self, name: &str, source: io::Error) -> Error {
        Error::Io {
            path: self.path.join(name),
            source,
        }
    }
}

/// Runs disk work away from the threads that wait for the network.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match background::run(work).await {
        Ok(outcome) => outcome,
        Err(source) => Err(Error::Thread {
            work: "write the copy",
            source,
        }),
    }
}

/// Opens a regular file that is not a symlink.
fn open_regular(dir: &OwnedFd, name: &str) -> io::Result<File> {
    // Opening a fifo without this flag waits for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
    regular_file::is_regular(&file.metadata()?)?;
    Ok(file)
}
