//! Why an image did not become an artifact, by whose fault it is.

pub(crate) mod kind;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ociget::printable::{self, text};
use ociget::{Digest, Mismatch};
use rustix::io::Errno;

use crate::artifact::RecordError;
use crate::candidate::Candidate;
use crate::layer::Measure;
use crate::untrusted::Untrusted;
use crate::{flatten, layer};

/// Why an image did not become an artifact. Whatever it was, nothing was published and nothing is
/// left behind.
///
/// It can be cloned, because one build answers many callers.
///
/// ```no_run
/// use hpcc_rootfs::{Error, Pulled, Store};
///
/// # async fn example(store: &Store) -> Result<Option<Pulled>, Error> {
/// match store.pull_image("debian:12", None).await {
///     Ok(pulled) => Ok(Some(pulled)),
///     // Collect garbage, then try again.
///     Err(Error::NoSpace { .. }) => Ok(None),
///     // The network or a busy registry: try again later.
///     Err(error) if error.is_transient() => Ok(None),
///     Err(error) => Err(error),
/// }
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry, the network, or what was fetched: not found, not allowed, not what its digest
    /// says. The caller's reference may be at fault, too; the error says.
    #[error(transparent)]
    Source(Arc<ociget::Error>),
    /// Content that is not what its digest says: a manifest, a blob, or the tar in a layer. The copy
    /// at the registry is damaged or was tampered with.
    #[error("{}: {mismatch}; the copy there is damaged or was replaced", text(.at))]
    DigestMismatch {
        /// What it was, and where it came from.
        at: String,
        /// Both digests.
        mismatch: Mismatch,
    },
    /// The layers have more entries together than
    /// [`Limits::entries`](crate::layer::Limits::entries) allows.
    #[error(
        "cannot read {layer}: {at}: the number of entries in the image is over the limit of {max}{}", Measure::Entries.advice()
    )]
    TarEntryCountExceeded {
        /// The layer in which the limit was reached.
        layer: flatten::LayerName,
        /// The first entry too many.
        at: layer::At,
        /// The limit.
        max: u64,
    },
    /// The files of all layers declare more bytes together than
    /// [`Limits::logical_bytes`](crate::layer::Limits::logical_bytes) allows.
    #[error(
        "cannot read {layer}: {at}: the size of all files of the image is {value} and more, the limit is {max}{}", Measure::LogicalBytes.advice()
    )]
    TarTotalBytesExceeded {
        /// The layer in which the limit was reached.
        layer: flatten::LayerName,
        /// The first file too many.
        at: layer::At,
        /// The bytes counted up to there.
        value: u64,
        /// The limit.
        max: u64,
    },
    /// The image is for another operating system.
    #[error("image {image} is for {}; only linux images can be booted", text(.os))]
    NotLinux {
        /// Digest of its manifest.
        image: Digest,
        /// What its config says.
        os: String,
    },
    /// No agent was configured for the architecture of the image, and [`Options::no_agent`](crate::Options::no_agent) is
    /// not set.
    #[error(
        "no agent for {}{}; name one with --agent (`cargo xtask agent` in the source of this program builds an example), or use --no-agent if PID 1 comes from elsewhere",
        text(.architecture),
        others(.available)
    )]
    NoAgent {
        /// The architecture asked for, in OCI's words.
        architecture: String,
        /// The architectures that do have an agent.
        available: Vec<String>,
    },
    /// The agent's file is not usable.
    #[error("cannot use the agent {}", printable::path(.path))]
    Agent {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Arc<io::Error>,
    },
    /// An [`Injection`](crate::Injection) that goes where nothing may be put.
    #[error("cannot inject a file as {guest:?}: {problem}")]
    Injection {
        /// The place that was asked for.
        guest: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file of an [`Injection`](crate::Injection) is not usable.
    #[error("cannot inject {}", printable::path(.path))]
    Inject {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Arc<io::Error>,
    },
    /// A [`MountPoint`](crate::MountPoint) that cannot be made in this image, or would not be where it says.
    #[error("cannot make the mount point {path}: {}", text(.problem))]
    MountPoint {
        /// The path, with `:file` after that of a file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A layer is broken, or asks for more than the limits allow.
    #[error(transparent)]
    Image(Arc<flatten::Error>),
    /// An option is out of range.
    #[error(transparent)]
    Options(Arc<sqfs_writer::Error>),
    /// The image has something that squashfs can't hold, or the file could not be written.
    #[error(transparent)]
    Writer(Arc<sqfs_writer::Error>),
    /// The local disk: permissions, space, errors.
    #[error("cannot {operation} {}", printable::path(.path))]
    Store {
        /// What was tried, as a verb: "list".
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The disk is full, or would have been left with less than
    /// [`StoreOptions::min_free`](crate::StoreOptions::min_free). Make room, then try again.
    #[error("not enough room to {operation} {}", printable::path(.path))]
    NoSpace {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// A directory that users other than this one and root own or can write to: the store, or one on the
    /// way to it. [`StoreOptions::trusted`](crate::StoreOptions::trusted) accepts it all the same.
    #[error("cannot trust {0}")]
    Untrusted(Untrusted),
    /// A file under an artifact's name that is damaged or none of ours.
    #[error("{} is not a usable artifact", printable::path(.path))]
    Artifact {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Arc<RecordError>,
    },
    /// A name of an artifact that can be none: a mistyped digest, or too few digits of one.
    #[error("cannot use {} as the name of an artifact: {problem}", text(.name))]
    Name {
        /// As given.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A name that several artifacts have. [`Store::find`](crate::Store::find) returns it.
    #[error(
        "{} is the name of {} artifacts: {}; give more digits of the digest",
        text(.name),
        .candidates.len(),
        listed(.candidates)
    )]
    Ambiguous {
        /// As given.
        name: String,
        /// The artifacts, sorted by digest.
        candidates: Vec<Candidate>,
    },
    /// The artifact that a reference was last pulled to is not in the store any more. If an older one is, the reference does not
    /// name it. [`Store::find`](crate::Store::find) returns it.
    #[error(
        "{} was last pulled to {digest}, which is not in the store; pull it again, or name an older artifact, if there is one, by its digest",
        printable::redacted(.name)
    )]
    Gone {
        /// As given.
        name: String,
        /// The artifact.
        digest: Digest,
    },
    /// The image has to come from a registry, and
    /// [`StoreOptions::offline`](crate::StoreOptions::offline) forbids the network.
    #[error("cannot pull {} offline: {problem}; pull it without --offline", printable::redacted(.image))]
    Offline {
        /// The image, as given.
        image: String,
        /// What is missing.
        problem: String,
    },
    /// An artifact that cannot be [rebuilt](crate::rebuild()) with these options, or by this program.
    #[error("cannot build the artifact again: {}", text(.problem))]
    Unrepeatable {
        /// What differs, and what to do.
        problem: String,
    },
    /// A build ended without proof for each of its layers. A fault of this program.
    #[error("internal error: a layer was not verified to its end; nothing was published")]
    Unproved,
    /// Something of this program's own broke.
    #[error("internal error: {what} failed")]
    Internal {
        /// What it was.
        what: &'static str,
        /// What is known about it.
        #[source]
        source: Arc<io::Error>,
    },
}

