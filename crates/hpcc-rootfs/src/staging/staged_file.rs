//! A file that does not exist until it is complete.
//!
//! ```text
//!  O_TMPFILE ──write──► sync ──link──► .staged-PID-N ──rename──► NAME ──► sync directory
//!   no name: a crash, a kill or an error up to here          atomic, replaces what was there
//!   leaves nothing behind
//! ```
//!
//! A link cannot replace a name and a rename cannot take a file without a name, hence the short life of the dot-name
//! between the two. If the file system has no `O_TMPFILE`, or `/proc` is not available to link from, the file is
//! created under the dot-name and removed on drop.
//!
//! A build holds a shared `flock` on the file that it stages, from before it has a name until it is closed. If the file
//! of a dot-name can be locked exclusively, it has no living owner, whatever process ids exist. The sweep of a store
//! relies on that.
//!
//! All operations are relative to the directory's own descriptor, so moving the directory meanwhile, or planting
//! symlinks in it, cannot redirect them.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::abandoned;
use super::files::{Files, Kernel, keeps_modes};
use super::fs_verity::FsVerity;
use super::name::staged_name;
use super::no_locks::NoLocks;
use super::nowhere::Nowhere;
use super::spare::Spare;
use super::stop::Stop;
use crate::units::Size;

/// Bytes written between two checks of the free space.
const SPACE_EVERY: u64 = 16 << 20;

/// Bytes written between two hints to the disk.
const WRITE_BACK_EVERY: u64 = 8 << 20;

/// Permissions of a finished file: a VM that runs as another user must be able to read it.
const FINISHED: Mode = Mode::from_raw_mode(0o644);
/// Permissions of a file of the store while it is written. Other users could lock a file that they can open, so that it
/// would be taken for a file in use.
const UNFINISHED: Mode = Mode::from_raw_mode(0o600);

/// Distinguishes the dot-names of one process.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A value that is kept while a file is staged, such as a lock.
pub(crate) trait Held: fmt::Debug + Send + Sync {}

impl<T: fmt::Debug + Send + Sync> Held for T {}

/// The parameters of staging a file.
#[derive(Debug)]
pub(crate) struct Staging {
    /// Bytes of the file system to leave free; 0 disables the check.
    pub(crate) min_free: u64,
    /// Ends the build at its next write.
    pub(crate) stop: Stop,
    /// The right to publish, kept for as long as the file is open.
    #[expect(dead_code, reason = "held, and given back on drop")]
    held: Option<Box<dyn Held>>,
    /// Whether the umask affects the permissions, as it does outside a store.
    by_umask: bool,
    /// The system calls.
    pub(crate) files: Arc<dyn Files>,
    /// Whether the file gets fs-verity before it gets its name.
    fs_verity: FsVerity,
    /// A file that is dropped when the disk is full.
    spare: Option<Spare<StagedFile>>,
}

impl Staging {
    /// Makes the parameters for a file of the store.
    pub(crate) fn new(min_free: u64, held: Option<Box<dyn Held>>) -> Self {
        Self {
            min_free,
            stop: Stop::default(),
            held,
            by_umask: false,
            files: Arc::new(Kernel),
            fs_verity: FsVerity::Off,
            spare: None,
        }
    }

    /// The same by other system calls.
    pub(crate) fn with_files(self, files: Arc<dyn Files>) -> Self {
        Self { files, ..self }
    }

    /// The same with fs-verity.
    pub(crate) fn with_fs_verity(self, fs_verity: FsVerity) -> Self {
        Self { fs_verity, ..self }
    }

    /// Returns the parameters with a file that is dropped when the disk is full.
    pub(crate) fn with_spare(self, spare: Option<Spare<StagedFile>>) -> Self {
        Self { spare, ..self }
    }

    /// Makes the parameters for a file that the user names, outside any store.
    pub(crate) fn outside(min_free: u64) -> Self {
        Self {
            by_umask: true,
            ..Self::new(min_free, None)
        }
    }

