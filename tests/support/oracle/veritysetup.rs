//! `veritysetup`, of cryptsetup: whether a hash tree is that of the data.

use std::path::Path;
use std::process::Command;

use crate::{Failure, Result};

/// Returns whether the data in front of `hash_offset` of a file are those of the tree that follows, by its superblock
/// and this root digest.
///
/// # Errors
/// `veritysetup` cannot be run.
pub fn accepts(file: &Path, hash_offset: u64, root: &str) -> Result<bool> {
    let output = Command::new("veritysetup")
        .arg("verify")
        .args([file, file])
        .arg(root)
        .arg(format!("--hash-offset={hash_offset}"))
        .output()
        .map_err(Failure::when(
            "cannot start veritysetup (is cryptsetup-bin installed?)",
        ))?;
    Ok(output.status.success())
}
