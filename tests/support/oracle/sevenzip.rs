//! 7-Zip's reader of squashfs, which shares no code with Linux.

use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::command::{run, run_text};

/// Returns the technical listing: one `Path = …` block an entry.
pub fn list(image: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&listing(image)?).into_owned())
}

/// Returns the technical listing, with names as the bytes that they are.
pub fn listing(image: &Path) -> Result<Vec<u8>> {
    run(Command::new("7z")
        .args(["l", "-slt", "-sccUTF-8"])
        .arg(image))
}

/// Extracts everything below `directory`, also symlinks that lead out of it, and follows none.
pub fn extract(image: &Path, directory: &Path) -> Result<()> {
    let mut command = Command::new("7z");
    command.args(["x", "-bd", "-y", "-snld20"]);
    command.arg(format!("-o{}", directory.display()));
    run(command.arg(image)).map(drop)
}

/// Reads every byte of every file; gives its summary.
pub fn test(image: &Path) -> Result<String> {
    run_text(Command::new("7z").args(["t", "-bd"]).arg(image))
}
