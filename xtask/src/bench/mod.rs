//! `cargo xtask bench`: this project and its peers on one machine, in one run, each output read back.
//!
//! `choices` is the measurement from which the defaults were chosen. `growth`, `network` and `second` measure this
//! project alone: images that grow, a network slower than the machine, and images of which the store knows most.
//!
//! *Peers* are two tables. *From the registry to a finished squashfs* pulls a real image from a real registry on
//! loopback; its floor is the unavoidable computation. *A flat tar to squashfs* is the writer alone. Contenders run in
//! turn, A B C A B C, because machines drift: ratios hold where seconds do not. A timing is never a test.

mod bars;
mod choices;
mod contender;
mod growth;
mod measure;
mod network;
mod plot;
mod program;
mod reading;
mod report;
mod second;
mod served;
mod throttle;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Error, Result, bail};
use test_support::docker_registry::DockerRegistry;
use test_support::oracle::{Mount, umoci};
use test_support::real_image::RealImage;
use tree_listing::{DiffOptions, Listing, diff};

use self::choices::ChoicesOptions;
use self::contender::Contender;
use self::growth::GrowthOptions;
use self::measure::Sample;
use self::network::NetworkOptions;
use self::report::{Report, Row, Table};
use self::second::SecondOptions;
use self::served::Served;
use crate::{command, workspace};

/// What is measured.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchOptions {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    peers: PeersOptions,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// This project and its peers, the default measurement
    Peers(PeersOptions),
    /// What each choice of codec, level, block size and tails costs
    Choices(ChoicesOptions),
    /// Time and memory of pulls as images grow
    Growth(GrowthOptions),
    /// Images of which the store knows most
    Second(SecondOptions),
    /// Pulls through a network that is slower than this machine
    Network(NetworkOptions),
}

/// How often, and what becomes of it.
#[derive(clap::Args, Debug)]
struct PeersOptions {
    /// How often each contender runs; medians are printed
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// Writes everything as JSON to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws the wall times of the first table into this file too
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Leaves comparing what was made with what was put in to an earlier run
    #[arg(long)]
    unchecked: bool,
}

/// The directories of the material, and the programs of this project that run.
struct Course {
    directory: PathBuf,
    registry: DockerRegistry,
    reference: String,
    digest: String,
    /// The image flattened by umoci, as a tar.
    tar: PathBuf,
    expected: Listing,
    program: PathBuf,
    tar2sqfs: PathBuf,
    backhand: PathBuf,
    floor: PathBuf,
    /// As small as an agent gets, so that images of equal content are compared.
    agent: PathBuf,
}

/// Measures and prints tables.
///
/// # Errors
/// What prevents the preparation, a program that fails, or an output that is not what was put in.
pub fn bench(options: &BenchOptions) -> Result<()> {
    match &options.what {
        None => peers(&options.peers),
        Some(What::Peers(options)) => peers(options),
        Some(What::Choices(options)) => choices::choices(options),
        Some(What::Growth(options)) => growth::growth(options),
        Some(What::Network(options)) => network::network(options),
        Some(What::Second(options)) => second::second(options),
    }
}

