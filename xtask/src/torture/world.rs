//! The store under torture, the registry that it pulls from, and what the oracle said of every image.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use test_support::image::Store as Content;
use test_support::registry::Registry;

use super::images::{self, Served};
use super::plan::{Process, Round, Task, Trouble};
use super::process::{Outcome, Place};
use super::random::Random;
use crate::{command, workspace};

/// Longest time of one process. The longest that a plan can ask for is some stalls, pauses between retries, and
/// blobs that come just faster than [`RATE`].
const TIME: Duration = Duration::from_secs(180);

/// What counts as a stall if less comes over [`WINDOW`]. A registry that drips could hold a pull for longer than
/// [`TIME`] otherwise: 684 KiB at the default of 1 KiB/s.
const RATE: &str = "16K";

/// The time over which the rate is averaged.
const WINDOW: &str = "5s";

/// Longest time from SIGTERM to the end. The promise is one second; the machine may be busy.
const TERMINATION: Duration = Duration::from_secs(10);

/// Largest resident memory of one process, in KiB: as much as a pull of the largest image takes.
const MEMORY: u64 = 64 << 10;

/// How many agents there are to put into images.
pub(super) const AGENTS: usize = 2;

/// The store, the registry, and what the oracle said.
pub(super) struct World {
    directory: tempfile::TempDir,
    program: PathBuf,
    registry: Registry,
    pub(super) images: Vec<Served>,
    /// By digest and agent. An image that is refused has none.
    expected: BTreeMap<(String, usize), Vec<u8>>,
    pub(super) processes: u64,
    pub(super) killed: u64,
    pub(super) peak: u64,
}

impl World {
    pub(super) fn new(random: &mut Random) -> Result<Self> {
        command::output(workspace::build_program().arg("--quiet"))?;
        let mut content = Content::new();
        let images = images::add(&mut content, random);
        let directory = tempfile::Builder::new().prefix("torture-").tempdir()?;
        for agent in 0..AGENTS {
            fs::write(
                agent_in(directory.path(), agent),
                format!("#!agent {agent}\n"),
            )?;
        }
        let mut world = Self {
            directory,
            program: workspace::target("debug")?.join("hpcc-rootfs"),
            registry: Registry::serve(content)?,
            images,
            expected: BTreeMap::new(),
            processes: 0,
            killed: 0,
            peak: 0,
        };
        world.ask_the_oracle()?;
        Ok(world)
    }

    /// Returns the directory, which nothing removes any more.
    pub(super) fn keep(&mut self) -> &Path {
        self.directory.disable_cleanup(true);
        self.directory.path()
    }

    fn ask_the_oracle(&mut self) -> Result<()> {
        for image in 0..self.images.len() {
            for agent in 0..AGENTS {
                let empty = self.directory.path().join(format!("cold-{image}-{agent}"));
                let task = Task::Pull {
                    image,
                    agent,
                    verify: false,
                };
                let place = self.place(&empty);
                let outcome = place.run(self.arguments(&task), &Trouble::None, TIME)?;
                self.judge(&task, &Trouble::None, &outcome)?;
                let digest = &self.images[image].descriptor.digest;
                let built = artifacts(&empty)?;
                match (outcome.status.success(), built.len()) {
                    (true, 1) | (false, 0) => {}
                    (_, count) => bail!(
                        "the cold build of {} left {count} artifacts: {outcome}",
                        self.images[image].name
                    ),
                }
                for path in built {
                    let bytes = fs::read(&path)?;
                    self.expected.insert((digest.clone(), agent), bytes);
                }
                fs::remove_dir_all(&empty).ok();
            }
            let Served { name, descriptor } = &self.images[image];
            let fate = match self.expected.get(&(descriptor.digest.clone(), 0)) {
                Some(bytes) => format!("{} bytes", bytes.len()),
                None => "refused".to_owned(),
            };
            println!("image {image}, {name}: {fate}");
        }
        Ok(())
    }

