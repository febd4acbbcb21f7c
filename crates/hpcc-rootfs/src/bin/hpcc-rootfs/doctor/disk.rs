//! The directory of the store and others that a pull uses, their file systems, and the clock.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hpcc_rootfs::{Count, FsVerity, Options, Store};
use rustix::fs::{Access, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::finding::{Finding, Status};
use super::report::Report;
use crate::absence::is_absent;
use crate::config::Layers;
use crate::global::Global;
use crate::quantity::{bytes, date};
use crate::{output, terminal};

/// Free space in bytes below which a warning is due: an image of a few hundred MiB needs as much.
const TIGHT: u64 = 1 << 30;
/// The least space in bytes with which a file can be written.
const BLOCK: usize = 4096;
/// Advice for file systems that take no writes.
const READ_ONLY: &str = "mount it for writing (mount -o remount,rw), or choose a directory on another file system with --cache-dir";
/// Files that a pull may make: an artifact, the files beside it, and a directory.
const INODES: u64 = 6;
/// No version of this program is older than 2025, so a correct clock is later, in seconds since 1970.
const RELEASED: u64 = 1_735_689_600;
/// A clock that is 20 years later is wrong.
const OUTDATED: u64 = RELEASED + 20 * 365 * 86_400;
/// How far in the future a file may lie that another host wrote.
const DAY: Duration = Duration::from_secs(86_400);

/// Symlinks that one path may lead through, as in the kernel.
const LINKS_MAX: u32 = 40;

/// Checks the directory of the store and its file system, as a pull with these options uses them.
pub(super) fn findings(
    global: &Global,
    options: &Options,
    layers: &Layers,
    report: &Report<'_>,
) -> anyhow::Result<()> {
    const CHECK: &str = "cache directory";
    let store = match global.store_with(options.clone()) {
        Ok(store) => store,
        Err(error) => {
            // The library does not know the option.
            let advice = match error.is::<hpcc_rootfs::Error>() {
                true => "name a directory with --cache-dir",
                false => "",
            };
            let found = terminal::one_line(&error);
            return report.add(Finding::new(CHECK, Status::Failed, found, advice));
        }
    };
    let directory = store.directory();
    let existing = existing(directory);
    report.add(holds(CHECK, &store))?;
    if let (Some(origin), true) = (layers.origin("cache-dir"), global.has_relative_directory()) {
        let found = format!(
            "{origin} names {} by a relative path, which is another directory for each working directory",
            output::path(directory)
        );
        let advice = "write an absolute path";
        report.add(Finding::new(CHECK, Status::Warning, found, advice))?;
    }
    report.add(owner(&existing))?;
    report.add(space(&existing, options.store.min_free))?;
    if let Some(finding) = file_limit() {
        report.add(finding)?;
    }
    report.add(unnamed(&existing))?;
    if let Some(finding) = fs_verity(&existing, options) {
        report.add(finding)?;
    }
    for finding in beside(options) {
        report.add(finding)?;
    }
    Ok(())
}

/// Reports the contents of the store. The path to a directory that does not exist is checked as well.
fn holds(check: &'static str, store: &Store) -> Finding {
    let shown = output::path(store.directory());
    match store.existing_images() {
        Ok(_) if !store.directory().exists() => {
            let found = format!("{shown} does not exist yet; the first pull makes it");
            Finding::good(check, found)
        }
        Ok(images) => {
            let count = Count::of(images.len(), "usable artifact");
            Finding::good(check, format!("{shown} holds {count}"))
        }
        // The message says what to do.
        Err(error) => Finding::new(check, Status::Failed, terminal::one_line(&error.into()), ""),
    }
}

/// Returns the directory itself, or the last one on the way to it that exists. A symlink to nothing leads to the
/// place where a pull makes the directory.
fn existing(directory: &Path) -> PathBuf {
    let mut path = directory.to_owned();
    let mut links = 0;
    loop {
        if path.metadata().is_ok() {
            return path;
        }
        let target = path.read_link().ok().filter(|_| links < LINKS_MAX);
        let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
        path = match target {
            Some(target) => {
                links += 1;
                parent.join(target)
            }
            None if path.symlink_metadata().is_ok() => return path,
            None => parent,
        };
    }
}

/// Reports whether the file system has fs-verity, if a pull fails without it.
fn fs_verity(directory: &Path, options: &Options) -> Option<Finding> {
    const CHECK: &str = "fs-verity";
    if options.store.fs_verity != FsVerity::On {
        return None;
    }
    Some(match options.store.fs_verity.check(directory) {
        Ok(()) => Finding::good(CHECK, "can be enabled"),
        Err(error) => {
            let advice = "choose a directory on another file system, or --fs-verity auto";
            Finding::new(CHECK, Status::Failed, error.to_string(), advice)
        }
    })
}

/// Reports further directories that the options name but that cannot be used.
fn beside(options: &Options) -> Vec<Finding> {
    let mut findings = Vec::new();
    for seed in &options.store.seeds {
        let shown = output::path(seed);
        let found = match fs::metadata(seed) {
            Ok(found) if found.is_dir() => continue,
            Err(error) if !is_absent(&error) => {
                format!("{shown} cannot be looked at and is passed over: {error}")
            }
            Ok(_) | Err(_) => format!("{shown} is not a directory and is passed over"),
        };
        let advice = "name stores with --seed";
        findings.push(Finding::new("seed", Status::Warning, found, advice));
    }
    if let Some(spool) = &options.spool.directory {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        let usable = rustix::fs::access(spool, access);
        let error = match (spool.is_dir(), usable) {
            (true, Ok(())) => return findings,
            (_, Err(error)) => io::Error::from(error),
            (false, Ok(())) => io::ErrorKind::NotADirectory.into(),
        };
        let found = format!(
            "{} cannot be written to, and an archive may have to be: {error}",
            output::path(spool)
        );
        let advice = "name a directory with --spool-dir";
        findings.push(Finding::new("spool", Status::Warning, found, advice));
    }
    findings
}

fn owner(directory: &Path) -> Finding {
    const CHECK: &str = "owner";
    let shown = output::path(directory);
    let metadata = match fs::metadata(directory) {
        Ok(metadata) => metadata,
        Err(error) => {
            let advice = "choose another directory with --cache-dir";
            return Finding::new(CHECK, Status::Failed, format!("{shown}: {error}"), advice);
        }
    };
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let user = rustix::process::geteuid().as_raw();
    let found =
        format!("user {owner} owns {shown} (mode {mode:o}); this process acts for user {user}");
    let access = Access::WRITE_OK | Access::EXEC_OK;
    match rustix::fs::access(directory, access) {
        Ok(()) => Finding::good(CHECK, found),
        Err(error) => {
            let found = format!("{found} and cannot write to it: {}", io::Error::from(error));
            let advice = match error {
                Errno::ROFS => READ_ONLY,
                _ => "choose another directory with --cache-dir, or another owner with chown",
            };
            Finding::new(CHECK, Status::Failed, found, advice)
        }
    }
}

fn space(directory: &Path, min_free: u64) -> Finding {
    const CHECK: &str = "space";
    let status = match rustix::fs::statvfs(directory) {
        Ok(status) => status,
        Err(error) => {
            let error = io::Error::from(error);
            return Finding::new(CHECK, Status::Warning, format!("not known: {error}"), "");
        }
    };
    if status.f_blocks == 0 {
        let shown = output::path(directory);
        let found = format!("not known: the file system of {shown} reports no size");
        return Finding::good(CHECK, found);
    }
    let free = status.f_bavail.saturating_mul(status.f_frsize);
    // File systems without a table of inodes report none in total.
    let lacks_inodes = status.f_files > 0 && status.f_favail < INODES;
    let found = format!(
        "{} are free on the file system of {}",
        bytes(free),
        output::path(directory)
    );
    let advice = "make room, as with hpcc-rootfs gc --max-size";
    if lacks_inodes {
        let left = Count(status.f_favail, "inode");
        let found = format!("{found}, and {left}, of which a pull needs {INODES}");
        return Finding::new(CHECK, Status::Failed, found, "remove files");
    }
    if free < min_free {
        let found = format!("{found}, and builds leave {} to others", bytes(min_free));
        return Finding::new(CHECK, Status::Failed, found, advice);
    }
    if free < BLOCK as u64 {
        return Finding::new(CHECK, Status::Failed, found, advice);
    }
    let status = if free < TIGHT {
        Status::Warning
    } else {
        Status::Good
    };
    let advice = if free < TIGHT { advice } else { "" };
    Finding::new(CHECK, status, found, advice)
}

/// Reports the limit of file sizes, if this process has one that an image may exceed.
fn file_limit() -> Option<Finding> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    let limit = limit.filter(|limit| *limit < TIGHT)?;
    let found = format!(
        "no file that this process writes may have more than {}, and a larger image fails",
        bytes(limit)
    );
    let advice = "raise the limit of file sizes (ulimit -f)";
    Some(Finding::new("file size", Status::Warning, found, advice))
}

