//! A reader of YAML: yamllint.

use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::command::run;

/// Fails, with what is wrong, unless each file is YAML and no mapping in it has a key twice.
pub fn parse(files: &[PathBuf]) -> Result<()> {
    let rules = "rules: {key-duplicates: enable}";
    run(Command::new("yamllint").args(["-d", rules]).args(files)).map(drop)
}
