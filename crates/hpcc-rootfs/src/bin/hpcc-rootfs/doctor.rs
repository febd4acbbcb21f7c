//! `hpcc-rootfs doctor`: looks at everything that a pull needs, and says what to do about it.
//!
//! It changes nothing: no directory is made, no file gets a name, and no layer is fetched.

mod disk;
mod kernel;
mod network;
pub(crate) mod options;

use anyhow::bail;
use serde_json::{Value, json};

use crate::args::Global;
use crate::config::Layers;
use crate::doctor::options::Doctor;
use crate::{output, render, terminal};

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Good,
    /// Not looked at, because nothing says at what.
    Skipped,
    /// Pulls work, but something may surprise.
    Warning,
    /// A pull fails.
    Failed,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// What was found, and what to do about it.
#[derive(Clone, Debug)]
struct Finding {
    check: &'static str,
    status: Status,
    found: String,
    /// Empty if nothing is to be done.
    advice: String,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Status::Good, found, "")
    }

    fn new(
        check: &'static str,
        status: Status,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            check,
            status,
            found: found.into(),
            advice: advice.into(),
        }
    }

    fn line(&self) -> String {
        let mut line = format!(
            "{:<8} {:<15} {}",
            self.status.name(),
            self.check,
            self.found
        );
        if !self.advice.is_empty() {
            line.push_str("; ");
            line.push_str(&self.advice);
        }
        line
    }

    fn json(&self) -> Value {
        json!({
            "check": self.check,
            "status": self.status.name(),
            "found": self.found,
            "advice": Some(&self.advice).filter(|advice| !advice.is_empty()),
        })
    }
}

pub(crate) fn run(global: &Global, command: &Doctor) -> anyhow::Result<()> {
    command.check_image()?;
    let mut findings = configuration(global);
    findings.extend(disk::findings(global));
    let options = command.options()?;
    findings.push(agent(command, &options));
    findings.extend(network::findings(command, &options)?);
    findings.push(kernel::finding());
    findings.push(disk::clock(global));
    let lines: Vec<_> = findings.iter().map(Finding::line).collect();
    let failed = findings
        .iter()
        .filter(|finding| finding.status == Status::Failed);
    let failed: Vec<_> = failed.map(|finding| finding.check).collect();
    let value = json!({
        "ok": failed.is_empty(),
        "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
    });
    render::print(global, &value, &lines)?;
    if !failed.is_empty() {
        bail!("a pull would fail: {}", failed.join(", "));
    }
    Ok(())
}

/// The configuration was read before anything else, so that one that is wrong does not get here.
fn configuration(global: &Global) -> Vec<Finding> {
    const CHECK: &str = "configuration";
    let layers = match Layers::of(global.config.clone()) {
        Ok(layers) => layers,
        Err(error) => return vec![Finding::new(CHECK, Status::Failed, error, "")],
    };
    let files: Vec<_> = layers
        .files()
        .map(|file| output::path(file.path()))
        .collect();
    let mut findings = vec![match files.is_empty() {
        true => Finding::good(CHECK, "no file"),
        false => Finding::good(CHECK, files.join(", ")),
    }];
    findings.extend(layers.unknown_variables().into_iter().map(|name| {
        let found = format!("the variable {name} sets no option");
        let advice = "hpcc-rootfs config show lists the options";
        Finding::new(CHECK, Status::Warning, found, advice)
    }));
    findings
}

fn agent(command: &Doctor, options: &hpcc_rootfs::Options) -> Finding {
    const CHECK: &str = "agent";
    let architecture = options.platform.architecture();
    let Some(path) = options.agents.path(architecture) else {
        let status = match command.has_agents() {
            true => Status::Failed,
            false => Status::Skipped,
        };
        let found = format!(
            "no file is named for {}",
            ociget::printable::text(architecture)
        );
        return Finding::new(
            CHECK,
            status,
            found,
            "name the program that becomes PID 1 with --agent",
        );
    };
    match hpcc_rootfs::check_host_files(options) {
        Ok(()) => Finding::good(CHECK, output::path(path)),
        Err(error) => {
            let advice = "name a file for the platform with --agent";
            Finding::new(
                CHECK,
                Status::Failed,
                terminal::one_line(&error.into()),
                advice,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_says_what_to_do() {
        let finding = Finding::new("space", Status::Failed, "1 MiB is free", "make room");
        assert_eq!(
            finding.line(),
            "failed   space           1 MiB is free; make room"
        );
        let finding = Finding::good("space", "1 GiB is free");
        assert_eq!(finding.line(), "ok       space           1 GiB is free");
        assert_eq!(finding.json()["advice"], Value::Null);
    }
}
