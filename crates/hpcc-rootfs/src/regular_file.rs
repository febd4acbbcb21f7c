//! Opens and checks files of the host: regular files only, so that opening never waits for another process.
//!
//! `open` of a FIFO waits for a writer, and a thread that waits there keeps the program from ending. Opening some
//! devices changes them. So the type is checked before a file is opened, and again on the open file, because the name
//! may refer to another file by then.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::io::Errno;

/// Opens a regular file for reading. `more` is added to the flags: with [`OFlags::NOFOLLOW`] a symlink is refused, with
/// [`OFlags::NOATIME`] the time of last access stays if this user may request that.
///
/// # Errors
/// Returns the error of the system. A file of another type is an error that names the type and for which
/// [`is_other_type`] is true.
pub(crate) fn open(path: &Path, more: OFlags) -> io::Result<File> {
    open_with(path, more, Mode::empty())
}

/// Opens a regular file to lock it. A symlink is refused.
///
/// It is opened for writing as well if this user may write to it, because NFS gives no exclusive lock otherwise.
///
/// # Errors
/// Returns the errors of [`open`].
pub(crate) fn open_to_lock(path: &Path) -> io::Result<File> {
    open_with(path, OFlags::RDWR | OFlags::NOFOLLOW, Mode::empty())
}

/// Opens a regular file as [`open_to_lock`] does, or creates an empty one with this mode less the umask.
///
/// # Errors
/// Returns the errors of [`open`].
pub(crate) fn open_or_make(path: &Path, mode: Mode) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
    open_with(path, flags, mode)
}

fn open_with(path: &Path, more: OFlags, mode: Mode) -> io::Result<File> {
    let follow = if more.contains(OFlags::NOFOLLOW) {
        AtFlags::SYMLINK_NOFOLLOW
    } else {
        AtFlags::empty()
    };
    match rustix::fs::statat(CWD, path, follow) {
        Ok(found) => check(FileType::from_raw_mode(found.st_mode))?,
        Err(Errno::NOENT) if more.contains(OFlags::CREATE) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    let opened = match rustix::fs::open(path, flags, mode) {
        // Only the owner may request that.
        Err(Errno::PERM) if more.contains(OFlags::NOATIME) => {
            rustix::fs::open(path, flags.difference(OFlags::NOATIME), mode)
        }
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) if more.contains(OFlags::RDWR) => {
            rustix::fs::open(path, flags.difference(OFlags::RDWR), mode)
        }
        opened => opened,
    }?;
    check(FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode))?;
    Ok(opened.into())
}

/// Returns whether [`open`] failed because something other than a regular file has the name.
pub(crate) fn is_other_type(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<OtherType>())
}

/// Most symlinks of a path that are followed, as in the kernel.
const LINKS_MAX: usize = 40;

/// Refuses a path at which a regular file must not be put, before any work is done for the file. A regular file, a path
/// that does not exist and a symlink to one of these are accepted.
///
/// A symlink to a device, a FIFO or a directory is refused as they are. So is a path that leads into `/proc`, as
/// `/dev/stdout` does: whatever the stream is, replacing the symlink would take it from every other process.
///
/// # Errors
/// Returns the error of the system. A file of another type is an error that names the type.
pub fn check_output(path: &Path) -> io::Result<()> {
    let mut path = path.to_owned();
    let mut is_link = false;
    for _ in 0..LINKS_MAX {
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => Path::new("/"),
        };
        let is_in_proc = rustix::fs::statfs(parent).is_ok_and(|found| {
            // The type of the field is not the same on all architectures.
            i128::from(found.f_type) == i128::from(PROC_SUPER_MAGIC)
        });
        if is_in_proc {
            return Err(other_type("a name in /proc"));
        }
        let found = match rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => FileType::from_raw_mode(found.st_mode),
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if found != FileType::Symlink {
            return match (name_of(found), is_link) {
                (None, _) => Ok(()),
                (Some(name), false) => Err(other_type(name)),
                (Some(name), true) => Err(other_type(&format!("a symbolic link to {name}"))),
            };
        }
        let target = rustix::fs::readlinkat(CWD, &path, Vec::new())?;
        path = parent.join(OsString::from_vec(target.into_bytes()));
        is_link = true;
    }
    Err(Errno::LOOP.into())
}

