//! Runs the fuzz targets.
//!
//! They are built by stable Rust with the instrumentation that libFuzzer reads, so that neither nightly nor cargo-fuzz is
//! needed. Only the sanitizers are nightly's. `cargo +nightly fuzz run TARGET` works as well.

use std::collections::VecDeque;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fuzz_targets::{TARGETS, TIME, Target};
use tempfile::TempDir;

use crate::tally::Tally;
use crate::{command, span, tools, workspace};

/// Counters, tables of functions and comparisons for libFuzzer, as cargo-fuzz has them.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0";

/// Resident memory at which libFuzzer ends a program, in MiB. A body asserts what its run takes. The program's own memory
/// grows for hours: each input that is kept lies between buffers with an alignment, and glibc before 2.38 does not use their
/// space again (bug 14581). That took 600 MiB after 250 000 runs of `end_to_end`.
const RESIDENT: u64 = 4096;

/// Memory as a directory. Some bodies write a file in each run; on a disk they waited for it half of their time.
const MEMORY: &str = "/dev/shm";

/// How long libFuzzer may spend on making a find smaller.
const MINIMIZING: Duration = Duration::from_secs(30);

/// Which targets are fuzzed, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct FuzzOptions {
    /// How long each target runs, with s, m or h
    #[arg(long, default_value = "1m", value_name = "TIME", value_parser = span::parse)]
    pub time: Duration,
    /// Builds with the address sanitizer; needs a nightly toolchain
    #[arg(long)]
    pub address_sanitizer: bool,
    /// Targets that run concurrently [default: the CPUs]
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Seed of libFuzzer's random numbers [default: a new one for each run]
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u32,
    /// Names of targets [default: all]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
}

impl FuzzOptions {
    /// Returns the options for a run of all targets, each for `time`.
    pub(crate) fn all(time: Duration) -> Self {
        Self {
            time,
            address_sanitizer: false,
            jobs: None,
            seed: 0,
            targets: Vec::new(),
        }
    }

    fn targets(&self) -> Result<Vec<Target>> {
        if self.targets.is_empty() {
            return Ok(TARGETS.to_vec());
        }
        let named = self.targets.iter().map(|name| {
            Target::named(name).with_context(|| {
                let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
                format!("{name:?} is not a target; there are {}", names.join(", "))
            })
        });
        named.collect()
    }
}

/// Fuzzes, and fails if something was found.
///
/// # Errors
///
/// A name is not a target's, the targets do not build, or an input was found that breaks one.
pub fn fuzz(options: &FuzzOptions) -> Result<()> {
    let tally = run(options)?;
    match tally.failed {
        0 => Ok(()),
        failed => bail!("{failed} of {} targets failed", failed + tally.passed),
    }
}

/// Fuzzes. One target is one test. libFuzzer would take 0 seconds for ever, so nothing runs then, and the output says so.
pub(crate) fn run(options: &FuzzOptions) -> Result<Tally> {
    let targets = options.targets()?;
    if options.time.is_zero() {
        println!("NOT fuzzed: the time is 0 seconds");
        return Ok(Tally::default());
    }
    let programs = build(options)?;
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let jobs = options.jobs.map_or(cpus, NonZeroUsize::get);
    println!(
        "{} targets for {} s each, {jobs} at a time",
        targets.len(),
        options.time.as_secs()
    );
    let left = Mutex::new(VecDeque::from(targets));
    let total = Mutex::new(Tally::default());
    let next = || {
        left.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(target) = next() {
                    let tally = run_one(&programs, target, options).unwrap_or_else(|error| {
                        let text = format!("fuzz target {}: FAILED: {error:#}", target.name);
                        println!("{text}");
                        Tally::failed(&text)
                    });
                    *total.lock().unwrap_or_else(PoisonError::into_inner) += tally;
                }
            });
        }
    });
    Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Builds all programs and returns their directory.
fn build(options: &FuzzOptions) -> Result<PathBuf> {
    let triple = workspace::host()?;
    let (mut cargo, flags, directory) = match options.address_sanitizer {
        true => (
            tools::rustup(["run", "nightly", "cargo", "--locked"]),
            format!("{COVERAGE} -Zsanitizer=address"),
            workspace::target("fuzz/address")?,
        ),
        false => (
            workspace::cargo(),
            COVERAGE.to_owned(),
            workspace::target("fuzz/plain")?,
        ),
    };
    // An explicit target keeps the flags from build scripts and macros.
    cargo
        .current_dir(workspace::root().join("fuzz"))
        .args(["build", "--release", "--bins", "--target", &triple])
        .arg("--target-dir")
        .arg(&directory)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", flags);
    if !command::show(&mut cargo)?.success {
        bail!("the fuzz targets do not build");
    }
    Ok(directory.join(triple).join("release"))
}

