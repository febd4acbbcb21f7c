//! What a name of an image leads to.

/// One name of an image, and its inode.
#[derive(Debug)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// From the root on: `/`, `/etc/passwd`.
    pub path: &'a [u8],
    /// What it is.
    pub kind: EntryKind<'a>,
    /// Setuid, setgid and sticky bit, and the permissions.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// The number of the inode: names that share it are hard links.
    pub inode: u32,
}

/// What an inode is, with what only that type has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind<'a> {
    /// A directory. Its entries follow.
    Directory,
    /// A regular file.
    File {
        /// Its length in bytes, holes included.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// As it is stored.
        target: &'a [u8],
    },
    /// A block device.
    BlockDevice {
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// A character device.
    CharDevice {
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}
