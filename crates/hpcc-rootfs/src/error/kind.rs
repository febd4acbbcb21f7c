//! Kinds of failure for programs, and what to do about each.

use std::fmt;
use std::io;

use rustix::io::Errno;

use super::causes::FILE_LIMIT;
use super::{Error, SPOOL, lacks_resources};
use crate::artifact::RecordError;
use crate::candidate::advice;
use crate::flatten::{self, EntryProblem};
use crate::layer;
use crate::staging::{NoLocks, is_of_disk};

/// Kind of an [`Error`], by what a caller can do about it.
///
/// [`Error::is_transient`] returns whether the same call may succeed later. The [`Display`](fmt::Display) form is
/// stable: the program prints it as `kind` of its JSON errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller passed an invalid argument or option.
    Usage,
    /// The image does not exist under that name or for that platform, or is not in the store.
    NotFound,
    /// A name matches several artifacts of the store.
    Ambiguous,
    /// Credentials are missing, unusable or refused.
    Unauthorized,
    /// The registry knows the client and does not permit the request.
    Denied,
    /// The registry limits the rate of requests.
    Throttled,
    /// The network fails: no connection, no name, no TLS, or no progress.
    Network,
    /// The registry fails, breaks the protocol, or redirects to a forbidden host.
    Registry,
    /// Content has another size or digest than promised, or an artifact is damaged.
    Corrupt,
    /// The image is malformed or contradicts itself.
    Invalid,
    /// The image is well formed, and this program or squashfs does not support it.
    Unsupported,
    /// The image exceeds the [`Limits`](crate::layer::Limits).
    Limit,
    /// No agent is configured for the architecture of the image.
    NoAgent,
    /// The disk is full, or would be left with less than the store's reserve.
    NoSpace,
    /// Users other than this one and root can write to the store.
    Untrusted,
    /// A file or directory on this machine cannot be read or written.
    Io,
    /// A fault of this program, or of a callback that its caller gave it.
    Internal,
}

impl ErrorKind {
    /// Returns the [`Display`](fmt::Display) form.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::NotFound => "not-found",
            Self::Ambiguous => "ambiguous",
            Self::Unauthorized => "unauthorized",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::Network => "network",
            Self::Registry => "registry",
            Self::Corrupt => "corrupt",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Limit => "limit",
            Self::NoAgent => "no-agent",
            Self::NoSpace => "no-space",
            Self::Untrusted => "untrusted",
            Self::Io => "io",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Error {
    /// Returns what kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source(error) | Self::Layer { source: error, .. } => of_source(error.kind()),
            Self::Artifact { source, .. } if matches!(**source, RecordError::Io(_)) => {
                ErrorKind::Io
            }
            Self::DigestMismatch { .. } | Self::Artifact { .. } => ErrorKind::Corrupt,
            Self::TarEntryCountExceeded { .. } | Self::TarTotalBytesExceeded { .. } => {
                ErrorKind::Limit
            }
            Self::NotLinux { .. } | Self::MountPoint { .. } => ErrorKind::Unsupported,
            Self::NoAgent { .. } => ErrorKind::NoAgent,
            Self::Options(_)
            | Self::Injection { .. }
            | Self::Name { .. }
            | Self::Unrepeatable { .. } => ErrorKind::Usage,
            Self::Ambiguous { .. } => ErrorKind::Ambiguous,
            Self::Offline { .. } | Self::Gone { .. } => ErrorKind::NotFound,
            Self::Agent { .. }
            | Self::Inject { .. }
            | Self::Store { .. }
            | Self::Shortage { .. } => ErrorKind::Io,
            Self::Image(error) => of_image(error),
            Self::Writer(error) => match **error {
                sqfs_writer::Error::Sink(_) | sqfs_writer::Error::Source(_) => ErrorKind::Io,
                _ if lacks_resources(&**error) => ErrorKind::Io,
                _ => ErrorKind::Unsupported,
            },
            Self::NoSpace { .. } => ErrorKind::NoSpace,
            Self::Untrusted(_) => ErrorKind::Untrusted,
            Self::Unproved | Self::Callback { .. } | Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// Returns what the caller or the operator can do about the failure, as one line, or `None` if no remedy is known.
    ///
    /// The text of the error usually ends with the same advice. This method returns it alone, for programs.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Source(error) | Self::Layer { source: error, .. } => {
                let hint = error.hint();
                return hint.or_else(|| of_kind(self.kind()).map(str::to_owned));
            }
            _ if self.is_transient() => "try again later",
            Self::Store { source, .. } if source.kind() == io::ErrorKind::FileTooLarge => {
                FILE_LIMIT
            }
            Self::Store { source, .. } if is_of_disk(source) => {
                "look for errors of the disk in the kernel's log, and replace the disk if they stay"
            }
            Self::Store { source, .. } if NoLocks::caused(source) => NO_LOCKS,
            // Root meets it as well.
            Self::Store { source, .. } if Errno::from_io_error(source) == Some(Errno::PERM) => {
                "check the path, its owner, its permissions and its attributes (lsattr); those of an immutable file include i"
            }
            Self::Untrusted(untrusted) if untrusted.is_of_other() => {
                "run the command as the user that owns it, or choose another directory with Store::open"
            }
            Self::NoSpace {
                operation: SPOOL, ..
            } => "free disk space there, or name another directory with SpoolOptions::directory",
            Self::Agent { .. } => {
                "check that Options::agents names a regular file that can be read"
            }
            Self::Inject { .. } => {
                "check that Options::injections names a regular file that can be read"
            }
            Self::Ambiguous { name, candidates } => advice(name, candidates),
            Self::Gone { .. } => "pull the image again, or name another artifact by its digest",
            Self::MountPoint { .. } => "choose another mount point for this image",
            Self::Unrepeatable { .. } => {
                "give the agent and the files that the artifact was built with"
            }
            Self::Offline { .. } => "pull the image once without StoreOptions::offline",
            Self::Callback { .. } => "mend the callback; it must not panic",
            Self::Artifact { .. } => {
                "verify the artifact; if it is damaged, remove it and pull its image again"
            }
            _ => return of_kind(self.kind()).map(str::to_owned),
        };
        Some(hint.to_owned())
    }
}

