//! `hpcc-rootfs`: container images in, bootable squashfs files out.
//!
//! Arguments become a resolved configuration, the library does the work, the outcome is rendered:
//! results on stdout, everything else on stderr.

mod args;
mod build;
mod gc;
mod injection;
mod inspect;
mod list;
mod pull;
mod render;
mod subject;
mod terminal;
mod tree;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};

fn main() -> ExitCode {
    // Usage errors end here, with exit code 2.
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_usage(&error) => {
            terminal::error(&error);
            ExitCode::from(2)
        }
        Err(error) => {
            terminal::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn is_usage(error: &anyhow::Error) -> bool {
    error.is::<args::UsageError>()
        || error
            .downcast_ref::<hpcc_rootfs::Error>()
            .is_some_and(hpcc_rootfs::Error::is_usage)
}

fn run(args: &Args) -> anyhow::Result<()> {
    let global = &args.global;
    match &args.command {
        Command::Pull(command) => pull::run(global, command),
        Command::Build(command) => build::run(global, command),
        Command::List => list::run(global),
        Command::Path { digest } => {
            let path = global.store()?.path_for(digest);
            render::path(global, &path)
        }
        Command::Inspect(command) => inspect::run(global, command),
        Command::Verify(command) => verify::run(global, command),
        Command::Gc(command) => gc::run(global, command),
        Command::Untag { digest } => {
            let removed = global.store()?.untag_image(digest)?;
            render::untagged(global, digest, removed)
        }
    }
}
