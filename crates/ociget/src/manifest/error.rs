//! Why a document cannot be used.

use crate::digest::DigestError;
use crate::platform::PlatformError;
use crate::printable::text;

/// Reason why a document is not the manifest of an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not JSON, a field missing or of the wrong type, a negative size, a key twice.
    #[error("not a valid manifest: {}", text(.0))]
    Json(#[from] serde_json::Error),
    /// A digest in it is not one.
    #[error("its {field} has no valid digest: {reason}")]
    Digest {
        /// The descriptor.
        field: &'static str,
        /// The reason.
        reason: DigestError,
    },
    /// A size in it cannot be.
    #[error("its {field} claims {size} bytes; {max} is the most")]
    Size {
        /// The descriptor.
        field: &'static str,
        /// The claimed size.
        size: u64,
        /// The most that is taken.
        max: u64,
    },
    /// The entry of an index that was to be used is not valid.
    #[error("entry {position} of its manifests, counted from 0, {reason}")]
    Entry {
        /// Its position in the document, from 0.
        position: usize,
        /// What is wrong.
        reason: EntryError,
    },
    /// It can be read in two ways (CVE-2021-41190).
    #[error("ambiguous: {}", text(.0))]
    Ambiguous(String),
    /// Well formed, and nothing that this client unpacks.
    #[error("not supported: {}", text(.0))]
    Unsupported(String),
    /// An image config breaks a rule.
    #[error("not a valid image config: {}", text(.0))]
    Config(String),
    /// What it is for cannot be the name of a platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
}

/// Reason why an entry of an index cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Its digest is not one, or of an algorithm that is not supported.
    #[error("has no valid digest: {0}")]
    Digest(DigestError),
    /// Its size cannot be that of a document.
    #[error("claims {size} bytes; {max} is the most")]
    Size {
        /// As claimed.
        size: u64,
        /// The most that is taken.
        max: u64,
    },
    /// It is not an object, or a field is missing or of the wrong type.
    #[error("is not a valid descriptor: {}", text(.0))]
    Fields(String),
}

impl EntryError {
    /// Returns the same of the descriptor in `field`.
    pub(super) fn of(self, field: &'static str) -> ManifestError {
        match self {
            Self::Digest(reason) => ManifestError::Digest { field, reason },
            Self::Size { size, max } => ManifestError::Size { field, size, max },
            Self::Fields(reason) => ManifestError::Json(serde::de::Error::custom(reason)),
        }
    }
}
