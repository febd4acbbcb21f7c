//! What can be made to go wrong, and for which requests.

use std::time::Duration;

/// One thing that goes wrong, for requests whose path contains a text.
#[derive(Clone, Debug)]
pub struct Fault {
    path: String,
    method: Option<String>,
    left: Option<u32>,
    action: Action,
}

/// Fault of a request. Positions are in the blob, whatever range was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The connection closes once the bytes before this position are out; the length announced is
    /// the whole one.
    Truncate(u64),
    /// The lowest bit of the byte at this position is flipped.
    Corrupt(u64),
    /// Announces this length instead of the real one. A shorter body ends the connection early, a
    /// longer one is cut.
    ContentLength(u64),
    /// Answers with a status, further headers and a body, and nothing else.
    Status {
        /// The status code.
        status: u16,
        /// `Retry-After` and the like.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// Answers 307 to the same path below this origin: `http://127.0.0.1:4242`.
    Redirect(String),
    /// Waits before it answers at all.
    Delay(Duration),
    /// Waits once the bytes before this position are out, then goes on.
    Stall {
        /// Position in bytes.
        at: u64,
        /// Time of the stall.
        time: Duration,
    },
    /// From this position on, one byte at a time with a pause before each.
    Drip {
        /// Position in bytes.
        at: u64,
        /// Time for each byte.
        every: Duration,
    },
    /// Sends a piece of `bytes` bytes at a time with a pause before each.
    Throttle {
        /// Number of bytes.
        piece: u64,
        /// Time for each piece.
        every: Duration,
    },
    /// Sends the body again and again, without a length and without an end.
    Endless,
    /// Answers a range with the whole body and 200.
    IgnoreRange,
}

impl Fault {
    /// Makes a fault for every request whose path with query contains `path`.
    #[must_use]
    pub fn on(path: &str, action: Action) -> Self {
        Self {
            path: path.into(),
            method: None,
            left: None,
            action,
        }
    }

    /// Returns a plain answer with this status: the shorthand for [`Action::Status`].
    #[must_use]
    pub fn status(path: &str, status: u16) -> Self {
        let action = Action::Status {
            status,
            headers: Vec::new(),
            body: String::new(),
        };
        Self::on(path, action)
    }

    /// Restricts the fault to this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Restricts the fault to the first `count` requests that fit.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.left = Some(count);
        self
    }

    /// Returns the action, if this is a request it is for; uses it up by one.
    fn take(&mut self, method: &str, path: &str) -> Option<Action> {
        let fits = path.contains(&self.path)
            && self.method.as_deref().is_none_or(|wanted| wanted == method)
            && self.left != Some(0);
        if !fits {
            return None;
        }
        self.left = self.left.map(|left| left - 1);
        Some(self.action.clone())
    }
}

/// Returns the action of the first fault that fits.
pub(super) fn take(faults: &mut [Fault], method: &str, path: &str) -> Option<Action> {
    faults.iter_mut().find_map(|fault| fault.take(method, path))
}
