//! A process of the program: started, troubled, measured.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::plan::Trouble;

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Lines of an output that a failure shows.
const LINES: usize = 20;

/// How a process ended, and what it took.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) took: Duration,
    /// Time from the signal to the end, if one was sent.
    pub(super) signaled: Option<Duration>,
    /// Peak of the resident memory in KiB; 0 if it was not seen.
    pub(super) peak: u64,
}

/// For a failure: the end of a long output is enough.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status, took, peak, ..
        } = self;
        write!(f, "{status} after {took:?}, {peak} KiB")?;
        if let Some(signaled) = self.signaled {
            write!(f, ", {signaled:?} after its signal")?;
        }
        for (name, output) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let lines: Vec<&str> = output.lines().collect();
            let (_, last) = lines.split_at(lines.len().saturating_sub(LINES));
            write!(f, "\n{name}:\n{}", last.join("\n"))?;
        }
        Ok(())
    }
}

impl Outcome {
    /// Returns whether it ended by a signal that the test did not send, by a panic, or with an exit code that it does
    /// not have.
    pub(super) fn crashed(&self, trouble: &Trouble) -> bool {
        // The loader of shared libraries reads from the failing disk, too.
        if matches!(trouble, Trouble::Disk { .. }) && self.status.code() == Some(127) {
            return false;
        }
        let sent = match trouble {
            Trouble::Kill(_) => Some(9),
            Trouble::Terminate(_) => Some(15),
            Trouble::None | Trouble::Disk { .. } => None,
        };
        let signal = self.status.signal();
        (signal.is_some() && signal != sent)
            || !matches!(self.status.code(), None | Some(0..=2 | 75 | 143))
            || self.stderr.contains("panicked")
    }
}

/// A place to run the program in: a store, and nothing of the host's but the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) program: &'a Path,
    pub(super) home: &'a Path,
    pub(super) store: &'a Path,
}

impl Place<'_> {
    /// Runs the program to its end. `time` is how long it may take at all.
    pub(super) fn run<I>(&self, arguments: I, trouble: &Trouble, time: Duration) -> Result<Outcome>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = match trouble {
            Trouble::Disk {
                call,
                errno,
                first,
                lasting,
            } => {
                let more = if *lasting { "+" } else { "" };
                let mut strace = Command::new("strace");
                strace
                    .args(["-f", "-qq", "-e", "signal=none", "-o", "/dev/null", "-e"])
                    .arg(format!("trace={call}"))
                    .arg("-e")
                    .arg(format!("inject={call}:error={errno}:when={first}{more}"))
                    .arg(self.program);
                strace
            }
            _ => Command::new(self.program),
        };
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home)
            .env("HPCC_CACHE_DIR", self.store)
            .current_dir(self.home)
            .stdin(Stdio::null());
        watch(command, self.program, trouble, time)
    }
}

fn watch(
    mut command: Command,
    program: &Path,
    trouble: &Trouble,
    time: Duration,
) -> Result<Outcome> {
    // Files, because a pipe without a reader would stop the process.
    let (stdout, stderr) = (
        tempfile::NamedTempFile::new()?,
        tempfile::NamedTempFile::new()?,
    );
    let start = Instant::now();
    let mut child = command
        .stdout(stdout.reopen()?)
        .stderr(stderr.reopen()?)
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    let (mut peak, mut sent) = (0, None);
    let status = loop {
        peak = peak.max(resident_peak(child.id(), program));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let signal = match trouble {
            Trouble::Kill(after) if start.elapsed() >= *after => Some(Signal::KILL),
            Trouble::Terminate(after) if start.elapsed() >= *after => Some(Signal::TERM),
            _ => None,
        };
        if let Some(signal) = signal
            && sent.is_none()
        {
            sent = Some(Instant::now());
            send(&child, signal);
        }
        if start.elapsed() > time {
            // The caller sees how long it took.
            child.kill()?;
        }
        std::thread::sleep(LOOK);
    };
    Ok(Outcome {
        status,
        stdout: String::from_utf8_lossy(&fs::read(stdout.path())?).into_owned(),
        stderr: String::from_utf8_lossy(&fs::read(stderr.path())?).into_owned(),
        took: start.elapsed(),
        signaled: sent.map(|sent| sent.elapsed()),
        peak,
    })
}

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended meanwhile; it is not reaped yet, so the number is still its own.
        let _ = kill_process(pid, signal);
    }
}

/// Returns the peak of a process that executes `program`, in KiB. Until it does, it shares the memory of this process.
fn resident_peak(pid: u32, program: &Path) -> u64 {
    if !fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|running| running == program) {
        return 0;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
