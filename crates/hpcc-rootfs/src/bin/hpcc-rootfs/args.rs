//! The command line.

use clap::{Parser, Subcommand};

use crate::attest::Attest;
use crate::boot_args::BootArgs;
use crate::build::Build;
use crate::completions::Completions;
use crate::config::show::Config;
use crate::df::Df;
use crate::doctor::Doctor;
use crate::gc::Gc;
use crate::global::Global;
use crate::inspect::Inspect;
use crate::link::Link;
use crate::list::List;
use crate::man::Man;
use crate::path::PathOf;
use crate::pull::Pull;
use crate::rm::{Rm, Untag};
use crate::verify::Verify;
use crate::vm_config::VmConfig;

/// Turn container images into squashfs root file systems that a microVM boots.
#[derive(Debug, Parser)]
// By name, because `clap` would repeat whatever the program was called as.
#[command(
    version,
    bin_name = "hpcc-rootfs",
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:
  hpcc-rootfs doctor debian:12 --agent ./agent
  hpcc-rootfs pull debian:12 --agent ./agent
  hpcc-rootfs list

Each option can also be set by a variable, HPCC_CACHE_DIR for --cache-dir, or by a key of
hpcc-rootfs.toml, cache-dir = \"DIR\". The command line takes precedence over the variable, and the variable over the file."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pull images into the store and print the paths of their artifacts
    Pull(Box<Pull>),
    /// Turn an image into a squashfs file, without a store
    Build(Box<Build>),
    /// List the artifacts in the store
    List(List),
    /// Print the path of an artifact; for a full digest, even if the artifact does not exist
    Path(PathOf),
    /// Show what an artifact was made from
    Inspect(Inspect),
    /// Print an in-toto statement with SLSA provenance about an artifact, for you to sign
    Attest(Attest),
    /// Print the kernel command line that boots an artifact
    BootArgs(BootArgs),
    /// Print the virtual machine configuration that boots an artifact, for Firecracker or QEMU
    VmConfig(VmConfig),
    /// Read artifacts in full and compare them with their records; exit 1 if one is damaged
    Verify(Box<Verify>),
    /// Remove artifacts from the store
    Rm(Rm),
    /// Remove one artifact from the store, as rm does; succeed if no artifact has the full digest
    Untag(Untag),
    /// Link an artifact to a second path, such as one in the jail of a VM
    ///
    /// The file at the path is a hard link, else a file that shares its blocks, else a copy. It is read-only, and complete
    /// when its name appears.
    ///
    /// The command prints the path and stays until the process that ran it ends. Until then, gc leaves the artifact
    /// alone.
    Link(Link),
    /// Free disk space: remove leftover files, and the least recently used artifacts over a limit
    Gc(Gc),
    /// Show the disk space of each artifact, and the size of the layers that it shares with others
    Df(Df),
    /// Check everything that a pull with these options needs, and advise; exit 1 if the pull would fail, 75
    /// if it may succeed later
    Doctor(Box<Doctor>),
    /// Show the configuration
    Config(Config),
    /// Print a script that completes commands and options in a shell
    Completions(Completions),
    /// Write the manual pages, one per command
    Man(Man),
}

#[cfg(test)]
mod tests;
