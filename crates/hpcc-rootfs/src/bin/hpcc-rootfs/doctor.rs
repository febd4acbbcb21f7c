//! `hpcc-rootfs doctor`: checks everything that a pull with the same options needs, and says what to do about it.
//!
//! It changes nothing: it makes no directory, leaves no file, and fetches no layer.

mod disk;
mod finding;
mod host;
mod kernel;
mod network;
mod report;

use self::finding::{Finding, Status};
use self::report::Report;
use crate::config::{Layers, Place, Problem};
use crate::global::Global;
use crate::pull::PullArgs;
use crate::target::Resolved;
use crate::{output, terminal, work};

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Check everything that a pull with the same options needs, and say what to do about it. doctor takes \
                  the options of pull, and the [pull] table of the configuration counts for it.\n\n\
                  It exits 0 if the pull would begin, with warnings or without, 1 if it would fail, and 75 if it may \
                  succeed later, such as when a registry cannot be reached.",
    after_help = "Examples:
  hpcc-rootfs doctor --agent ./agent
  hpcc-rootfs doctor debian:12 --agent ./agent --cache-dir /var/cache/rootfs"
)]
pub(crate) struct Doctor {
    /// Images to look up in their registries [default: send no request]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    options: PullArgs,
}

pub(crate) fn run(global: &Global, command: &Doctor, layers: &Layers) -> anyhow::Result<()> {
    command.options.check_images(&command.images)?;
    let report = Report::new(global);
    // All checks run where a signal ends the program, because any of them may wait for a disk or a network.
    let examined =
        work::block_on(async { anyhow::Ok(examine(global, command, layers, &report).await) })?;
    examined?;
    report.end()
}

async fn examine(
    global: &Global,
    command: &Doctor,
    layers: &Layers,
    report: &Report<'_>,
) -> anyhow::Result<()> {
    for finding in configuration(layers) {
        report.add(finding)?;
    }
    let mut resolved = command.options.resolve(&command.images);
    report.add(options(&resolved, layers))?;
    network::listen(report, &mut resolved.options);
    let options = &resolved.options;
    for finding in host::findings(&command.options, options) {
        report.add(finding)?;
    }
    disk::findings(global, options, layers, report)?;
    report.add(kernel::finding())?;
    report.add(disk::clock(global))?;
    network::findings(global, &command.images, &command.options, &resolved, report).await
}

/// Reports the files that were read, their problems, and those of the environment.
fn configuration(layers: &Layers) -> Vec<Finding> {
    const CHECK: &str = "configuration";
    let files: Vec<_> = layers
        .files()
        .map(|file| output::path(file.path()))
        .collect();
    let of_problem = |problem: &Problem| {
        let advice = &problem.advice;
        let finding = Finding::new(CHECK, Status::Failed, &problem.what, advice);
        finding.at(Place::clone(&problem.place))
    };
    let mut findings: Vec<_> = layers.problems().iter().map(of_problem).collect();
    if findings.is_empty() {
        findings.push(match files.is_empty() {
            true => Finding::good(CHECK, "no file"),
            false => Finding::good(CHECK, files.join(", ")),
        });
    }
    findings.extend(layers.unknown_variables().iter().map(|variable| {
        let advice = "hpcc-rootfs config show lists the options";
        Finding::new(CHECK, Status::Warning, variable.line(), advice)
    }));
    findings
}

/// Reports whether the options can be used, wherever they come from.
fn options(resolved: &Resolved, layers: &Layers) -> Finding {
    const CHECK: &str = "options";
    let advice = "correct it; hpcc-rootfs config show pull tells where each option is set";
    let given = [&resolved.content, &resolved.network].into_iter().flatten();
    let mut problems: Vec<_> = given.map(terminal::one_line).collect();
    if let Err(error) = resolved.options.check() {
        problems.push(terminal::one_line(&error.into()));
    }
    if problems.is_empty() {
        return Finding::good(CHECK, "can be used together");
    }
    let blamed = problems.iter().find_map(|problem| layers.blame(problem));
    let finding = Finding::new(CHECK, Status::Failed, problems.join("; "), advice);
    match blamed {
        Some(problem) => finding.at(Place::clone(&problem.place)),
        None => finding,
    }
}
