//! SIGINT and SIGTERM end the program within a second, whatever its threads are doing.

use std::process;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::terminal;

/// How long the threads of the work have after a signal to clean up after themselves. What is left
/// then has no name, or a dot-name that the next build removes.
pub(crate) const CLEANUP: Duration = Duration::from_millis(500);

/// How long the program has after a signal, should it not even get to its cleanup.
const GRACE: Duration = Duration::from_millis(800);

/// Begins to listen, on a thread of its own: the one that asks for this may be busy for long.
/// Returns where the reason to stop comes. The program ends [`GRACE`] after it, or at the second
/// signal.
pub(crate) fn listen() -> anyhow::Result<oneshot::Receiver<&'static str>> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot listen for signals")?;
    let guard = runtime.enter();
    let signals = [
        (signal(SignalKind::interrupt())?, "interrupted"),
        (signal(SignalKind::terminate())?, "terminated"),
    ];
    drop(guard);
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || watch(&runtime, signals, sender))
        .context("cannot listen for signals")?;
    Ok(receiver)
}

fn watch(
    runtime: &Runtime,
    [mut interrupt, mut terminate]: [(Signal, &'static str); 2],
    sender: oneshot::Sender<&'static str>,
) {
    let reason = runtime.block_on(first(&mut interrupt, &mut terminate));
    // Nobody listens any more if the work is over; then the program is about to end.
    if sender.send(reason).is_err() {
        return;
    }
    runtime.block_on(async {
        tokio::select! {
            _ = first(&mut interrupt, &mut terminate) => {}
            () = tokio::time::sleep(GRACE) => {}
        }
    });
    terminal::say(&format!("error: {}", stopped(reason)));
    process::exit(1);
}

async fn first(
    interrupt: &mut (Signal, &'static str),
    terminate: &mut (Signal, &'static str),
) -> &'static str {
    tokio::select! {
        _ = interrupt.0.recv() => interrupt.1,
        _ = terminate.0.recv() => terminate.1,
    }
}

/// The message for people.
pub(crate) fn stopped(reason: &str) -> String {
    format!("{reason}; nothing was published")
}
