//! SIGINT, SIGTERM, SIGHUP and a closed stderr end the program within a second, whatever its threads are doing.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Signal as Number, getpid, getrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::stop::{self, Stopped};
use crate::terminal;

/// Time that the threads of the work have after a signal to clean up. A file that is left then has no name, or a
/// dot-name that the next build removes.
pub(crate) const CLEANUP: Duration = Duration::from_millis(500);

/// Time until the program ends after a signal, even if its cleanup does not finish.
const GRACE: Duration = Duration::from_millis(800);

/// Time in which the reader of stderr must take the last line.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Makes a write beyond the limit of file sizes (`ulimit -f`) fail with an error that is reported. By default its signal,
/// SIGXFSZ, ends the program without a word. Programs that this one starts get the default back.
pub(crate) fn survive_file_limit() {
    if getrlimit(Resource::Fsize).current.is_none() {
        return;
    }
    // The work would fail for the same reasons, and report them.
    if let Ok(runtime) = runtime() {
        let _guard = runtime.enter();
        // The handler stays when the listener is dropped.
        drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw())));
    }
}

/// Makes the runtime of a thread that may listen for signals.
pub(crate) fn runtime() -> io::Result<Runtime> {
    // Tokio panics if it gets no descriptors for its own pair of sockets. The runtime takes six in all.
    let free = [(); 3].map(|()| UnixStream::pair());
    for pair in free {
        drop(pair?);
    }
    Builder::new_current_thread().enable_all().build()
}

/// Makes signals end this program also as the first process of a container, whose default actions the kernel ignores. Work
/// that listens itself cleans up first.
pub(crate) fn end_as_first_process() {
    if !getpid().is_init() {
        return;
    }
    let Ok(runtime) = runtime() else { return };
    let Ok(mut signals) = Signals::catch(&runtime) else {
        return;
    };
    // Without a thread, the program works and ends at SIGKILL alone.
    let _ = thread::Builder::new()
        .name("first process".to_owned())
        .spawn(move || {
            loop {
                let reason = runtime.block_on(signals.any());
                if !stop::listens() {
                    process::exit(reason.code().into());
                }
            }
        });
}

/// Begins to listen, on its own thread, because the caller's thread may be busy for long. Returns the channel that
/// delivers the reason to stop. The program ends [`GRACE`] after it, or at the second signal.
pub(crate) fn listen() -> anyhow::Result<oneshot::Receiver<Stopped>> {
    let runtime = runtime().context("cannot listen for signals")?;
    let mut signals = Signals::catch(&runtime)?;
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.watch(&runtime, sender))
        .context("cannot listen for signals")?;
    stop::listened();
    Ok(receiver)
}

/// Returns the bit of a signal in the sets of `/proc/self/status`.
fn bit(kind: SignalKind) -> u64 {
    let number = u32::try_from(kind.as_raw_value()).unwrap_or_default();
    1_u64
        .checked_shl(number.saturating_sub(1))
        .unwrap_or_default()
}

/// Returns the signals that the program was started to ignore, as `nohup` and shells do for programs in the
/// background. A handler would undo that.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or_default()
}

/// Waits for a signal; forever for one that is ignored.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Prints why the program ends, unless the reader of stderr is slow, because a full pipe must not keep the program.
fn say_in_time(reason: Stopped) {
    let (done, said) = mpsc::channel();
    let error = move || {
        terminal::error(&reason.into());
        let _ = done.send(());
    };
    if thread::Builder::new().spawn(error).is_ok() {
        let _ = said.recv_timeout(LAST_WORD);
    }
}

struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hangup: Option<Signal>,
}

impl Signals {
    /// Catches all of them, except those that stay ignored.
    fn catch(runtime: &Runtime) -> io::Result<Self> {
        let _guard = runtime.enter();
        let ignored = ignored();
        let caught = |kind: SignalKind| match ignored & bit(kind) {
            0 => signal(kind).map(Some),
            _ => Ok(None),
        };
        Ok(Self {
            interrupt: caught(SignalKind::interrupt())?,
            terminate: caught(SignalKind::terminate())?,
            hangup: caught(SignalKind::hangup())?,
        })
    }

    fn watch(&mut self, runtime: &Runtime, sender: oneshot::Sender<Stopped>) {
        let reason = runtime.block_on(self.first());
        // The receiver was dropped if the work is over. The reader of the result may be slow, and metrics
        // may wait for a lock, so the program may be far from its end.
        if sender.send(reason).is_err() {
            Self::end(reason);
        }
        runtime.block_on(async {
            tokio::select! {
                _ = self.first() => {}
                () = tokio::time::sleep(GRACE) => {}
            }
        });
        Self::end(reason);
    }

    fn end(reason: Stopped) -> ! {
        if reason != Stopped::Unread {
            say_in_time(reason);
        }
        process::exit(reason.code().into());
    }

    async fn first(&mut self) -> Stopped {
        tokio::select! {
            reason = self.any() => reason,
            () = stop::until_unread() => Stopped::Unread,
        }
    }

    async fn any(&mut self) -> Stopped {
        tokio::select! {
            () = next(&mut self.interrupt) => Stopped::Interrupted,
            () = next(&mut self.terminate) => Stopped::Terminated,
            () = next(&mut self.hangup) => Stopped::HungUp,
        }
    }
}
