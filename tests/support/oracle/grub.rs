//! GRUB's reader of squashfs, as `grub-fstest` runs it. It has no zstd and no lz4.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::command::{run, run_text};
use crate::{Failure, Result};

/// Returns the names in a directory, a slash after those of directories. Names with white space come apart.
///
/// # Errors
///
/// `grub-fstest` cannot be started, or it prints an error: it exits with 0 then, too.
pub fn names(image: &Path, directory: &str) -> Result<BTreeSet<String>> {
    let directory = format!("{}/", directory.trim_end_matches('/'));
    let mut command = Command::new("grub-fstest");
    let text = run_text(command.arg(image).arg("ls").arg(&directory))?;
    let names: BTreeSet<String> = text.split_whitespace().map(str::to_owned).collect();
    match names.contains("error:") {
        true => Err(Failure::new(format!("grub-fstest ls {directory}: {text}"))),
        false => Ok(names),
    }
}

/// Returns what `ls` prints of a directory: names, a slash after those of directories, white space between them.
///
/// # Errors
///
/// `grub-fstest` cannot be started.
pub fn listing(image: &Path, directory: &str) -> Result<Vec<u8>> {
    let directory = format!("{}/", directory.trim_end_matches('/'));
    run(Command::new("grub-fstest")
        .arg(image)
        .arg("ls")
        .arg(directory))
}

/// Returns `length` bytes from `offset` of a file, without the pieces before them.
///
/// # Errors
///
/// GRUB cannot read the file.
pub fn read(image: &Path, path: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
    let mut command = Command::new("grub-fstest");
    command.args(["-s", &offset.to_string(), "-n", &length.to_string()]);
    run(command.arg(image).arg("cat").arg(path))
}

/// Compares a file of the image with a file on the disk. A directory on the disk is compared with all files below it,
/// which have to be regular ones.
///
/// # Errors
///
/// The contents differ, or GRUB cannot read the file.
pub fn compare(image: &Path, path: &str, local: &Path) -> Result<()> {
    let mut command = Command::new("grub-fstest");
    run(command.arg(image).arg("cmp").arg(path).arg(local)).map(drop)
}
