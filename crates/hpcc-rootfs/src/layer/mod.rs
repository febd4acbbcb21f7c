//! One layer: a compressed blob in, verified tar entries out.
//!
//! ```text
//!   blob ──► Inflater ──► Stream ──► TarReader ──► Entry { path, metadata, kind }   one for each file
//!            gunzip       lends        headers ──► Segment::{Data, Hole}            its body, as it comes
//!            hash ──────────────────────────────► Verified<DiffId>                  once the blob ended
//! ```
//!
//! Everything here is synchronous and does no I/O of its own: the module reads bytes and opens nothing, and no path of
//! an image ever reaches a host's file system. The input is hostile. Anything that tar readers disagree about is
//! refused instead of guessed, because two readers that see different files in the same bytes make a scanned image
//! differ from the one that runs.
//!
//! ```
//! use hpcc_rootfs::layer::{Budget, Entry, Limits, Stream, TarReader};
//! use ociget::{DiffId, Digest};
//!
//! let blob = [0; 1024]; // an archive with nothing in it
//! let mut budget = Budget::new(Limits::default());
//! let stream = Stream::open(
//!     &blob[..],
//!     blob.len() as u64,
//!     DiffId(Digest::of(&blob)),
//!     budget.limits(),
//! )?;
//! let mut tar = TarReader::new(stream, &mut budget);
//! let mut entry = Entry::default();
//! while tar.read_entry(&mut entry)? {
//!     while let Some(segment) = tar.segment()? {
//!         drop(segment);
//!     }
//! }
//! let proof = tar.finish()?;
//! assert_eq!(proof.get().0, Digest::of(&blob));
//! # Ok::<(), hpcc_rootfs::layer::Error>(())
//! ```

mod chunk;
mod decompress;
mod encoding;
mod entry_name;
mod error;
mod inflate;
mod input;
mod limits;
mod measure;
mod stream;
mod tar;
#[cfg(test)]
mod tests;
mod unverified;
mod zstd;

pub(crate) use chunk::{Chunk, Inflated, Stopped};
pub(crate) use decompress::Decompressed;
pub(crate) use error::Limit;
pub(crate) use inflate::Inflater;
pub(crate) use input::Pieces;

pub use entry_name::EntryName;
pub use error::{At, Error, Malformed};
pub use limits::{Budget, Limits};
pub use measure::Measure;
pub use stream::Stream;
pub use tar::{Entry, EntryKind, Segment, TarReader};
