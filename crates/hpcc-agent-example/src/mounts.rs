//! The mounts and their order, and the writable root.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, StatFs, open, statfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use rustix::process::{chdir, pivot_root};

use crate::line::{Disk, Line};
use crate::{copy_up, disk, say, upper};

/// A file system that the kernel makes.
struct Mount {
    kind: &'static str,
    point: &'static str,
    flags: MountFlags,
    options: &'static str,
    /// Percentage of the machine's memory that a tmpfs may take.
    share: u64,
}

/// The share of the layer in memory that is written to instead of the root. All shares together leave a quarter of the
/// memory, because the kernel cannot take memory back from a tmpfs by ending processes.
const UPPER: u64 = 35;

const NOSUID: MountFlags = MountFlags::NOSUID;
const NOSUID_NODEV: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const NOTHING: MountFlags = NOSUID_NODEV.union(MountFlags::NOEXEC);

const fn new(
    kind: &'static str,
    point: &'static str,
    flags: MountFlags,
    options: &'static str,
) -> Mount {
    Mount {
        kind,
        point,
        flags,
        options,
        share: 0,
    }
}

const fn tmpfs(point: &'static str, options: &'static str, share: u64) -> Mount {
    Mount {
        share,
        ..new("tmpfs", point, NOSUID_NODEV, options)
    }
}

/// In this order, because a mount on `/dev` hides earlier mounts below it, and because the others are checked and
/// reported through `/proc`. `/tmp` and `/run` come last, because no program of the image has run before.
const MOUNTS: [Mount; 7] = [
    new("proc", "/proc", NOTHING, ""),
    new("sysfs", "/sys", NOTHING, ""),
    new("devtmpfs", "/dev", NOSUID, "mode=755"),
    // Terminals belong to the group `tty`, which has number 5 wherever it exists.
    new(
        "devpts",
        "/dev/pts",
        NOSUID.union(MountFlags::NOEXEC),
        "ptmxmode=666,mode=620,gid=5",
    ),
    tmpfs("/dev/shm", "mode=1777", 10),
    tmpfs("/tmp", "mode=1777", 15),
    tmpfs("/run", "mode=755", 5),
];

/// Names in `/dev` that programs expect and that the kernel does not make.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

impl Mount {
    fn mount(&self) -> Result<(), String> {
        // Since Linux 5.8 every mount of proc is a new one, which would hide the one of an initramfs.
        let is_proc = |found: StatFs| found.f_type == PROC_SUPER_MAGIC;
        if self.kind == "proc" && statfs(self.point).is_ok_and(is_proc) {
            return Ok(());
        }
        let options = match self.share {
            0 => self.options.to_owned(),
            share => limited(self.options, share, memory()),
        };
        let options = std::ffi::CString::new(options).map_err(|error| error.to_string())?;
        match mount(
            self.kind,
            self.point,
            self.kind,
            self.flags,
            options.as_c_str(),
        ) {
            // The kernel, or the initramfs, has mounted the same file system there.
            Ok(()) | Err(Errno::BUSY) => Ok(()),
            Err(error) => Err(format!(
                "cannot mount {} on {}: {error}",
                self.kind, self.point
            )),
        }
    }
}

/// Returns the options of a tmpfs that takes `share` percent of `memory` bytes at most. The kernel's own limits are half of the
/// memory for each, in bytes and again in inodes.
fn limited(options: &str, share: u64, memory: u64) -> String {
    /// One inode for this many bytes. An inode takes about 1 KiB besides its file.
    const BYTES: u64 = 8192;
    let size = memory / 100 * share;
    format!(
        "{options},size={size},nr_inodes={}",
        (size / BYTES).max(1024)
    )
}

/// Returns the memory of the machine in bytes.
fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    // The least that a machine of today has.
    memory_in(&text).unwrap_or(128 << 20)
}

fn memory_in(text: &str) -> Option<u64> {
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let number = total.trim().strip_suffix(" kB")?;
    number.parse::<u64>().ok()?.checked_mul(1024)
}

/// Mounts the file systems that are needed to read the kernel command line, to find a second drive and to find the console
/// after a failure: the image has files in the same places.
pub(crate) fn early() -> Result<(), String> {
    MOUNTS
        .iter()
        .filter(|mount| matches!(mount.point, "/proc" | "/sys" | "/dev"))
        .try_for_each(Mount::mount)
}

/// Mounts everything, over the root that the command will have.
pub(crate) fn all() -> Result<(), String> {
    for mount in &MOUNTS {
        // The kernel's /dev has neither of them at the start.
        if mount.point.starts_with("/dev/") && !Path::new(mount.point).exists() {
            fs::create_dir(mount.point)
                .map_err(|error| format!("cannot make {}: {error}", mount.point))?;
        }
        let hidden = (mount.point == "/run").then(|| look(mount.point));
        mount.mount()?;
        if let Some(Ok(image)) = &hidden
            && let Err(error) = copy_up::copy(image, Path::new(mount.point))
        {
            say(&format!(
                "warning: cannot copy all of the image's {}: {error}",
                mount.point
            ));
        }
    }
    for (link, target) in LINKS {
        if fs::symlink_metadata(link).is_err() {
            symlink(target, link).map_err(|error| format!("cannot make {link}: {error}"))?;
        }
    }
    Ok(())
}

