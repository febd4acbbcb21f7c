//! Why a run ends before its work is done.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Exit code of a run whose output has no reader any more: 128 and SIGPIPE, as a shell reports it.
pub(crate) const CLOSED_PIPE: u8 = 141;

/// Whether a thread waits for a reason to stop.
static LISTENS: AtomicBool = AtomicBool::new(false);
/// Wakes that thread because stderr was closed by its reader.
static UNREAD: Notify = Notify::const_new();

/// Why the work ended before it was done. Its text is the message for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stopped {
    /// SIGINT.
    #[error("interrupted; nothing more was published")]
    Interrupted,
    /// SIGTERM.
    #[error("terminated; nothing more was published")]
    Terminated,
    /// SIGHUP.
    #[error("the terminal is gone; nothing more was published")]
    HungUp,
    /// SIGPIPE, were it not ignored.
    #[error("the output has no reader any more; nothing more was published")]
    Unread,
}

impl Stopped {
    /// The exit code: 128 and the number of the signal, as a shell reports it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::HungUp => 129,
            Self::Unread => CLOSED_PIPE,
        }
    }
}

/// Declares that a thread waits for a reason to stop from now on.
pub(crate) fn listened() {
    LISTENS.store(true, Ordering::SeqCst);
}

/// Returns whether a thread waits for a reason to stop.
pub(crate) fn listens() -> bool {
    LISTENS.load(Ordering::SeqCst)
}

/// Waits until stderr is closed by its reader.
pub(crate) async fn until_unread() {
    UNREAD.notified().await;
}

/// Ends the program because stderr was closed by its reader: at once, unless there is work that has to clean up.
pub(crate) fn unread() {
    if listens() {
        UNREAD.notify_one();
    } else {
        process::exit(CLOSED_PIPE.into());
    }
}
