//! Errors about statements.

use std::io;

use crate::artifact::RecordError;
use crate::tables;

/// Reason why no statement about an artifact can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The file is not an artifact, or its record is damaged.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The file does not match its record.
    #[error("the artifact is damaged in {0}; nothing is stated about it")]
    Damaged(String),
    /// The names of the image could not be read.
    #[error("cannot find /.hpcc/image.json in the image")]
    Tables(#[from] tables::Error),
    /// The description that the build wrote into the image is missing or contradicts the record.
    #[error("/.hpcc/image.json in the image {0}; the artifact was not written by this program")]
    Description(&'static str),
    /// The file could not be read.
    #[error("cannot read the artifact")]
    Io(#[from] io::Error),
}
