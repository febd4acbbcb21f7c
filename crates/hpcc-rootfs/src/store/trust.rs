//! Which directories and files the store trusts: those that only this user and root can change.
//!
//! An artifact carries its own checksums, so any user who can put a file into the store can forge one that looks
//! intact. Only the file's owner and the permissions of the directories on the way to it distinguish it from an
//! artifact of this program.
//!
//! Directories are judged by open descriptors. The path is walked from the root, one name at a time. A walk that
//! succeeds has seen only names that this user and root alone can change, so the same path leads to the same directory
//! afterwards.
//!
//! In a sticky directory of this user, others can add names, but cannot change the name of a trusted file. Such a store
//! is used: each file is checked, and a file of another user can be replaced.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::artifact::RecordError;
use crate::error::Error;
use crate::options::StoreOptions;
use crate::staging::keeps_modes;
use crate::untrusted::{Kind, Untrusted};

/// Permissions of the directories that the store creates, whatever the umask.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o700);
/// Permission bits with which users other than the owner can write.
const OTHERS_WRITE: u32 = 0o022;
/// Permission bit with which every user can write.
const ALL_WRITE: u32 = 0o002;
/// In a directory with this bit, only the owner of a file can rename or remove it.
const STICKY: u32 = 0o1000;
/// Number of symlinks that one path may lead through, as in the kernel.
const LINKS_MAX: u32 = 40;

/// A failure to check a path, or to trust it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
}

impl From<Errno> for Fault {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl Fault {
    pub(crate) fn into_error(self, operation: &'static str, path: &Path) -> Error {
        match self {
            Self::Io(error) => Error::store(operation, path, error),
            Self::Untrusted(untrusted) => Error::Untrusted(untrusted),
        }
    }
}

impl From<Fault> for RecordError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io(error) => Self::Io(error),
            Fault::Untrusted(untrusted) => Self::Untrusted(untrusted),
        }
    }
}

/// The users that a store trusts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trust {
    /// This user and root.
    Owner(u32),
    /// This user and root, if this user has the number that the kernel shows for each user without one in this user
    /// namespace. Then a number does not tell who owns a file, and only the kernel knows whether this process does.
    Shared(u32),
    /// Every user that can write to the store.
    Everyone,
}

impl Trust {
    /// Returns the trust that the options require, at the moment of the call, because a process may change its user.
    pub(crate) fn new(options: &StoreOptions) -> Self {
        let user = rustix::process::geteuid().as_raw();
        if options.trusted {
            Self::Everyone
        } else if user == overflow_user() {
            Self::Shared(user)
        } else {
            Self::Owner(user)
        }
    }

    /// Returns the user that is trusted beside root, if not all are.
    fn user(self) -> Option<u32> {
        match self {
            Self::Owner(user) | Self::Shared(user) => Some(user),
            Self::Everyone => None,
        }
    }

