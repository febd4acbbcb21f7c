//! Counting tests.

use std::ops::AddAssign;

/// How many lines of what failed are kept.
const KEPT: usize = 100;

/// Numbers of tests that passed and failed, and lines to read again of those that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// The last lines of each command that failed. What ran after it would hide them.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// One test that passed.
    pub(crate) fn passed() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }

    /// One test that failed, and what it wrote.
    pub(crate) fn failed(output: &str) -> Self {
        Self {
            failed: 1,
            ..Self::default()
        }
        .with_failure(output)
    }

    /// Returns the sum of all summaries in the output of `cargo test` or `cargo nextest run`. If nothing failed by them
    /// and the command did all the same, it did not even come to its tests.
    pub(crate) fn in_output(output: &str, success: bool) -> Self {
        let mut tally = Self::default();
        for line in output.lines() {
            tally += summary(line).unwrap_or_default();
        }
        if success && tally.failed == 0 {
            return tally;
        }
        tally.failed = tally.failed.max(1);
        tally.with_failure(output)
    }

    fn with_failure(mut self, output: &str) -> Self {
        let lines: Vec<&str> = output.lines().collect();
        let (_, last) = lines.split_at(lines.len().saturating_sub(KEPT));
        self.failures.push(last.join("\n"));
        self
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
    }
}

/// Returns the numbers of one summary, if the line is one:
///
/// ```text
/// test result: FAILED. 8 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
///      Summary [   3.210s] 12/13 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 0 skipped
/// ```
fn summary(line: &str) -> Option<Tally> {
    let line = line.trim_start();
    let counts = match line.strip_prefix("test result: ") {
        Some(result) => result.split_once(". ")?.1,
        None => line.strip_prefix("Summary ")?.split_once(" run: ")?.1,
    };
    let mut tally = Tally::default();
    for count in counts.split([',', ';']) {
        let (number, what) = count.trim().split_once(' ')?;
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match what.split_once(" (").map_or(what, |(what, _)| what) {
            "passed" => tally.passed += number,
            "failed" | "timed out" | "exec failed" => tally.failed += number,
            _ => {}
        }
    }
    Some(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_both_runners_are_counted() {
        let cases = [
            (
                "test result: ok. 9 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                (9, 0),
            ),
            (
                "test result: FAILED. 8 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1s",
                (8, 1),
            ),
            (
                "     Summary [   0.210s] 12 tests run: 12 passed, 0 skipped",
                (12, 0),
            ),
            (
                "     Summary [   0.210s] 1 test run: 1 passed, 0 skipped",
                (1, 0),
            ),
            (
                "     Summary [  63.2s] 12/13 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 0 skipped",
                (9, 3),
            ),
            (
                "     Summary [   0.2s] 2 tests run: 0 passed, 1 failed, 1 exec failed, 0 skipped",
                (0, 2),
            ),
            ("test walk ... 3 passed", (0, 0)),
            ("error: 3 failed", (0, 0)),
        ];
        let counts = |line| {
            let tally = Tally::in_output(line, true);
            (tally.passed, tally.failed)
        };
        for (line, expected) in cases {
            assert_eq!(counts(line), expected, "{line}");
        }
        let all = cases.map(|(line, _)| line).join("\n");
        assert_eq!(counts(&all), (39, 6));
    }

    #[test]
    fn only_failed_output_is_kept() {
        let output = |last: &str| {
            let first = (0..KEPT).map(|n| format!("line {n}\n"));
            first.collect::<String>() + last
        };
        let tally = |text, success| Tally::in_output(&output(text), success);
        let good = "     Summary [   0.2s] 1 test run: 1 passed, 0 skipped";
        assert_eq!(tally(good, true), Tally::passed());
        let mut sum = tally(good, true);
        for (text, success, passed) in [
            (
                "     Summary [   0.2s] 2 tests run: 1 passed, 1 failed, 0 skipped",
                false,
                1,
            ),
            ("error: could not compile", false, 0),
        ] {
            let failed = tally(text, success);
            assert_eq!((failed.passed, failed.failed), (passed, 1), "{text}");
            sum += failed;
        }
        let kept: Vec<_> = sum.failures.iter().map(|text| text.lines()).collect();
        assert_eq!(kept.len(), 2);
        for mut lines in kept {
            assert_eq!((lines.next(), lines.count()), (Some("line 1"), KEPT - 1));
        }
    }
}
