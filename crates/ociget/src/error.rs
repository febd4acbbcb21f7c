//! What can go wrong, by whose fault it is.

mod hint;
pub(crate) mod kind;

use std::fmt;
use std::path::PathBuf;

use crate::digest::{Digest, Mismatch};
use crate::manifest::ManifestError;
use crate::platform::{Platform, PlatformError};
use crate::printable::{self, text};
use crate::reference::ReferenceError;
use crate::refusal::Refusal;

/// A pull failed.
///
/// Every variant says what failed and where: an URL without its query, or a path. None carries a
/// password, a token or a signed URL. The text of each is one line, with what a terminal would obey
/// escaped as [`printable`](crate::printable) does; the fields are as they were found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's: an image reference that is not one.
    #[error("cannot use {} as an image reference: {reason}", quoted(.text))]
    Reference {
        /// As given, without credentials.
        text: String,
        /// What is wrong with it.
        reason: ReferenceError,
    },
    /// The caller's: a platform that is not one.
    #[error(transparent)]
    PlatformName(#[from] PlatformError),
    /// The caller's: an option, a source or a call that makes no sense.
    #[error("{}", text(.0))]
    Usage(String),
    /// The caller's machine: a variable of the environment that does not make sense.
    #[error("{}", text(.0))]
    Environment(String),
    /// Credentials were configured and cannot be used.
    #[error("cannot take credentials from {}: {}", text(.origin), text(.reason))]
    Credentials {
        /// The file.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is not there.
    #[error("not found: {}{}", .0, .0.advice())]
    NotFound(Box<Refusal>),
    /// A directory does not hold it.
    #[error("{} does not hold {}; it holds {}", text(.at), text(.what), text(.available))]
    Absent {
        /// Which directory.
        at: String,
        /// The tag or digest.
        what: String,
        /// What there is.
        available: String,
    },
    /// Nobody said who we are, or they did and were not believed.
    #[error("not authorized: {}{}", .0, .0.advice())]
    Unauthorized(Box<Refusal>),
    /// The registry knows who we are, and does not let us.
    #[error("denied: {}{}", .0, .0.advice())]
    Denied(Box<Refusal>),
    /// The registry wants fewer requests.
    #[error("too many requests: {}{}", .0, .0.advice())]
    Throttled(Box<Refusal>),
    /// Any other refusal or failure that the registry or its storage reports.
    #[error("{} failed: {}{}", who(.0), .0, .0.advice())]
    Registry(Box<Refusal>),
    /// The registry, or a server that answers in its place, breaks the protocol.
    #[error("{} misbehaves: {}", text(.url), text(.reason))]
    Protocol {
        /// Where.
        url: String,
        /// How.
        reason: String,
    },
    /// A server referred the client to an address that is not permitted.
    #[error("refused to go to {} as {} asks: {}", text(.target), text(.url), text(.reason))]
    Forbidden {
        /// URL whose answer referred the client there.
        url: String,
        /// Where to.
        target: String,
        /// Why not.
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
        /// Where.
        url: String,
        /// URL that was requested and redirected there.
        redirected_from: Option<String>,
        /// The last attempt's failure.
        reason: String,
        /// What to do about it, after a semicolon; empty if nobody knows.
        advice: String,
        /// How often it was tried.
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
        /// Its host and port.
        proxy: String,
        /// What was requested through it, without query.
        url: String,
        /// Status of the proxy's answer, if it speaks HTTP and gave one.
        status: Option<u16>,
        /// What it did instead, and what to do about it.
        reason: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// A body broke off, and going on from there failed as well.
    #[error(
        "{} broke off after {received} of {size} bytes: {}{}",
        text(.url),
        text(.reason),
        tries(*.attempts)
    )]
    Interrupted {
        /// Where.
        url: String,
        /// Bytes that came.
        received: u64,
        /// Bytes promised.
        size: u64,
        /// The last attempt's failure.
        reason: String,
        /// How often it was tried since the last progress.
        attempts: u32,
    },
    /// Content with the wrong number of bytes.
    #[error(
        "wrong size: {} has {}, its descriptor says {expected} bytes; the copy there is damaged or was replaced",
        text(.at),
        text(.found)
    )]
    Size {
        /// Where.
        at: String,
        /// As promised.
        expected: u64,
        /// As found: `12` or `more than 12`.
        found: String,
    },
    /// Content with the wrong hash.
    #[error("{}: {mismatch}; the copy there is damaged or was replaced", text(.at))]
    Digest {
        /// Where.
        at: String,
        /// Both digests.
        mismatch: Mismatch,
    },
    /// A manifest, index or config that is broken.
    #[error("{}: {reason}", text(.at))]
    Document {
        /// Where.
        at: String,
        /// What is wrong.
        reason: ManifestError,
    },
    /// Well formed, and nothing that this client pulls.
    #[error("{}: not supported: {}", text(.at), text(.what))]
    Unsupported {
        /// Where.
        at: String,
        /// What.
        what: String,
    },
    /// The image contradicts itself.
    #[error("{}: {}", text(.at), text(.reason))]
    Inconsistent {
        /// Where.
        at: String,
        /// Which two things do not agree.
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
        /// Where.
        at: String,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What there is.
        available: Vec<Platform>,
        /// Why entries of an index were not considered: their platforms are not valid.
        unusable: Vec<PlatformError>,
    },
    /// A file or directory on this machine.
    #[error("cannot read {}: {}", printable::path(.path), text(.source))]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file or directory on this machine that was to be written.
    #[error("cannot write {}: {}", printable::path(.path), text(.source))]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Throttled(_) | Self::Unreachable { .. } | Self::Interrupted { .. } => true,
            Self::Registry(refusal) => refusal.status >= 500 || refusal.status == 408,
            Self::Proxy { status, .. } => status.is_none_or(|status| status >= 500),
            _ => false,
        }
    }

    /// The refusal, if a registry answered with one.
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

    /// A document at `at` is no good.
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
    /// The error that this refusal is.
    pub(crate) fn into_error(self) -> Error {
        let refusal = Box::new(self);
        // Docker Hub and others say 401 with DENIED, or 403 with UNAUTHORIZED; the status decides.
        match refusal.status {
            401 => Error::Unauthorized(refusal),
            403 => Error::Denied(refusal),
            404 => Error::NotFound(refusal),
            429 => Error::Throttled(refusal),
            _ => Error::Registry(refusal),
        }
    }
}

/// The reference between quotation marks. Its field may come from anywhere, so it is redacted again.
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

/// Who gave an answer.
fn who(refusal: &Refusal) -> &'static str {
    match refusal.redirected_from {
        Some(_) => "the host of a redirect",
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

/// Says how many entries of an index were skipped, and why the first was.
fn skipped(unusable: &[PlatformError]) -> String {
    let Some(first) = unusable.first() else {
        return String::new();
    };
    let count = unusable.len();
    let noun = if count == 1 { "entry" } else { "entries" };
    format!("; {count} {noun} skipped: {first}")
}

/// A digest mismatch at `at`.
pub(crate) fn mismatch(at: &str, mismatch: Mismatch) -> Error {
    Error::Digest {
        at: at.to_owned(),
        mismatch,
    }
}

/// The caller pinned two things that cannot both be.
pub(crate) fn conflicting_digests(reference: &Digest, expected: &Digest) -> Error {
    Error::Usage(format!(
        "the image reference is pinned to {reference}, but {expected} is expected; give one of them"
    ))
}
