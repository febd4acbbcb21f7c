//! Files that the configuration names: read whole, if they are regular ones and not too long.
//!
//! A named pipe would wait for a writer, a device may never end, and a signal would not end either
//! wait. So a file is opened without blocking, and looked at before a byte of it is read.

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::background;
use crate::error::Error;

/// The contents of a file.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    /// Whether its permissions let the group or anybody else read it.
    pub(crate) is_exposed: bool,
}

/// The file at `path`, which has at most `cap` bytes. This is disk work.
///
/// # Errors
/// Returns [`Error::Io`] with `path` if there is no such file, if it is not a regular one, and if it
/// is longer.
pub(crate) fn read(path: &Path, cap: u64) -> Result<Content, Error> {
    let content = || {
        let (file, metadata) = open(path)?;
        let too_long = || io::Error::other(format!("it has more than {cap} bytes"));
        if metadata.len() > cap {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        // Some files of /proc have no length, and others grow.
        file.take(cap.saturating_add(1)).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > cap) {
            return Err(too_long());
        }
        Ok(Content {
            bytes,
            is_exposed: metadata.permissions().mode() & 0o044 != 0,
        })
    };
    content().map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })
}

/// Reads like [`read`], away from the threads that wait for the network.
pub(crate) async fn read_in_background(path: &Path, cap: u64) -> Result<Content, Error> {
    let file = path.to_owned();
    match background::run(move || read(&file, cap)).await {
        Ok(outcome) => outcome,
        Err(stopped) => Err(Error::Io {
            path: path.to_owned(),
            source: stopped,
        }),
    }
}

/// Opens a regular file.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // Opening a device may do something. Between the two looks the file may become another one.
    is_regular(&std::fs::metadata(path)?)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    is_regular(&metadata)?;
    Ok((file, metadata))
}

/// # Errors
/// Returns an error that names the type of the file if it is not a regular one.
pub(crate) fn is_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let found = kind(metadata.file_type());
    Err(io::Error::other(format!(
        "it is {found}, not a regular file"
    )))
}

fn kind(found: FileType) -> &'static str {
    if found.is_dir() {
        "a directory"
    } else if found.is_fifo() {
        "a named pipe (FIFO)"
    } else if found.is_socket() {
        "a socket"
    } else if found.is_char_device() {
        "a character device"
    } else if found.is_block_device() {
        "a block device"
    } else {
        "a special file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_file_is_read_and_others_named_by_type() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        std::os::unix::fs::symlink(at("fifo"), at("link")).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::fs::write(at("file"), b"1234").unwrap();
        std::os::unix::fs::symlink("file", at("good")).unwrap();
        for (path, says) in [
            (at("fifo"), "a named pipe (FIFO), not a regular file"),
            (at("link"), "a named pipe (FIFO), not a regular file"),
            (at("socket"), "a socket, not a regular file"),
            (at(""), "a directory, not a regular file"),
            ("/dev/zero".into(), "a character device, not a regular file"),
            (at("missing"), "No such file"),
        ] {
            let error = read(&path, 4).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert!(error.contains(&*path.to_string_lossy()), "{error}");
        }
        assert_eq!(read(&at("good"), 4).unwrap().bytes, b"1234");
        let error = read(&at("good"), 3).unwrap_err().to_string();
        assert!(error.contains("it has more than 3 bytes"), "{error}");
        // A writer at the other end changes nothing.
        let writer = rustix::fs::open(at("fifo"), OFlags::RDWR, Mode::empty()).unwrap();
        assert!(read(&at("fifo"), 4).is_err());
        drop(writer);
    }

    #[test]
    fn a_file_of_holes_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        assert!(read(file.path(), 1 << 20).is_err());
    }

    #[test]
    fn a_file_that_others_can_read_is_exposed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, exposed) in [
            (0o600, false),
            (0o640, true),
            (0o604, true),
            (0o644, true),
            (0o700, false),
        ] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(file.path(), permissions).unwrap();
            let content = read(file.path(), 1).unwrap();
            assert_eq!(content.is_exposed, exposed, "{mode:o}");
        }
    }
}
