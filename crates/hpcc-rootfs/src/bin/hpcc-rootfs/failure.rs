//! How a run fails: its exit code, and the one object that programs read about it.

use std::io;

use hpcc_rootfs::{ErrorKind, EvidenceError, RecordError, tables};
use ociget::printable;
use rustix::io::Errno;
use serde::Serialize;

use crate::fields::with_options;
use crate::stop::Stopped;

/// Exit code of a failure that stays until something is changed.
pub(crate) const FAILED: u8 = 1;
/// Exit code of a wrong command line.
pub(crate) const USAGE: u8 = 2;
/// Exit code of a failure that may pass without any change: `EX_TEMPFAIL` of sysexits.h.
pub(crate) const TRANSIENT: u8 = 75;

/// Advice for an artifact that cannot be read.
pub(crate) const DAMAGED: &str =
    "verify the artifact; if it is damaged, remove it and pull its image again";

/// Advice for a damaged artifact that keeps its name.
pub(crate) const NOT_QUARANTINED: &str = "make the store writable for this user, and wait until no other process works on this \
    artifact; then pull it with --verify";

/// Advice for a wrong command line.
const HELP: &str = "see `hpcc-rootfs help`";

/// Advice for a write beyond the size that a file may have.
const FILE_LIMIT: &str = "raise the limit of file sizes (ulimit -f)";

/// Most characters of a message; images and registries choose a part of it.
const LONGEST: usize = 4000;
/// Characters at the end of a message that are kept when it is cut, because the advice stands there.
const END: usize = 500;
/// What stands in place of the middle of a message that is cut.
const CUT: &str = " [cut] ";

/// Kind of a failure that has no type of its own.
pub(crate) const OTHER: &str = "failed";

/// A mistake in the arguments that only became apparent after parsing; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// A failure of the program rather than of its library, with the kind that scripts read.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Whether the same call may succeed later without any change.
    pub(crate) transient: bool,
}

/// The error object that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The kind of failure; `docs/cli.md` lists them.
    pub(crate) kind: String,
    /// What failed, in one line.
    pub(crate) message: String,
    /// The causes, each of the one before.
    pub(crate) causes: Vec<String>,
    /// Whether the same call may succeed later without any change.
    pub(crate) transient: bool,
    /// The advice.
    pub(crate) hint: Option<String>,
}

impl Report {
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let mut causes = lines(error).into_iter();
        let library = error.downcast_ref::<hpcc_rootfs::Error>();
        let (kind, hint) = if let Some(error) = library {
            let of_usage = || (error.kind() == ErrorKind::Usage).then(|| HELP.to_owned());
            (error.kind().to_string(), error.hint().or_else(of_usage))
        } else if let Some(failure) = error.downcast_ref::<Failure>() {
            (failure.kind.to_owned(), failure.hint.clone())
        } else if error.is::<UsageError>() {
            ("usage".to_owned(), Some(HELP.to_owned()))
        } else if error.is::<Stopped>() {
            ("stopped".to_owned(), None)
        } else if let Some(kind) = of_artifact(error) {
            let is_corrupt = kind == ErrorKind::Corrupt;
            (kind.to_string(), is_corrupt.then(|| DAMAGED.to_owned()))
        } else if let Some(error) = error.downcast_ref::<io::Error>() {
            let hint = is_of_size(error).then(|| FILE_LIMIT.to_owned());
            (ErrorKind::Io.to_string(), hint)
        } else {
            (OTHER.to_owned(), None)
        };
        Self {
            kind,
            message: causes.next().unwrap_or_default(),
            causes: causes.collect(),
            transient: is_transient(error),
            hint: hint.map(|hint| shortened(printable::text(with_options(&hint)))),
        }
    }
}

/// Returns whether a file would be larger than it may be.
fn is_of_size(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::FileTooLarge
}

/// Returns the message and its causes, each as one line of printable text. A cause that the line before already ends
/// with is left out.
pub(crate) fn lines(error: &anyhow::Error) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for cause in error.chain() {
        let mut text = cause.to_string();
        if cause.downcast_ref().is_some_and(is_of_size) && !text.contains(FILE_LIMIT) {
            text = format!("{text}; {FILE_LIMIT}");
        }
        let cause = printable::text(with_options(&text).replace('\n', " "));
        let cause = shortened(cause);
        if !lines.last().is_some_and(|last| last.ends_with(&cause)) {
            lines.push(cause);
        }
    }
    lines
}

