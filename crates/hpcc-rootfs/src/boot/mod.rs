//! What a kernel needs to boot an artifact: its command line, and its options.

mod error;
mod kernel_config;
mod limits;
mod line;
mod requirements;

pub use error::BootError;
pub use kernel_config::{KernelConfig, KernelConfigError, KernelVersion, Setting};
pub use limits::check_kernel_line;
pub use line::{BootOptions, boot_args, verity_table};
pub use requirements::{KernelRequirement, kernel_requirements};
