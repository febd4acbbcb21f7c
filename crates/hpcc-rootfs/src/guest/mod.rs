//! What this program adds to an image, and the host files that it adds.

mod agent;
mod chain;
mod description;
mod furnish;
mod further_points;
mod host_file;
mod machine;
mod mount_points;
mod program;
mod supplies;

pub use furnish::BOOT_ARGS;
pub(crate) use furnish::{Furnished, furnish};
pub(crate) use supplies::{HashedSupplies, Memory, Supplies};
