//! squashfuse: squashfs read by a program through FUSE.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::Result;
use crate::command::run;

/// An image mounted through FUSE; unmounted when dropped.
#[derive(Debug)]
pub struct Fuse {
    point: TempDir,
}

/// Mounts `image`. `None` means that this machine has no FUSE, which was printed.
///
/// # Panics
///
/// With `CI=true` in the environment: there a check that does not run is a failure.
pub fn mount(image: &Path) -> Result<Option<Fuse>> {
    if !Path::new("/dev/fuse").exists() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "squashfuse needs /dev/fuse, and in CI nothing is skipped"
        );
        eprintln!("SKIPPED: squashfuse needs /dev/fuse");
        return Ok(None);
    }
    let point = tempfile::Builder::new().prefix("fuse-").tempdir()?;
    run(Command::new("squashfuse").arg(image).arg(point.path()))?;
    Ok(Some(Fuse { point }))
}

impl Fuse {
    /// Returns the mount point.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.point.path()
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(self.root())) {
            eprintln!("{error}");
        }
    }
}
