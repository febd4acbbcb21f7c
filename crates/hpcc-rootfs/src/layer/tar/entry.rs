//! What a tar archive says about one file.

use bytes::Bytes;
use sqfs_writer::{Device, Metadata};

/// One file, as its headers describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its name relative to the root: components joined by `/`, none of them empty, `.` or `..`;
    /// no slash at either end. Empty for the root itself.
    pub path: Vec<u8>,
    /// Permissions, owner, time, xattrs. Times before 1970 are 0 here, those after 2106 the
    /// largest that there is.
    pub metadata: Metadata,
    /// What it is.
    pub kind: EntryKind,
    /// How many textual access control lists it carries (`SCHILY.acl.*`), which are left out:
    /// squashfs cannot hold any.
    pub acls: u32,
    /// Extended attributes that were left out because squashfs cannot store their names.
    pub unstorable_xattrs: u32,
    /// Extended attributes that were left out because an overlay file system would obey them:
    /// `trusted.overlay.*` and `user.overlay.*`.
    pub overlay_xattrs: u32,
}

/// What an entry is, with what belongs to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of that many bytes, holes included. The body is read from the
    /// [`TarReader`](super::TarReader).
    File {
        /// Its size in bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link; the target is data and stands here as it stands in the archive.
    Symlink(Box<[u8]>),
    /// One more name for the file that has this path, normalised as [`Entry::path`] is.
    HardLink(Box<[u8]>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

impl Default for EntryKind {
    fn default() -> Self {
        Self::File { size: 0 }
    }
}

/// The next piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// These bytes; never none. They are a part of a buffer of some hundred KiB, which is used again once nobody
    /// has anything of it.
    Data(Bytes),
    /// That many zeros which the archive does not store; never none.
    Hole(u64),
}
