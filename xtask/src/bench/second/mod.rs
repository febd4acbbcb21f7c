//! The second image: pulls into a store that knows most of it, each beside a cold pull of the same image.
//!
//! The images are that of compilers with small layers on top, served by the registry of the tests, which counts
//! what is fetched. Both artifacts of a round must be equal to the byte.

mod images;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use test_support::registry::Registry;

use self::images::{Images, Second};
use self::table::{Report, Row, Sample};
use super::{measure, program, report};
use crate::{command, workspace};

/// How often, and what becomes of it.
#[derive(clap::Args, Debug)]
pub(super) struct SecondOptions {
    /// How often each image is pulled, cold and with reuse in turn; medians are printed
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// A generated image of some megabytes instead of that of compilers, to try the program
    #[arg(long)]
    tiny: bool,
    /// Writes everything as JSON to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws the wall times into this file too
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What all pulls have in common.
struct Course {
    program: PathBuf,
    directory: PathBuf,
    registry: Registry,
    images: Images,
    /// Two agents, the second one for the image that gets a new one.
    agents: [PathBuf; 2],
}

pub(super) fn second(options: &SecondOptions) -> Result<()> {
    let course = Course::prepare(options.tiny)?;
    let warm = tempfile::tempdir_in(&course.directory)?;
    course.pull(warm.path(), &course.images.first, 0)?;
    let seconds = &course.images.seconds;
    let mut rows: Vec<_> = seconds.iter().map(|second| Row::new(second.name)).collect();
    for _ in 0..options.rounds {
        for (second, row) in seconds.iter().zip(&mut rows) {
            let cold = tempfile::tempdir_in(&course.directory)?;
            let (sample, expected) = course.sample(cold.path(), second)?;
            println!("{}, cold: {sample}", second.name);
            row.cold.push(sample);
            let expected = fs::read(expected)?;
            // Pages of the cache that a virtual machine never used cost it a fault of the host each, and files that were
            // just removed leave pages that it did use.
            drop(cold);
            let (sample, found) = course.sample(warm.path(), second)?;
            println!("{}, with reuse: {sample}", second.name);
            row.warm.push(sample);
            if expected != fs::read(found)? {
                bail!("{}: the bytes differ", second.name);
            }
            course.forget(warm.path(), second)?;
        }
    }
    let report = Report {
        machine: report::machine()?,
        rows,
    };
    println!("{report}");
    for (path, content) in [
        (&options.json, report.to_json()),
        (&options.svg, report.to_svg()),
    ] {
        if let Some(path) = path {
            fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

impl Course {
    fn prepare(tiny: bool) -> Result<Self> {
        let program = program::binary("hpcc-rootfs", "hpcc-rootfs")?;
        let directory = workspace::target("bench")?;
        let agents = [0, 1].map(|n| directory.join(format!("agent-{n}")));
        for (n, agent) in (1..).zip(&agents) {
            fs::write(agent, images::agent(n))?;
        }
        let (images, store) = Images::prepare(tiny, |layout| {
            let cache = tempfile::tempdir_in(&directory)?;
            let artifact = cache.path().join("names.sqsh");
            let mut build = Command::new(&program);
            build
                .args(["build", "--quiet", "--compressor", "none", "--output"])
                .arg(&artifact)
                .arg(layout);
            command::output(&mut build)?;
            let mut inspect = Command::new(&program);
            inspect.args(["inspect", "--tree"]).arg(&artifact);
            command::output(&mut inspect)
        })?;
        Ok(Self {
            registry: Registry::serve(store)?,
            program,
            directory,
            images,
            agents,
        })
    }

    /// Pulls an image into a store; returns what it took and what the program says of it.
    fn pull(&self, store: &Path, digest: &str, agent: usize) -> Result<(measure::Sample, Value)> {
        let said = tempfile::NamedTempFile::new_in(&self.directory)?;
        let mut shell = Command::new("sh");
        shell.args(["-c", "out=$1; shift; exec \"$@\" > \"$out\"", "sh"]);
        shell.arg(said.path()).arg(&self.program);
        shell
            .args(["pull", "--quiet", "--json", "--cache-dir"])
            .arg(store)
            .arg("--agent")
            .arg(self.agents.get(agent).context("no such agent")?)
            .arg(format!("{}/second@{digest}", self.registry.addr()));
        let sample = measure::run(&mut shell)?;
        let said = serde_json::from_slice(&fs::read(said.path())?)?;
        Ok((sample, said))
    }

    /// Pulls a second image; returns what it took, and its artifact.
    fn sample(&self, store: &Path, second: &Second) -> Result<(Sample, PathBuf)> {
        self.registry.clear_requests();
        let (took, said) = self.pull(store, &second.digest, second.agent)?;
        let requests = self.registry.requests();
        let fetched = requests
            .iter()
            .filter(|request| request.method == "GET" && request.status == 200);
        let network = fetched.map(|request| self.images.size(&request.path)).sum();
        let reuse = &said["built"]["reuse"];
        let number = |name: &str| reuse[name].as_u64().context("no word of reuse");
        let sample = Sample {
            took,
            network,
            requests: requests.len(),
            layers: number("layers")?,
            copied: number("bytes")?,
        };
        let path = said["path"].as_str().context("no path")?;
        Ok((sample, path.into()))
    }

    /// Leaves the store with the first image alone.
    fn forget(&self, store: &Path, second: &Second) -> Result<()> {
        if second.digest == self.images.first {
            // The agent of before, which takes no network.
            self.pull(store, &second.digest, 0)?;
            return Ok(());
        }
        let mut untag = Command::new(&self.program);
        untag
            .args(["untag", &second.digest, "--cache-dir"])
            .arg(store);
        command::output(&mut untag)?;
        Ok(())
    }
}
