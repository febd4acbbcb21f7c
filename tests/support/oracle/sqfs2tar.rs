//! sqfs2tar, of squashfs-tools-ng: the image as a tar stream, extracted by GNU tar.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Tree;
use crate::Result;
use crate::command::run;

/// Returns the image as a tar, every file read.
pub fn tar(image: &Path) -> Result<Vec<u8>> {
    run(Command::new("sqfs2tar").arg(image))
}

/// Extracts everything; owners, devices and all xattrs only as root. The tar has no entry for the
/// root itself, so what the root has (mode, owner, time, xattrs) is not restored.
pub fn extract(image: &Path) -> Result<Tree> {
    let tree = Tree::new("root")?;
    fs::create_dir(tree.root())?;
    let file = tree.base().join("image.tar");
    fs::write(&file, tar(image)?)?;
    run(Command::new("tar")
        .args(["--extract", "--preserve-permissions", "--numeric-owner"])
        .args(["--xattrs", "--xattrs-include=*", "--file"])
        .arg(&file)
        .arg("--directory")
        .arg(tree.root()))?;
    Ok(tree)
}
