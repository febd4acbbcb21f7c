//! Why an image did not become an artifact, sorted by the responsible party.

mod causes;
pub(crate) mod kind;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ociget::background::is_shortage;
use ociget::printable::{self, text};
use ociget::{Digest, Mismatch};
use rustix::io::Errno;

use crate::artifact::RecordError;
use crate::candidate::{Candidate, advice, listed};
use crate::layer::Measure;
use crate::panics::Panic;
use crate::unspooled::Unspooled;
use crate::untrusted::Untrusted;
use crate::{flatten, layer};

pub(crate) use causes::lacks_resources;
use causes::sink_error;

/// Reason why an image did not become an artifact. In every case nothing was published and nothing is left behind.
///
/// The error can be cloned, because one build answers many callers.
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
    /// The registry, the network or the fetched data failed: not found, not permitted, or different from its digest.
    /// The error says if the caller's reference may be the cause.
    #[error(transparent)]
    Source(Arc<ociget::Error>),
    /// The registry, the network or the disk failed while the blob of a layer was read.
    #[error("cannot fetch {layer}")]
    Layer {
        /// The layer of the blob.
        layer: flatten::LayerName,
        /// The reason.
        #[source]
        source: Arc<ociget::Error>,
    },
    /// Content differs from its digest: a manifest, a blob, or the tar in a layer. The copy at the registry is damaged
    /// or was tampered with.
    #[error("{}: {mismatch}; the copy there is damaged or was replaced", text(.at))]
    DigestMismatch {
        /// The content, and its origin.
        at: String,
        /// The expected and the found digest.
        mismatch: Mismatch,
    },
    /// All layers together have more entries than [`Limits::entries`](crate::layer::Limits::entries) allows.
    #[error(
        "cannot read {layer}: {at}: the number of entries in the image is over the limit of {max}{}", Measure::Entries.advice()
    )]
    TarEntryCountExceeded {
        /// The layer in which the limit was reached.
        layer: flatten::LayerName,
        /// The first entry beyond the limit.
        at: layer::At,
        /// The limit.
        max: u64,
    },
    /// The files of all layers together declare more bytes than
    /// [`Limits::logical_bytes`](crate::layer::Limits::logical_bytes) allows.
    #[error(
        "cannot read {layer}: {at}: the size of all files of the image is {value} and more, the limit is {max}{}", Measure::LogicalBytes.advice()
    )]
    TarTotalBytesExceeded {
        /// The layer in which the limit was reached.
        layer: flatten::LayerName,
        /// The first file beyond the limit.
        at: layer::At,
        /// The number of bytes counted up to this file.
        value: u64,
        /// The limit.
        max: u64,
    },
    /// The image is for another operating system.
    #[error("image {image} is for {}; only linux images can be booted", text(.os))]
    NotLinux {
        /// Digest of its manifest.
        image: Digest,
        /// The operating system that its config names.
        os: String,
    },
    /// No agent is configured for the architecture of the image, and [`Options::no_agent`](crate::Options::no_agent) is
    /// not set.
    #[error(
        "no agent for {}{}; name one with Options::agents (`cargo xtask agent` in the source of this program builds an example), or use Options::no_agent if PID 1 comes from elsewhere",
        text(.architecture),
        others(.available)
    )]
    NoAgent {
        /// The requested architecture, by its OCI name.
        architecture: String,
        /// The architectures that have an agent.
        available: Vec<String>,
    },
    /// The agent's file is not usable.
    #[error("cannot use the agent {}", printable::path(.path))]
    Agent {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Arc<io::Error>,
    },
    /// The path of an [`Injection`](crate::Injection) is reserved or cannot exist.
    #[error("cannot inject a file as {guest:?}: {problem}")]
    Injection {
        /// The path in the guest.
        guest: String,
        /// The reason.
        problem: &'static str,
    },
    /// The file of an [`Injection`](crate::Injection) is not usable.
    #[error("cannot inject {}", printable::path(.path))]
    Inject {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Arc<io::Error>,
    },
    /// A [`MountPoint`](crate::MountPoint) cannot be made in this image, or the guest would see it elsewhere.
    #[error("cannot make the mount point {path}: {}", text(.problem))]
    MountPoint {
        /// The path; that of a file ends with `:file`.
        path: String,
        /// The reason.
        problem: String,
    },
    /// A layer is broken, or exceeds the limits.
    #[error(transparent)]
    Image(Arc<flatten::Error>),
    /// An option is out of range.
    #[error(transparent)]
    Options(Arc<sqfs_writer::Error>),
    /// The image has something that squashfs cannot hold, or the file could not be written.
    #[error(transparent)]
    Writer(Arc<sqfs_writer::Error>),
    /// The local disk failed: permissions, space, or errors.
    #[error("cannot {operation} {}", printable::path(.path))]
    Store {
        /// The operation, as a verb: "list".
        operation: &'static str,
        /// The file or directory of the operation.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: Arc<io::Error>,
    },
    /// The disk is full, or would have less than [`StoreOptions::min_free`](crate::StoreOptions::min_free) left. Free
    /// disk space, then try again.
    #[error("not enough disk space to {operation} {}", printable::path(.path))]
    NoSpace {
        /// The operation, as a verb.
        operation: &'static str,
        /// The file or directory of the operation.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: Arc<io::Error>,
    },
    /// Users other than this one and root own or can write to a directory: the store, or one on the way to it.
    /// [`StoreOptions::trusted`](crate::StoreOptions::trusted) accepts it all the same.
    #[error("cannot trust {0}")]
    Untrusted(Untrusted),
    /// A file with the name of an artifact is damaged, or was not written by this program.
    #[error("{} is not a usable artifact", printable::path(.path))]
    Artifact {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Arc<RecordError>,
    },
    /// A name that no artifact can have: a mistyped digest, or too few digits of one.
    #[error("cannot use {} as the name of an artifact: {problem}", text(.name))]
    Name {
        /// The name, as the caller passed it.
        name: String,
        /// The reason.
        problem: String,
    },
    /// A name that matches several artifacts. [`Store::find`](crate::Store::find) returns it.
    #[error(
        "{} is the name of {} artifacts: {}; {}",
        text(.name),
        .candidates.len(),
        listed(.candidates),
        advice(.name, .candidates)
    )]
    Ambiguous {
        /// The name, as the caller passed it.
        name: String,
        /// The artifacts, sorted by digest.
        candidates: Vec<Candidate>,
    },
    /// The artifact that a reference was last pulled to is no longer in the store. An older artifact of the reference
    /// may exist, but the reference does not name it. [`Store::find`](crate::Store::find) returns this error.
    #[error(
        "{} was last pulled to {digest}, which is not in the store; pull it again, or name an older artifact, if there is one, by its digest",
        printable::redacted(.name)
    )]
    Gone {
        /// The name, as the caller passed it.
        name: String,
        /// The artifact.
        digest: Digest,
    },
    /// The image has to come from a registry, and
    /// [`StoreOptions::offline`](crate::StoreOptions::offline) forbids the network.
    #[error("cannot pull {} offline: {problem}; pull it without StoreOptions::offline", printable::redacted(.image))]
    Offline {
        /// The image, as the caller named it.
        image: String,
        /// What is missing.
        problem: String,
    },
    /// An artifact that cannot be [rebuilt](crate::rebuild()) with these options, or by this program.
    #[error("cannot build the artifact again: {}", text(.problem))]
    Unrepeatable {
        /// The difference, and what to do.
        problem: String,
    },
    /// A build ended without a proof for each of its layers, which is a fault of this program.
    #[error("internal error: a layer was not verified to its end; nothing was published")]
    Unproved,
    /// This machine has no thread or memory left, which other work uses at the moment.
    #[error("cannot {operation}")]
    Shortage {
        /// The operation, as a verb.
        operation: &'static str,
        /// The error of the system.
        #[source]
        source: Arc<io::Error>,
    },
    /// A progress callback or [`Credentials`](ociget::Credentials) of the caller panicked. Only the build that called failed.
    #[error("the caller's callback panicked: {}", text(.panic))]
    Callback {
        /// The text of the panic.
        panic: String,
    },
    /// A part of this program itself failed.
    #[error("internal error: {what} failed")]
    Internal {
        /// The part.
        what: &'static str,
        /// The cause, as far as it is known.
        #[source]
        source: Arc<io::Error>,
    },
}

