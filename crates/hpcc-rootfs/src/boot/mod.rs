//! What a kernel needs to boot an artifact: its command line, and its options.

mod kernel_config;
mod line;
mod requirements;

pub use kernel_config::{KernelConfig, KernelConfigError, Setting};
pub use line::{BootError, BootOptions, boot_args, verity_table};
pub use requirements::{KernelRequirement, kernel_requirements};