/// Advice for builds on file systems without unnamed files.
const STAGED: &str =
    "builds work with .staged- files instead, which the next build removes after a crash";

/// Reports whether files can be locked, if they cannot.
fn locks(file: impl AsFd) -> Option<Finding> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockShared) {
        // Another process has a lock, so there are locks.
        Ok(()) | Err(Errno::WOULDBLOCK) => None,
        Err(error) => {
            let found = format!("files cannot be locked: {}", io::Error::from(error));
            let advice = "choose a directory on a file system with flock, or mount it with locks";
            Some(Finding::new("locks", Status::Failed, found, advice))
        }
    }
}

/// Makes a file without a name, or with a temporary one where the file system has no such files, locks it, and writes to
/// it.
fn unnamed(directory: &Path) -> Finding {
    const CHECK: &str = "O_TMPFILE";
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let unnamed = rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR);
    let lacks_unnamed = matches!(
        unnamed,
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL)
    );
    let (made, _name) = match lacks_unnamed {
        true => named(directory),
        false => (unnamed, None),
    };
    let file = match made {
        Ok(file) => file,
        Err(error) => {
            let found = format!(
                "cannot write to {}: {}",
                output::path(directory),
                io::Error::from(error)
            );
            let advice = match error {
                Errno::ROFS => READ_ONLY,
                _ => "choose a directory that can be written to with --cache-dir",
            };
            return Finding::new(CHECK, Status::Failed, found, advice);
        }
    };
    if let Some(finding) = locks(&file).or_else(|| written(&file, directory)) {
        return finding;
    }
    if lacks_unnamed {
        let found = "the file system cannot make files without a name";
        return Finding::new(CHECK, Status::Warning, found, STAGED);
    }
    if !Path::new("/proc/self/fd").exists() {
        let found = "without /proc, files without a name cannot get one";
        let advice = format!("mount /proc; until then {STAGED}");
        return Finding::new(CHECK, Status::Warning, found, advice);
    }
    Finding::good(CHECK, "files without a name can be made and locked")
}

