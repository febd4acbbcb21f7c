//! One finding, as a line of text or an object of JSON.

use serde_json::{Value, json};

use crate::config::Place;
use crate::failure::shortened;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Good,
    /// Not checked, because no option names anything to check.
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

/// The result of a check, and what to do about it.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) status: Status,
    pub(super) found: String,
    /// Empty if no action is needed.
    advice: String,
    /// Whether the failure may pass without any change.
    pub(super) transient: bool,
    /// The place of the fault, if it is in the configuration.
    place: Option<Place>,
}

impl Finding {
    /// Columns before the text of a line.
    pub(super) const INDENT: usize = 25;

    pub(super) fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Status::Good, found, "")
    }

    pub(super) fn new(
        check: &'static str,
        status: Status,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            check,
            status,
            found: shortened(found.into()),
            advice: shortened(advice.into()),
            transient: false,
            place: None,
        }
    }

    /// Returns the finding of a fault at a place of the configuration.
    pub(super) fn at(self, place: Place) -> Self {
        Self {
            place: Some(place),
            ..self
        }
    }

    /// Returns the finding of a failure that may pass without any change, if `transient`.
    pub(super) fn passing(self, transient: bool) -> Self {
        Self { transient, ..self }
    }

    pub(super) fn line(&self) -> String {
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

    pub(super) fn json(&self) -> Value {
        json!({
            "check": self.check,
            "status": self.status.name(),
            "found": self.found,
            "advice": Some(&self.advice).filter(|advice| !advice.is_empty()),
            "transient": self.transient,
            "place": self.place.as_ref().map(Place::json),
        })
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
