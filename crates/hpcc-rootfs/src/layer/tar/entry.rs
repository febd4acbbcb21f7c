//! The description of one file in a tar archive.

use bytes::Bytes;
use sqfs_writer::{Device, Metadata};

/// One file, as its headers describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its path relative to the root: components joined by `/`, none of them empty, `.` or `..`; no slash at either
    /// end. Empty for the root itself.
    pub path: Vec<u8>,
    /// Permissions, owner, time and extended attributes. A time before 1970 becomes 0, and one after 2106 the largest
    /// that fits.
    pub metadata: Metadata,
    /// Its type.
    pub kind: EntryKind,
    /// Number of textual access control lists (`SCHILY.acl.*`) that were left out, because squashfs cannot hold any.
    pub acls: u32,
    /// Number of extended attributes that were left out because squashfs cannot store their names, or
    /// because a `security.capability` was empty.
    pub unstorable_xattrs: u32,
    /// Number of extended attributes that were left out because an overlay file system would obey them:
    /// `trusted.overlay.*` and `user.overlay.*`.
    pub overlay_xattrs: u32,
    /// Whether the archive has another time, before 1970 or after 2106. Of a hard link never, because its target's time
    /// stands.
    pub clamped_time: bool,
}

/// The type of an entry, with the data of that type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file. The [`TarReader`](super::TarReader) returns its body.
    File {
        /// Size in bytes, holes included.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link. The target is data, exactly as the archive has it.
    Symlink(Box<[u8]>),
    /// A further name for the file that has this path, normalised as [`Entry::path`] is.
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

/// A piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Bytes, at least one. They are a slice of a shared buffer of up to 256 KiB, which is reused once all slices of it
    /// are dropped.
    Data(Bytes),
    /// A number of zeros that the archive does not store, at least one.
    Hole(u64),
}
