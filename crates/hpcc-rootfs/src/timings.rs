//! Where the time of a build went, stage by stage.
//!
//! ```text
//!   download ──► inflate ──► read ──► compress ──► write ──► publish
//!   connections   a thread    one       a thread     (the reader's thread)
//!                 a layer     thread    a core
//! ```
//!
//! All stages run at once, and each is as slow as the slowest of them. The slowest one is found without knowing
//! anything about it: it is busy all the time, everything before it waits for room, and everything behind it waits for
//! input.

use std::fmt;
use std::time::Duration;

use crate::units::Size;

/// Where the time of a build went. Times of several threads, or connections, are added up; nothing of it changes a
/// byte of the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Blobs of layers: received, and checked against their digests. Busy is the time in which bytes were wanted, so
    /// that of a slow network too.
    pub download: Stage,
    /// Decompressing layers and hashing what comes out, a thread for each layer that is under way. The bytes are those
    /// that come out.
    pub inflate: Stage,
    /// Archives taken apart, names settled, equal contents found, tables made: one thread.
    pub read: Stage,
    /// Blocks compressed, on as many threads as there may be. The bytes are the contents of files; waiting for room is
    /// not told apart from waiting for input.
    pub compress: Stage,
    /// Bytes handed to the file, by the thread that reads.
    pub write: Stage,
    /// Making the file durable, and naming it.
    pub publish: Stage,
    /// From the resolved image to the published file.
    pub total: Duration,
}

/// What one stage did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stage {
    /// Bytes that went through it.
    pub bytes: u64,
    /// It worked.
    pub busy: Duration,
    /// It had nothing to do: what comes before it is slower.
    pub starved: Duration,
    /// It could not get rid of what it had: what comes after it is slower.
    pub blocked: Duration,
}

impl Timings {
    /// Every stage with its name, in the order of the flow.
    #[must_use]
    pub fn stages(&self) -> [(&'static str, Stage); 6] {
        [
            ("download", self.download),
            ("inflate", self.inflate),
            ("read", self.read),
            ("compress", self.compress),
            ("write", self.write),
            ("publish", self.publish),
        ]
    }
}

/// A table for people.
impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<9} {:>12} {:>9} {:>16} {:>15}",
            "stage", "size", "busy s", "waits for input", "waits for room"
        )?;
        for (name, stage) in self.stages() {
            let [busy, starved, blocked] =
                [stage.busy, stage.starved, stage.blocked].map(|time| time.as_secs_f64());
            writeln!(
                f,
                "{name:<9} {:>12} {busy:>9.2} {starved:>16.2} {blocked:>15.2}",
                Size(stage.bytes),
            )?;
        }
        write!(f, "{:<9} {:>22.2}", "total", self.total.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_stage_and_its_columns_stand_in_line() {
        let stage = Stage {
            bytes: 1_234_567_890,
            busy: Duration::from_millis(1500),
            starved: Duration::from_millis(20),
            blocked: Duration::from_secs(100),
        };
        let timings = Timings {
            inflate: stage,
            total: Duration::from_millis(2340),
            ..Timings::default()
        };
        let table = timings.to_string();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            lines[0],
            "stage             size    busy s  waits for input  waits for room"
        );
        assert_eq!(
            lines[2],
            "inflate           1.1G      1.50             0.02          100.00"
        );
        assert_eq!(lines.len(), 8);
        assert!(lines[..7].iter().all(|line| line.len() == lines[0].len()));
        assert_eq!(lines[7], "total                       2.34");
    }
}
