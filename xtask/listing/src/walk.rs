//! Taking the listing of a directory.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, lgetxattr, llistxattr, major, minor};
use sha2::Digest;

use crate::escape::escape;
use crate::{Entry, Kind, Listing, Samples, Sha256};

/// An entry that could not be read.
#[derive(Debug)]
pub struct WalkError {
    /// The entry, as an absolute path within the tree; or the root, as it was given.
    pub path: Vec<u8>,
    /// Step that failed.
    pub action: &'static str,
    /// Error of the kernel.
    pub source: io::Error,
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {}",
            escape(&self.path),
            self.action,
            self.source
        )
    }
}

impl std::error::Error for WalkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Limits on the part of a tree that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The size in bytes of the largest file that is read whole. The digest of a larger one is that of [`Samples`].
    pub whole: u64,
    /// Largest number of entries.
    pub entries: usize,
}

/// No bounds.
impl Default for Bounds {
    fn default() -> Self {
        Self {
            whole: u64::MAX,
            entries: usize::MAX,
        }
    }
}

impl Listing {
    /// Takes the listing of the tree at `root`, which is `/` in it.
    ///
    /// Symlinks are never followed, but for `root` itself. A directory on another file system is listed as it shows
    /// itself, without its content. Names that are longer than the kernel takes in one call (4095 bytes, `root`
    /// included) are errors, as is anything that cannot be read: there is no such thing as half a listing.
    ///
    /// # Errors
    ///
    /// [`WalkError`] names the entry and what the kernel said of it.
    pub fn walk(root: &Path) -> Result<Self, WalkError> {
        Self::walk_within(root, &Bounds::default())
    }

    /// Takes the listing of the tree at `root` as [`walk`](Self::walk) does, and keeps to `bounds`, so that it ends
    /// soon whatever a damaged file system shows.
    ///
    /// # Errors
    ///
    /// As [`walk`](Self::walk), and [`WalkError`] for the entry that is one too many.
    pub fn walk_within(root: &Path, bounds: &Bounds) -> Result<Self, WalkError> {
        let fail = |action| {
            move |source| WalkError {
                path: root.as_os_str().as_bytes().to_vec(),
                action,
                source,
            }
        };
        let host = root.canonicalize().map_err(fail("resolve"))?;
        let device = host.symlink_metadata().map_err(fail("stat"))?.dev();
        let mut walk = Walk {
            entries: BTreeMap::new(),
            names: HashMap::new(),
            whole: bounds.whole,
        };
        // A loop and not a recursion, because the tree chooses its depth, and the stack is limited.
        let mut pending = vec![Place {
            host,
            path: b"/".to_vec(),
        }];
        while let Some(place) = pending.pop() {
            if walk.entries.len() + pending.len() >= bounds.entries {
                let found = format!("more than {} entries", bounds.entries);
                return Err(place.fail("list")(io::Error::other(found)));
            }
            let metadata = walk.visit(&place)?;
            if metadata.is_dir() && metadata.dev() == device {
                place.children(&mut pending, bounds.entries)?;
            }
        }
        Ok(walk.finish())
    }
}

/// One name: where it is on the host, and what the listing calls it.
struct Place {
    host: PathBuf,
    path: Vec<u8>,
}

impl Place {
    fn fail(&self, action: &'static str) -> impl FnOnce(io::Error) -> WalkError {
        let path = self.path.clone();
        move |source| WalkError {
            path,
            action,
            source,
        }
    }

    /// Adds the children to `pending`, until those are more than `most`: a directory can be without end as well.
    fn children(&self, pending: &mut Vec<Self>, most: usize) -> Result<(), WalkError> {
        for child in self.host.read_dir().map_err(self.fail("open directory"))? {
            if pending.len() > most {
                break;
            }
            let name = child.map_err(self.fail("read directory"))?.file_name();
            let mut path = self.path.clone();
            if path != b"/" {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            pending.push(Self {
                host: self.host.join(name),
                path,
            });
        }
        Ok(())
    }

    fn kind(&self, metadata: &Metadata, whole: u64) -> Result<Kind, WalkError> {
        let kind = metadata.file_type();
        let (major, minor) = (major(metadata.rdev()), minor(metadata.rdev()));
        Ok(if kind.is_dir() {
            Kind::Directory
        } else if kind.is_file() {
            Kind::File {
                sha256: sha256(&self.host, metadata.len() <= whole)
                    .map_err(self.fail("read file"))?,
            }
        } else if kind.is_symlink() {
            let target = self.host.read_link().map_err(self.fail("read symlink"))?;
            Kind::Symlink {
                target: target.into_os_string().into_vec(),
            }
        } else if kind.is_char_device() {
            Kind::CharDevice { major, minor }
        } else if kind.is_block_device() {
            Kind::BlockDevice { major, minor }
        } else if kind.is_fifo() {
            Kind::Fifo
        } else {
            Kind::Socket
        })
    }

    fn xattrs(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, WalkError> {
        let names = read_growing(|buffer| llistxattr(&self.host, buffer))
            .map_err(self.fail("list attributes"))?;
        let mut xattrs = BTreeMap::new();
        for name in names
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
        {
            let value =
                read_growing(|buffer| lgetxattr(&self.host, OsStr::from_bytes(name), buffer))
                    .map_err(self.fail("read attribute"))?;
            xattrs.insert(name.to_vec(), value);
        }
        Ok(xattrs)
    }
}

struct Walk {
    entries: BTreeMap<Vec<u8>, Entry>,
    /// The names that lead to each inode. Kept whatever the link count says, so that a wrong count is seen.
    names: HashMap<(u64, u64), Vec<Vec<u8>>>,
    /// The size of the largest file that is read whole.
    whole: u64,
}

impl Walk {
    fn visit(&mut self, place: &Place) -> Result<Metadata, WalkError> {
        let metadata = place.host.symlink_metadata().map_err(place.fail("stat"))?;
        let entry = Entry {
            kind: place.kind(&metadata, self.whole)?,
            mode: permissions(metadata.mode()),
            uid: metadata.uid(),
            gid: metadata.gid(),
            size: metadata.size(),
            mtime: metadata.mtime(),
            links: metadata.nlink(),
            shared: None,
            xattrs: place.xattrs()?,
        };
        if !metadata.is_dir() {
            self.names
                .entry((metadata.dev(), metadata.ino()))
                .or_default()
                .push(place.path.clone());
        }
        self.entries.insert(place.path.clone(), entry);
        Ok(metadata)
    }

    fn finish(mut self) -> Listing {
        for names in self.names.into_values().filter(|names| names.len() > 1) {
            let first = names.iter().min().cloned();
            for name in names {
                if let Some(entry) = self.entries.get_mut(&name) {
                    entry.shared.clone_from(&first);
                }
            }
        }
        Listing {
            entries: self.entries,
        }
    }
}

fn permissions(mode: u32) -> u16 {
    let [_, _, high, low] = (mode & 0o7777).to_be_bytes();
    u16::from_be_bytes([high, low])
}

fn sha256(path: &Path, whole: bool) -> io::Result<Sha256> {
    let mut file = File::from(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    if !whole {
        return Samples::of(file.metadata()?.len()).sha256(&mut file);
    }
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}

/// What `read` gives, for calls that say `ERANGE` when the buffer is too small. No attribute, and no list of them,
/// is longer than 64 KiB (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX` of `linux/limits.h`).
fn read_growing(
    mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(rustix::io::Errno::RANGE) if buffer.len() < 64 << 10 => buffer.resize(64 << 10, 0),
            // A file system without attributes has none.
            Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    }
}