/// Names that are tried for a file.
const TRIES: u32 = 1000;

/// Makes a file with a name that the next build would remove.
fn named(directory: &Path) -> (Result<OwnedFd, Errno>, Option<Temporary>) {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let process = std::process::id();
    // A process of another container may have the same number, and a killed one leaves its files.
    for serial in 0..TRIES {
        let path = directory.join(format!(".staged-{process}-{serial}"));
        match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => {}
            made => {
                let name = made.is_ok().then_some(Temporary(path));
                return (made, name);
            }
        }
    }
    (Err(Errno::EXIST), None)
}

/// The name of a file, until this is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = rustix::fs::unlink(&self.0);
    }
}

/// Reports whether a file can be written and synced, if it cannot.
fn written(file: &OwnedFd, directory: &Path) -> Option<Finding> {
    let block = [1; BLOCK];
    let written = rustix::io::pwrite(file, &block, 0).and_then(|_| rustix::fs::fsync(file));
    let error = written.err()?;
    let found = format!(
        "a file in {} cannot be written: {}",
        output::path(directory),
        io::Error::from(error)
    );
    let advice = match error {
        Errno::NOSPC | Errno::DQUOT => "make room, as with hpcc-rootfs gc --max-size",
        _ => "look at the kernel's log, or choose a directory on another disk with --cache-dir",
    };
    Some(Finding::new("write", Status::Failed, found, advice))
}

/// Compares the clock with times that cannot be in the future.
pub(super) fn clock(global: &Global) -> Finding {
    let artifacts = global.store().ok().and_then(|store| store.artifacts().ok());
    let newest = artifacts
        .into_iter()
        .flatten()
        .map(|artifact| artifact.built)
        .max();
    clock_at(SystemTime::now(), newest)
}

fn clock_at(now: SystemTime, newest: Option<SystemTime>) -> Finding {
    const CHECK: &str = "clock";
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let advice = "set the clock: certificates and the ages of artifacts depend on it";
    let date = date(since);
    // No pull reads the clock but for certificates, which the registry is checked with.
    let problem = if since < RELEASED {
        "which is before this program was written"
    } else if since > OUTDATED {
        "which is long after this program was written"
    } else if newest.is_some_and(|newest| newest > now + DAY) {
        "which is before an artifact in the store was built"
    } else {
        return Finding::good(CHECK, date);
    };
    Finding::new(CHECK, Status::Warning, format!("{date}, {problem}"), advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_is_compared_with_the_program_and_the_store() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let now = RELEASED + 1_000_000;
        for (clock, newest, status) in [
            (now, None, Status::Good),
            (now, Some(now), Status::Good),
            (now, Some(now + 3600), Status::Good),
            (now, Some(now + 90_000), Status::Warning),
            (7, Some(7), Status::Warning),
            (4_102_444_800, None, Status::Warning),
        ] {
            let finding = clock_at(at(clock), newest.map(at));
            assert_eq!(finding.status, status, "{finding:?}");
        }
    }

    #[test]
    fn space_below_what_builds_leave_free_fails() {
        let directory = tempfile::tempdir().unwrap();
        let finding = space(directory.path(), u64::MAX);
        assert_eq!(finding.status, Status::Failed, "{finding:?}");
        assert!(finding.line().contains("make room"), "{finding:?}");
        assert_ne!(space(directory.path(), 0).status, Status::Failed);
    }

    #[test]
    fn directory_that_does_not_exist_is_judged_by_its_parent() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(existing(&directory.path().join("a/b/c")), directory.path());
        assert_eq!(existing(directory.path()), directory.path());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("a/b", &link).unwrap();
        assert_eq!(existing(&link), directory.path());
        let circle = directory.path().join("circle");
        std::os::unix::fs::symlink("circle", &circle).unwrap();
        assert_eq!(existing(&circle), circle);
    }
}
