//! `hpcc-rootfs doctor`: checks everything that a pull with the same options needs, and says what to do about it.
//!
//! It changes nothing: no directory is made, no file gets a name, and no layer is fetched.

mod disk;
mod finding;
mod host;
mod kernel;
mod network;

use std::cell::RefCell;

use serde_json::{Value, json};

use self::finding::{Finding, Status};
use crate::global::Global;
use crate::pull::PullArgs;
use crate::target::Resolved;
use crate::config::{Layers, Place, Problem};
use crate::failure::Failure;
use crate::{output, render, terminal, work};

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
    /// Images to ask their registries for [default: no request is sent]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    options: PullArgs,
}

/// The findings, each printed as soon as it is known; as JSON they are one document at the end.
struct Report<'a> {
    global: &'a Global,
    findings: RefCell<Vec<Finding>>,
}

impl Report<'_> {
    fn add(&self, finding: Finding) -> anyhow::Result<()> {
        let line = finding.line();
        self.findings.borrow_mut().push(finding);
        match self.global.json {
            true => Ok(()),
            false => render::print(self.global, &Value::Null, &[line]),
        }
    }

    /// Says on stderr what takes time, unless nobody wants to know.
    fn says(&self) -> bool {
        let global = self.global;
        !global.quiet && (!global.json || global.verbose || output::is_terminal())
    }

    /// Ends the output, and fails if a pull would fail.
    fn end(self) -> anyhow::Result<()> {
        let findings = self.findings.into_inner();
        let failed = findings
            .iter()
            .filter(|finding| finding.status == Status::Failed);
        let failed: Vec<_> = failed.collect();
        if self.global.json {
            let value = json!({
                "ok": failed.is_empty(),
                "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
            });
            render::print(self.global, &value, &[])?;
        }
        if failed.is_empty() {
            return Ok(());
        }
        let mut checks: Vec<_> = failed.iter().map(|finding| finding.check).collect();
        checks.dedup();
        let transient = failed.iter().all(|finding| finding.transient);
        let when = if transient { " at the moment" } else { "" };
        Err(Failure {
            kind: "failed",
            message: format!("a pull would fail{when}: {}", checks.join(", ")),
            hint: Some("do what the findings on stdout say".to_owned()),
            transient,
        }
        .into())
    }
}

pub(crate) fn run(global: &Global, command: &Doctor, layers: &Layers) -> anyhow::Result<()> {
    command.options.check_images(&command.images)?;
    let report = Report {
        global,
        findings: RefCell::default(),
    };
    // All of it runs where a signal ends the program, because any of it may wait for a disk or a network.
    let examined =
        work::block_on(async { Ok(examine(global, command, layers, &report).await) })?;
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
    report.add(options(&resolved))?;
    network::listen(report, &mut resolved.options);
    let options = &resolved.options;
    for finding in host::findings(&command.options, options) {
        report.add(finding)?;
    }
    disk::findings(global, options, layers, report)?;
    report.add(kernel::finding())?;
    report.add(disk::clock(global))?;
    network::findings(global, command, &resolved, report).await
}

/// Reports the files that were read, and what is wrong with them and with the environment.
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
    findings.extend(layers.unknown_variables().into_iter().map(|name| {
        let found = format!("the variable {name} sets no option");
        let advice = "hpcc-rootfs config show lists the options";
        Finding::new(CHECK, Status::Warning, found, advice)
    }));
    findings
}

/// Reports whether the options can be used, wherever they come from.
fn options(resolved: &Resolved) -> Finding {
    const CHECK: &str = "options";
    let advice = "correct it; hpcc-rootfs config show pull tells where each option is set";
    let given = [&resolved.content, &resolved.network].into_iter().flatten();
    let mut problems: Vec<_> = given.map(terminal::one_line).collect();
    if let Err(error) = resolved.options.check() {
        problems.push(terminal::one_line(&error.into()));
    }
    match problems.is_empty() {
        true => Finding::good(CHECK, "can be used together"),
        false => Finding::new(CHECK, Status::Failed, problems.join("; "), advice),
    }
}
