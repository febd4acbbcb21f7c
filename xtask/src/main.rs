//! `cargo xtask`: what is run on this repository.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal; its output is what it is for"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use tree_listing::{DiffOptions, Listing};
use xtask::bench::BenchOptions;
use xtask::qemu::Accel;
use xtask::test::TestOptions;
use xtask::verify::{VerifyOptions, verify};
use xtask::{bench, demo, guest, packages, test};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "What is run on this repository",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// All that has to hold before a change is merged
    Test(TestOptions),
    /// A tour: makes an image, serves it on loopback, pulls it into target/demo
    Demo,
    /// Boots an image in a virtual machine and compares what its guest sees with what it should
    Verify(Verify),
    /// Prints the listing of a directory, for `verify --against`
    Listing {
        /// The directory
        directory: PathBuf,
    },
    /// Measures ours and its peers on this machine, in one run
    Bench(BenchOptions),
    /// Prints the path of the agent that images to verify must have
    Probe,
    /// Installs the programs that the tests call
    Packages,
}

#[derive(clap::Args)]
struct Verify {
    /// The image, with the agent that `cargo xtask probe` names
    image: PathBuf,
    /// What has to be in it: a directory that another tool unpacked it to, or the listing of one
    #[arg(long, value_name = "LISTING-or-DIR")]
    against: PathBuf,
    /// What executes the guest
    #[arg(long, value_enum, default_value_t)]
    accel: Accel,
    /// How long the guest may take
    #[arg(long, default_value_t = 300, value_name = "SECS")]
    timeout: u64,
    /// A path whose time is not compared; may be given many times
    #[arg(long, value_name = "PATH")]
    ignore_mtime: Vec<String>,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Test(options) => test::test(options),
        Task::Demo => demo::run(),
        Task::Verify(arguments) => arguments.run(),
        Task::Listing { directory } => {
            Ok(std::io::stdout().write_all(&Listing::walk(&directory)?.to_text())?)
        }
        Task::Probe => {
            println!("{}", guest::build()?.probe.display());
            Ok(())
        }
        Task::Bench(options) => bench::bench(&options),
        Task::Packages => packages::install(),
    }
}

impl Verify {
    fn run(self) -> Result<()> {
        let expected = listing(&self.against)?;
        let diff = DiffOptions {
            ignore_mtime: self
                .ignore_mtime
                .into_iter()
                .map(String::into_bytes)
                .collect(),
            ..DiffOptions::default()
        };
        let options = VerifyOptions {
            accel: self.accel,
            timeout: Duration::from_secs(self.timeout),
            diff,
        };
        let verified = verify(&self.image, &expected, &options)?;
        let entries = verified.report.listing.entries.len();
        println!(
            "{}: {entries} entries equal, {:.1} s",
            self.image.display(),
            verified.took.as_secs_f32()
        );
        Ok(())
    }
}

fn listing(path: &Path) -> Result<Listing> {
    if path.is_dir() {
        return Ok(Listing::walk(path)?);
    }
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Listing::parse(&text)
        .with_context(|| format!("{} is neither a directory nor a listing", path.display()))
}
