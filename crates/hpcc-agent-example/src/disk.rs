//! The second drive, which keeps what is written to the root: which drive it is, and which image it belongs to.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::line::Disk;
use crate::say;

/// Directory of this agent on the drive.
pub(crate) const DIRECTORY: &str = "hpcc-root";
/// The file in it that holds the digest of the image's manifest.
const IMAGE: &str = "image";
/// Most bytes of this file that are read.
const IMAGE_MAX: u64 = 256;
/// File systems that the drive may have, each with the option that keeps a read-only mount from replaying its journal.
const KINDS: [(&str, &CStr); 3] = [
    ("ext4", c"noload"),
    ("xfs", c"norecovery"),
    ("btrfs", c"rescue=nologreplay"),
];
const FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Mounts the second drive on `point`, or returns false if there is none to use.
pub(crate) fn mount_on(disk: &Disk, point: &str) -> Result<bool, String> {
    let device = match disk {
        Disk::Memory => return Ok(false),
        Disk::Named(device) => {
            return attempt(device, point, Access::Write)
                .map(|()| true)
                .map_err(|error| format!("cannot mount {device} for the root: {error}"));
        }
        Disk::Any => "/dev/vdb",
    };
    if !Path::new(device).exists() {
        return Ok(false);
    }
    // A drive with another purpose must not be written to, and a mount that can write does.
    for access in [Access::Look, Access::Write] {
        let unused = match attempt(device, point, access) {
            Ok(()) if !is_foreign(point) && access == Access::Write => return Ok(true),
            Ok(()) => {
                let foreign = is_foreign(point);
                unmount(point, UnmountFlags::empty())
                    .map_err(|error| format!("cannot unmount {device}: {error}"))?;
                foreign
                    .then(|| "it holds other files (name it with hpcc.disk= to use it)".to_owned())
            }
            Err(error) => Some(error),
        };
        if let Some(reason) = unused {
            say(&format!(
                "warning: {device} is not used for the root: {reason}"
            ));
            return Ok(false);
        }
    }
    Ok(false)
}

/// What a mount of the drive is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Nothing on the drive changes.
    Look,
    Write,
}

/// Mounts a drive with whichever file system it has, or returns the reason why not.
fn attempt(device: &str, point: &str, access: Access) -> Result<(), String> {
    let mut last = Errno::NODEV;
    for (kind, unchanged) in KINDS {
        let (flags, options) = match access {
            Access::Look => (FLAGS | MountFlags::RDONLY, Some(unchanged)),
            Access::Write => (FLAGS, None),
        };
        match mount(device, point, kind, flags, options) {
            Ok(()) => return Ok(()),
            // The kernel does not know this file system, so keep the error of the one that it does know.
            Err(Errno::NODEV) => {}
            Err(error) => last = error,
        }
    }
    Err(reason(last))
}

fn reason(error: Errno) -> String {
    match error {
        Errno::ACCESS | Errno::ROFS => {
            format!("the drive is read-only ({error}); attach it so that it can be written to")
        }
        Errno::INVAL | Errno::NODEV => format!(
            "it has none of the file systems {} that this kernel can mount ({error})",
            KINDS.map(|(kind, _)| kind).join(", ")
        ),
        error => format!("it cannot be mounted ({error})"),
    }
}

/// Returns whether a drive that is mounted has files that are not this agent's.
fn is_foreign(point: &str) -> bool {
    let mut entries = fs::read_dir(point).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name() != DIRECTORY && entry.file_name() != "lost+found")
}

/// Makes the drive with the agent's directory `layer` that of the image, or returns an error if it is another image's.
///
/// What one image's commands wrote hides files of another, such as those that an update mends, and the kernel defines
/// no behavior for an overlay whose lower layer changed. A drive that the line names is used nevertheless.
pub(crate) fn claim(layer: &Path, manifest: &str, named: bool) -> Result<(), String> {
    let path = layer.join(IMAGE);
    let failed = |error: Errno| {
        format!("cannot use {DIRECTORY}/{IMAGE} on the second drive: {error}; empty the drive")
    };
    // A command that was root can have made it anything.
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open(&path, flags, Mode::from_raw_mode(0o644)).map_err(failed)?;
    let kind = FileType::from_raw_mode(fstat(&file).map_err(failed)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(failed(Errno::INVAL));
    }
    let mut file = File::from(file);
    let mut found = Vec::new();
    let read = (&file).take(IMAGE_MAX).read_to_end(&mut found);
    read.map_err(|error| format!("cannot read the second drive: {error}"))?;
    let found = found.trim_ascii();
    if found == manifest.as_bytes() {
        return Ok(());
    }
    if !found.is_empty() {
        let shown = found.escape_ascii();
        let problem = format!("the second drive holds the root of another image, {shown}");
        if !named {
            return Err(format!(
                "{problem}; empty the drive, or name it with hpcc.disk= to use it all the same"
            ));
        }
        say(&format!(
            "warning: {problem}; files of this image can be hidden"
        ));
    }
    file.set_len(0)
        .and_then(|()| std::io::Seek::rewind(&mut file))
        .and_then(|()| writeln!(file, "{manifest}"))
        .map_err(|error| format!("cannot write to the second drive: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drive_belongs_to_the_first_image_unless_it_is_named() {
        let place = tempfile::tempdir().unwrap();
        let layer = place.path();
        let owner = || fs::read_to_string(layer.join(IMAGE)).unwrap();
        claim(layer, "sha256:a", false).unwrap();
        claim(layer, "sha256:a", false).unwrap();
        assert_eq!(owner(), "sha256:a\n");
        let error = claim(layer, "sha256:b", false).unwrap_err();
        assert!(
            error.contains("another image, sha256:a; empty the drive"),
            "{error}"
        );
        assert_eq!(owner(), "sha256:a\n");
        claim(layer, "sha256:b", true).unwrap();
        assert_eq!(owner(), "sha256:b\n");
    }

    #[test]
    fn drive_that_is_not_mounted_has_its_cause_named() {
        for (error, says) in [
            (Errno::ACCESS, "read-only (Permission denied"),
            (Errno::ROFS, "read-only (Read-only file system"),
            (
                Errno::INVAL,
                "none of the file systems ext4, xfs, btrfs that",
            ),
            (Errno::IO, "cannot be mounted (Input/output error"),
        ] {
            assert!(reason(error).contains(says), "{}", reason(error));
        }
    }

    #[test]
    fn drive_with_another_kind_of_file_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(IMAGE);
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0).unwrap();
        assert!(claim(place.path(), "sha256:a", true).is_err());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(claim(place.path(), "sha256:a", true).is_err());
        assert!(!place.path().join("elsewhere").exists());
    }
}
