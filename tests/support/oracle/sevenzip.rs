//! 7-Zip's reader of squashfs, which shares no code with Linux.

use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::command::run_text;

/// The technical listing: one `Path = …` block an entry.
pub fn list(image: &Path) -> Result<String> {
    run_text(Command::new("7z").args(["l", "-slt"]).arg(image))
}

/// Reads every byte of every file; gives its summary.
pub fn test(image: &Path) -> Result<String> {
    run_text(Command::new("7z").args(["t", "-bd"]).arg(image))
}