/// Returns a message without its middle, if it is longer than a message may be.
pub(crate) fn shortened(message: String) -> String {
    let count = message.chars().count();
    if count <= LONGEST {
        return message;
    }
    let before = message.chars().take(LONGEST - END - CUT.len());
    let after = message.chars().skip(count - END);
    before.chain(CUT.chars()).chain(after).collect()
}

/// Returns the kind of a failure to read an artifact.
fn of_artifact(error: &anyhow::Error) -> Option<ErrorKind> {
    if let Some(error) = error.downcast_ref::<EvidenceError>() {
        return Some(match error {
            EvidenceError::Io(_) | EvidenceError::Record(RecordError::Io(_)) => ErrorKind::Io,
            EvidenceError::Record(RecordError::Untrusted(_)) => ErrorKind::Untrusted,
            EvidenceError::Tables(error) => of_tables(error),
            _ => ErrorKind::Corrupt,
        });
    }
    error.downcast_ref().map(of_tables)
}

fn of_tables(error: &tables::Error) -> ErrorKind {
    match error {
        tables::Error::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => ErrorKind::Io,
        tables::Error::Codec(_) => ErrorKind::Unsupported,
        _ => ErrorKind::Corrupt,
    }
}

/// Returns whether the same call may succeed later without any change.
fn is_transient(error: &anyhow::Error) -> bool {
    let library = error.downcast_ref::<hpcc_rootfs::Error>();
    let own = error.downcast_ref::<Failure>();
    if let Some(library) = library {
        return library.is_transient();
    }
    let mut system = error.chain().filter_map(|error| error.downcast_ref());
    own.is_some_and(|own| own.transient) || system.any(is_shortage)
}

/// Returns whether the system had no descriptor, thread or memory left, which other processes use at the moment.
fn is_shortage(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM];
    code.is_some_and(|code| shortages.contains(&code)) || error.kind() == io::ErrorKind::OutOfMemory
}

/// Returns whether a variable that other programs read too is wrong. The command line is right then.
fn is_environment(error: &hpcc_rootfs::Error) -> bool {
    matches!(error, hpcc_rootfs::Error::Source(source) if matches!(**source, ociget::Error::Environment(_)))
}

/// Returns the exit code of a run that failed.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(stopped) = error.downcast_ref::<Stopped>() {
        return stopped.code();
    }
    let library = error.downcast_ref::<hpcc_rootfs::Error>();
    let is_usage = library.is_some_and(hpcc_rootfs::Error::is_usage);
    if error.is::<UsageError>() || is_usage && !library.is_some_and(is_environment) {
        USAGE
    } else if is_transient(error) {
        TRANSIENT
    } else {
        FAILED
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn report_lists_each_cause_once() {
        let error = anyhow!("disk full")
            .context("cannot write: disk full")
            .context("the build\nfailed");
        let report = Report::of(&error);
        assert_eq!(report.message, "the build failed");
        assert_eq!(report.causes, ["cannot write: disk full"]);
        assert_eq!((report.kind.as_str(), report.transient), ("failed", false));
    }

    #[test]
    fn long_message_keeps_its_beginning_and_its_advice() {
        let foreign = "ÿ".repeat(1 << 20);
        let error = anyhow!("cannot read {foreign}; ask its author").context("no image");
        let report = Report::of(&error);
        assert_eq!(report.message, "no image");
        let cause = &report.causes[0];
        assert!(cause.starts_with("cannot read ÿ"), "{cause}");
        assert!(cause.contains("ÿ [cut] ÿ"), "{cause}");
        assert!(cause.ends_with("ÿ; ask its author"), "{cause}");
        assert_eq!(cause.chars().count(), LONGEST);
        assert_eq!(shortened("ÿ".repeat(LONGEST)), "ÿ".repeat(LONGEST));
    }

    #[test]
    fn exit_code_is_found_below_the_context() {
        let usage = Err::<(), _>(UsageError("no".to_owned())).context("because");
        assert_eq!(exit_code(&usage.unwrap_err()), USAGE);
        assert_eq!(exit_code(&anyhow!("disk full")), FAILED);
    }
}
