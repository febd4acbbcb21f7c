//! What is added to an image, and the files of the host that go there.

mod agent;
mod description;
mod furnish;
mod further_points;
mod host_file;
mod mount_points;
mod program;
mod supplies;

pub use furnish::BOOT_ARGS;
pub(crate) use furnish::{Furnished, furnish};
pub(crate) use supplies::{HashedSupplies, Memory, Supplies};
