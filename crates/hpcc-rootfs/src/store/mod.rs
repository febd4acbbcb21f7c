//! The store: one directory of finished artifacts, named by the digests of their images.
//!
//! Every path and every rename of this crate is in this module or in `staging`. A file with an artifact's name is
//! complete, or does not exist.

mod drivers;
mod entry;
mod existing;
mod find;
#[cfg(test)]
mod full_disk;
mod full_reference;
mod gc;
mod handle;
mod image_store;
mod inventory;
mod last_use;
mod lease;
mod lease_file;
mod link;
mod lock;
mod lock_file;
mod name;
mod note;
mod note_lock;
mod notice;
mod offline;
mod pulled;
mod pulling;
mod reading;
mod removal;
mod resolving;
mod reuse;
mod shared_build;
mod survey;
mod sweep;
mod tags;
mod trials;
mod trust;
mod turns;
mod usage;

pub(crate) use drivers::run_without_store;
pub(crate) use link::refuse_output;

pub use drivers::wait_for_builds;
pub use gc::{Bounds, Collected};
pub use handle::Store;
pub use image_store::{ImageStore, Pulling};
pub use inventory::Artifact;
pub use lease::Lease;
pub use link::{LinkMethod, Linked};
pub use pulled::Pulled;
pub use reading::{open_artifact, read_record, verify_file};
pub use usage::{ArtifactUsage, LayerUsage, Usage};
