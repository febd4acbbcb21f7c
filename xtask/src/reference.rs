//! The parts of the repository that the program itself writes: the reference of its commands and its help.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{command, workspace};

const BEGIN: &str = "<!-- reference -->\n";
const END: &str = "<!-- end of reference -->\n";

/// Writes the generated part of `docs/commands.md`, and `tests/it/help.txt`.
///
/// # Errors
/// Returns an error if the program does not build, or a file cannot be written.
pub fn write() -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--workspace", "--bin", "hpcc-rootfs"]);
    command::output(&mut cargo)?;
    let program = workspace::target("debug")?.join("hpcc-rootfs");
    let run = |arguments: &[&str]| {
        // The width of the help must not depend on the window.
        let mut program = Command::new(&program);
        command::output(program.args(arguments).env_remove("COLUMNS"))
    };

    let path = workspace::root().join("docs/commands.md");
    let page = fs::read_to_string(&path)?;
    let (before, rest) = page
        .split_once(BEGIN)
        .context("no mark for the reference")?;
    let (_, after) = rest.split_once(END).context("no mark for its end")?;
    let reference = run(&["completions", "markdown"])?;
    fs::write(&path, format!("{before}{BEGIN}\n{reference}\n{END}{after}"))?;

    let mut help = run(&["--help"])?;
    let commands: Vec<String> = help
        .split_once("Commands:\n")
        .map_or("", |(_, rest)| rest)
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
        .collect();
    for name in commands.iter().filter(|name| *name != "help") {
        help.push_str(&format!("\n=== {name}\n\n"));
        help.push_str(&run(&["help", name])?);
    }
    help.push_str("\n=== config show\n\n");
    help.push_str(&run(&["help", "config", "show"])?);
    fs::write(workspace::root().join("tests/it/help.txt"), help)?;
    Ok(())
}