    /// Checks that a directory of a store is trusted, with all directories on the way to it. Returns `false` if it does
    /// not exist.
    pub(crate) fn directory(self, path: &Path) -> Result<bool, Fault> {
        match self.walk(path, false) {
            Ok(_) => Ok(true),
            Err(Fault::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Creates the directory of a store, and the missing ones on the way to it, for this user alone whatever the umask.
    /// Directories that exist are checked and keep their permissions.
    pub(crate) fn make_directory(self, path: &Path) -> Result<(), Fault> {
        self.walk(path, true).map(drop)
    }

    /// Checks that an open file was written by a trusted user, and that no other user can write to it.
    pub(crate) fn file(self, file: impl AsFd, path: &Path) -> Result<(), Fault> {
        let stat = rustix::fs::fstat(&file)?;
        self.check(&stat, path, Kind::File, || owns_file(&file))
    }

    /// Checks a file by its name, which is enough in a trusted directory, because no other user can change the name of
    /// a file that passes.
    pub(crate) fn named(self, path: &Path) -> Result<(), Fault> {
        if matches!(self, Self::Everyone) {
            return Ok(());
        }
        let stat = rustix::fs::lstat(path)?;
        let owns = || {
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            is_file && rustix::fs::open(path, OWNERS, Mode::empty()).is_ok()
        };
        self.check(&stat, path, Kind::File, owns)
    }

    /// Returns whether a file belongs to a user that the store does not trust. In a trusted directory, no running build
    /// works with such a file.
    pub(crate) fn is_foreign(self, stat: &Stat) -> bool {
        let user = self.user();
        user.is_some_and(|user| stat.st_uid != user && stat.st_uid != 0)
    }

    /// `owns` returns whether this process owns the file; it is called where the number does not tell.
    fn check(
        self,
        stat: &Stat,
        path: &Path,
        kind: Kind,
        owns: impl FnOnce() -> bool,
    ) -> Result<(), Fault> {
        let Some(user) = self.user() else {
            return Ok(());
        };
        let is_unclear = matches!(self, Self::Shared(_)) && stat.st_uid == user;
        let mode = stat.st_mode & 0o7777;
        let writable = match kind {
            Kind::File => mode & OTHERS_WRITE != 0,
            // Only the owner of a sticky directory can replace the files of others in it.
            Kind::Directory => {
                mode & OTHERS_WRITE != 0 && (mode & STICKY == 0 || stat.st_uid != user)
            }
            // A group of the owner's own, which by convention has the same number, has no other members. Where there is
            // an access control list, the bits of the group are its mask, and stand for others as well (acl(5)).
            Kind::Parent => {
                let private = mode & ALL_WRITE == 0 && stat.st_gid == stat.st_uid && !is_unclear;
                mode & OTHERS_WRITE != 0 && mode & STICKY == 0 && (!private || has_list(path))
            }
            // All symlinks have mode 777, which means nothing.
            Kind::Link => false,
        };
        let is_namesake = is_unclear && !owns();
        if writable || is_namesake || self.is_foreign(stat) {
            return Err(Fault::Untrusted(Untrusted {
                is_namesake,
                path: path.to_owned(),
                owner: stat.st_uid,
                mode: mode & 0o1777,
                user,
                kind,
            }));
        }
        Ok(())
    }

    /// Opens the directory at an absolute path, and checks every step of the way.
    fn walk(self, path: &Path, make: bool) -> Result<OwnedFd, Fault> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = || rustix::fs::open("/", flags | OFlags::DIRECTORY, Mode::empty());
        let (mut at, mut so_far, mut links) = (root()?, PathBuf::from("/"), 0);
        let mut names = names(path);
        while let Some(name) = names.pop_front() {
            let stat = rustix::fs::fstat(&at)?;
            self.check(&stat, &so_far, Kind::Parent, || owns_directory(&at))?;
            let next = match rustix::fs::openat(&at, &name, flags, Mode::empty()) {
                Err(Errno::NOENT) if make => {
                    make_at(&at, &name)?;
                    rustix::fs::openat(&at, &name, flags, Mode::empty())?
                }
                opened => opened?,
            };
            let stat = rustix::fs::fstat(&next)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    at = next;
                    so_far.push(&name);
                }
                FileType::Symlink => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP.into());
                    }
                    // No symlink can be opened, so this process owns none for which that decides.
                    self.check(&stat, &so_far.join(&name), Kind::Link, || false)?;
                    let target = rustix::fs::readlinkat(&next, "", Vec::new())?;
                    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                    if target.is_absolute() {
                        (at, so_far) = (root()?, PathBuf::from("/"));
                    }
                    let mut first = self::names(&target);
                    first.append(&mut names);
                    names = first;
                }
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        let stat = rustix::fs::fstat(&at)?;
        self.check(&stat, &so_far, Kind::Directory, || owns_directory(&at))?;
        Ok(at)
    }
}

/// Flags with which only the owner of a file, or a process with `CAP_FOWNER` over that owner, can open it.
const OWNERS: OFlags = OFlags::RDONLY
    .union(OFlags::NOATIME)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Returns whether a directory has an access control list, or what could be one. Its path is used, because the list
/// cannot be read from a descriptor that was opened for nothing else; the walk has seen that it leads to the directory.
fn has_list(directory: &Path) -> bool {
    let size = rustix::fs::lgetxattr(directory, "system.posix_acl_access", &mut [0_u8; 0]);
    !matches!(size, Err(Errno::NODATA | Errno::OPNOTSUPP))
}

fn owns_directory(directory: &OwnedFd) -> bool {
    let flags = OWNERS | OFlags::DIRECTORY;
    rustix::fs::openat(directory, ".", flags, Mode::empty()).is_ok()
}

/// Returns whether this process may set the flag that only the owner may set.
fn owns_file(file: impl AsFd) -> bool {
    let Ok(flags) = rustix::fs::fcntl_getfl(&file) else {
        return false;
    };
    let owns = rustix::fs::fcntl_setfl(&file, flags | OFlags::NOATIME).is_ok();
    let _ = rustix::fs::fcntl_setfl(&file, flags);
    owns
}

/// Returns the number that the kernel shows for each user without one in this user namespace.
fn overflow_user() -> u32 {
    let number = std::fs::read_to_string("/proc/sys/kernel/overflowuid");
    let number = number.ok().and_then(|number| number.trim().parse().ok());
    number.unwrap_or(65_534)
}

/// Returns the names of a path in order. `..` is left to the kernel.
fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// Creates one directory for this user alone. The mode is set again because the umask may have taken bits from it, and
/// a default ACL or a setgid bit of the parent may have added some.
fn make_at(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::mkdirat(parent, name, DIRECTORY_MODE) {
        Ok(()) => match rustix::fs::chmodat(parent, name, DIRECTORY_MODE, AtFlags::empty()) {
            // The caller checks the mode that it has.
            Err(error) if keeps_modes(error) => Ok(()),
            set => set,
        },
        // Created by another process meanwhile.
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
