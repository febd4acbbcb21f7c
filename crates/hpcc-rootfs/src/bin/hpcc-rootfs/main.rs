//! `hpcc-rootfs`: container images in, bootable squashfs files out.
//!
//! Arguments become a resolved configuration, the library does the work, the outcome is rendered:
//! results on stdout, everything else on stderr. All of it passes through `output`.

mod args;
mod attest;
mod boot_args;
mod build;
mod columns;
mod completions;
mod config;
mod df;
mod doctor;
mod failure;
mod fs_verity;
mod gc;
mod global;
mod image;
mod injection;
mod inspect;
mod limits;
mod link;
mod list;
mod logging;
mod metrics_file;
mod network;
mod output;
mod path;
mod progress;
mod pull;
mod quantity;
mod rebuild;
mod record;
mod reference;
mod render;
mod requires;
mod rm;
mod signals;
mod spool;
mod stop;
mod subject;
mod table;
mod target;
mod terminal;
mod tree;
mod usage;
mod verify;
mod vm_config;
mod work;

use std::process::ExitCode;

use clap::CommandFactory as _;

use args::{Args, Command};
use config::Layers;
use metrics_file::MetricsFile;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(terminal::panicked));
    let (args, layers) = match config::parse::<Args>() {
        Ok(parsed) => parsed,
        // Help, the version, and usage errors, which have exit code 2.
        Err(error) => {
            let is_json = config::is_json(&Args::command(), std::env::args_os());
            terminal::speak(is_json, false);
            return usage::print(error);
        }
    };
    terminal::speak(args.global.is_json(), args.global.quiet);
    logging::start();
    // These two name each variable that sets no option.
    if !matches!(args.command, Command::Config(_) | Command::Doctor(_)) {
        let unknown = layers.unknown_variables().iter();
        let mistyped = unknown.filter(|variable| variable.is_mistyped());
        mistyped.for_each(|variable| terminal::warn(&variable.line()));
    }
    let metrics = args.global.metrics_file.clone().map(MetricsFile::start);
    let outcome = run(&args, &layers);
    if let Some(metrics) = metrics {
        // Another command that succeeds must not hide that pulls fail.
        let prepares = matches!(args.command, Command::Pull(_) | Command::Build(_));
        metrics.add(prepares && outcome.is_ok());
    }
    if output::is_closed() {
        return ExitCode::from(stop::CLOSED_PIPE);
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::error(&error);
            ExitCode::from(failure::exit_code(&error))
        }
    }
}

fn run(args: &Args, layers: &Layers) -> anyhow::Result<()> {
    let global = &args.global;
    match &args.command {
        Command::Pull(command) => pull::run(global, command),
        Command::Build(command) => build::run(global, command),
        Command::List(command) => list::run(global, command),
        Command::Path(command) => path::run(global, command),
        Command::Inspect(command) => inspect::run(global, command),
        Command::Attest(command) => attest::run(global, command),
        Command::BootArgs(command) => boot_args::run(global, command),
        Command::VmConfig(command) => vm_config::run(global, command),
        Command::Verify(command) => verify::run(global, command),
        Command::Link(command) => link::run(global, command),
        Command::Gc(command) => gc::run(global, command),
        Command::Rm(command) => rm::run(global, command),
        Command::Untag(command) => rm::untag(global, command),
        Command::Df(command) => df::run(global, command),
        Command::Doctor(command) => doctor::run(global, command, layers),
        Command::Config(command) => config::show::run(global, command, layers, &Args::command()),
        Command::Completions(command) => completions::run(command, Args::command()),
        Command::Man(command) => completions::man(global, command, Args::command()),
    }
}