fn run_one(programs: &Path, target: Target, options: &FuzzOptions) -> Result<Tally> {
    let name = target.name;
    // What libFuzzer adds for itself goes into the first directory, which is not in the repository.
    let grown = workspace::target(&format!("fuzz/corpus/{name}"))?;
    let made = workspace::target(&format!("fuzz/seeds/{name}"))?;
    let artifacts = workspace::target(&format!("fuzz/artifacts/{name}"))?;
    for (number, seed) in target.seeds().iter().enumerate() {
        fs::write(made.join(format!("made-{number}")), seed)?;
    }
    let scratch = scratch()?;
    let mut program = Command::new(programs.join(name));
    program
        .env("TMPDIR", scratch.path())
        .arg(format!("-max_total_time={}", options.time.as_secs()))
        .arg(format!("-max_len={}", target.longest))
        // The body asserts its own limits; these end what never comes back, or takes memory beside the heap.
        .arg(format!("-timeout={}", 6 * TIME.as_secs()))
        .arg(format!("-rss_limit_mb={RESIDENT}"))
        .arg(format!("-seed={}", options.seed))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-print_final_stats=1")
        .arg(&grown)
        .arg(&made);
    let found = workspace::root().join("fuzz/corpus").join(name);
    if found.is_dir() {
        program.arg(found);
    }
    let output = program
        .output()
        .with_context(|| format!("cannot run {}", programs.join(name).display()))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let progress = progress(&text);
    if output.status.success() {
        println!("fuzz target {name}: ok, {progress}");
        return Ok(Tally::passed());
    }
    let advice = advice(programs, target, &text, scratch.path());
    let failure = format!("{text}\nfuzz target {name}: FAILED, {progress}\n{advice}");
    println!("{failure}");
    Ok(Tally::failed(&failure))
}

/// Returns a directory for the files of a target's runs, which goes with them: in memory, or where that cannot be had in the
/// usual place.
fn scratch() -> Result<TempDir> {
    tempfile::tempdir_in(MEMORY)
        .or_else(|_| tempfile::tempdir())
        .context("cannot make a directory for the files of the runs")
}

/// Returns the number of runs and libFuzzer's last numbers of covered edges and features.
fn progress(output: &str) -> String {
    let runs = output
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let covered = output
        .lines()
        .rev()
        .find(|line| line.starts_with('#') && line.contains(" cov: "));
    let number = |name: &str| {
        let mut words = covered?.split_whitespace();
        words.find(|word| *word == name)?;
        words.next()
    };
    let shown = |number: Option<&str>| number.map_or("?", str::trim).to_owned();
    format!(
        "{} runs, {} edges, {} features",
        shown(runs),
        shown(number("cov:")),
        shown(number("ft:"))
    )
}

/// Makes a find smaller, and says what to do with it.
fn advice(programs: &Path, target: Target, output: &str, scratch: &Path) -> String {
    let name = target.name;
    let written = output
        .lines()
        .find_map(|line| line.split_once("Test unit written to "));
    let Some((_, found)) = written else {
        return "libFuzzer kept no input".to_owned();
    };
    let small = format!("{found}.small");
    let mut program = Command::new(programs.join(name));
    program
        .env("TMPDIR", scratch)
        .arg("-minimize_crash=1")
        .arg(format!("-max_total_time={}", MINIMIZING.as_secs()))
        .arg(format!("-exact_artifact_path={small}"))
        .arg(found);
    // It succeeds only if it made the input smaller.
    let _ = program.output();
    let smallest = match Path::new(&small).is_file() {
        true => &small,
        false => found,
    };
    format!(
        "the input is {smallest}\nonce it is understood, keep it as fuzz/corpus/{name}/seed-WHAT-HAPPENS and replay it with: \
         cargo test --package fuzz-targets {name}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_run_are_found_in_its_output() {
        let output = "#2\tINITED cov: 3 ft: 4 corp: 1/1b\n\
                      #77\tDONE   cov: 1234 ft: 5678 corp: 9/9b\n\
                      Done 77 runs in 1 second(s)\n\
                      stat::number_of_executed_units: 77\n";
        assert_eq!(progress(output), "77 runs, 1234 edges, 5678 features");
        assert_eq!(progress("nothing"), "? runs, ? edges, ? features");
    }
}
