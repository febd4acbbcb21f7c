//! What is added to an image, and the files of the host that go there.

mod agent;
mod furnish;
mod host_file;
mod mount_points;
mod supplies;

pub use furnish::BOOT_ARGS;
pub(crate) use furnish::furnish;
pub(crate) use supplies::{HashedSupplies, Memory, Supplies};
