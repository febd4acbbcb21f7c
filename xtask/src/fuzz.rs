//! Short runs of the fuzz targets.

use std::process::Command;

use anyhow::{Result, bail};

use crate::tally::Tally;
use crate::{command, workspace};

/// Runs each target of `fuzz/` for `seconds`. One target is one test. None for 0 seconds, which libFuzzer would take for
/// ever.
pub(crate) fn run(seconds: u32) -> Result<Tally> {
    if seconds == 0 {
        println!("left out: it was asked for 0 seconds");
        return Ok(Tally::default());
    }
    if !command::succeeds(Command::new("cargo").args(["fuzz", "--version"])) {
        println!("cargo-fuzz is missing; installing it");
        if !command::show(Command::new("cargo").args(["install", "cargo-fuzz", "--locked"]))?
            .success
        {
            bail!("cannot install cargo-fuzz");
        }
    }
    let nightly =
        command::succeeds(Command::new("rustup").args(["run", "nightly", "cargo", "--version"]));
    if !nightly {
        println!("no nightly toolchain: fuzzing without the address sanitizer, on stable");
    }
    let targets = command::output(fuzz(nightly, "list").current_dir(workspace::root()))?;
    let mut tally = Tally::default();
    for target in targets.lines() {
        let mut run = fuzz(nightly, "run");
        if !nightly {
            run.args(["--sanitizer", "none"]);
        }
        run.args([target, "--", &format!("-max_total_time={seconds}")])
            .current_dir(workspace::root());
        let shown = command::show(&mut run)?;
        let word = if shown.success { "ok" } else { "FAILED" };
        println!("fuzz target {target}: {word}");
        tally += if shown.success {
            Tally::passed()
        } else {
            Tally::failed(&shown.output)
        };
    }
    if tally == Tally::default() {
        bail!("fuzz/ has no targets");
    }
    Ok(tally)
}

fn fuzz(nightly: bool, action: &str) -> Command {
    let mut command = if nightly {
        Command::new("rustup")
    } else {
        Command::new("cargo")
    };
    if nightly {
        command.args(["run", "nightly", "cargo"]);
    }
    // The toolchain that runs us says so in these, and the one asked for must not believe it.
    command
        .args(["fuzz", action])
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTDOC");
    command
}
