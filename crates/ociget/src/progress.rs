//! Events of a running pull.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::digest::Digest;

/// An event on the network. No event contains a secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// More bytes of a blob arrived. Bytes that the client fetches again after an interruption and discards
    /// are not counted twice.
    Bytes {
        /// Digest of the blob.
        digest: &'a Digest,
        /// Number of new bytes.
        bytes: u64,
    },
    /// A host answered, with any status. Until then a request may be silent for as long as
    /// [`Options::stall_timeout`](crate::Options::stall_timeout).
    Answered {
        /// URL that answered, without query.
        url: &'a str,
        /// HTTP status.
        status: u16,
    },
    /// A request failed transiently, and the client retries it after a pause.
    Retry {
        /// URL of the request, without query.
        url: &'a str,
        /// Number of this retry, counted from 1. The count starts over after a time without failures.
        attempt: u32,
        /// Pause before it.
        pause: Duration,
        /// The failure, for people.
        reason: &'a str,
    },
    /// A condition that is no error and should be changed.
    Warning {
        /// The condition and the change, for people.
        text: &'a str,
    },
    /// Information that helps to explain the course of a pull, such as the output of a credential
    /// helper.
    Note {
        /// The information, for people.
        text: &'a str,
    },
    /// The client asks the caller's [`Credentials`](crate::Credentials) for a login, or has their answer. Until then no
    /// registry is expected to answer; a credential helper may take 30 s.
    Login {
        /// The registry that wants a login.
        registry: &'a str,
        /// Whether the answer is known.
        is_known: bool,
    },
    /// A host failed, and the client continues with the next one: a mirror, or the registry.
    NextHost {
        /// The host that failed.
        host: &'a str,
        /// The failure, for people.
        reason: &'a str,
    },
}

/// A callback for [`Event`]s, called from several threads; it should return quickly.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// let received = Arc::new(AtomicU64::new(0));
/// let counter = Arc::clone(&received);
/// let mut options = ociget::Options::default();
/// options.progress = ociget::Progress::new(move |event| match event {
///     ociget::Event::Bytes { bytes, .. } => _ = counter.fetch_add(*bytes, Ordering::Relaxed),
///     ociget::Event::Retry { url, reason, .. } => eprintln!("{url}: {reason}, trying again"),
///     _ => {}
/// });
/// ```
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Callback>>);

type Callback = dyn Fn(&Event<'_>) + Send + Sync;

impl Progress {
    /// Calls `callback` for every event.
    pub fn new(callback: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(callback)))
    }

    /// Calls the callback with an event, for a caller that passes on what its own callback gets.
    pub fn tell(&self, event: &Event<'_>) {
        if let Some(callback) = &self.0 {
            callback(event);
        }
    }
}

/// A look-up of a login: [`Event::Login`] reports its beginning, and its end when this is dropped.
pub(crate) struct LookUp<'a> {
    progress: &'a Progress,
    registry: &'a str,
}

impl<'a> LookUp<'a> {
    pub(crate) fn begin(progress: &'a Progress, registry: &'a str) -> Self {
        let is_known = false;
        progress.tell(&Event::Login { registry, is_known });
        Self { progress, registry }
    }
}

impl Drop for LookUp<'_> {
    fn drop(&mut self) {
        self.progress.tell(&Event::Login {
            registry: self.registry,
            is_known: true,
        });
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "Progress(callback)",
            None => "Progress(none)",
        })
    }
}