fn peers(options: &PeersOptions) -> Result<()> {
    let course = Course::prepare()?;
    let report = Report {
        machine: report::machine()?,
        tables: vec![
            course.table(
                "From the registry to a finished squashfs, zstd 3, 128 KiB",
                contender::PULLS,
                options,
            )?,
            course.table(
                "A flat tar to squashfs, zstd 3, 128 KiB",
                contender::WRITERS,
                options,
            )?,
        ],
    };
    println!("{report}");
    if let Some(path) = &options.svg {
        std::fs::write(path, report.to_svg())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, report.to_json())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl Course {
    fn prepare() -> Result<Self> {
        let directory = workspace::target("bench")?;
        let Served {
            image,
            registry,
            digest,
        } = Served::start()?;
        let tree = umoci::unpack(image.layout(), RealImage::TAG)
            .map_err(Error::msg)?
            .context("umoci unpacks as root")?;
        let expected = Listing::walk(&tree.root())?;
        let tar = directory.join("flat.tar");
        command::output(
            Command::new("tar")
                .args([
                    "--numeric-owner",
                    "--xattrs",
                    "--xattrs-include=*",
                    "--sort=name",
                    "-C",
                ])
                .arg(tree.root())
                .arg("-cf")
                .arg(&tar)
                .arg("."),
        )?;
        let agent = directory.join("agent");
        std::fs::write(&agent, "#!/bin/sh\n")?;
        Ok(Self {
            directory,
            agent,
            reference: format!("{}/{}:latest", registry.addr(), Served::NAME),
            registry,
            digest,
            tar,
            expected,
            program: program::binary("hpcc-rootfs", "hpcc-rootfs")?,
            tar2sqfs: program::example("hpcc-rootfs", "tar2sqfs")?,
            backhand: program::example("xtask", "backhand")?,
            floor: program::example("hpcc-rootfs", "floor")?,
        })
    }

    /// Runs the contenders in turn.
    fn table(
        &self,
        title: &'static str,
        contenders: &'static [Contender],
        options: &PeersOptions,
    ) -> Result<Table> {
        let mut rows: Vec<_> = contenders.iter().map(Row::new).collect();
        let outputs: Vec<_> = (0..contenders.len())
            .map(|n| self.directory.join(format!("output-{n}.sqsh")))
            .collect();
        for round in 0..options.rounds {
            for ((contender, row), output) in contenders.iter().zip(&mut rows).zip(&outputs) {
                let _ = std::fs::remove_file(output);
                let sample = self.run(contender, output)?;
                println!("{}: {sample}", contender.name);
                row.samples.push(sample);
                if round == 0 && contender.complete && !options.unchecked {
                    self.check(output, contender)
                        .with_context(|| format!("{} got it wrong", contender.name))?;
                }
            }
        }
        // At the end, because it empties the caches, and no contender may have to read its input from a disk for that.
        for round in 0..options.rounds {
            for ((contender, row), output) in contenders.iter().zip(&mut rows).zip(&outputs) {
                let sample = row.samples.get_mut(round);
                if let Some(sample) = sample.filter(|_| contender.makes_image) {
                    sample.reading = reading::here(output)?.total();
                }
            }
        }
        for output in &outputs {
            let _ = std::fs::remove_file(output);
        }
        Ok(Table { title, rows })
    }

    fn run(&self, contender: &Contender, output: &Path) -> Result<Sample> {
        let scratch = tempfile::tempdir_in(&self.directory)?;
        let registry = self.registry.pid();
        let before = measure::cpu_of(registry)?;
        let mut sample = Sample::default();
        // All contenders find the same state: nothing left to be written, and only their input in the caches.
        reading::empty_caches()?;
        measure::warm(&self.tar)?;
        measure::warm(self.registry.storage())?;
        for mut step in (contender.steps)(self, scratch.path(), output) {
            sample.add(&measure::run(&mut step)?);
        }
        sample.registry = measure::cpu_of(registry)? - before;
        if contender.makes_image {
            let image = (contender.image)(self, scratch.path(), output);
            sample.size = measure::bytes_used(&image)?;
            if image != output {
                std::fs::rename(&image, output)?;
            }
            sample.sync = measure::sync_copy(output, &scratch.path().join("copy"))?;
        }
        Ok(sample)
    }

    /// The kernel's mount shows what umoci unpacked.
    fn check(&self, image: &Path, contender: &Contender) -> Result<()> {
        let mount = Mount::squashfs(image)
            .map_err(Error::msg)?
            .context("mounting needs root")?;
        let found = Listing::walk(mount.root())?;
        let options = DiffOptions {
            // Made for the guest, or with the time of unpacking; this project chooses both, not the image.
            ignore: contender
                .own
                .iter()
                .map(|path| path.as_bytes().to_vec())
                .collect(),
            ignore_mtime: self.expected.entries.keys().cloned().collect(),
            directory_links: tree_listing::DirectoryLinks::Ignore,
            ..DiffOptions::default()
        };
        let differences = diff(&self.expected, &found, &options);
        match differences.first() {
            None => Ok(()),
            Some(first) => bail!("{} differences, the first: {first}", differences.len()),
        }
    }
}
