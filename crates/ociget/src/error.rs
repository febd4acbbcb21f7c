//! Errors of a pull, by the responsible party.

mod hint;
pub(crate) mod kind;
pub(crate) mod rule;

use std::fmt;
use std::path::PathBuf;

use crate::background::is_shortage;
use crate::digest::{Digest, Mismatch};
use crate::manifest::ManifestError;
use crate::platform::{Platform, PlatformError};
use crate::printable::{self, text};
use crate::reference::ReferenceError;
use crate::refusal::{Part, Refusal, may_pass};

/// Reason why a pull failed.
///
/// Every variant has what failed and where: a URL without its query, or a path. No variant contains a
/// password, a token or a signed URL. The text of each is one line, with control characters escaped as
/// [`printable`](crate::printable) does. The fields are unescaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Invalid image reference; the caller is responsible.
    #[error("cannot use {} as an image reference: {reason}", quoted(.text))]
    Reference {
        /// The text of the caller, without credentials.
        text: String,
        /// The reason.
        reason: ReferenceError,
    },
    /// Invalid platform; the caller is responsible.
    #[error(transparent)]
    PlatformName(#[from] PlatformError),
    /// Invalid option, source or call; the caller is responsible.
    #[error("{}", text(.0))]
    Usage(String),
    /// Invalid environment variable on the caller's machine.
    #[error("{}", text(.0))]
    Environment(String),
    /// Credentials were configured and cannot be used.
    #[error("cannot take credentials from {}: {}", text(.origin), text(.reason))]
    Credentials {
        /// The file.
        origin: String,
        /// The reason.
        reason: String,
    },
    /// The registry does not have the document or blob.
    #[error("not found: {}{}", .0, .0.advice())]
    NotFound(Box<Refusal>),
    /// A directory does not hold the image.
    #[error("{} does not hold {}; it holds {}", text(.at), text(.what), text(.available))]
    Absent {
        /// Path of the directory.
        at: String,
        /// The requested tag or digest.
        what: String,
        /// The images that it holds.
        available: String,
    },
    /// The registry requires credentials, or rejected those of the request.
    #[error("not authorized: {}{}", .0, .0.advice())]
    Unauthorized(Box<Refusal>),
    /// The registry accepted the credentials, and does not permit the request.
    #[error("denied: {}{}", .0, .0.advice())]
    Denied(Box<Refusal>),
    /// The registry limits the rate of requests.
    #[error("too many requests: {}{}", .0, .0.advice())]
    Throttled(Box<Refusal>),
    /// Any other refusal or failure that the registry or its storage reports.
    #[error("{} failed: {}{}", who(.0), .0, .0.advice())]
    Registry(Box<Refusal>),
    /// The registry, or a server that answers in its place, breaks the protocol.
    #[error("{} misbehaves: {}", text(.url), text(.reason))]
    Protocol {
        /// URL or path of the failure.
        url: String,
        /// The violation of the protocol.
        reason: String,
    },
    /// A server referred the client to an address that is not permitted.
    #[error("refused to follow {} to {}: {}", text(.url), text(.target), text(.reason))]
    Forbidden {
        /// URL whose answer referred the client there.
        url: String,
        /// The address that was refused.
        target: String,
        /// The rule that forbids it.
        reason: String,
    },
    /// No answer: no such host, no connection, no TLS, no progress.
    #[error(
        "cannot reach {}{}: {}{}{}",
        text(.url),
        redirect(.redirected_from.as_deref()),
        text(.reason),
        tries(*.attempts),
        text(.advice)
    )]
    Unreachable {
        /// URL or path of the failure.
        url: String,
        /// URL that was requested and redirected there.
        redirected_from: Option<String>,
        /// Failure of the last attempt.
        reason: String,
        /// Advice after a semicolon; empty if there is none.
        advice: String,
        /// Number of attempts.
        attempts: u32,
    },
    /// A proxy refused, or could not be reached.
    #[error(
        "the proxy {} did not lead to {}: {}{}",
        text(.proxy),
        text(.url),
        text(.reason),
        times(*.attempts)
    )]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// URL that was requested through it, without query.
        url: String,
        /// Status of the proxy's answer, if it speaks HTTP and gave one.
        status: Option<u16>,
        /// Behavior of the proxy, with advice.
        reason: String,
        /// Number of attempts.
        attempts: u32,
    },
    /// A body broke off, and resuming it failed too.
    #[error(
        "{} broke off after {received} of {size} bytes: {}{}",
        text(.url),
        text(.reason),
        tries(*.attempts)
    )]
    Interrupted {
        /// URL or path of the failure.
        url: String,
        /// Number of bytes that arrived.
        received: u64,
        /// Number of bytes that were announced.
        size: u64,
        /// Failure of the last attempt.
        reason: String,
        /// Number of attempts since the last progress.
        attempts: u32,
    },
    /// Content with the wrong number of bytes.
    #[error(
        "wrong size: {} has {} bytes, its descriptor says {expected}; the copy there is damaged or was replaced",
        text(.at),
        text(.found)
    )]
    Size {
        /// URL or path of the failure.
        at: String,
        /// Number of bytes in the descriptor.
        expected: u64,
        /// Number of bytes that were found: `12` or `more than 12`.
        found: String,
    },
    /// Content with the wrong hash.
    #[error("{}: {mismatch}; the copy there is damaged or was replaced", text(.at))]
    Digest {
        /// URL or path of the failure.
        at: String,
        /// The expected digest and the one that was found.
        mismatch: Mismatch,
    },
    /// Invalid manifest, index or config.
    #[error("{}: {reason}", text(.at))]
    Document {
        /// URL or path of the failure.
        at: String,
        /// The mistake in it.
        reason: ManifestError,
    },
    /// Valid content that this client does not support.
    #[error("{}: not supported: {}", text(.at), text(.what))]
    Unsupported {
        /// URL or path of the failure.
        at: String,
        /// The unsupported content.
        what: String,
    },
    /// The image contradicts itself.
    #[error("{}: {}", text(.at), text(.reason))]
    Inconsistent {
        /// URL or path of the failure.
        at: String,
        /// The two facts that do not agree.
        reason: String,
    },
    /// There is no image for the platform.
    #[error(
        "{} has no image for {wanted}; it has {}{}",
        text(.at),
        list(.available),
        skipped(.unusable)
    )]
    Platform {
        /// URL or path of the failure.
        at: String,
        /// The requested platform.
        wanted: Box<Platform>,
        /// The available platforms.
        available: Vec<Platform>,
        /// Reasons why entries of an index were skipped: their platforms are invalid.
        unusable: Vec<PlatformError>,
    },
    /// Work needed a thread or memory, and this machine gave none; or the thread panicked, which is a fault of this program.
    #[error("cannot {work}: {}", text(.source))]
    Thread {
        /// The work, as a verb.
        work: &'static str,
        /// Error of the system.
        source: std::io::Error,
    },
    /// A file or directory on this machine cannot be read.
    #[error("cannot read {}: {}", printable::path(.path), text(.source))]
    Io {
        /// Its path.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// A file or directory on this machine cannot be written.
    #[error("cannot write {}: {}", printable::path(.path), text(.source))]
    Write {
        /// Its path.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
}

impl Error {
    /// Returns whether the same call may succeed later without any change.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Throttled(_) | Self::Unreachable { .. } | Self::Interrupted { .. } => true,
            Self::Registry(refusal) => may_pass(refusal.status),
            Self::Proxy { status, .. } => status.is_none_or(|status| status >= 500),
            Self::Io { source, .. } | Self::Write { source, .. } | Self::Thread { source, .. } => {
                is_shortage(source)
            }
            _ => false,
        }
    }

    /// Returns the refusal, if a registry answered with one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::NotFound(refusal)
            | Self::Unauthorized(refusal)
            | Self::Denied(refusal)
            | Self::Throttled(refusal)
            | Self::Registry(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Returns the error of an invalid document at `at`.
    pub(crate) fn document(at: &str, reason: ManifestError) -> Self {
        match reason {
            ManifestError::Unsupported(what) => Self::Unsupported {
                at: at.to_owned(),
                what,
            },
            reason => Self::Document {
                at: at.to_owned(),
                reason,
            },
        }
    }

    pub(crate) fn protocol(url: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self::Protocol {
            url: url.to_string(),
            reason: reason.into(),
        }
    }

    pub(crate) fn size(at: &str, expected: u64, found: impl Into<String>) -> Self {
        Self::Size {
            at: at.to_owned(),
            expected,
            found: found.into(),
        }
    }
}