    fn place<'a>(&'a self, store: &'a Path) -> Place<'a> {
        Place {
            program: &self.program,
            home: self.directory.path(),
            store,
        }
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub(super) fn take(&mut self, plan: &Round) -> Result<()> {
        if let Some(chance) = plan.damage {
            damage(&self.store(), chance)?;
        }
        for fault in &plan.faults {
            self.registry.inject(fault.fault());
        }
        let outcomes = self.run_all(&plan.processes)?;
        self.registry.clear_faults();
        self.registry.clear_requests();
        for (process, outcome) in plan.processes.iter().zip(&outcomes) {
            let Process { task, trouble } = process;
            self.judge(task, trouble, outcome)?;
            let calm = plan.is_calm() && plan.damage.is_none();
            if calm && matches!(trouble, Trouble::None) {
                self.must_succeed(task, outcome)?;
            }
        }
        if plan.damage.is_some() {
            // It finds what no pull came across, and exits with 1 then.
            let outcome = self.run(&Task::Verify)?;
            self.judge(&Task::Verify, &Trouble::None, &outcome)?;
        }
        self.compare()
    }

    fn run_all(&self, processes: &[Process]) -> Result<Vec<Outcome>> {
        let store = self.store();
        std::thread::scope(|scope| {
            let running: Vec<_> = processes
                .iter()
                .map(|Process { task, trouble }| {
                    let (place, arguments) = (self.place(&store), self.arguments(task));
                    scope.spawn(move || place.run(arguments, trouble, TIME))
                })
                .collect();
            running
                .into_iter()
                .map(|thread| match thread.join() {
                    Ok(outcome) => outcome,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect()
        })
    }

    fn run(&self, task: &Task) -> Result<Outcome> {
        let store = self.store();
        self.place(&store)
            .run(self.arguments(task), &Trouble::None, TIME)
    }

    fn arguments(&self, task: &Task) -> Vec<String> {
        let digest = |image: usize| self.images[image].descriptor.digest.clone();
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        match *task {
            Task::Pull {
                image,
                agent,
                verify,
            } => {
                let reference = format!("{}/torture@{}", self.registry.addr(), digest(image));
                let agent = agent_in(self.directory.path(), agent);
                let agent = agent.display().to_string();
                let mut arguments: Vec<String> = words(&[
                    "pull",
                    &reference,
                    "--agent",
                    &agent,
                    "--platform",
                    "linux/amd64",
                    "--stall-timeout",
                    "2",
                    "--min-rate",
                    RATE,
                    "--min-rate-window",
                    WINDOW,
                    "--threads",
                    "2",
                ]);
                if verify {
                    arguments.push("--verify".to_owned());
                }
                arguments
            }
            Task::Collect { kilobytes } => words(&["gc", "--max-size", &format!("{kilobytes}K")]),
            Task::Verify => words(&["verify"]),
            Task::Untag(image) => words(&["untag", &digest(image)]),
            Task::List => words(&["list", "--json"]),
        }
    }

    /// Holds what a process took and how it ended against its limits.
    fn judge(&mut self, task: &Task, trouble: &Trouble, outcome: &Outcome) -> Result<()> {
        self.processes += 1;
        self.killed += u64::from(outcome.status.code().is_none());
        self.peak = self.peak.max(outcome.peak);
        ensure!(outcome.took < TIME, "{task:?} did not end: {outcome}");
        ensure!(!outcome.crashed(trouble), "{task:?} crashed: {outcome}");
        if let Some(took) = outcome.signaled {
            ensure!(
                took < TERMINATION,
                "{task:?} did not end by its signal: {outcome}"
            );
        }
        // strace has a peak of its own.
        if !matches!(trouble, Trouble::Disk { .. }) {
            ensure!(
                outcome.peak <= MEMORY,
                "{task:?} took {} KiB of memory: {outcome}",
                outcome.peak
            );
        }
        Ok(())
    }

    /// Nothing went wrong, so the oracle says how the process has to end.
    fn must_succeed(&self, task: &Task, outcome: &Outcome) -> Result<()> {
        let expected = match task {
            Task::Pull { image, agent, .. } => {
                let digest = self.images[*image].descriptor.digest.clone();
                self.expected.contains_key(&(digest, *agent))
            }
            _ => true,
        };
        ensure!(
            outcome.status.success() == expected,
            "{task:?} should {}: {outcome}",
            if expected { "succeed" } else { "be refused" }
        );
        Ok(())
    }

    /// Compares every artifact in the store with the oracle's.
    fn compare(&self) -> Result<()> {
        for path in artifacts(&self.store())? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let digest = name.trim_end_matches(".sqsh").replacen('-', ":", 1);
            let bytes = fs::read(&path)?;
            let agents = 0..AGENTS;
            let mut all = agents.filter_map(|agent| self.expected.get(&(digest.clone(), agent)));
            let kept = self.directory.path().join("store");
            ensure!(
                all.any(|expected| *expected == bytes),
                "{name} in {} is not what a cold build makes",
                kept.display()
            );
        }
        let listed = self.run(&Task::List)?;
        ensure!(
            listed.status.success(),
            "the store cannot be listed: {listed}"
        );
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout)?;
        for artifact in listed.as_array().into_iter().flatten() {
            ensure!(artifact["error"].is_null(), "listed as damaged: {artifact}");
        }
        Ok(())
    }

    /// Without trouble every image is pulled or refused as the oracle says, and a collection leaves nothing else.
    pub(super) fn end(&mut self) -> Result<()> {
        for image in 0..self.images.len() {
            let task = Task::Pull {
                image,
                agent: 0,
                verify: true,
            };
            let outcome = self.run(&task)?;
            self.judge(&task, &Trouble::None, &outcome)?;
            self.must_succeed(&task, &outcome)?;
        }
        let collect = Task::Collect { kilobytes: 1 << 30 };
        let outcome = self.run(&collect)?;
        self.must_succeed(&collect, &outcome)?;
        self.compare()?;
        for entry in fs::read_dir(self.store())? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            let of_an_artifact = |prefix| {
                let of = name.strip_prefix(prefix);
                of.is_some_and(|of| self.store().join(format!("{of}.sqsh")).exists())
            };
            let belongs = name.ends_with(".sqsh")
                || name.starts_with(".lock-")
                || name.starts_with(".lease-")
                // It may be what keeps a tag from an older image.
                || name.starts_with(".note-")
                || of_an_artifact(".recall-");
            ensure!(belongs, "{name} is left in the store");
        }
        Ok(())
    }
}

fn agent_in(directory: &Path, agent: usize) -> PathBuf {
    directory.join(format!("agent-{agent}"))
}

/// Returns the paths of the artifacts in a store, sorted; a store that does not exist has none.
fn artifacts(store: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(store) else {
        return Ok(Vec::new());
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "sqsh")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Changes one byte of one artifact, as a disk may.
fn damage(store: &Path, chance: u64) -> Result<()> {
    let paths = artifacts(store)?;
    let count = u64::try_from(paths.len())?;
    let Some(index) = chance.checked_rem(count) else {
        return Ok(());
    };
    let path = &paths[usize::try_from(index)?];
    let file = fs::File::options().read(true).write(true).open(path)?;
    let at = (chance >> 16)
        .checked_rem(file.metadata()?.len())
        .unwrap_or(0);
    let mut byte = [0];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, at)?;
    std::os::unix::fs::FileExt::write_all_at(&file, &[byte[0] ^ 0x40], at)?;
    println!("    changed byte {at} of {}", path.display());
    Ok(())
}
