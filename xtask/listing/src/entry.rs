//! The listing and its entries.

use std::collections::BTreeMap;

/// A SHA-256 digest.
pub type Sha256 = [u8; 32];

/// A tree: absolute paths of bytes (`/` for its root, `/usr/bin`), each with what is found there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries in byte order of their paths.
    pub entries: BTreeMap<Vec<u8>, Entry>,
}

/// Entry to which one name leads. Symlinks are not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The type, with what only that type has.
    pub kind: Kind,
    /// The low 12 bits of the mode: setuid, setgid, sticky, and the permissions.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The size that `lstat` gives, in bytes. What it means for a directory is up to each file system.
    pub size: u64,
    /// Whole seconds since 1970. Squashfs keeps no fractions, so they are dropped everywhere.
    pub mtime: i64,
    /// The link count that `lstat` gives.
    pub links: u64,
    /// The first of the names in this tree that lead to this inode, if more than one does; directories never share.
    pub shared: Option<Vec<u8>>,
    /// The extended attributes, by their full names (`security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The type of an entry, with what only that type has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory. Its children are entries of their own.
    Directory,
    /// A regular file.
    File {
        /// The digest of its content, holes read as zeros.
        sha256: Sha256,
    },
    /// A symbolic link.
    Symlink {
        /// Target, as it is stored.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A Unix domain socket.
    Socket,
}

impl Kind {
    /// Returns the word for the type: the second field of a line, and what differences call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File { .. } => "file",
            Self::Symlink { .. } => "symlink",
            Self::CharDevice { .. } => "char-device",
            Self::BlockDevice { .. } => "block-device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }
}

impl Listing {
    /// Returns how many directories lie directly in each directory that holds any.
    pub(crate) fn subdirectories(&self) -> BTreeMap<&[u8], u64> {
        let mut counts = BTreeMap::new();
        for (path, entry) in &self.entries {
            if matches!(entry.kind, Kind::Directory)
                && let Some(parent) = parent(path)
            {
                *counts.entry(parent).or_insert(0) += 1;
            }
        }
        counts
    }
}

/// Returns the path of the directory that holds `path`, or nothing for the root.
fn parent(path: &[u8]) -> Option<&[u8]> {
    if path == b"/" {
        return None;
    }
    match path.iter().rposition(|&byte| byte == b'/') {
        None => None,
        Some(0) => path.get(..1),
        Some(slash) => path.get(..slash),
    }
}
