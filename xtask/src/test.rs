//! All that has to hold before a change is merged.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::tally::Tally;
use crate::{command, fuzz, images, packages, workspace};

/// How the tests are run.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct TestOptions {
    /// How many seconds each fuzz target runs; 0 leaves fuzzing out.
    #[arg(long, default_value_t = 10, value_name = "SECS")]
    pub fuzz_seconds: u32,
}

type Step = fn(TestOptions) -> Result<Tally>;

/// In an order that fails early and cheaply, but nothing is left out when something fails.
const STEPS: [(&str, Step); 9] = [
    ("packages", |_| {
        packages::install().map(|()| Tally::default())
    }),
    ("format", |_| {
        check(workspace::cargo().args(["fmt", "--all", "--check"]))
    }),
    ("lints", |_| {
        check(workspace::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    }),
    ("library without the command line", |_| {
        check(workspace::cargo().args([
            "check",
            "--package",
            "hpcc-rootfs",
            "--no-default-features",
        ]))
    }),
    ("encoder with each codec alone", |_| codecs()),
    ("tests", |_| tests()),
    ("documentation", |_| {
        check(
            workspace::cargo()
                .args(["doc", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-Dwarnings"),
        )
    }),
    ("images in a virtual machine", |_| images::verify_all()),
    ("fuzzing", |options| fuzz::run(options.fuzz_seconds)),
];

/// Runs every step, and ends with what the failed ones wrote last and with a line of its own that counts the tests of all of
/// them. A step that fails in another way than by its tests counts as one that failed.
///
/// # Errors
///
/// Something failed; what it was is on the screen already, above that line.
pub fn test(options: TestOptions) -> Result<()> {
    let mut total = Tally::default();
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        println!("\n=== {name} ===");
        let start = Instant::now();
        let tally = step(options).unwrap_or_else(|error| {
            println!("error: {error:#}");
            Tally::failed(&format!("error: {error:#}"))
        });
        let word = if tally.failed == 0 { "ok" } else { "FAILED" };
        println!(
            "=== {name}: {word}, {:.1} s ===",
            start.elapsed().as_secs_f32()
        );
        if tally.failed > 0 {
            failed.push(name);
        }
        total += tally;
    }
    for text in &total.failures {
        println!("\n=== what failed, again: the last lines of it ===\n{text}");
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("failed: {}", failed.join(", "))
    }
}

/// A step that is no test: it counts only when it fails.
fn check(command: &mut Command) -> Result<Tally> {
    let shown = command::show(command)?;
    Ok(if shown.success {
        Tally::default()
    } else {
        Tally::failed(&shown.output)
    })
}

/// The encoder has to build with any choice of codecs, and without one.
fn codecs() -> Result<Tally> {
    let mut tally = Tally::default();
    for codec in ["", "gzip", "zstd", "xz", "lz4"] {
        tally += check(workspace::cargo().args([
            "check",
            "--package",
            "sqfs-writer",
            "--all-targets",
            "--no-default-features",
            "--features",
            codec,
        ]))?;
    }
    Ok(tally)
}

fn tests() -> Result<Tally> {
    if !command::succeeds(workspace::cargo().args(["nextest", "--version"])) {
        return counted(workspace::cargo().args(["test", "--workspace", "--no-fail-fast"]));
    }
    // What failed tests wrote stands at the end as well, where it is found.
    let mut tally = counted(workspace::cargo().args([
        "nextest",
        "run",
        "--workspace",
        "--no-fail-fast",
        "--failure-output",
        "immediate-final",
    ]))?;
    tally += counted(workspace::cargo().args(["test", "--workspace", "--doc", "--no-fail-fast"]))?;
    Ok(tally)
}

fn counted(command: &mut Command) -> Result<Tally> {
    let shown = command::show(command)?;
    Ok(Tally::in_output(&shown.output, shown.success))
}
