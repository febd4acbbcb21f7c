//! unsquashfs, of squashfs-tools.

use std::path::Path;
use std::process::Command;

use super::Tree;
use crate::Result;
use crate::command::{run, run_text};

/// Returns the long listing, numeric owners: one line an entry.
pub fn list(image: &Path) -> Result<String> {
    run_text(Command::new("unsquashfs").arg("-lln").arg(image))
}

/// Returns its output about the superblock.
pub fn superblock(image: &Path) -> Result<String> {
    run_text(Command::new("unsquashfs").arg("-stat").arg(image))
}

/// Returns the content of one file.
pub fn cat(image: &Path, path: &str) -> Result<Vec<u8>> {
    run(Command::new("unsquashfs").arg("-cat").arg(image).arg(path))
}

/// Extracts everything; owners, devices and all xattrs only as root.
pub fn extract(image: &Path) -> Result<Tree> {
    let tree = Tree::new("root")?;
    run(Command::new("unsquashfs")
        .args(["-quiet", "-no-progress", "-strict-errors", "-dest"])
        .arg(tree.root())
        .arg(image))?;
    Ok(tree)
}
