//! The form of what stderr gets, and the records of the libraries that `RUST_LOG` asks for.

use std::io;

use clap::ValueEnum;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::progress::Mode;
use crate::{output, terminal};

/// The variable that names the records to print.
const FILTER: &str = "RUST_LOG";

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
pub(crate) fn start() {
    let Some(filter) = std::env::var_os(FILTER).filter(|filter| !filter.is_empty()) else {
        return;
    };
    let targets = filter
        .to_str()
        .and_then(|text| text.parse::<Targets>().ok());
    // A quiet program prints records as well, and reports why it cannot.
    let Some(targets) = targets else {
        terminal::warn_of_failure(&format!(
            "{FILTER} is not used: found {filter:?}, expected LEVEL or TARGET=LEVEL, separated by commas"
        ));
        return;
    };
    let lines = fmt::layer().with_ansi(false).with_writer(|| Lines);
    let started = if terminal::speaks_json() {
        let lines = lines.json().flatten_event(true);
        let registry = tracing_subscriber::registry();
        registry.with(lines.with_filter(targets)).try_init()
    } else {
        let registry = tracing_subscriber::registry();
        registry.with(lines.with_filter(targets)).try_init()
    };
    if let Err(error) = started {
        terminal::warn_of_failure(&format!("{FILTER} is not used: {error}"));
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