impl Error {
    /// Returns whether the call itself was wrong: a reference, a digest, or an option. The same call can never succeed.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Options(_)
            | Self::Injection { .. }
            | Self::Name { .. }
            | Self::Unrepeatable { .. } => true,
            Self::Source(error) | Self::Layer { source: error, .. } => {
                error.kind() == ociget::ErrorKind::Usage
            }
            _ => false,
        }
    }

    /// Returns whether the same call may succeed later without any change: after a network failure, a busy registry, or
    /// a momentary shortage of descriptors or memory.
    ///
    /// A full disk is not among these, because [`Error::NoSpace`] requires [`Store::gc`](crate::Store::gc).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Source(error) | Self::Layer { source: error, .. } => error.is_transient(),
            Self::Store { source, .. }
            | Self::Agent { source, .. }
            | Self::Inject { source, .. } => {
                let code = source.raw_os_error();
                [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN]
                    .iter()
                    .any(|errno| code == Some(errno.raw_os_error()))
                    || source.kind() == io::ErrorKind::OutOfMemory
            }
            _ => lacks_resources(self),
        }
    }

    pub(crate) fn store(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let (path, full) = (path.to_owned(), is_full(&source));
        let source = Arc::new(causes::advised(&path, source));
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

    /// Returns the error, with an error of the image's sink turned into one that names `directory`, because the encoder
    /// and the flattener only know that some sink failed.
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

    /// Returns whether reuse may have caused the failure of a build that copies from earlier artifacts: by their
    /// contents, or by the descriptors and the memory that open artifacts take.
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

    /// Returns the index of the layer that cannot be decoded or applied, because its copy is damaged or its author made
    /// it so.
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

    /// Returns the error for a layer whose blob could not be read, or is not what its descriptor says.
    pub(crate) fn of_layer(layer: flatten::LayerName, error: ociget::Error) -> Self {
        match error {
            ociget::Error::Digest { at, mismatch } => Self::DigestMismatch {
                at: format!("{layer} from {at}"),
                mismatch,
            },
            error => match Unspooled::of(&error) {
                Some(unspooled) => unspooled.into(),
                None => Self::Layer {
                    layer,
                    source: Arc::new(error),
                },
            },
        }
    }

    /// Returns the error of the source that is the reason, if it is one.
    pub(crate) fn of_source(&self) -> Option<&ociget::Error> {
        match self {
            Self::Source(source) | Self::Layer { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Returns the error for a part that panicked.
    pub(crate) fn panicked(what: &'static str, panic: Panic) -> Self {
        let Panic {
            text: panic,
            is_of_callback,
        } = panic;
        match is_of_callback {
            true => Self::Callback { panic },
            false => Self::Internal {
                what,
                source: Arc::new(io::Error::other(format!("it panicked: {}", text(panic)))),
            },
        }
    }

    /// Returns the error for work on a thread that could not be started, or panicked.
    pub(crate) fn worker(error: io::Error) -> Self {
        let source = Arc::new(error);
        match is_shortage(&source) {
            true => Self::Shortage {
                operation: "build",
                source,
            },
            false => Self::Internal {
                what: "the build thread",
                source,
            },
        }
    }
}

impl From<ociget::Error> for Error {
    fn from(error: ociget::Error) -> Self {
        match error {
            ociget::Error::Digest { at, mismatch } => Self::DigestMismatch { at, mismatch },
            error => match Unspooled::of(&error) {
                Some(unspooled) => unspooled.into(),
                None => Self::Source(Arc::new(error)),
            },
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

impl From<&Unspooled> for Error {
    fn from(unspooled: &Unspooled) -> Self {
        let (kind, text) = (unspooled.source.kind(), unspooled.source.to_string());
        if is_shortage(&unspooled.source) {
            let code = unspooled.source.raw_os_error();
            return Self::Shortage {
                operation: "spool the archive",
                source: Arc::new(match code {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(kind, text),
                }),
            };
        }
        let source = io::Error::new(kind, unspooled.advice());
        Self::store(SPOOL, &unspooled.directory, source)
    }
}

/// The operation that writes parts of an archive, as a verb.
const SPOOL: &str = "spool the archive in";

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

#[cfg(test)]
mod tests;
