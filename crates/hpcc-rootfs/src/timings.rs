//! Where the time of a build went, stage by stage.
//!
//! ```text
//!   download ──► inflate ──► read ──► compress ──► write ──► publish
//!   connections   a thread    one       a thread     (the reader's thread)
//!                 a layer     thread    a core
//! ```
//!
//! All stages run concurrently, and each is as slow as the slowest of them. The slowest stage can be found without
//! knowing anything about it: it is busy all the time, every stage before it waits for capacity, and every stage after
//! it waits for input.

use std::fmt;
use std::time::Duration;

use crate::units::Size;

/// Times of the stages of a build. Times of several threads or connections are added up. None of them changes a byte of
/// the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Blobs of layers: received, and checked against their digests. It is busy while bytes are wanted, so the time of
    /// a slow network counts too.
    pub download: Stage,
    /// Decompressing layers and hashing the output, with a thread for each layer in flight. The bytes are those of the
    /// output.
    pub inflate: Stage,
    /// Parsing archives, resolving names, finding equal contents, making tables: one thread.
    pub read: Stage,
    /// Compressing blocks, on as many threads as the options allow. The bytes are the contents of files. Waiting for
    /// capacity is not distinguished from waiting for input.
    pub compress: Stage,
    /// Bytes passed to the file, by the thread that reads.
    pub write: Stage,
    /// Making the file durable, and naming it.
    pub publish: Stage,
    /// Time from the resolved image to the published file.
    pub total: Duration,
}

/// The amounts of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stage {
    /// Bytes that went through it.
    pub bytes: u64,
    /// Time in which it worked.
    pub busy: Duration,
    /// Time in which it waited for input, because a stage before it is slower.
    pub starved: Duration,
    /// Time in which it waited for capacity, because a stage after it is slower.
    pub blocked: Duration,
}

impl Timings {
    /// Returns every stage with its name, in the order of the flow.
    #[must_use]
    pub fn stages(&self) -> Vec<(&'static str, Stage)> {
        vec![
            ("download", self.download),
            ("inflate", self.inflate),
            ("read", self.read),
            ("compress", self.compress),
            ("write", self.write),
            ("publish", self.publish),
        ]
    }
}

/// Displays a table for people.
impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<9} {:>12} {:>9} {:>16} {:>19}",
            "stage", "size", "busy s", "waits for input", "waits for capacity"
        )?;
        for (name, stage) in self.stages() {
            let [busy, starved, blocked] =
                [stage.busy, stage.starved, stage.blocked].map(|time| time.as_secs_f64());
            writeln!(
                f,
                "{name:<9} {:>12} {busy:>9.2} {starved:>16.2} {blocked:>19.2}",
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
    fn table_aligns_a_line_for_each_stage() {
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
            "stage             size    busy s  waits for input  waits for capacity"
        );
        assert_eq!(
            lines[2],
            "inflate           1.1G      1.50             0.02              100.00"
        );
        assert_eq!(lines.len(), 8);
        assert!(lines[..7].iter().all(|line| line.len() == lines[0].len()));
        assert_eq!(lines[7], "total                       2.34");
    }
}