/// Returns an error unless the type is that of a regular file.
pub(crate) fn check(found: FileType) -> io::Result<()> {
    match name_of(found) {
        None => Ok(()),
        Some(name) => Err(other_type(name)),
    }
}

/// Returns the name of a type of files, or `None` for regular files.
fn name_of(found: FileType) -> Option<&'static str> {
    Some(match found {
        FileType::RegularFile => return None,
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe (FIFO)",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Unknown => "a file of unknown type",
    })
}

fn other_type(found: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, OtherType(found.to_owned()))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}, not a regular file")]
struct OtherType(String);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_none_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), "content").unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink(at("fifo"), at("link to fifo")).unwrap();
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, mode, 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let refused = |path: &Path, flags| {
            let error = open(path, flags).unwrap_err();
            assert!(is_other_type(&error), "{error}");
            error.to_string()
        };
        for (path, type_) in [
            (at("fifo"), "a named pipe (FIFO)"),
            (at("link to fifo"), "a named pipe (FIFO)"),
            (at("socket"), "a socket"),
            (directory.path().to_owned(), "a directory"),
            ("/dev/null".into(), "a character device"),
        ] {
            let expected = format!("{type_}, not a regular file");
            assert_eq!(refused(&path, OFlags::empty()), expected);
            // A missing file would be created; the others are refused all the same.
            let error = open_or_make(&path, mode).unwrap_err();
            assert!(is_other_type(&error), "{error}");
        }
        let link = "a symbolic link, not a regular file";
        assert_eq!(refused(&at("link"), OFlags::NOFOLLOW), link);
        for flags in [OFlags::empty(), OFlags::NOATIME] {
            assert!(open(&at("link"), flags).is_ok(), "{flags:?}");
        }
        let missing = open(&at("missing"), OFlags::NOFOLLOW).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(!is_other_type(&missing));
        assert!(open_or_make(&at("missing"), mode).is_ok());
        assert!(open_or_make(&at("missing"), mode).is_ok());
    }

    #[test]
    fn fifo_with_a_writer_is_refused_and_the_writer_undisturbed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
        // Reading and writing, so that opening it does not wait for a reader.
        let writer = rustix::fs::open(&path, OFlags::RDWR, Mode::empty()).unwrap();
        rustix::io::write(&writer, b"content").unwrap();
        assert!(is_other_type(&open(&path, OFlags::empty()).unwrap_err()));
        let mut content = [0; 7];
        rustix::io::read(&writer, &mut content).unwrap();
        assert_eq!(&content, b"content");
    }

    #[test]
    fn output_replaces_files_and_links_to_files_only() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), "content").unwrap();
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, mode, 0).unwrap();
        let open = File::open(at("file")).unwrap();
        let open = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
        for (name, target) in [
            ("to file", "file"),
            ("to nothing", "missing"),
            ("to link", "to null"),
            ("to null", "/dev/null"),
            ("to fifo", "fifo"),
            ("to directory", "."),
            ("to itself", "to itself"),
            ("to stream", "/proc/self/fd/1"),
            // Even if the stream is a regular file.
            ("to open file", &open),
        ] {
            symlink(target, at(name)).unwrap();
        }
        for name in ["file", "missing", "to file", "to nothing"] {
            assert!(check_output(&at(name)).is_ok(), "{name}");
        }
        for (name, found) in [
            ("fifo", "a named pipe (FIFO)"),
            ("to fifo", "a symbolic link to a named pipe (FIFO)"),
            ("to null", "a symbolic link to a character device"),
            ("to link", "a symbolic link to a character device"),
            ("to directory", "a symbolic link to a directory"),
            ("to stream", "a name in /proc"),
            ("to open file", "a name in /proc"),
            (&open, "a name in /proc"),
            ("/dev/fd/1", "a name in /proc"),
        ] {
            let error = check_output(&at(name)).unwrap_err();
            assert_eq!(error.to_string(), format!("{found}, not a regular file"));
        }
        assert!(check_output(&at("to itself")).is_err());
    }
}
