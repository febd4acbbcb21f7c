//! Process numbers of a command in a PID namespace of its own, where it is process 1, as in a container.
//!
//! Programs such as s6-overlay refuse to be another process. Like every process 1, the command reaps orphans itself and
//! gets no signal that it does not handle.

use std::fs::read_link;
use std::io::{Error, Result};
use std::path::Path;
use std::process::{Child, Command};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{PROC_SUPER_MAGIC, statfs};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

/// Starts a process as the first one of a new namespace.
pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    let spawn = || {
        // Only children of this thread are in the new namespace.
        unshare(CloneFlags::CLONE_NEWPID).map_err(|error| {
            let advice = "a kernel without CONFIG_PID_NS cannot do this";
            Error::other(format!("cannot make a PID namespace: {error}; {advice}"))
        })?;
        command.spawn()
    };
    thread::scope(|scope| {
        let spawned = thread::Builder::new().spawn_scoped(scope, spawn)?;
        let failed = |_| Err(Error::other("a thread panicked"));
        spawned.join().unwrap_or_else(failed)
    })
}

/// Returns whether this process is the first one of a namespace that [`spawn`] made: `/proc` has another number for it.
pub(crate) fn is_nested() -> bool {
    is_nested_in(Path::new("/proc"))
}

fn is_nested_in(proc: &Path) -> bool {
    // PID 1 of the machine starts with the image's own `/proc`, where `self` can be anything.
    statfs(proc).is_ok_and(|found| found.f_type == PROC_SUPER_MAGIC)
        && read_link(proc.join("self")).is_ok_and(|number| number != Path::new("1"))
}

/// Mounts a `/proc` with the numbers of this namespace, which no process outside of it sees.
pub(crate) fn mount_proc() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("proc", "/proc", "proc", flags, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_of_the_test_is_not_the_first_one() {
        assert!(std::process::id() == 1 || is_nested());
    }

    #[test]
    fn number_in_the_proc_of_an_image_is_not_believed() {
        let proc = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("4711", proc.path().join("self")).unwrap();
        assert!(!is_nested_in(proc.path()));
    }
}
