//! What one run took.

use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command;

/// One run of a contender: the sum of its steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) wall: Duration,
    /// User and system time of all its processes.
    pub(super) cpu: Duration,
    /// The largest process's, in bytes.
    pub(super) peak: u64,
    /// CPU of the registry meanwhile.
    pub(super) registry: Duration,
    /// Bytes of the image that are used: without the padding, which is another thing for each program.
    pub(super) size: u64,
    /// Writing such an image with one fsync takes this long.
    pub(super) sync: Duration,
    /// Reading it, in all three ways.
    pub(super) reading: Duration,
}

impl Sample {
    pub(super) fn add(&mut self, step: &Self) {
        self.wall += step.wall;
        self.cpu += step.cpu;
        self.peak = self.peak.max(step.peak);
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} s, {:.2} s of CPU, {} MB, {} bytes",
            self.wall.as_secs_f64(),
            self.cpu.as_secs_f64(),
            self.peak / 1_000_000,
            self.size
        )
    }
}

/// Returns the one in the middle; of an even number of samples, the larger of the two.
pub(super) fn median<S, T: Ord + Copy + Default>(samples: &[S], of: impl Fn(&S) -> T) -> T {
    let mut values: Vec<_> = samples.iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Runs a command under `time`, which knows what its processes used.
pub(super) fn run(command: &mut Command) -> Result<Sample> {
    let report = tempfile::NamedTempFile::new()?;
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%U %S %M", "-o"]).arg(report.path());
    timed.arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        timed.current_dir(directory);
    }
    // Otherwise the kernel writes back what the run before left, at the expense of this one.
    rustix::fs::sync();
    let start = Instant::now();
    command::output(&mut timed)?;
    let wall = start.elapsed();
    let report = fs::read_to_string(report.path())?;
    let fields: Vec<_> = report.split_whitespace().collect();
    let [user, system, kilobytes] = fields[..] else {
        anyhow::bail!("time printed {report:?}");
    };
    Ok(Sample {
        wall,
        cpu: Duration::from_secs_f64(user.parse::<f64>()? + system.parse::<f64>()?),
        peak: kilobytes.parse::<u64>()? << 10,
        ..Sample::default()
    })
}

/// User and system time of a process so far.
pub(super) fn cpu_of(process: u32) -> Result<Duration> {
    const TICKS_A_SECOND: u64 = 100;
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name in parentheses may hold anything; fields 14 and 15 are the times.
    let rest = stat.rsplit_once(") ").context("no process name")?.1;
    let mut fields = rest.split(' ').skip(11);
    let mut next = || -> Result<u64> { Ok(fields.next().context("too short")?.parse()?) };
    let ticks = next()? + next()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_A_SECOND))
}

/// Reads a file, or all files below a directory, so that the next reader does not wait for a disk.
pub(super) fn warm(path: &Path) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            warm(&entry?.path())?;
        }
        return Ok(());
    }
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    std::io::copy(&mut file, &mut std::io::sink())?;
    Ok(())
}

/// What the superblock of an image says of its length.
pub(super) fn bytes_used(image: &Path) -> Result<u64> {
    let mut field = [0; 8];
    let file = File::open(image).with_context(|| format!("cannot open {}", image.display()))?;
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut field, 40)
        .with_context(|| format!("cannot read the superblock of {}", image.display()))?;
    Ok(u64::from_le_bytes(field))
}

/// Returns how long it takes to write a file once, with one fsync.
pub(super) fn sync_copy(from: &Path, to: &Path) -> Result<Duration> {
    let bytes = fs::read(from)?;
    let start = Instant::now();
    let file = File::create(to)?;
    std::io::Write::write_all(&mut &file, &bytes)?;
    file.sync_all()?;
    let took = start.elapsed();
    fs::remove_file(to)?;
    Ok(took)
}
