//! The second drive, which keeps what is written to the root: which drive it is, and which image it belongs to.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
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
/// Offset of the superblock of an ext4, and the bytes of it that are read.
const SUPERBLOCK_AT: u64 = 1024;
const SUPERBLOCK_SIZE: usize = 0xec;
/// Offsets of fields in it: `s_magic`, `s_feature_incompat`, `s_feature_ro_compat` and `s_last_orphan`.
const MAGIC_AT: usize = 0x38;
const INCOMPATIBLE_AT: usize = 0x60;
const READ_ONLY_COMPATIBLE_AT: usize = 0x64;
const LAST_ORPHAN_AT: usize = 0xe8;
const EXT4_MAGIC: u32 = 0xef53;
/// The journal has to be replayed, in `s_feature_incompat`.
const RECOVER: u32 = 0x4;
/// The file of orphans can hold some, in `s_feature_ro_compat`.
const ORPHAN_PRESENT: u32 = 0x1_0000;
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
    let unused = match look(device) {
        Ok(look) => use_unless_foreign(device, point, look)?,
        Err(error) => Some(format!("it cannot be read ({error})")),
    };
    if let Some(reason) = &unused {
        say(&format!(
            "warning: {device} is not used for the root: {reason}"
        ));
    }
    Ok(unused.is_none())
}

/// Mounts a drive that the line does not name, or returns the reason why it is not used.
fn use_unless_foreign(device: &str, point: &str, look: Access) -> Result<Option<String>, String> {
    // A drive with another purpose must not be written to, and a mount that can write does.
    for access in [look, Access::Write] {
        if let Err(error) = attempt(device, point, access) {
            return Ok(Some(error));
        }
        let reason = match is_foreign(Path::new(point)) {
            Ok(false) if access == Access::Write => return Ok(None),
            Ok(false) => None,
            Ok(true) => Some("it holds other files (name it with hpcc.disk= to use it)".to_owned()),
            Err(error) => Some(format!("its files cannot be listed ({error})")),
        };
        unmount(point, UnmountFlags::empty())
            .map_err(|error| format!("cannot unmount {device}: {error}"))?;
        if reason.is_some() {
            return Ok(reason);
        }
    }
    Ok(None)
}

/// What a mount of the drive is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// No journal is replayed.
    Look,
    /// Nothing but the journal of an ext4 and its orphans change.
    Recover,
    Write,
}

/// Returns how to look at a drive, which depends on whether its ext4, if it has one, was unmounted.
///
/// Linux deletes the orphans of an ext4 in a read-only mount as well. It does so before the journal is replayed if
/// `noload` forbids the replay, and then frees blocks that files have.
fn look(device: &str) -> io::Result<Access> {
    let mut superblock = [0; SUPERBLOCK_SIZE];
    match File::open(device)?.read_exact_at(&mut superblock, SUPERBLOCK_AT) {
        Ok(()) if needs_recovery(&superblock) => Ok(Access::Recover),
        Ok(()) => Ok(Access::Look),
        // It is too small for a file system, which the mount reports.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Access::Look),
        Err(error) => Err(error),
    }
}

/// Returns whether the superblock is one of an ext4 that has a journal to replay or orphans to delete.
fn needs_recovery(superblock: &[u8; SUPERBLOCK_SIZE]) -> bool {
    let field = |at: usize| {
        let bytes = superblock.get(at..).and_then(<[u8]>::first_chunk);
        bytes.copied().map_or(0, u32::from_le_bytes)
    };
    field(MAGIC_AT) & 0xffff == EXT4_MAGIC
        && (field(INCOMPATIBLE_AT) & RECOVER != 0
            || field(READ_ONLY_COMPATIBLE_AT) & ORPHAN_PRESENT != 0
            || field(LAST_ORPHAN_AT) != 0)
}

/// Mounts a drive with whichever file system it has, or returns the reason why not.
fn attempt(device: &str, point: &str, access: Access) -> Result<(), String> {
    let mut last = Errno::NODEV;
    for (kind, unchanged) in KINDS {
        let (flags, options) = match access {
            Access::Recover if kind == "ext4" => (FLAGS | MountFlags::RDONLY, None),
            Access::Look | Access::Recover => (FLAGS | MountFlags::RDONLY, Some(unchanged)),
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
fn is_foreign(point: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(point)? {
        let name = entry?.file_name();
        if name != DIRECTORY && name != "lost+found" {
            return Ok(true);
        }
    }
    Ok(false)
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
        .and_then(|()| io::Seek::rewind(&mut file))
        .and_then(|()| writeln!(file, "{manifest}"))
        .map_err(|error| format!("cannot write to the second drive: {error}"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

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

    /// Looks at an ext4 of the current `mkfs.ext4` after requests to `debugfs`.
    fn look_after(options: &[&str], requests: &[&str]) -> Access {
        let place = tempfile::tempdir().unwrap();
        let image = place.path().join("drive");
        File::create(&image).unwrap().set_len(16 << 20).unwrap();
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .args(options)
            .arg(&image));
        for request in requests {
            run(Command::new("debugfs")
                .args(["-w", "-R", request])
                .arg(&image));
        }
        look(image.to_str().unwrap()).unwrap()
    }

    fn run(command: &mut Command) {
        let output = command
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    #[test]
    fn ext4_that_was_not_unmounted_is_recovered_for_the_look() {
        assert_eq!(look_after(&[], &[]), Access::Look);
        for request in ["feature needs_recovery", "set_super_value last_orphan 12"] {
            assert_eq!(look_after(&[], &[request]), Access::Recover, "{request}");
        }
        // The file of orphans.
        let request = "set_super_value feature_ro_compat 0x10000";
        assert_eq!(look_after(&[], &[request]), Access::Recover);
        let requests = ["set_super_value last_orphan 12"];
        assert_eq!(
            look_after(&["-O", "^has_journal"], &requests),
            Access::Recover
        );
    }

    #[test]
    fn drive_without_an_ext4_is_looked_at() {
        let place = tempfile::tempdir().unwrap();
        let image = place.path().join("drive");
        for content in [vec![], vec![0xff; 1024 + 0xeb], vec![0xff; 8192]] {
            fs::write(&image, content).unwrap();
            assert_eq!(look(image.to_str().unwrap()).unwrap(), Access::Look);
        }
        assert!(look(place.path().to_str().unwrap()).is_err());
    }

    #[test]
    fn drive_whose_files_cannot_be_listed_is_not_empty() {
        let place = tempfile::tempdir().unwrap();
        assert!(!is_foreign(place.path()).unwrap());
        fs::create_dir(place.path().join(DIRECTORY)).unwrap();
        fs::create_dir(place.path().join("lost+found")).unwrap();
        assert!(!is_foreign(place.path()).unwrap());
        let other = place.path().join("other");
        fs::write(&other, "").unwrap();
        assert!(is_foreign(place.path()).unwrap());
        assert!(is_foreign(&other).is_err());
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