/// Advice for a file system without locks.
const NO_LOCKS: &str = "choose a directory on a file system with locks; for NFS, check lockd and the mount options (nolock, local_lock)";

fn of_source(kind: ociget::ErrorKind) -> ErrorKind {
    match kind {
        ociget::ErrorKind::Usage => ErrorKind::Usage,
        ociget::ErrorKind::NotFound => ErrorKind::NotFound,
        ociget::ErrorKind::Unauthorized => ErrorKind::Unauthorized,
        ociget::ErrorKind::Denied => ErrorKind::Denied,
        ociget::ErrorKind::Throttled => ErrorKind::Throttled,
        ociget::ErrorKind::Network => ErrorKind::Network,
        ociget::ErrorKind::Corrupt => ErrorKind::Corrupt,
        ociget::ErrorKind::Invalid => ErrorKind::Invalid,
        ociget::ErrorKind::Unsupported => ErrorKind::Unsupported,
        ociget::ErrorKind::Io => ErrorKind::Io,
        // Kinds that `ociget` adds count as failures of the registry until this match knows them.
        _ => ErrorKind::Registry,
    }
}

fn of_image(error: &flatten::Error) -> ErrorKind {
    match error {
        flatten::Error::TooManyLayers { .. } => ErrorKind::Limit,
        flatten::Error::Layer { source, .. } => match source {
            layer::Error::Limit { .. } => ErrorKind::Limit,
            layer::Error::DiffId(_) => ErrorKind::Corrupt,
            layer::Error::Source(_) | layer::Error::Shortage(_) => ErrorKind::Io,
            layer::Error::Unverified => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        },
        flatten::Error::Entry { problem, .. } => match problem {
            EntryProblem::LinkSteps(_)
            | EntryProblem::Depth { .. }
            | EntryProblem::Length { .. }
            | EntryProblem::Memory { .. } => ErrorKind::Limit,
            _ => ErrorKind::Invalid,
        },
        flatten::Error::Sink { .. }
        | flatten::Error::Known { .. }
        | flatten::Error::Shortage(_) => ErrorKind::Io,
        flatten::Error::Stopped(_) | flatten::Error::Lost { .. } => ErrorKind::Internal,
    }
}

/// Returns the advice that holds for every failure of a kind.
fn of_kind(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Corrupt => {
            Some("try again; if the error stays, the image has to be pushed to the registry again")
        }
        ErrorKind::Invalid => Some("build the image again and push it"),
        ErrorKind::Limit => Some("if you trust this image, raise the limit that is named"),
        ErrorKind::NoAgent => Some("name an agent with Options::agents"),
        ErrorKind::NoSpace => {
            Some("free disk space or inodes, for example with Store::gc, and try again")
        }
        ErrorKind::Untrusted => Some(
            "take the write permission from other users, or choose another directory with Store::open",
        ),
        ErrorKind::Io => Some("check the path, its owner and its permissions"),
        ErrorKind::Internal => Some("this is a bug, please report it"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn kinds_have_distinct_names_of_lower_case_words() {
        let kinds = [
            ErrorKind::Usage,
            ErrorKind::NotFound,
            ErrorKind::Ambiguous,
            ErrorKind::Unauthorized,
            ErrorKind::Denied,
            ErrorKind::Throttled,
            ErrorKind::Network,
            ErrorKind::Registry,
            ErrorKind::Corrupt,
            ErrorKind::Invalid,
            ErrorKind::Unsupported,
            ErrorKind::Limit,
            ErrorKind::NoAgent,
            ErrorKind::NoSpace,
            ErrorKind::Untrusted,
            ErrorKind::Io,
            ErrorKind::Internal,
        ];
        let mut names: Vec<_> = kinds.iter().map(ToString::to_string).collect();
        let is_word = |name: &String| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        assert!(names.iter().all(is_word), "{names:?}");
        names.sort();
        names.dedup();
        assert_eq!(names.len(), kinds.len());
    }

    #[test]
    fn hint_for_a_panicked_callback_names_it() {
        let callback = Error::Callback {
            panic: "no".to_owned(),
        };
        assert!(!callback.is_usage() && !callback.is_transient());
        assert!(
            callback
                .hint()
                .is_some_and(|hint| hint.contains("callback"))
        );
    }

    #[test]
    fn hint_names_the_source_before_the_kind() {
        let usage = Error::Source(Arc::new(ociget::Error::Usage("no".to_owned())));
        assert_eq!(usage.hint(), None);
        let source = Arc::new(ociget::Error::Forbidden {
            url: "https://h/v2/".to_owned(),
            target: "https://h/".to_owned(),
            reason: "it carries a user name".to_owned(),
        });
        let hint = source.hint();
        assert!(hint.is_some());
        assert_eq!(Error::Source(source).hint(), hint);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let full = Error::store("write to", "/x".as_ref(), full);
        assert_eq!(full.kind(), ErrorKind::NoSpace);
        assert!(full.hint().is_some_and(|hint| hint.contains("Store::gc")));
    }
}
