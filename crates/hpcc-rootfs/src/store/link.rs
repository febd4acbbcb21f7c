//! Puts an artifact where a VM can open it, such as a jail that cannot see the store.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, fchmod, fstat, ioctl_ficlone, linkat, open, openat, statat,
    unlinkat,
};
use rustix::io::Errno;

use super::lease::Lease;
use super::name;

/// Read permission for the owner, its group and others.
const READ_ONLY: Mode = Mode::from_raw_mode(0o444);

/// Method by which an artifact got a second name. Locks on the file mean nothing to the store, whichever method it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkMethod {
    /// The same file: no byte is copied, and machines share its pages in memory. Its owner and mode are those of the
    /// artifact in the store and must not be changed.
    HardLink,
    /// A file that shares its blocks with the artifact, on file systems that can do that.
    Reflink,
    /// A separate file.
    Copy,
}

/// An artifact at a second path, and the lease on the one in the store.
#[derive(Debug)]
#[non_exhaustive]
pub struct Linked {
    /// The absolute path.
    pub path: PathBuf,
    /// The method that was used.
    pub method: LinkMethod,
    /// The lease that keeps the artifact from being collected. The file at [`path`](Self::path) stays without it.
    pub lease: Lease,
}

impl LinkMethod {
    /// All methods, cheapest first.
    pub const ALL: &'static [Self] = &[Self::HardLink, Self::Reflink, Self::Copy];

    /// The methods that make a separate file, whose owner and mode may be changed.
    pub const OWN_FILE: &'static [Self] = &[Self::Reflink, Self::Copy];
}

/// Distinguishes the temporary names of one process.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// Refuses a path in the store's directory other than `own`, which is the artifact's. A name there is the store's, and could
/// be that of another image.
pub(super) fn refuse_store(path: &Path, own: &Path) -> io::Result<()> {
    let identity = |path: &Path| {
        let found = path.parent().map(std::fs::metadata)?.ok()?;
        Some((found.dev(), found.ino()))
    };
    let is_in_store = identity(own).is_some_and(|store| identity(path) == Some(store));
    if is_in_store && path.file_name() != own.file_name() {
        return Err(of_store("link into another directory"));
    }
    Ok(())
}

/// Refuses a directory that is one of a store, for a file that is not the store's.
pub(crate) fn refuse_output(directory: &Path) -> io::Result<()> {
    match name::is_of_store(directory) {
        true => Err(of_store("write to another directory")),
        false => Ok(()),
    }
}

fn of_store(advice: &str) -> io::Error {
    let what = "this is the directory of a store, which takes the files in it for its own";
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what}; {advice}"))
}