impl Error {
    /// Whether the call itself was wrong: a reference, a digest, an option. The same call can never
    /// succeed.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Options(_) | Self::Injection { .. } | Self::Name { .. } => true,
            Self::Source(error) => matches!(
                **error,
                ociget::Error::Usage(_)
                    | ociget::Error::Reference { .. }
                    | ociget::Error::PlatformName(_)
            ),
            _ => false,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything: the network, a
    /// registry that is busy, descriptors or memory that others use at the moment.
    ///
    /// A full disk is not among them: [`Error::NoSpace`] asks for [`Store::gc`](crate::Store::gc).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Source(error) => error.is_transient(),
            Self::Store { source, .. }
            | Self::Agent { source, .. }
            | Self::Inject { source, .. } => {
                let code = source.raw_os_error();
                [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN]
                    .iter()
                    .any(|errno| code == Some(errno.raw_os_error()))
            }
            _ => false,
        }
    }

    pub(crate) fn store(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let (path, full) = (path.to_owned(), is_full(&source));
        let source = Arc::new(source);
        if full {
            Self::NoSpace {
                operation,
                path,
                source,
            }
        } else {
            Self::Store {
                operation,
                path,
                source,
            }
        }
    }

    /// The same, with what the sink of the image said made an error of the directory it is in: the
    /// encoder and the flattener only know that some sink failed.
    pub(crate) fn of_sink(self, directory: &Path) -> Self {
        let failed = match &self {
            Self::Image(error) => sink_error(&**error),
            Self::Writer(error) => sink_error(&**error),
            _ => None,
        };
        match failed {
            Some(error) => Self::store("write to", directory, error),
            None => self,
        }
    }

    /// Whether a build that copies from earlier ones may have failed for that: for what they hold, or for the
    /// descriptors and the memory that it takes to hold them open.
    pub(crate) fn is_of_reuse(&self) -> bool {
        if lacks_resources(self) {
            return true;
        }
        matches!(
            self,
            Self::Image(_)
                | Self::Writer(_)
                | Self::Internal { .. }
                | Self::Unproved
                | Self::TarEntryCountExceeded { .. }
                | Self::TarTotalBytesExceeded { .. }
        )
    }

    /// The index of the layer whose bytes cannot be right, or those of its maker if they are.
    pub(crate) fn layer_without_sense(&self) -> Option<usize> {
        let Self::Image(error) = self else {
            return None;
        };
        match &**error {
            flatten::Error::Layer {
                layer,
                source:
                    layer::Error::Encoding | layer::Error::Compression { .. } | layer::Error::Tar { .. },
            }
            | flatten::Error::Entry { layer, .. } => Some(layer.index),
            _ => None,
        }
    }

    /// A blocking task did not come back: it panicked, or the runtime is shutting down.
    pub(crate) fn worker(error: tokio::task::JoinError) -> Self {
        Self::Internal {
            what: "the build thread",
            source: Arc::new(io::Error::other(error)),
        }
    }
}

