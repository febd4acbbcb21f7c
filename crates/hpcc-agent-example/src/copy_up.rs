//! What the image has in a directory, copied into the tmpfs that hides it.
//!
//! Images prepare `/run` for their programs: `/run/sshd`, `/run/mysqld` and its owner. Directories, regular files and
//! symlinks are copied with their owners and modes, before any command runs. Other files and attributes are not.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown, lchown, symlink};
use std::path::{Path, PathBuf};

use crate::etc;

/// Most files that are copied, and most bytes of their contents. The tmpfs has room for more: programs need it as well.
const FILES_MAX: usize = 500;
const BYTES_MAX: u64 = 1 << 20;

/// Copies the contents of `image`, a directory that is hidden, with its own owner and mode, to `to`. A file that is too
/// large is left out, and an error says so at the end.
pub(crate) fn copy(image: &OwnedFd, to: &Path) -> io::Result<()> {
    let from = PathBuf::from(format!("/proc/self/fd/{}", image.as_raw_fd()));
    own(&File::open(to)?, &fs::metadata(&from)?)?;
    let (mut left, mut files) = (vec![PathBuf::new()], 0);
    let (mut bytes, mut large) = (0, 0);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(from.join(&directory))? {
            let name = directory.join(entry?.file_name());
            let (old, new) = (from.join(&name), to.join(&name));
            // The place of files of this program.
            if new == Path::new(etc::DIRECTORY) {
                continue;
            }
            files += 1;
            if files > FILES_MAX {
                let problem = format!("it has more than {FILES_MAX} files");
                return Err(io::Error::other(problem));
            }
            let found = fs::symlink_metadata(&old)?;
            if found.is_dir() {
                fs::create_dir(&new)?;
                own(&File::open(&new)?, &found)?;
                left.push(name);
            } else if found.is_symlink() {
                symlink(fs::read_link(&old)?, &new)?;
                lchown(&new, Some(found.uid()), Some(found.gid()))?;
            } else if found.is_file() && found.len() > BYTES_MAX - bytes {
                large += 1;
            } else if found.is_file() {
                bytes += found.len();
                let copy = File::create_new(&new)?;
                io::copy(&mut File::open(&old)?, &mut &copy)?;
                own(&copy, &found)?;
            }
        }
    }
    match large {
        0 => Ok(()),
        _ => Err(io::Error::other(format!(
            "its files have more than {BYTES_MAX} bytes"
        ))),
    }
}

/// Sets owner and mode. The mode comes last, because a change of owner takes the setuid bit off.
fn own(file: &File, like: &Metadata) -> io::Result<()> {
    fchown(file, Some(like.uid()), Some(like.gid()))?;
    file.set_permissions(Permissions::from_mode(like.mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_copied_with_their_modes_and_links_as_they_are() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let mode = |name: &str| fs::metadata(at(name)).unwrap().mode() & 0o7777;
        fs::create_dir_all(at("from/a/b")).unwrap();
        fs::write(at("from/a/file"), "text").unwrap();
        symlink("/nowhere", at("from/a/link")).unwrap();
        for (name, mode) in [("from", 0o1777), ("from/a", 0o2750), ("from/a/file", 0o604)] {
            fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(at("to")).unwrap();
        let from = File::open(at("from")).unwrap().into();
        copy(&from, &at("to")).unwrap();
        assert_eq!(
            [mode("to"), mode("to/a"), mode("to/a/file")],
            [0o1777, 0o2750, 0o604]
        );
        assert_eq!(fs::read(at("to/a/file")).unwrap(), b"text");
        assert_eq!(
            fs::read_link(at("to/a/link")).unwrap(),
            Path::new("/nowhere")
        );
        assert!(at("to/a/b").is_dir());
        assert!(copy(&from, &at("to")).is_err());
    }

    #[test]
    fn many_or_large_files_leave_room_for_others() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let result = || {
            let _ = fs::remove_dir_all(at("to"));
            fs::create_dir(at("to")).unwrap();
            let copied = copy(&File::open(at("from")).unwrap().into(), &at("to"));
            copied.map_err(|error| error.to_string())
        };
        fs::create_dir(at("from")).unwrap();
        File::create(at("from/large"))
            .unwrap()
            .set_len(BYTES_MAX)
            .unwrap();
        assert_eq!(result(), Ok(()));
        fs::write(at("from/other"), "x").unwrap();
        fs::create_dir(at("from/kept")).unwrap();
        assert!(result().unwrap_err().contains("1048576 bytes"));
        assert!(at("to/kept").is_dir() && at("to/large").exists() != at("to/other").exists());
        for number in 0..FILES_MAX {
            fs::write(at(&format!("from/{number}")), "").unwrap();
        }
        assert!(result().unwrap_err().contains("more than 500 files"));
    }
}