/// Gives the leased artifact the name `path`, by the first of `methods` that works. An existing file of that name is an
/// error, unless it is the artifact already.
pub(super) fn link(lease: &Lease, path: &Path, methods: &[LinkMethod]) -> io::Result<LinkMethod> {
    let mut last = io::Error::from(io::ErrorKind::Unsupported);
    for method in methods {
        let linked = match method {
            LinkMethod::HardLink => hard_link(lease, path),
            LinkMethod::Reflink => fill(path, |file| {
                ioctl_ficlone(file, lease).map_err(io::Error::from)
            }),
            LinkMethod::Copy => fill(path, |file| copy(lease, file)),
        };
        match linked {
            Ok(()) => return Ok(*method),
            // The next method would fail in the same way.
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn is_final(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, NotADirectory, NotFound, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        AlreadyExists | NotFound | NotADirectory | ReadOnlyFilesystem | StorageFull
    )
}

fn hard_link(lease: &Lease, path: &Path) -> io::Result<()> {
    // A second name must not be a way to change the artifact. Its owner could change it; other users cannot call this
    // successfully, and cannot write either.
    match fchmod(lease, READ_ONLY) {
        Ok(()) | Err(Errno::PERM | Errno::ROFS) => {}
        Err(error) => return Err(error.into()),
    }
    match name(lease.as_fd(), path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let (found, own) = (statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?, fstat(lease)?);
            let same = (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino);
            if same { Ok(()) } else { Err(error) }
        }
        named => named,
    }
}

/// Gives an open file a name. The new name belongs to the file that was opened and checked, even if the old name has
/// changed.
fn name(file: impl AsFd, path: &Path) -> io::Result<()> {
    let source = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    Ok(linkat(CWD, source, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// Makes a separate file, which gets its name when it is complete.
fn fill(path: &Path, fill: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match openat(&directory, ".", flags, READ_ONLY) {
        Ok(file) => {
            let file = File::from(file);
            fill(&file)?;
            fchmod(&file, READ_ONLY)?;
            name(&file, path)
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            let staged = Staged::create(directory)?;
            fill(&staged.file)?;
            fchmod(&staged.file, READ_ONLY)?;
            name(&staged.file, path)
        }
        Err(error) => Err(error.into()),
    }
}

/// A file that loses its temporary name when this is dropped.
#[derive(Debug)]
struct Staged {
    directory: OwnedFd,
    name: String,
    file: File,
}

impl Staged {
    fn create(directory: OwnedFd) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        loop {
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            let name = format!(".hpcc-link-{}-{serial}", std::process::id());
            match openat(&directory, &*name, flags, READ_ONLY) {
                // Left by a killed process with the same process id.
                Err(Errno::EXIST) => {}
                opened => {
                    let file = File::from(opened?);
                    return Ok(Self {
                        directory,
                        name,
                        file,
                    });
                }
            }
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // If it no longer exists, the purpose is met.
        let _ = unlinkat(&self.directory, &*self.name, AtFlags::empty());
    }
}

fn copy(lease: &Lease, mut file: &File) -> io::Result<()> {
    let mut source = File::from(lease.as_fd().try_clone_to_owned()?);
    // The offset is shared with every other user of this lease.
    io::Seek::rewind(&mut source)?;
    io::copy(&mut source, &mut file).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use ociget::Digest;

    use super::super::trust::Trust;
    use super::*;

    fn artifact(directory: &Path) -> Lease {
        let digest = Digest::of(b"x");
        let path = directory.join(name::artifact(&digest));
        std::fs::write(path, vec![7; 300_000]).unwrap();
        Lease::take(directory, &digest, Trust::Everyone)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn every_link_method_gives_the_same_read_only_bytes() {
        for &method in LinkMethod::ALL {
            let directory = tempfile::tempdir().unwrap();
            let lease = artifact(directory.path());
            let path = directory.path().join("root.sqsh");
            match link(&lease, &path, &[method]) {
                Ok(used) => assert_eq!(used, method),
                // Not every file system can share blocks.
                Err(error) if method == LinkMethod::Reflink => {
                    assert!(!path.exists(), "{error}");
                    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2);
                    continue;
                }
                Err(error) => panic!("{method:?}: {error}"),
            }
            assert!(std::fs::read(&path).unwrap() == vec![7; 300_000]);
            let found = std::fs::metadata(&path).unwrap();
            assert_eq!(found.permissions().mode() & 0o777, 0o444, "{method:?}");
            let own = std::fs::metadata(lease.path()).unwrap();
            assert_eq!(found.ino() == own.ino(), method == LinkMethod::HardLink);
            assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 3);
        }
    }

    #[test]
    fn existing_file_is_refused_unless_it_is_the_artifact() {
        let directory = tempfile::tempdir().unwrap();
        let lease = artifact(directory.path());
        let path = directory.path().join("root.sqsh");
        for _ in 0..2 {
            assert_eq!(
                link(&lease, &path, LinkMethod::ALL).unwrap(),
                LinkMethod::HardLink
            );
        }
        let other = directory.path().join("other");
        std::fs::write(&other, "of another program").unwrap();
        for methods in [LinkMethod::ALL, LinkMethod::OWN_FILE] {
            let error = link(&lease, &other, methods).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(std::fs::read(&other).unwrap(), b"of another program");
        let nowhere = directory.path().join("none/root.sqsh");
        let error = link(&lease, &nowhere, LinkMethod::ALL).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn path_in_the_store_is_refused_except_the_own_name() {
        let directory = tempfile::tempdir().unwrap();
        let lease = artifact(directory.path());
        let own = lease.path();
        let jail = tempfile::tempdir().unwrap();
        let alias = jail.path().join("alias");
        std::os::unix::fs::symlink(directory.path(), &alias).unwrap();
        for refused in [directory.path().join("sha256-0.sqsh"), alias.join("x")] {
            let error = refuse_store(&refused, own).unwrap_err();
            assert!(error.to_string().contains("the directory of a store"));
        }
        refuse_store(own, own).unwrap();
        refuse_store(&jail.path().join("x"), own).unwrap();
        refuse_store(&jail.path().join("none/x"), own).unwrap();
    }

    #[test]
    fn staged_files_have_no_name_after_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        let opened = open(directory.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        let again = opened.try_clone().unwrap();
        let both = (Staged::create(opened), Staged::create(again));
        assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
        drop(both);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    }
}
