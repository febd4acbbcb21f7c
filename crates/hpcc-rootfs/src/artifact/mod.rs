//! The artifact as a file: an image by offset, the digests of its chunks, and the record at the end.
//!
//! This module knows no directory, no lock and no name. A build without a store writes an artifact with it as well.

mod key;
mod mount_point;
mod options;
mod readable;
mod record;
mod seeker;
mod verify;
pub(crate) mod verity;
mod whole;
mod writer;

pub(crate) use key::Digests;
pub use key::{FORMAT, Injected, Key};
pub use mount_point::{MountPoint, MountPointError};
pub use options::ImageOptions;
pub(crate) use readable::has_fs_verity;
#[cfg(test)]
pub(crate) use record::SUPERBLOCK;
pub use record::{CHUNK, Record, RecordError};
pub use verify::Damage;
pub(crate) use verify::{drop_cached, verify};
pub use verity::Verity;
pub(crate) use whole::read_whole;
pub(crate) use writer::{ArtifactWriter, Proofs, SealedArtifact};
