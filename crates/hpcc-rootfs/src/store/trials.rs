//! What attempts at a build found out about the artifacts that they copied from.

use std::path::PathBuf;

use ociget::Digest;

/// An artifact from which nothing is copied: its directory, and its image.
pub(super) type Excluded = (PathBuf, Digest);

/// Number of attempts that may fail because of an artifact. Each takes up to the time of a whole build, and damage seldom
/// comes alone.
const ATTEMPTS: usize = 2;

/// Number of problems that an error names.
const NAMED: usize = 4;

#[derive(Clone, Debug, Default)]
pub(super) struct Trials {
    /// Number of attempts that failed because of an artifact.
    failed: usize,
    /// Artifacts from which nothing is copied.
    pub(super) excluded: Vec<Excluded>,
    /// Artifacts that were compared with their records as a whole.
    pub(super) checked: Vec<Excluded>,
    /// Why an artifact is not copied from, for people.
    problems: Vec<(Digest, String)>,
}

impl Trials {
    /// Counts an attempt that failed because of an artifact.
    pub(super) fn fail(&mut self) {
        self.failed += 1;
    }

    /// Returns whether an attempt failed because of an artifact.
    pub(super) fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// Returns whether another attempt may copy from artifacts.
    pub(super) fn may_go_on(&self) -> bool {
        self.failed < ATTEMPTS
    }

    /// Notes why an artifact is not copied from.
    pub(super) fn note(&mut self, digest: &Digest, because: &str) {
        if !self.problems.iter().any(|(of, _)| of == digest) {
            self.problems.push((digest.clone(), because.to_owned()));
        }
    }

    /// Returns the problems of artifacts, for an error, or nothing if there are none.
    pub(super) fn problems(&self) -> Option<String> {
        let named = self.problems.iter().take(NAMED);
        let mut named: Vec<_> = named
            .map(|(digest, because)| format!("{digest}: {because}"))
            .collect();
        let more = self.problems.len().saturating_sub(NAMED);
        if more > 0 {
            named.push(format!("and {more} more"));
        }
        (!named.is_empty()).then(|| named.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_named_once_and_only_a_few() {
        let mut trials = Trials::default();
        assert_eq!(trials.problems(), None);
        for n in [1, 1, 2, 3, 4, 5, 6] {
            trials.note(&Digest::of(&[n]), &format!("reason {n}"));
        }
        let text = trials.problems().unwrap();
        assert_eq!(text.matches("reason").count(), NAMED, "{text}");
        assert!(
            text.starts_with("sha256:") && text.ends_with(", and 2 more"),
            "{text}"
        );
    }

    #[test]
    fn second_failed_attempt_is_the_last_that_copies() {
        let mut trials = Trials::default();
        assert!(!trials.has_failed() && trials.may_go_on());
        trials.fail();
        assert!(trials.has_failed() && trials.may_go_on());
        trials.fail();
        assert!(!trials.may_go_on());
    }
}
