//! What a pull tells while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::digest::Digest;

/// Something that happened on the network. No event carries a secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// More of a blob arrived, for the first time: what is fetched again after a break and thrown
    /// away is not told twice.
    Bytes {
        /// Which blob.
        digest: &'a Digest,
        /// How many bytes more.
        bytes: u64,
    },
    /// A host answered, whatever it said. Until then a request may be silent for as long as
    /// [`Options::stall_timeout`](crate::Options::stall_timeout).
    Answered {
        /// URL that answered, without query.
        url: &'a str,
        /// HTTP status.
        status: u16,
    },
    /// Something failed that may pass, and is tried again after a pause.
    Retry {
        /// What was asked for, without query.
        url: &'a str,
        /// Which retry this will be, counted from 1; it starts over once things went well for a
        /// while.
        attempt: u32,
        /// How long is waited before it.
        pause: Duration,
        /// What went wrong, for people.
        reason: &'a str,
    },
    /// Something that is no error and should be changed.
    Warning {
        /// What and how, for people.
        text: &'a str,
    },
    /// Something that helps to find out why a pull goes as it does, such as the words of a credential
    /// helper.
    Note {
        /// What, for people.
        text: &'a str,
    },
    /// A host failed, and the client turns to the next one: a mirror, or the registry.
    NextHost {
        /// The host that failed.
        host: &'a str,
        /// What went wrong, for people.
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

    pub(crate) fn tell(&self, event: &Event<'_>) {
        if let Some(callback) = &self.0 {
            callback(event);
        }
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
