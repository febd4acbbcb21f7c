//! `cargo xtask`: the tools of this repository.

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
use tree_listing::Listing;
use xtask::api::ApiOptions;
use xtask::bench::BenchOptions;
use xtask::dist::DistOptions;
use xtask::fuzz::FuzzOptions;
use xtask::qemu::Accel;
use xtask::run::RunOptions;
use xtask::test::TestOptions;
use xtask::torture::TortureOptions;
use xtask::verify::{VerifyOptions, verify};
use xtask::{
    api, bench, demo, dist, fuzz, guest, matrix, packages, policy, reference, test, torture,
};

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
    /// Fuzzes the entrances that hostile bytes take
    Fuzz(FuzzOptions),
    /// Tortures a store with faults, kills and hostile images, and compares what is left with cold builds
    Torture(TortureOptions),
    /// A tour: makes an image, serves it on loopback, pulls it into target/demo, boots it
    Demo,
    /// Runs the command of an image in a virtual machine, with the example agent as PID 1
    Run(RunOptions),
    /// Builds the example agent and prints its path
    Agent,
    /// Boots an image in a virtual machine and compares what its guest sees with what it should
    Verify(Verify),
    /// Prints the listing of a directory, for `verify --against`
    Listing {
        /// The directory
        directory: PathBuf,
    },
    /// Measures this project and its peers on this machine, in one run
    Bench(BenchOptions),
    /// Prints the path of the agent that images to verify must have
    Probe,
    /// Compares the public interfaces of the crates with docs/api
    Api(ApiOptions),
    /// Makes a release: stripped program, completions, manual pages, SBOM, tar file and Debian package
    Dist(DistOptions),
    /// Installs the programs that the tests call
    Packages,
    /// Writes the commands' part of docs/commands.md and the snapshot of all help from the program
    Reference,
    /// Checks that the workspace builds with the oldest Rust that it promises
    Msrv,
}

#[derive(clap::Args)]
struct Verify {
    /// The image, with the agent that `cargo xtask probe` names
    #[arg(required_unless_present_any = ["matrix", "agent", "verity"])]
    image: Option<PathBuf>,
    /// What has to be in it: a directory that another tool unpacked it to, or the listing of one
    #[arg(
        long,
        value_name = "LISTING-or-DIR",
        required_unless_present_any = ["matrix", "agent", "verity"]
    )]
    against: Option<PathBuf>,
    /// Boot one machine that reads an image of every codec, block size and special kind
    #[arg(long, conflicts_with_all = ["image", "against", "ignore_mtime"])]
    matrix: bool,
    /// Boot the images whose agent is the example, and check what their commands find
    #[arg(long, conflicts_with_all = ["image", "against", "ignore_mtime", "matrix"])]
    agent: bool,
    /// Boot a sealed image, and boot it again with one bit flipped, which its kernel has to refuse
    #[arg(long, conflicts_with_all = ["image", "against", "ignore_mtime", "matrix", "agent"])]
    verity: bool,
    /// What executes the guest
    #[arg(long, value_enum, default_value_t)]
    accel: Accel,
    /// Seconds the guest may take [default: 300, and 1800 for the matrix]
    #[arg(long, value_name = "SECS")]
    timeout: Option<u64>,
    /// A path whose time is not compared; may be given many times
    #[arg(long, value_name = "PATH")]
    ignore_mtime: Vec<String>,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Run(options) => return xtask::run::run(&options),
        Task::Test(options) => test::test(options),
        Task::Fuzz(options) => fuzz::fuzz(&options),
        Task::Torture(options) => torture::torture(&options),
        Task::Demo => demo::run(),
        Task::Verify(arguments) => arguments.run(),
        Task::Listing { directory } => {
            let listing = Listing::walk(&directory)?.to_text();
            std::io::stdout().write_all(&listing).map_err(Into::into)
        }
        Task::Probe => {
            println!("{}", guest::build_shown()?.probe.display());
            Ok(())
        }
        Task::Agent => {
            println!("{}", guest::build_shown()?.agent.display());
            Ok(())
        }
        Task::Bench(options) => bench::bench(&options),
        Task::Api(options) => api::api(options),
        Task::Dist(options) => dist::dist(options),
        Task::Packages => packages::install(),
        Task::Reference => reference::write(),
        Task::Msrv => policy::msrv(),
    }
    .map(|()| ExitCode::SUCCESS)
}

impl Verify {
    fn run(self) -> Result<()> {
        let mut options = VerifyOptions {
            accel: self.accel,
            ..VerifyOptions::default()
        };
        if self.agent {
            return xtask::images::verify_agent();
        }
        if self.verity {
            return xtask::images::verify_sealed();
        }
        if self.matrix {
            options.timeout = self.timeout.map_or(matrix::TIMEOUT, Duration::from_secs);
            let disks = matrix::disks()?;
            let verified = matrix::verify_disks(&disks, &options)?;
            let images: usize = disks.iter().map(|disk| disk.images().len()).sum();
            println!(
                "{images} images equal, {:.1} s",
                verified.took.as_secs_f32()
            );
            return Ok(());
        }
        let image = self.image.context("no image is given")?;
        let expected = listing(&self.against.context("--against is missing")?)?;
        if let Some(timeout) = self.timeout {
            options.timeout = Duration::from_secs(timeout);
        }
        let paths = self.ignore_mtime.into_iter();
        options.diff.ignore_mtime = paths.map(String::into_bytes).collect();
        let verified = verify(&image, &expected, &options)?;
        let entries = verified.report.listing.entries.len();
        println!(
            "{}: {entries} entries equal, {:.1} s",
            image.display(),
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
