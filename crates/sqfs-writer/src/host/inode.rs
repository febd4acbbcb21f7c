//! One inode of the host, opened without an access to its content.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{CWD, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::metadata::Metadata;
use crate::tree::Device;

/// `S_IFMT`, the bits of a mode that say the type.
const FILE_TYPE: u32 = 0o170_000;

/// Why an entry could not be read.
#[derive(Debug)]
pub(super) enum Failure {
    /// The operation, as a verb with its object, and the error of the system.
    Io(&'static str, io::Error),
    /// The difference.
    Changed(&'static str),
}

/// The numbers that distinguish inodes on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    number: u64,
}

/// What differs between two looks at an inode if it changed, or if its number went to another inode meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    file_type: u32,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Facts {
    fn of(found: &std::fs::Metadata) -> Self {
        Self {
            file_type: found.mode() & FILE_TYPE,
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// The type of an inode.
#[derive(Clone, Copy, Debug)]
pub(super) enum Type {
    Directory,
    File,
    Symlink,
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
    Socket,
}

/// An inode that stays the same one, whatever becomes of its names.
pub(super) struct Inode {
    /// Opened with `O_PATH`, so that a pipe does not block and a device does nothing.
    handle: File,
    found: std::fs::Metadata,
    kind: Type,
}

impl Inode {
    /// Opens the directory where a walk begins. It is the only one that may be reached through a symlink.
    pub(super) fn top(path: &Path) -> Result<Self, Failure> {
        let handle = rustix::fs::openat(
            CWD,
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        Self::new(handle.map_err(io("open the directory"))?.into())
    }

    /// Opens an entry of this directory.
    pub(super) fn entry(&self, name: &CStr) -> Result<Self, Failure> {
        let handle = rustix::fs::openat(
            &self.handle,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        );
        match handle {
            Ok(handle) => Self::new(handle.into()),
            // It was in the list a moment ago.
            Err(Errno::NOENT) => Err(Failure::Changed("it was removed")),
            Err(error) => Err(Failure::Io("open", error.into())),
        }
    }

    /// Opens the directory that holds this one, which must be the one that the walk came from: a directory that was moved
    /// would lead elsewhere.
    pub(super) fn parent(&self, expected: Identity) -> Result<Self, Failure> {
        let handle = rustix::fs::openat(
            &self.handle,
            c"..",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let handle = handle.map_err(io("return to the directory above"))?;
        let parent = Self::new(handle.into())?;
        if parent.identity() == expected {
            Ok(parent)
        } else {
            Err(Failure::Changed("a directory below it was moved elsewhere"))
        }
    }

    fn new(handle: File) -> Result<Self, Failure> {
        let found = handle.metadata().map_err(io("read the metadata of"))?;
        let types = found.file_type();
        let kind = if types.is_dir() {
            Type::Directory
        } else if types.is_file() {
            Type::File
        } else if types.is_symlink() {
            Type::Symlink
        } else if types.is_char_device() {
            Type::CharDevice(device(&found))
        } else if types.is_block_device() {
            Type::BlockDevice(device(&found))
        } else if types.is_fifo() {
            Type::Fifo
        } else if types.is_socket() {
            Type::Socket
        } else {
            let unknown = io::Error::from(io::ErrorKind::Unsupported);
            return Err(Failure::Io("find the type of", unknown));
        };
        Ok(Self {
            handle,
            found,
            kind,
        })
    }

    pub(super) fn kind(&self) -> Type {
        self.kind
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            device: self.found.dev(),
            number: self.found.ino(),
        }
    }

    /// Returns whether the inode has another name too.
    pub(super) fn has_more_names(&self) -> bool {
        self.found.nlink() > 1
    }

    /// Returns the size of a file in bytes.
    pub(super) fn size(&self) -> u64 {
        self.found.size()
    }

    /// Returns the names of the entries of this directory, in no order.
    pub(super) fn names(&self) -> Result<Vec<CString>, Failure> {
        let failed = |error: Errno| Failure::Io("list the directory", error.into());
        let directory = rustix::fs::openat(
            &self.handle,
            c".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let entries = Dir::new(directory.map_err(failed)?).map_err(failed)?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Opens the content of a file. Only of a file: opening a device may do something.
    pub(super) fn open(&self) -> Result<File, Failure> {
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, self.proc_path(), flags, Mode::empty());
        Ok(file.map_err(io("open"))?.into())
    }

    /// Returns the target of a symlink.
    pub(super) fn target(&self) -> Result<CString, Failure> {
        let target = rustix::fs::readlinkat(&self.handle, c"", Vec::new());
        target.map_err(io("read the target of"))
    }

    /// Fails if the inode changed since it was opened.
    pub(super) fn is_unchanged(&self) -> Result<(), Failure> {
        let now = self.handle.metadata().map_err(io("read the metadata of"))?;
        self.is_as(Facts::of(&now))
    }

    /// Fails if the inode differs from what another look found.
    pub(super) fn is_as(&self, other: Facts) -> Result<(), Failure> {
        if other == self.facts() {
            Ok(())
        } else {
            Err(Failure::Changed("its size or its times differ"))
        }
    }

    pub(super) fn facts(&self) -> Facts {
        Facts::of(&self.found)
    }

    /// Returns what the image stores beside content and type.
    pub(super) fn metadata(&self, attributes: &mut Attributes) -> Result<Metadata, Failure> {
        let mode = u16::try_from(self.found.mode() & 0o7777).unwrap_or_default();
        let mtime = self.found.mtime().clamp(0, u32::MAX.into());
        let mut metadata = Metadata::new(mode)
            .with_owner(self.found.uid(), self.found.gid())
            .with_mtime(u32::try_from(mtime).unwrap_or_default());
        attributes.read(&self.proc_path(), &mut metadata)?;
        Ok(metadata)
    }

    /// Returns a path that leads to this inode alone, for system calls that do not take a handle opened with `O_PATH`.
    fn proc_path(&self) -> String {
        format!("/proc/thread-self/fd/{}", self.handle.as_raw_fd())
    }
}

/// Reads extended attributes, into buffers as large as the kernel lets lists and values be.
pub(super) struct Attributes {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Attributes {
    /// `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`.
    const MAX: usize = 64 << 10;

    pub(super) fn new() -> Self {
        Self {
            names: vec![0; Self::MAX],
            value: vec![0; Self::MAX],
        }
    }

    fn read(&mut self, path: &str, metadata: &mut Metadata) -> Result<(), Failure> {
        let failed = |error: Errno| match error {
            // The path is that of an open file: it exists if `/proc` is mounted.
            Errno::NOENT => {
                let missing = io::Error::new(io::ErrorKind::NotFound, "/proc is not mounted");
                Failure::Io("read the extended attributes of", missing)
            }
            error => Failure::Io("read the extended attributes of", error.into()),
        };
        let listed = match rustix::fs::listxattr(path, self.names.as_mut_slice()) {
            // The file system has none.
            Err(Errno::OPNOTSUPP) => return Ok(()),
            listed => listed.map_err(failed)?,
        };
        let names = self.names.get(..listed).unwrap_or_default();
        for name in names.split(|&byte| byte == 0).filter(|n| !n.is_empty()) {
            let value = match rustix::fs::getxattr(path, name, self.value.as_mut_slice()) {
                Err(Errno::NODATA) => {
                    return Err(Failure::Changed("an extended attribute was removed"));
                }
                len => len.map_err(failed)?,
            };
            let value = self.value.get(..value).unwrap_or_default();
            metadata.xattrs.insert(name, value);
        }
        Ok(())
    }
}

fn device(found: &std::fs::Metadata) -> Device {
    Device {
        major: rustix::fs::major(found.rdev()),
        minor: rustix::fs::minor(found.rdev()),
    }
}

fn io<E: Into<io::Error>>(action: &'static str) -> impl Fn(E) -> Failure {
    move |error| Failure::Io(action, error.into())
}
