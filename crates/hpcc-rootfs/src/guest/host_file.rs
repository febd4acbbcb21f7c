//! Files of the host that go into images: the agent and the injected files.
//!
//! Their digests are part of an artifact's key, so they are hashed once, and recognized afterwards without being read:
//! see [`Sight`].

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use ociget::{Algorithm, Digest, Verifier};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::regular_file;
use crate::staging::Stop;

/// How a file is recognized without reading it: by the file itself, its length, and the times of its last write and
/// last change of any kind.
///
/// Every write advances the last of these, and only setting the system's clock moves it back, so it can be trusted
/// within the resolution of the file system's clock: see [`OpenFile::memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sight {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Sight {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Returns whether the last change was at least two seconds ago, longer than a tick of any file system's clock. A
    /// younger file may change once more without looking different.
    fn is_settled(&self, now: SystemTime) -> bool {
        let (Ok(seconds), Ok(now)) = (
            u64::try_from(self.changed.0),
            now.duration_since(SystemTime::UNIX_EPOCH),
        ) else {
            return false;
        };
        seconds + 2 < now.as_secs()
    }
}

/// The digest of a file, and how to recognize the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileMemory {
    sight: Sight,
    digest: String,
}

/// Most bytes of a file: reading one takes time, and a sparse one has any length at no cost.
const MAX_SIZE: u64 = 64 << 30;

/// One file, open.
#[derive(Debug)]
pub(crate) struct OpenFile {
    path: PathBuf,
    file: File,
    sight: Sight,
    digest: OnceLock<Digest>,
    stop: Stop,
}

