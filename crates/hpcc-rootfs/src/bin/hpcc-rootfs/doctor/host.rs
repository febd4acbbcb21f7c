//! The files of this machine that go into an image: the agent and the injected files.

use hpcc_rootfs::{Error, Options, check_host_files};
use ociget::printable;

use super::finding::{Finding, Status};
use crate::pull::PullArgs;
use crate::{output, terminal};

pub(super) fn findings(args: &PullArgs, options: &Options) -> Vec<Finding> {
    let mut findings = vec![agent(args, options)];
    findings.extend(injected(options));
    findings
}

fn agent(args: &PullArgs, options: &Options) -> Finding {
    const CHECK: &str = "agent";
    if options.no_agent {
        return Finding::good(CHECK, "the image gets none (--no-agent)");
    }
    let architecture = options.platform.architecture();
    let Some(path) = options.agents.path(architecture) else {
        let architecture = printable::text(architecture);
        let found = match args.has_agents() {
            true => format!("no file is named for {architecture}, only for other platforms"),
            false => format!("no file is named for {architecture}"),
        };
        let advice = "name the program that becomes PID 1 with --agent, or give --no-agent if it comes from elsewhere";
        return Finding::new(CHECK, Status::Failed, found, advice);
    };
    let mut alone = options.clone();
    alone.injections.clear();
    match check_host_files(&alone) {
        Ok(()) => Finding::good(CHECK, output::path(path)),
        Err(error) => failed(CHECK, error, "name a file for the platform with --agent"),
    }
}

/// Reports the injected files, if there are any.
fn injected(options: &Options) -> Option<Finding> {
    const CHECK: &str = "injected files";
    if options.injections.is_empty() {
        return None;
    }
    let mut alone = options.clone();
    alone.no_agent = true;
    let files = options.injections.iter();
    let files: Vec<_> = files.map(|file| output::path(&file.host)).collect();
    Some(match check_host_files(&alone) {
        Ok(()) => Finding::good(CHECK, files.join(", ")),
        Err(error) => failed(CHECK, error, "name files that can be read with --inject"),
    })
}

fn failed(check: &'static str, error: Error, advice: &str) -> Finding {
    let transient = error.is_transient();
    let found = terminal::one_line(&error.into());
    Finding::new(check, Status::Failed, found, advice).passing(transient)
}
