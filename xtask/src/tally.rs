//! Counting tests.

use std::ops::AddAssign;

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// One test that passed or did not.
    pub(crate) fn of(passed: bool) -> Self {
        Self {
            passed: passed.into(),
            failed: (!passed).into(),
        }
    }

    /// The sum of all summaries in the output of `cargo test` or `cargo nextest run`.
    pub(crate) fn in_output(output: &str) -> Self {
        let mut tally = Self::default();
        for line in output.lines() {
            tally += summary(line).unwrap_or_default();
        }
        tally
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// The numbers of one summary, if the line is one:
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
        for (line, (passed, failed)) in cases {
            assert_eq!(Tally::in_output(line), Tally { passed, failed }, "{line}");
        }
        let all = cases.map(|(line, _)| line).join("\n");
        assert_eq!(
            Tally::in_output(&all),
            Tally {
                passed: 39,
                failed: 6
            }
        );
    }
}