/// Opens a directory of the image that a mount hides.
fn look(point: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(point, flags, Mode::empty())
}

/// Device and inode of `/.hpcc` and of the description in it.
pub(crate) type Identity = [(u64, u64); 2];

/// Returns the present identity of `/.hpcc`.
pub(crate) fn identity() -> Result<Identity, String> {
    let of = |path| {
        fs::symlink_metadata(path)
            .map(|found| (found.dev(), found.ino()))
            .map_err(|error| format!("cannot look at {path}: {error}"))
    };
    Ok([of("/.hpcc")?, of("/.hpcc/image.json")?])
}

/// Prepares the root, and returns whether it can be written to. `manifest` is the digest of the image's manifest.
pub(crate) fn root(line: &Line, manifest: &str) -> Result<bool, String> {
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::NODEV, line.nodev);
    flags.set(MountFlags::NOSUID, line.nosuid);
    if line.writable && overlay(line, flags, manifest)? {
        return Ok(true);
    }
    if !flags.is_empty() {
        mount_remount("/", flags | MountFlags::BIND | MountFlags::RDONLY, c"")
            .map_err(|error| format!("cannot remount the root nodev, nosuid: {error}"))?;
    }
    Ok(false)
}

/// Puts a layer that can be written to over the root and makes the two of them the root; returns false if this kernel has no
/// overlay file system.
fn overlay(line: &Line, flags: MountFlags, manifest: &str) -> Result<bool, String> {
    let failed = |what: &str, error: Errno| {
        format!("cannot make a root that can be written to: {what}: {error}")
    };
    // Every image has this directory, or a symlink to one, and nothing of the image needs it yet.
    let base = "/run";
    let on_disk = disk::mount_on(&line.disk, base)?;
    if !on_disk {
        tmpfs("/run", "mode=755", UPPER).mount()?;
    }
    let layer = format!("{base}/{}", disk::DIRECTORY);
    let [upper, work, root] = ["upper", "work", "root"].map(|name| format!("{layer}/{name}"));
    for directory in [&layer, &upper, &work, &root] {
        let made = if *directory == upper {
            upper::make(Path::new(directory))
        } else {
            rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755))
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(directory, error)),
        }
        // A command that was root can have written to the drive itself.
        if on_disk && !fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir()) {
            return Err(format!(
                "{} on the second drive has another file in the place of a directory; empty the drive",
                disk::DIRECTORY
            ));
        }
    }
    if on_disk {
        disk::claim(Path::new(&layer), manifest, line.disk != Disk::Any)?;
    }
    let mount_with = |more: &str| {
        let options = format!("lowerdir=/,upperdir={upper},workdir={work}{more}");
        let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
        mount("overlay", &*root, "overlay", flags, options.as_c_str())
    };
    // Otherwise most kernels refuse to rename a directory of the image (`EXDEV`).
    let mounted = match mount_with(",redirect_dir=on") {
        // Before Linux 4.10.
        Err(Errno::INVAL) => mount_with(""),
        mounted => mounted,
    };
    match mounted {
        Ok(()) => {}
        Err(Errno::NODEV) => {
            say(
                "warning: this kernel has no overlay file system (CONFIG_OVERLAY_FS); the root is read-only",
            );
            unmount(base, UnmountFlags::DETACH).map_err(|error| failed("unmount", error))?;
            return Ok(false);
        }
        Err(error) => return Err(failed("mount overlay", error)),
    }
    // A drive keeps what earlier commands wrote. They may have been root, but /.hpcc stays what the artifact holds.
    let own = format!("{root}/.hpcc");
    if on_disk && !fs::symlink_metadata(&own).is_ok_and(|found| found.is_dir()) {
        return Err(format!(
            "{} on the second drive hides /.hpcc; empty the drive",
            disk::DIRECTORY
        ));
    }
    mount_bind("/.hpcc", &*own).map_err(|error| failed("mount /.hpcc", error))?;
    // The old root goes with all its mounts; the overlay keeps what it needs.
    chdir(&*root)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| unmount(".", UnmountFlags::DETACH))
        .and_then(|()| chdir("/"))
        .map_err(|error| failed("change the root", error))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_memory_leave_a_quarter_of_it() {
        let shares: u64 = MOUNTS.iter().map(|mount| mount.share).sum();
        // 1 KiB for an inode of 8 KiB.
        assert!((shares + UPPER) * 9 / 8 <= 75, "{shares}");
        assert_eq!(
            limited("mode=755", 35, 1 << 30),
            "mode=755,size=375809630,nr_inodes=45875"
        );
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "MemTotal:         480972 kB\nMemFree: 1 kB\n";
        assert_eq!(memory_in(text), Some(480_972 << 10));
        assert_eq!(memory_in("MemFree: 1 kB\n"), None);
    }
}
