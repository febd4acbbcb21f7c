//! Kinds of failure, for a caller that decides what to do next.

use crate::error::Error;

/// Kind of an [`Error`], by what a caller can do about it.
///
/// [`Error::is_transient`] says whether the same call may succeed later.
///
/// ```
/// use ociget::{Error, ErrorKind};
///
/// fn exit_code(error: &Error) -> u8 {
///     match error.kind() {
///         ErrorKind::Usage => 2,
///         ErrorKind::NotFound => 3,
///         ErrorKind::Network | ErrorKind::Throttled => 75,
///         _ => 1,
///     }
/// }
/// # assert_eq!(exit_code(&Error::Usage("x".to_owned())), 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller passed an argument or option that makes no sense.
    Usage,
    /// The content does not exist under that name, or not for that platform.
    NotFound,
    /// Credentials are missing, unusable or refused.
    Unauthorized,
    /// The registry knows the client and does not permit the request.
    Denied,
    /// The registry asks for fewer requests; see [`Refusal::retry_after`](crate::Refusal::retry_after).
    Throttled,
    /// No connection, no name, no TLS, no progress.
    Network,
    /// The registry fails or breaks the protocol, or leads to a place that is not allowed.
    Registry,
    /// Content has another size or digest than promised.
    Corrupt,
    /// A document is malformed or contradicts itself.
    Invalid,
    /// The content is well formed, and this client does not support it.
    Unsupported,
    /// A file or directory on this machine cannot be read or written.
    Io,
}

impl Error {
    /// Returns what kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Reference { .. }
            | Self::PlatformName(_)
            | Self::Usage(_)
            | Self::Environment(_) => ErrorKind::Usage,
            Self::NotFound(_) | Self::Absent { .. } | Self::Platform { .. } => ErrorKind::NotFound,
            Self::Credentials { .. } | Self::Unauthorized(_) => ErrorKind::Unauthorized,
            Self::Denied(_) => ErrorKind::Denied,
            Self::Throttled(_) => ErrorKind::Throttled,
            Self::Unreachable { .. } | Self::Interrupted { .. } | Self::Proxy { .. } => {
                ErrorKind::Network
            }
            Self::Registry(_) | Self::Protocol { .. } | Self::Forbidden { .. } => {
                ErrorKind::Registry
            }
            Self::Size { .. } | Self::Digest { .. } => ErrorKind::Corrupt,
            Self::Document { .. } | Self::Inconsistent { .. } => ErrorKind::Invalid,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Io { .. } | Self::Write { .. } | Self::Thread { .. } => ErrorKind::Io,
        }
    }
}
