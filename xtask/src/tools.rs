//! The tools that a test run finds, and those that it leaves alone.

use std::process::Command;

use crate::{command, workspace};

/// A tool that the run can do without.
struct Optional {
    name: &'static str,
    version: fn() -> Command,
    /// What the run does with it.
    present: &'static str,
    /// What the run does without it.
    absent: &'static str,
}

const OPTIONAL: [Optional; 5] = [
    Optional {
        name: "cargo-nextest",
        version: || subcommand("nextest"),
        present: "not used: `cargo test` runs the tests, as on a machine without it",
        absent: "`cargo test` runs the tests",
    },
    Optional {
        name: "nightly toolchain",
        version: || rustup(["run", "nightly", "rustc", "--version"]),
        present: "not used: fuzz targets are built on stable, without the address sanitizer",
        absent: "fuzz targets are built on stable, without the address sanitizer",
    },
    Optional {
        name: "cargo-fuzz",
        version: || subcommand("fuzz"),
        present: "not used: `cargo xtask fuzz` builds and runs the targets itself",
        absent: "`cargo xtask fuzz` builds and runs the targets itself",
    },
    Optional {
        name: "cargo-deny",
        version: || subcommand("deny"),
        present: "checks licenses, bans and sources",
        absent: "licenses, bans and sources are NOT checked in this run; the workflow checks them",
    },
    Optional {
        name: "mdbook",
        version: || {
            let mut mdbook = Command::new("mdbook");
            mdbook.arg("--version");
            mdbook
        },
        present: "builds the book",
        absent: "the book is NOT built in this run; its pages are tested, and the workflow builds it",
    },
];

/// Prints the toolchain and each optional tool, with its version and what the run does about it.
pub(crate) fn report() {
    for (name, mut command) in [
        ("rustc", Command::new("rustc")),
        ("cargo", Command::new("cargo")),
        ("git", Command::new("git")),
    ] {
        let version = version(command.arg("--version"));
        println!("{name}: {}", version.as_deref().unwrap_or("MISSING"));
    }
    for tool in &OPTIONAL {
        match version(&mut (tool.version)()) {
            Some(version) => println!("{}: {version}; {}", tool.name, tool.present),
            None => println!("{}: missing; {}", tool.name, tool.absent),
        }
    }
}

/// Returns whether cargo has this subcommand.
pub(crate) fn has(subcommand: &str) -> bool {
    version(&mut self::subcommand(subcommand)).is_some()
}

/// Returns a command for rustup that no toolchain variable of this process misleads.
pub(crate) fn rustup<const N: usize>(arguments: [&str; N]) -> Command {
    let mut rustup = Command::new("rustup");
    // Cargo names its own toolchain in these, which may be a different one.
    rustup
        .args(arguments)
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTDOC")
        .env_remove("RUSTUP_TOOLCHAIN");
    rustup
}

fn subcommand(name: &str) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args([name, "--version"]);
    cargo
}

/// Returns the first line that the command prints, if it runs and succeeds.
fn version(command: &mut Command) -> Option<String> {
    let output = command::output(command).ok()?;
    Some(output.lines().next()?.to_owned())
}
