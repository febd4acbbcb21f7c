//! The kernel's own squashfs driver.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::Result;
use crate::command::run;

/// A squashfs file mounted read-only through a loop device; unmounted when dropped, by a panic too.
#[derive(Debug)]
pub struct Mount {
    point: TempDir,
}

impl Mount {
    /// Mounts `image`. `None` means that we are not root, which was printed; see [`may_be_root`].
    ///
    /// Reading still has to happen: the kernel looks at little more than the superblock to mount.
    pub fn squashfs(image: &Path) -> Result<Option<Self>> {
        if !may_be_root("mounting squashfs through the kernel") {
            return Ok(None);
        }
        let point = tempfile::Builder::new().prefix("mount-").tempdir()?;
        run(Command::new("mount")
            .args(["-t", "squashfs", "-o", "loop,ro,nodev,nosuid"])
            .arg(image)
            .arg(point.path()))?;
        Ok(Some(Self { point }))
    }

    /// Returns the mount point.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.point.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if run(Command::new("umount").arg(self.root())).is_err() {
            // Something still has a file open. A mount left behind would outlive the test run, and
            // removing the temporary directory would walk into it.
            if let Err(error) = run(Command::new("umount").arg("--lazy").arg(self.root())) {
                eprintln!("{error}");
            }
        }
    }
}

/// Returns whether we are root, for oracles that cannot work otherwise.
///
/// If not, a line says what was skipped.
///
/// # Panics
///
/// With `CI=true` in the environment: there a check that does not run is a failure.
#[must_use]
pub fn may_be_root(what: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{what} needs root, and in CI nothing is skipped"
    );
    eprintln!("SKIPPED: {what} needs root");
    false
}
