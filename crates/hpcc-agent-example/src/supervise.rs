//! The duties of PID 1 towards the processes below it: it forwards signals to them and reaps them.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, wait,
};
use signal_hook::consts::signal::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};

use crate::say;

/// `SIGPWR`, which a host's power button may become. signal-hook does not name it.
const SIGPWR: i32 = Signal::POWER.as_raw();

/// Requests to stop the machine: the command gets the image's stop signal.
const STOPS: [i32; 3] = [SIGINT, SIGTERM, SIGPWR];
/// Signals that are passed on to the command unchanged.
const FORWARDED: [i32; 7] = [
    SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH,
];

/// What PID 1 needs to supervise a command. It is made before the command starts, because the command may leave no
/// memory and no process number for anything new.
pub(crate) struct Supervisor {
    /// The kernel discards signals for which PID 1 has no handler.
    signals: signal_hook::iterator::Signals,
    killer: Killer,
}

/// A thread that kills a process some time later.
struct Killer(SyncSender<Pid>);

impl Killer {
    fn start(delay: Duration) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(1);
        std::thread::Builder::new().spawn(move || {
            if let Ok(process) = receiver.recv() {
                std::thread::sleep(delay);
                // The machine ends with this process, so the number is still its own.
                let _ = kill_process(process, Signal::KILL);
            }
        })?;
        Ok(Self(sender))
    }

    /// Starts the delay, the first time that this is called.
    fn kill(&self, process: Pid) {
        let _ = self.0.try_send(process);
    }
}

impl Supervisor {
    /// Handles signals from now on. A command is killed `timeout` after the first request to stop.
    pub(crate) fn new(timeout: Duration) -> Result<Self, String> {
        let signals = STOPS.iter().chain(&FORWARDED).chain(&[SIGCHLD]);
        let signals = signal_hook::iterator::Signals::new(signals)
            .map_err(|error| format!("cannot handle signals: {error}"))?;
        let killer =
            Killer::start(timeout).map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self { signals, killer })
    }

    /// Forwards signals to `main` and reaps every process that ends, until `main` does; returns its exit code.
    pub(crate) fn supervise(mut self, main: Pid, stop: Signal) -> u8 {
        for signal in self.signals.forever() {
            if signal == SIGCHLD {
                if let Some(status) = reap(main) {
                    return code(status);
                }
                continue;
            }
            let stops = STOPS.contains(&signal);
            let sent = if stops {
                Some(stop)
            } else {
                Signal::from_named_raw(signal)
            };
            if let Some(sent) = sent
                && let Err(error) = kill_process(main, sent)
            {
                say(&format!(
                    "warning: cannot send signal {}: {error}",
                    sent.as_raw()
                ));
            }
            if stops {
                self.killer.kill(main);
            }
        }
        super::FAILED
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

/// Ends every other process, so that none writes to the console or to a disk any more.
pub(crate) fn kill_everything() {
    const ROUNDS: usize = 100;
    for _ in 0..ROUNDS {
        // The negative number of PID 1 stands for every process but the caller; /proc could be unmounted by now.
        let _ = kill_process_group(Pid::INIT, Signal::KILL);
        // Every process of the user eventually becomes a child of PID 1.
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(Errno::CHILD) => return,
                Err(_) => break,
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    say("warning: processes are left that do not end");
}
