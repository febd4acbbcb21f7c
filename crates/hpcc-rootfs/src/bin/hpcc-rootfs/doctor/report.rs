//! The report of all findings, as lines of text or as one document.

use std::cell::RefCell;

use serde_json::{Value, json};

use super::finding::{Finding, Status};
use crate::failure::Failure;
use crate::global::Global;
use crate::{output, render};

/// The findings, each printed as soon as it is known; as JSON they are one document at the end.
pub(super) struct Report<'a> {
    pub(super) global: &'a Global,
    findings: RefCell<Vec<Finding>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(global: &'a Global) -> Self {
        Self {
            global,
            findings: RefCell::default(),
        }
    }

    pub(super) fn add(&self, finding: Finding) -> anyhow::Result<()> {
        let line = finding.line();
        self.findings.borrow_mut().push(finding);
        match self.global.json {
            true => Ok(()),
            false => render::print_folded(self.global, &Value::Null, &[line], Finding::INDENT),
        }
    }

    /// Reports slow steps on stderr, if the user watches.
    pub(super) fn says(&self) -> bool {
        let global = self.global;
        !global.quiet && (!global.json || global.verbose || output::is_terminal())
    }

    /// Ends the output, and fails if a pull would fail.
    pub(super) fn end(self) -> anyhow::Result<()> {
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