impl Refusal {
    /// Returns the error of this refusal.
    pub(crate) fn into_error(self) -> Error {
        let refusal = Box::new(self);
        // Docker Hub and others say 401 with DENIED, or 403 with UNAUTHORIZED; the status decides.
        match refusal.status {
            401 => Error::Unauthorized(refusal),
            403 => Error::Denied(refusal),
            // The image may well exist where the token server does not.
            404 if refusal.part == Part::Token => Error::Registry(refusal),
            404 => Error::NotFound(refusal),
            429 => Error::Throttled(refusal),
            _ => Error::Registry(refusal),
        }
    }
}

/// Returns the reference in quotation marks. The field may have been set by a caller, so it is redacted again.
fn quoted(reference: &str) -> String {
    format!("\"{}\"", text(printable::redacted(reference)))
}

fn tries(attempts: u32) -> String {
    match attempts {
        0 | 1 => String::new(),
        more => format!(" ({more} attempts)"),
    }
}

fn times(attempts: u32) -> String {
    match attempts {
        0 | 1 => String::new(),
        more => format!(" (tried {more} times)"),
    }
}

fn redirect(from: Option<&str>) -> String {
    from.map(|from| format!(", to which {} redirects", text(from)))
        .unwrap_or_default()
}

/// Returns the name of the party that answered.
fn who(refusal: &Refusal) -> &'static str {
    match refusal.redirected_from {
        Some(_) => "the host of a redirect",
        None if refusal.part == Part::Token => "the token server",
        None => "the registry",
    }
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "none that names its platform".to_owned();
    }
    let names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Returns how many entries of an index were skipped, and the reason for the first.
fn skipped(unusable: &[PlatformError]) -> String {
    let Some(first) = unusable.first() else {
        return String::new();
    };
    let count = unusable.len();
    let noun = if count == 1 { "entry" } else { "entries" };
    format!("; {count} {noun} skipped: {first}")
}

/// Returns the error of a digest mismatch at `at`.
pub(crate) fn mismatch(at: &str, mismatch: Mismatch) -> Error {
    Error::Digest {
        at: at.to_owned(),
        mismatch,
    }
}

/// Returns the error of a caller that pinned two different digests.
pub(crate) fn conflicting_digests(reference: &Digest, expected: &Digest) -> Error {
    Error::Usage(format!(
        "the image reference is pinned to {reference}, but {expected} is expected; give one of them"
    ))
}
