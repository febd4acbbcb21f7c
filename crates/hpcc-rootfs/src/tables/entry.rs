//! The description of one name of an image.

/// One name of an image, and its inode.
#[derive(Debug)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// Absolute path in the image: `/`, `/etc/passwd`.
    pub path: &'a [u8],
    /// Type of the inode.
    pub kind: EntryKind<'a>,
    /// Permissions, with the setuid, setgid and sticky bits.
    pub mode: u16,
    /// User id of the owner.
    pub uid: u32,
    /// Group id of the owner.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: u32,
    /// Number of the inode. Names that share it are hard links.
    pub inode: u32,
}

/// The type of an inode, with the data of that type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind<'a> {
    /// A directory. Its entries follow.
    Directory,
    /// A regular file.
    File {
        /// Length in bytes, holes included.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// The target, as it is stored.
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
