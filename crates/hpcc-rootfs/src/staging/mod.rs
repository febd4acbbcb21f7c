//! Files that do not exist until they are complete, and builds that stop when no caller waits for them.
//!
//! A value that must be held while a file is staged, such as a lock, is stored and dropped by this module.

mod abandoned;
mod disk;
#[cfg(test)]
mod faults;
mod files;
mod fs_verity;
#[cfg(test)]
mod full_disk;
mod name;
mod no_locks;
mod nowhere;
#[cfg(test)]
mod power_cuts;
mod probe;
#[cfg(test)]
mod protection;
mod spare;
mod staged_file;
mod stop;

#[cfg(test)]
pub(crate) use disk::DISK_ERRORS;
pub(crate) use disk::is_of_disk;
pub(crate) use files::{Files, Kernel, keeps_modes};
pub use fs_verity::FsVerity;
pub(crate) use fs_verity::enable as enable_fs_verity;
pub(crate) use name::is_staged;
pub(crate) use no_locks::NoLocks;
pub(crate) use spare::Spare;
pub(crate) use staged_file::{Scratch, StagedFile, Staging};
pub(crate) use stop::Stop;
