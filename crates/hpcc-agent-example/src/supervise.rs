//! The duties of PID 1 towards the processes below it: it forwards signals to them and reaps them.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, pidfd_open,
    wait,
};
use signal_hook::consts::signal::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::say;

/// `SIGPWR`, which a host's power button may become. signal-hook does not name it.
const SIGPWR: i32 = Signal::POWER.as_raw();

/// Requests to stop the machine: the command gets the image's stop signal.
const STOPS: [i32; 3] = [SIGINT, SIGTERM, SIGPWR];
/// Signals that are passed on to the command unchanged.
const FORWARDED: [i32; 7] = [
    SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH,
];

/// How long a command that was killed may take to end. One that is frozen or waits for a device never ends.
const GRACE: Duration = Duration::from_secs(5);

/// What PID 1 needs to supervise a command. It is made before the command starts, because the command may leave no
/// memory and no process number for anything new.
pub(crate) struct Supervisor {
    /// The kernel discards signals for which PID 1 has no handler.
    signals: SignalDelivery<UnixStream, SignalOnly>,
    timeout: Duration,
}

/// How the supervision of a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The command ended with this exit code.
    Code(u8),
    /// The command is dead and cannot be reaped yet, because another process traces it, or it does not end although it
    /// was killed.
    Left(Pid),
}

impl Supervisor {
    /// Handles signals from now on. A command is killed `timeout` after the first request to stop.
    pub(crate) fn new(timeout: Duration) -> Result<Self, String> {
        let failed = |error| format!("cannot handle signals: {error}");
        let signals = STOPS.iter().chain(&FORWARDED).chain(&[SIGCHLD]);
        let (read, write) = UnixStream::pair().map_err(failed)?;
        let signals =
            SignalDelivery::with_pipe(read, write, SignalOnly, signals).map_err(failed)?;
        Ok(Self { signals, timeout })
    }

    /// Forwards signals to `main` and reaps every process that ends, until `main` does. A command that does not end
    /// after a request to stop is left after the time for it.
    pub(crate) fn supervise(mut self, main: Pid, stop: Signal) -> Ended {
        // Its end is seen there although a process that traces it keeps it from being reaped. Before Linux 5.3, there
        // are signals alone.
        let end = pidfd_open(main, PidfdFlags::empty()).ok();
        let mut plan = Plan::Runs;
        loop {
            let (signaled, ended) = self.wait(end.as_ref(), plan.next());
            if signaled {
                for signal in self.signals.pending() {
                    if signal != SIGCHLD {
                        let stops = STOPS.contains(&signal);
                        forward(main, signal, stops.then_some(stop));
                        plan = plan.requested(stops, self.timeout);
                    }
                }
            }
            if let Some(status) = reap(main) {
                return Ended::Code(code(status));
            }
            if ended {
                return Ended::Left(main);
            }
            match plan {
                Plan::Kills(Some(at)) if at <= Instant::now() => {
                    let _ = kill_process(main, Signal::KILL);
                    plan = Plan::Leaves(Instant::now() + GRACE);
                }
                Plan::Leaves(at) if at <= Instant::now() => return Ended::Left(main),
                _ => {}
            }
        }
    }

    /// Waits for a signal or the end of the command, until a time at most; returns which of them came.
    fn wait(&self, end: Option<&OwnedFd>, until: Option<Instant>) -> (bool, bool) {
        let signals = self.signals.get_read();
        let mut events = vec![PollFd::new(signals, PollFlags::IN)];
        events.extend(end.map(|end| PollFd::new(end, PollFlags::IN)));
        let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
        // Longer than the kernel counts is no limit.
        let rest = rest.and_then(|rest| Timespec::try_from(rest).ok());
        if poll(&mut events, rest.as_ref()).is_err() {
            return (true, false);
        }
        let came = |at: usize| {
            let event = events.get(at).map(PollFd::revents);
            event.is_some_and(|event| !event.is_empty())
        };
        (came(0), came(1))
    }
}

/// What happens to the command, and when.
#[derive(Debug, Clone, Copy)]
enum Plan {
    Runs,
    /// A request to stop came. `SIGKILL` follows at that time, or never if the clock does not reach so far.
    Kills(Option<Instant>),
    /// `SIGKILL` was sent, and at that time the command is left.
    Leaves(Instant),
}

impl Plan {
    /// Returns the plan after a signal. A second request to stop changes nothing.
    fn requested(self, stops: bool, timeout: Duration) -> Self {
        match self {
            Self::Runs if stops => Self::Kills(Instant::now().checked_add(timeout)),
            _ => self,
        }
    }

    fn next(self) -> Option<Instant> {
        match self {
            Self::Runs => None,
            Self::Kills(at) => at,
            Self::Leaves(at) => Some(at),
        }
    }
}

/// Sends the command a signal that PID 1 received, or its stop signal in the place of it.
fn forward(main: Pid, received: i32, stop: Option<Signal>) {
    let sent = stop.or_else(|| Signal::from_named_raw(received));
    if let Some(sent) = sent
        && let Err(error) = kill_process(main, sent)
    {
        say(&format!(
            "warning: cannot send signal {}: {error}",
            sent.as_raw()
        ));
    }
}

/// Reaps all processes that have ended. Returns how `main` ended if it is one of them.
///
/// One SIGCHLD may stand for many of them, and PID 1 inherits the children of every process that ends before them.
fn reap(main: Pid) -> Option<WaitStatus> {
    let mut found = None;
    while let Ok(Some((process, status))) = wait(WaitOptions::NOHANG) {
        if process == main {
            found = Some(status);
        }
    }
    found
}

/// Returns the exit code, or as in a shell 128 and the number of the signal.
fn code(status: WaitStatus) -> u8 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or(signal);
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

/// Ends every other process, so that none writes to the console or to a disk any more. Returns the exit code of `main` if
/// it is one of them: a process that traced it kept it from being reaped.
pub(crate) fn kill_everything(main: Option<Pid>) -> Option<u8> {
    const ROUNDS: usize = 100;
    let mut found = None;
    for _ in 0..ROUNDS {
        // The negative number of PID 1 stands for every process but the caller; /proc could be unmounted by now.
        let _ = kill_process_group(Pid::INIT, Signal::KILL);
        // Every process of the user eventually becomes a child of PID 1.
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((process, status))) if Some(process) == main => found = Some(code(status)),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(Errno::CHILD) => return found,
                Err(_) => break,
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    say("warning: processes are left that do not end");
    found
}