impl OpenFile {
    /// Opens a regular file. Hashing it ends when `stop` is requested.
    pub(crate) fn open(path: &Path, stop: &Stop) -> io::Result<Self> {
        let file = regular_file::open(path, OFlags::empty())?;
        let sight = Sight::of(&file)?;
        if sight.size > MAX_SIZE {
            return Err(io::Error::other(format!(
                "it has {} bytes, and a file of the host may have {} (64 GiB)",
                sight.size, MAX_SIZE
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            sight,
            file,
            digest: OnceLock::new(),
            stop: stop.clone(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the contents, from where the last reader stopped.
    pub(crate) fn content(&self) -> impl Read + '_ {
        &self.file
    }

    /// Returns the remembered digest, if this is still the same file.
    pub(crate) fn recall(&self, memory: &FileMemory) -> Option<Digest> {
        if memory.sight != self.sight {
            return None;
        }
        memory.digest.parse().ok()
    }

    /// Takes over the remembered digest, if this is still the same file, so that it need not be hashed again.
    pub(super) fn adopt(&self, memory: &FileMemory) {
        if let Some(digest) = self.recall(memory) {
            // One that was computed is as good.
            let _ = self.digest.set(digest);
        }
    }

    /// Returns the SHA-256 of the contents, which are read once.
    pub(crate) fn digest(&self) -> io::Result<&Digest> {
        if let Some(digest) = self.digest.get() {
            return Ok(digest);
        }
        let digest = hash(&self.file, self.sight.size, &self.stop)?;
        Ok(self.digest.get_or_init(|| digest))
    }

    /// Returns what to remember if the file was hashed and a later change is sure to be noticed: the file is the same
    /// before and after, and its last change is old enough that the clock of the file system could not give another one
    /// the same time.
    pub(crate) fn memory(&self) -> Option<FileMemory> {
        let digest = self.digest.get()?;
        let same = Sight::of(&self.file).is_ok_and(|now| now == self.sight);
        (same && self.sight.is_settled(SystemTime::now())).then(|| FileMemory {
            sight: self.sight,
            digest: digest.to_string(),
        })
    }

    /// Hashes the file, so that it can be added to an image.
    pub(crate) fn hashed(self) -> io::Result<HashedFile> {
        let digest = self.digest()?.clone();
        Ok(HashedFile {
            path: self.path,
            file: self.file,
            size: self.sight.size,
            digest,
        })
    }
}

/// Hashes a file of `size` bytes. It reads by offset, so the file's position does not matter.
///
/// A size other than the one at the beginning is an error, because a file that grows as fast as it is read has no end,
/// and some files in `/proc` have contents of any length and a size of 0.
fn hash(file: &File, size: u64, stop: &Stop) -> io::Result<Digest> {
    let mut hasher = Algorithm::Sha256.hasher();
    let mut buffer = vec![0; 128 * 1024];
    let mut offset = 0;
    loop {
        stop.check()?;
        let length = file.read_at(&mut buffer, offset)?;
        offset += length as u64;
        if offset > size || length == 0 && offset < size {
            return Err(io::Error::other(format!(
                "its size was {size} bytes when it was opened, and {} {offset} could be read; name a copy of it that does not change",
                if length == 0 {
                    "no more than"
                } else {
                    "at least"
                },
            )));
        }
        if length == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(buffer.get(..length).unwrap_or_default());
    }
}

/// One file, open and hashed.
#[derive(Debug)]
pub(crate) struct HashedFile {
    path: PathBuf,
    file: File,
    /// Number of bytes that were hashed.
    size: u64,
    digest: Digest,
}

impl HashedFile {
    /// Returns the SHA-256 of the file as it was when it was opened.
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the contents from the first byte on. The end of the contents is an error unless they match the digest,
    /// because the digest is part of the artifact's key, and a key must not be wrong.
    pub(crate) fn body(&mut self) -> io::Result<Body<'_>> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(Body {
            file: &self.file,
            left: self.size,
            verifier: Some(Verifier::new(self.digest.clone())),
        })
    }

    /// Reads bytes at an offset; fewer than fit only at the end of the file.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64)? {
                0 => break,
                length => filled += length,
            }
        }
        Ok(filled)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The contents of a file, hashed a second time as they are read.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    file: &'a File,
    /// Number of hashed bytes that are not read yet.
    left: u64,
    /// Taken at the end of the file.
    verifier: Option<Verifier<Digest>>,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        let read = buffer.get(..length).unwrap_or_default();
        let changed = || io::Error::other("it changed while the image was built; pull again");
        // A file that grows has no end at which its digest could be compared.
        self.left = self.left.checked_sub(length as u64).ok_or_else(changed)?;
        match &mut self.verifier {
            Some(verifier) if length > 0 => verifier.update(read),
            verifier => {
                if verifier.take().is_some_and(|v| v.finish().is_err()) {
                    return Err(changed());
                }
            }
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> OpenFile {
        OpenFile::open(path, &Stop::default()).unwrap()
    }

    #[test]
    fn file_of_holes_is_refused_by_its_length() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_SIZE).unwrap();
        assert!(OpenFile::open(file.path(), &Stop::default()).is_ok());
        file.as_file().set_len(MAX_SIZE + 1).unwrap();
        let error = OpenFile::open(file.path(), &Stop::default()).unwrap_err();
        assert!(error.to_string().contains("64 GiB"), "{error}");
    }

    #[test]
    fn a_file_that_changes_during_a_build_fails_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"one").unwrap();
        let mut file = open(&path).hashed().unwrap();
        let mut read = Vec::new();
        file.body().unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, b"one");
        std::fs::write(&path, b"two").unwrap();
        let error = file.body().unwrap().read_to_end(&mut Vec::new());
        assert!(error.is_err());
        for other in [&b"on"[..], b"one and more"] {
            std::fs::write(&path, other).unwrap();
            let mut read = Vec::new();
            let error = file.body().unwrap().read_to_end(&mut read).unwrap_err();
            assert!(error.to_string().contains("changed"), "{error}");
            assert!(read.len() <= 3, "what was not hashed is not passed on");
        }
    }

    #[test]
    fn file_of_another_size_than_it_says_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for (before, after, expected) in [
            (4, 3, "4 bytes when it was opened, and no more than 3"),
            (4, 5, "4 bytes when it was opened, and at least 5"),
            (0, 1, "0 bytes when it was opened, and at least 1"),
        ] {
            std::fs::write(&path, vec![1; before]).unwrap();
            let file = open(&path);
            std::fs::write(&path, vec![1; after]).unwrap();
            let error = file.digest().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        std::fs::write(&path, b"").unwrap();
        assert_eq!(*open(&path).digest().unwrap(), Digest::of(b""));
        // Files in `/proc` have contents and no size; this one has 2^47 / 512 bytes.
        let error = open("/proc/self/pagemap".as_ref()).digest().unwrap_err();
        assert!(error.to_string().contains("0 bytes"), "{error}");
    }

    #[test]
    fn hashing_ends_when_the_build_is_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"one").unwrap();
        let stop = Stop::default();
        let file = OpenFile::open(&path, &stop).unwrap();
        drop(stop.on_drop());
        assert!(file.digest().is_err());
    }

    #[test]
    fn a_remembered_file_is_recalled_until_anything_about_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"one").unwrap();
        let open = || open(&path);
        let file = open();
        assert_eq!(file.memory(), None, "it was not hashed");
        file.digest().unwrap();
        assert_eq!(file.memory(), None, "it is too young");
        let memory = FileMemory {
            sight: file.sight,
            digest: file.digest().unwrap().to_string(),
        };
        assert_eq!(open().recall(&memory), Some(Digest::of(b"one")));

        // The same size and the same time of writing, so that only the time of change differs.
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&path, b"two").unwrap();
        let again = File::options().write(true).open(&path).unwrap();
        again.set_modified(written).unwrap();
        assert_eq!(open().recall(&memory), None);
    }

    #[test]
    fn a_young_file_is_not_remembered() {
        let sight = |changed| Sight {
            device: 1,
            inode: 2,
            size: 3,
            modified: (0, 0),
            changed: (changed, 0),
        };
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        for (changed, settled) in [
            (900, true),
            (997, true),
            (998, false),
            (1000, false),
            (2000, false),
            (-5, false),
        ] {
            assert_eq!(sight(changed).is_settled(now), settled, "{changed}");
        }
    }
}
