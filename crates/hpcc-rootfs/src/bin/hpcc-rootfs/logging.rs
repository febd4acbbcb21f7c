//! The form of what stderr gets, and the records of the libraries that `RUST_LOG` asks for.

use std::fmt::Debug;
use std::io;

use clap::ValueEnum;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt};

use crate::progress::Mode;
use crate::{output, terminal};

/// The variable that names the records to print.
const FILTER: &str = "RUST_LOG";

/// The crates whose records are selected by their names alone.
const CRATES: [&str; 3] = ["hpcc_rootfs", "ociget", "sqfs_writer"];

/// The target of the records that the library means for every user.
const NOTICE: &str = "hpcc_rootfs::notice";

/// The form of a line on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Returns whether each line on stderr is an object of JSON: by the log format, else if the result or the progress is.
pub(crate) fn is_json(log_format: Option<Format>, json: bool, progress: Mode) -> bool {
    match log_format {
        Some(format) => format == Format::Json,
        None => json || progress == Mode::Json,
    }
}

/// Begins to print the records that `RUST_LOG` selects: `LEVEL`, or `TARGET=LEVEL`, separated by commas.
/// Notices of the library are warnings, whatever it selects.
pub(crate) fn start() {
    // The notices are shown once.
    let targets = targets().with_target(NOTICE, LevelFilter::OFF);
    let notices = Targets::new().with_target(NOTICE, LevelFilter::WARN);
    let registry = tracing_subscriber::registry().with(Notices.with_filter(notices));
    let lines = fmt::layer().with_ansi(false).with_writer(|| Lines);
    let started = if terminal::speaks_json() {
        let lines = lines.json().flatten_event(true);
        registry.with(lines.with_filter(targets)).try_init()
    } else {
        registry.with(lines.with_filter(targets)).try_init()
    };
    if let Err(error) = started {
        terminal::warn_of_failure(&format!("{FILTER} is not used: {error}"));
    }
}

/// Returns whether each directive has a level, or names a target whose records exist. The parser of directives takes any
/// other word for a target as well, so a misspelled level would select nothing.
fn is_whole(filter: &str) -> bool {
    filter
        .split(',')
        .all(|directive| match directive.split_once('=') {
            Some((target, level)) => is_target(target) && !level.is_empty(),
            None => {
                let is_own = CRATES.contains(&directive) || directive.contains("::");
                let is_level = !directive.is_empty() && directive.parse::<LevelFilter>().is_ok();
                is_level || is_own && is_target(directive)
            }
        })
}

/// Returns whether a text can be the target of records, which is a path of Rust, perhaps with the name of a field.
fn is_target(text: &str) -> bool {
    let is_of_target = |c: char| c.is_ascii_alphanumeric() || "_-:.[{}]".contains(c);
    !text.is_empty() && text.chars().all(is_of_target)
}

/// Returns the records that the variable selects.
fn targets() -> Targets {
    let Some(filter) = std::env::var_os(FILTER).filter(|filter| !filter.is_empty()) else {
        return Targets::new();
    };
    let text = filter.to_str().filter(|text| is_whole(text));
    let targets = text.and_then(|text| text.parse().ok());
    targets.unwrap_or_else(|| {
        // A quiet program prints records as well, and reports why it cannot.
        terminal::warn_of_failure(&format!(
            "{FILTER} is not used: found {filter:?}, expected LEVEL or TARGET=LEVEL, separated by commas"
        ));
        Targets::new()
    })
}

/// Prints notices of the library as warnings.
struct Notices;

impl<S: Subscriber> Layer<S> for Notices {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Message);
    }
}

/// Prints the message of a record.
struct Message;

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            terminal::warn(&format!("{value:?}"));
        }
    }
}

/// Takes one record at a time, and writes it as one line.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        output::say_record(text.trim_end(), terminal::speaks_json());
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Others lost their records to a misspelled level: schubydoo/podspine#225, hannobraun/fornjot#1435.
    #[test]
    fn misspelled_level_is_no_target() {
        for filter in [
            "verbose",
            "warning",
            "wran",
            "junk",
            "warn;info",
            "",
            ",",
            "=",
            "=info",
            "ociget=",
            "info,wran",
            "info, ociget=debug",
            "warn;info=debug",
            "ocigets",
        ] {
            assert!(!is_whole(filter), "{filter}");
        }
        for filter in [
            "warn",
            "WARN",
            "off",
            "hpcc_rootfs",
            "ociget::client",
            "ociget=debug",
            "info,hyper::client=trace",
            "hpcc_rootfs[{digest}]=trace",
            "ociget,sqfs_writer=info",
        ] {
            assert!(is_whole(filter), "{filter}");
            assert!(filter.parse::<Targets>().is_ok(), "{filter}");
        }
    }
}