    /// Makes the parameters for a file whose bytes are dropped.
    pub(crate) fn nowhere() -> Self {
        Self {
            files: Arc::new(Nowhere),
            ..Self::new(0, None)
        }
    }

    /// Returns the parameters with the stop of another build.
    pub(crate) fn with_stop(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// Returns whether an error means a full disk, and dropping the spare file freed space.
    fn makes_space(&self, error: &io::Error) -> bool {
        let is_full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        is_full
            && self
                .spare
                .as_ref()
                .is_some_and(|spare| spare.take().is_some())
    }

    /// Locks a file against sweeps. Outside of a store nothing is swept, so that a file system without locks will do.
    fn lock(&self, file: &File) -> io::Result<()> {
        match self.files.lock(file) {
            Err(error) if self.by_umask && NoLocks::means(error) => Ok(()),
            locked => locked.map_err(NoLocks::named),
        }
    }

    /// Returns the mode to create the file with.
    fn mode(&self) -> Mode {
        if self.by_umask { FINISHED } else { UNFINISHED }
    }
}

/// A file being written that no other process can see yet.
#[derive(Debug)]
pub(crate) struct StagedFile {
    directory: OwnedFd,
    file: File,
    /// The dot-name of the file, if it has one, which is removed if the file is never published.
    dot_name: Option<String>,
    /// Bytes until the next check of the free space.
    until_look: u64,
    /// The range that was written since the last hint to the disk: its offset and its length.
    unwritten: (u64, u64),
    staging: Staging,
}

impl StagedFile {
    /// Creates a file that may later get a name in `directory`.
    pub(crate) fn create(directory: &Path, staging: Staging) -> io::Result<Self> {
        let directory = rustix::fs::open(
            directory,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Self::create_in(directory, staging)
    }

    fn create_in(directory: OwnedFd, staging: Staging) -> io::Result<Self> {
        let unnamed = match staging.files.open_unnamed(&directory, staging.mode()) {
            Ok(file) => Some(File::from(file)),
            // The errors of kernels and file systems that do not support it.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => None,
            Err(error) => return Err(error.into()),
        };
        let (file, dot_name) = match unnamed {
            Some(file) => {
                staging.lock(&file)?;
                (file, None)
            }
            None => {
                if staging.by_umask {
                    // No sweep of a store comes here.
                    abandoned::remove(&directory);
                }
                create_named(&staging, &directory).map(|(file, dot_name)| (file, Some(dot_name)))?
            }
        };
        let staged = Self {
            directory,
            file,
            dot_name,
            until_look: SPACE_EVERY,
            unwritten: (0, 0),
            staging,
        };
        staged.look_at_space()?;
        Ok(staged)
    }

    /// Returns the means to create further files beside this one, for data that exceeds the limits on memory.
    pub(crate) fn scratch(&self) -> io::Result<Scratch> {
        Ok(Scratch {
            directory: self.directory.try_clone()?,
            min_free: self.staging.min_free,
            stop: self.staging.stop.clone(),
            spare: self.staging.spare.clone(),
            by_umask: self.staging.by_umask,
            // They are read back, even if this one is not kept.
            files: match self.staging.files.keeps() {
                true => Arc::clone(&self.staging.files),
                false => Arc::new(Kernel),
            },
        })
    }

    /// Fills `buffer` with what was written at an offset.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.staging.stop.check()?;
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    /// Writes all of `bytes` at an offset.
    pub(crate) fn write_all_at(&mut self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        self.staging.stop.check()?;
        while !bytes.is_empty() {
            let written = match self.staging.files.write(&self.file, bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(Errno::INTR) => continue,
                Err(error) if self.staging.makes_space(&error.into()) => continue,
                Err(error) => return Err(error.into()),
            };
            self.write_back(offset, written as u64);
            bytes = bytes.get(written..).unwrap_or_default();
            offset += written as u64;
            self.until_look = self.until_look.saturating_sub(written as u64);
        }
        if self.until_look == 0 {
            self.until_look = SPACE_EVERY;
            self.look_at_space()?;
        }
        Ok(())
    }

    /// Keeps the disk busy while more data follows, so that the sync at the end has little left to wait for.
    fn write_back(&mut self, offset: u64, length: u64) {
        let (start, before) = self.unwritten;
        self.unwritten = if start + before == offset {
            (start, before + length)
        } else {
            (offset, length)
        };
        let (start, length) = self.unwritten;
        if let Some(length) =
            NonZeroU64::new(length).filter(|length| length.get() >= WRITE_BACK_EVERY)
        {
            self.staging.files.write_back(&self.file, start, length);
            self.unwritten = (start + length.get(), 0);
        }
    }

    fn look_at_space(&self) -> io::Result<()> {
        let min_free = self.staging.min_free;
        if min_free == 0 {
            return Ok(());
        }
        loop {
            let free = self.staging.files.available(&self.directory)?;
            if free >= min_free {
                return Ok(());
            }
            let (free, min_free) = (Size(free), Size(min_free));
            let message = format!("{free} are free, and {min_free} are to be left free");
            let error = io::Error::new(io::ErrorKind::StorageFull, message);
            if !self.staging.makes_space(&error) {
                return Err(error);
            }
        }
    }

    /// Makes the file durable, calls `durable`, gives the file its name, replacing the previous file of that name, and
    /// makes the name durable.
    ///
    /// # Errors
    /// Returns the error of the system. Unless the last step failed, the name is unchanged. If it did, the file exists
    /// and is complete, and might be lost in a power cut.
    pub(crate) fn publish_noting(mut self, name: &OsStr, durable: impl FnOnce()) -> io::Result<()> {
        self.permit()?;
        self.staging.files.sync(&self.file)?;
        self.protect()?;
        durable();
        self.rename(name)?;
        match self.staging.files.sync_directory(&self.directory) {
            // The file system syncs no directories, so there is nothing to wait for.
            Err(Errno::INVAL | Errno::BADF | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            synced => Ok(synced?),
        }
    }

    /// Publishes like [`publish_noting`](Self::publish_noting), for tests that need no callback.
    #[cfg(test)]
    pub(crate) fn publish(self, name: &OsStr) -> io::Result<()> {
        self.publish_noting(name, || {})
    }

    /// Publishes a file without syncing it, if it may be lost in a crash and is recognized if it is torn.
    pub(crate) fn publish_carelessly(mut self, name: &OsStr) -> io::Result<()> {
        self.permit()?;
        self.rename(name)
    }

    /// Gives the file a name that must be free, and this mode as far as the file system lets it. Nothing is synced.
    pub(crate) fn publish_to_free(mut self, name: &OsStr, mode: Mode) -> io::Result<()> {
        self.set_mode(mode)?;
        self.staging.stop.check()?;
        let Some(from) = self.dot_name.take() else {
            // A kill leaves the file with this name or with none.
            return Ok(self.staging.files.link(&self.file, &self.directory, name)?);
        };
        let named = self.move_to_free(&from, name);
        if named.is_err() {
            self.dot_name = Some(from);
        }
        named
    }

    /// Moves the dot-name to a free name, by the first call that the file system knows.
    fn move_to_free(&self, from: &str, to: &OsStr) -> io::Result<()> {
        let (files, directory) = (&self.staging.files, &self.directory);
        match files.rename_to_free(directory, from, to) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            renamed => return Ok(renamed?),
        }
        match files.link_name(directory, from, to) {
            Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            linked => {
                linked?;
                // If it stays, the file has two names.
                let _ = files.unlink(directory, from);
                return Ok(());
            }
        }
        match rustix::fs::statat(directory, to, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(files.rename(directory, from, to)?),
            Ok(_) => Err(Errno::EXIST.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the open file, to be filled by calls of the kernel.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Enables fs-verity if that is wanted. It needs a file without writers, so this one is read-only from here on.
    pub(super) fn protect(&mut self) -> io::Result<()> {
        let fs_verity = self.staging.fs_verity;
        if fs_verity == FsVerity::Off {
            return Ok(());
        }
        let files = Arc::clone(&self.staging.files);
        let enabled = self
            .give_up_writing()
            .and_then(|()| files.enable_verity(&self.file));
        fs_verity.settle(enabled)
    }

    /// Changes to a descriptor that cannot write. The file is locked at every moment, by one of the two descriptors or
    /// by both.
    fn give_up_writing(&mut self) -> io::Result<()> {
        let files = &self.staging.files;
        let reopened = files.reopen(&self.file, &self.directory, self.dot_name.as_deref())?;
        let reopened = File::from(reopened);
        if !same(&reopened, &self.file)? {
            return Err(io::Error::other("the file has lost its temporary name"));
        }
        self.staging.lock(&reopened)?;
        self.file = reopened;
        Ok(())
    }

    fn permit(&self) -> io::Result<()> {
        match self.staging.by_umask {
            true => Ok(()),
            false => self.set_mode(FINISHED),
        }
    }

    fn set_mode(&self, mode: Mode) -> io::Result<()> {
        match self.staging.files.permit(&self.file, mode) {
            Err(error) if keeps_modes(error) => Ok(()),
            set => Ok(set?),
        }
    }

    /// Takes the dot-name of the file, and gives it one if it has none.
    fn dot_name(&mut self) -> io::Result<String> {
        let files = &self.staging.files;
        match self.dot_name.take() {
            Some(dot_name) => Ok(dot_name),
            None => {
                let link = |name: &str| files.link(&self.file, &self.directory, name.as_ref());
                Ok(unique(link)?.1)
            }
        }
    }

    fn rename(&mut self, name: &OsStr) -> io::Result<()> {
        self.staging.stop.check()?;
        let from = self.dot_name()?;
        if let Err(error) = self.staging.files.rename(&self.directory, &from, name) {
            self.dot_name = Some(from);
            return Err(error.into());
        }
        Ok(())
    }
}

/// The directory of a staged file, for further files that live no longer than its build.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: OwnedFd,
    min_free: u64,
    stop: Stop,
    spare: Option<Spare<StagedFile>>,
    by_umask: bool,
    files: Arc<dyn Files>,
}

impl Scratch {
    /// Makes an empty file that vanishes when it is dropped.
    pub(crate) fn create(&self) -> io::Result<StagedFile> {
        let staging = Staging {
            files: Arc::clone(&self.files),
            by_umask: self.by_umask,
            ..Staging::new(self.min_free, None)
                .with_stop(self.stop.clone())
                .with_spare(self.spare.clone())
        };
        StagedFile::create_in(self.directory.try_clone()?, staging)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Some(name) = &self.dot_name {
            // A failure here has no remedy; the next sweep removes the file.
            let _ = self.staging.files.unlink(&self.directory, name);
        }
    }
}

/// Creates a locked file under a dot-name.
fn create_named(staging: &Staging, directory: &OwnedFd) -> io::Result<(File, String)> {
    let files = &staging.files;
    loop {
        let (file, name) = unique(|name| files.create(directory, name, staging.mode()))?;
        let file = File::from(file);
        // A sweep may come between the two calls, lock the file first and remove it.
        let locked = staging.lock(&file);
        let ours = match locked {
            Ok(()) => named(directory, &name, &file)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                let _ = files.unlink(directory, &name);
                return Err(error);
            }
        };
        if ours {
            return Ok((file, name));
        }
    }
}

fn same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn named(directory: &OwnedFd, name: &str, file: &File) -> io::Result<bool> {
    let open = rustix::fs::fstat(file)?;
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok((found.st_dev, found.st_ino) == (open.st_dev, open.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Calls `act` with new dot-names until one is free.
fn unique<T>(act: impl Fn(&str) -> Result<T, Errno>) -> io::Result<(T, String)> {
    loop {
        let name = staged_name(SERIAL.fetch_add(1, Ordering::Relaxed));
        match act(&name) {
            Ok(made) => return Ok((made, name)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
