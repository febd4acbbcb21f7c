//! Why an image did not become an artifact, by whose fault it is.

use std::io;
use std::path::{Path, PathBuf};

use ociget::Digest;

use crate::flatten;
use crate::store::RecordError;

/// Why an image did not become an artifact. Whatever it was, nothing was published and nothing is
/// left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry, the network, or what was fetched: not found, not allowed, not what its digest
    /// says. The caller's reference may be at fault, too; the error says.
    #[error(transparent)]
    Source(#[from] ociget::Error),
    /// The image is for another operating system.
    #[error("image {image} is for {os}; only linux images can be booted")]
    NotLinux {
        /// Digest of its manifest.
        image: Digest,
        /// What its config says.
        os: String,
    },
    /// No agent was configured for the architecture of the image.
    #[error(
        "no agent for {architecture}{}; name one with --agent or Options::agents",
        others(.available)
    )]
    NoAgent {
        /// The architecture asked for, in OCI's words.
        architecture: String,
        /// The architectures that do have an agent.
        available: Vec<String>,
    },
    /// The agent's file is not usable.
    #[error("cannot use the agent {}", .path.display())]
    Agent {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// A layer is broken, or asks for more than the limits allow.
    #[error(transparent)]
    Image(#[from] flatten::Error),
    /// An option is out of range.
    #[error(transparent)]
    Options(sqfs_writer::Error),
    /// The image has something that squashfs can't hold, or the file could not be written.
    #[error(transparent)]
    Writer(#[from] sqfs_writer::Error),
    /// The local disk: permissions, space, errors.
    #[error("cannot {operation} {}", .path.display())]
    Store {
        /// What was tried, as a verb: "list".
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file under an artifact's name that is damaged or none of ours.
    #[error("{} is not a usable artifact", .path.display())]
    Artifact {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: RecordError,
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
        source: io::Error,
    },
}

impl Error {
    /// Whether the call itself was wrong: a reference, a digest, an option. The same call can never
    /// succeed.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Options(_)
                | Self::Source(
                    ociget::Error::Usage(_)
                        | ociget::Error::Reference { .. }
                        | ociget::Error::PlatformName(_)
                )
        )
    }

    pub(crate) fn store(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Store {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    /// A blocking task did not come back: it panicked, or the runtime is shutting down.
    pub(crate) fn worker(error: tokio::task::JoinError) -> Self {
        Self::Internal {
            what: "the build thread",
            source: io::Error::other(error),
        }
    }
}

fn others(architectures: &[String]) -> String {
    if architectures.is_empty() {
        return String::new();
    }
    format!(" (there is one for {})", architectures.join(" and "))
}
