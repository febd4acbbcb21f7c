//! Files that do not exist until they are complete, and builds that stop when nobody waits for them.
//!
//! Whatever must be held while a file is staged, such as a lock, is a value that this module keeps and drops.

#[cfg(test)]
mod faults;
mod files;
mod staged_file;
mod stop;

pub(crate) use staged_file::{Scratch, StagedFile, Staging, is_staged};
pub(crate) use stop::Stop;
