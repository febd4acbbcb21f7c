//! A notice of the program, in the form of the log records of its libraries.

use ociget::printable;
use serde::Serialize;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// How much a line matters.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Level {
    Warn,
    Info,
}

/// A notice of the program, in the form of the records of its libraries.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    timestamp: String,
    level: Level,
    message: String,
    target: &'static str,
}

impl Record {
    pub(crate) fn new(level: Level, message: &str) -> Self {
        let mut timestamp = String::new();
        // Only a clock that cannot be read fails; the record is worth more than its time.
        let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
        Self {
            timestamp,
            level,
            message: printable::text(message),
            target: "hpcc-rootfs",
        }
    }
}