impl From<ociget::Error> for Error {
    fn from(error: ociget::Error) -> Self {
        match error {
            ociget::Error::Digest { at, mismatch } => Self::DigestMismatch { at, mismatch },
            error => Self::Source(Arc::new(error)),
        }
    }
}

impl From<flatten::Error> for Error {
    fn from(error: flatten::Error) -> Self {
        let (layer, source) = match error {
            flatten::Error::Layer { layer, source } => (layer, source),
            error => return Self::Image(Arc::new(error)),
        };
        match source {
            layer::Error::DiffId(mismatch) => Self::DigestMismatch {
                at: format!("{layer} is not what the image config promises"),
                mismatch,
            },
            layer::Error::Limit {
                at,
                what: Measure::Entries,
                max,
                ..
            } => Self::TarEntryCountExceeded { layer, at, max },
            layer::Error::Limit {
                at,
                what: Measure::LogicalBytes,
                value,
                max,
            } => Self::TarTotalBytesExceeded {
                layer,
                at,
                value,
                max,
            },
            source => Self::Image(Arc::new(flatten::Error::Layer { layer, source })),
        }
    }
}

impl From<sqfs_writer::Error> for Error {
    fn from(error: sqfs_writer::Error) -> Self {
        Self::Writer(Arc::new(error))
    }
}

/// What the writer's sink said, somewhere down the chain of causes. An [`io::Error`] can't be
/// cloned; its code says all there is to the system's own.
fn sink_error(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(sqfs_writer::Error::Sink(error)) = error.downcast_ref() {
            return Some(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            });
        }
        cause = error.source();
    }
    None
}

/// Whether some cause is that a process, or the system, has no descriptor or no memory left.
pub(crate) fn lacks_resources(error: &(dyn std::error::Error + 'static)) -> bool {
    let codes = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    let mut cause = Some(error);
    while let Some(error) = cause {
        let plain = error.downcast_ref::<io::Error>();
        let shared = error.downcast_ref::<Arc<io::Error>>().map(|error| &**error);
        let code = plain.or(shared).and_then(io::Error::raw_os_error);
        if code.is_some_and(|code| codes.contains(&code)) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn others(architectures: &[String]) -> String {
    if architectures.is_empty() {
        return String::new();
    }
    format!(" (there is one for {})", text(architectures.join(" and ")))
}

/// Candidates that a message lists.
const LISTED: usize = 10;

fn listed(candidates: &[Candidate]) -> String {
    let each = candidates.iter().take(LISTED).map(|candidate| {
        let source = candidate.source.as_ref();
        let source = source.map_or(String::new(), |source| format!(" ({})", text(source)));
        format!("{}{source}", candidate.digest)
    });
    let mut list = each.collect::<Vec<_>>().join(", ");
    if candidates.len() > LISTED {
        list.push_str(&format!(" and {} more", candidates.len() - LISTED));
    }
    list
}

#[cfg(test)]
mod tests;
