//! `hpcc-rootfs`: container images in, bootable squashfs files out.
//!
//! Arguments become a resolved configuration, the library does the work, the outcome is rendered:
//! results on stdout, everything else on stderr. All of it passes through `output`.

mod absence;
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
mod fields;
mod fs_verity;
mod gc;
mod global;
mod image;
mod injection;
mod inputs;
mod inspect;
mod limits;
mod link;
mod list;
mod locale;
mod logging;
mod man;
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
mod stack;
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
use config::{Layers, Problem};
use failure::UsageError;
use metrics_file::MetricsFile;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(terminal::panicked));
    stack::take();
    signals::survive_file_limit();
    signals::end_as_first_process();
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
    let names_variables = matches!(args.command, Command::Config(_) | Command::Doctor(_));
    // Shells run these at their start.
    let is_for_shells = matches!(args.command, Command::Completions(_) | Command::Man(_));
    if !names_variables && !is_for_shells {
        let unknown = layers.unknown_variables().iter();
        let mistyped = unknown.filter(|variable| variable.is_mistyped());
        mistyped.for_each(|variable| terminal::warn(&variable.line()));
    }
    let metrics = args.global.metrics_file.clone().map(MetricsFile::start);
    let outcome = run(&args, &layers);
    let is_usage = outcome
        .as_ref()
        .is_err_and(|error| failure::exit_code(error) == failure::USAGE);
    // A wrong command line did nothing that counts, and may name the wrong file.
    if let Some(metrics) = metrics.filter(|_| !is_usage) {
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
            let code = failure::exit_code(&error);
            let problem = is_usage.then(|| layers.blame(&terminal::one_line(&error)));
            match problem.flatten() {
                Some(problem) => terminal::error(&UsageError(problem.line()).into()),
                None => terminal::error(&error),
            }
            ExitCode::from(code)
        }
    }
}

/// Command lines with what each command needs, and no options.
const PULL: &[&str] = &["hpcc-rootfs", "pull", "image"];
const BUILD: &[&str] = &["hpcc-rootfs", "build", "image", "--output", "file"];

/// Returns the problem of settings that cannot be used together, though each of them is right.
fn combined(words: &[&str], layers: &Layers) -> Option<Problem> {
    let (args, layers) = config::parse_with::<Args>(words, layers).ok()?;
    let error = match &args.command {
        Command::Pull(command) => command.check_settings(),
        Command::Build(command) => command.check_settings(),
        _ => Ok(()),
    };
    layers.blame(&terminal::one_line(&error.err()?))
}

fn run(args: &Args, layers: &Layers) -> anyhow::Result<()> {
    let global = &args.global;
    match &args.command {
        Command::Pull(command) => pull::run(global, command, layers),
        Command::Build(command) => build::run(global, command, layers),
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
        Command::Config(command) => {
            let checks = [("pull", PULL), ("build", BUILD)]
                .map(|(name, words)| (name, combined(words, layers)));
            config::show::run(global, command, layers, &Args::command(), checks)
        }
        Command::Completions(command) => completions::run(command, Args::command()),
        Command::Man(command) => man::run(global, command, Args::command()),
    }
}
