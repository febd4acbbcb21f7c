//! stderr: notices, warnings and errors, as text or as JSON.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

use ociget::printable;

use crate::columns::fold_indented;
use crate::failure::{self, Report};
use crate::fields::with_options;
use crate::output;
use crate::record::{Level, Record};

/// Whether stderr gets lines of JSON instead of text.
static SPEAKS_JSON: AtomicBool = AtomicBool::new(false);

/// Whether only results and errors are printed.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Returns whether every line on stderr is to be an object of JSON.
pub(crate) fn speaks_json() -> bool {
    SPEAKS_JSON.load(Ordering::Relaxed)
}

/// Writes one line to stderr: as text, which a window shows in as many lines as it takes, or as a record of JSON.
pub(crate) fn say(line: &str) {
    let line = &with_options(line);
    match speaks_json() {
        true => output::say_json(&Record::new(Level::Info, line)),
        false => folded(line, 0).iter().for_each(|line| output::say(line)),
    }
}

/// Returns a line of text in as many lines as it takes in the window on stderr, if there is one; those after the first
/// are indented.
pub(crate) fn folded(line: &str, indent: usize) -> Vec<String> {
    match output::window() {
        Some((columns, _)) if output::is_terminal() => {
            fold_indented(&printable::text(line), columns.saturating_sub(1), indent)
        }
        _ => vec![line.to_owned()],
    }
}

/// Writes one line about a condition that should be changed, unless the program is to be quiet. In text the line begins
/// with `warning: `; a warning of a library that already begins so gets no second one.
pub(crate) fn warn(line: &str) {
    if !IS_QUIET.load(Ordering::Relaxed) {
        warn_of_failure(line);
    }
}

/// Writes a warning about the part of the work that failed, before the error of the whole. A quiet program prints it as
/// well.
pub(crate) fn warn_of_failure(line: &str) {
    let line = line.strip_prefix("warning:").unwrap_or(line).trim_start();
    let line = &failure::shortened(printable::text(with_options(line)));
    if speaks_json() {
        output::say_json(&Record::new(Level::Warn, line));
    } else {
        say(&format!("warning: {line}"));
    }
}

/// Chooses between text and JSON, and whether warnings are printed.
pub(crate) fn speak(is_json: bool, is_quiet: bool) {
    SPEAKS_JSON.store(is_json, Ordering::Relaxed);
    IS_QUIET.store(is_quiet, Ordering::Relaxed);
}

/// Prints an error with its causes, as the last of the program: one line of text, or one object of JSON.
pub(crate) fn error(error: &anyhow::Error) {
    if speaks_json() {
        output::say_json_at_the_end(&Report::of(error));
    } else {
        let line = format!("error: {}", one_line(error));
        let lines = folded(&line, 0);
        lines.iter().for_each(|line| output::say_at_the_end(line));
    }
}

/// Reports a panic in one line, because its message may contain foreign text. A backtrace follows if the environment
/// requests one, as with the standard hook.
pub(crate) fn panicked(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let panic = info.to_string().replacen(":\n", ": ", 1);
    let message = printable::text(format!("internal error: thread {name} {panic}"));
    let message = failure::shortened(message);
    if speaks_json() {
        output::say_json_at_the_end(&Report {
            kind: hpcc_rootfs::ErrorKind::Internal.to_string(),
            message,
            causes: Vec::new(),
            transient: false,
            hint: Some("this is a bug, please report it".to_owned()),
        });
    } else {
        output::say_at_the_end(&format!("{message}; this is a bug, please report it"));
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        for line in backtrace.to_string().lines() {
            output::say_at_the_end(line);
        }
    }
}

/// Returns the chain of causes in printable text, without a cause that the message before already contains.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    failure::lines(error).join(": ")
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_error_is_one_line_and_says_nothing_twice() {
        let error = anyhow!("disk full")
            .context("cannot write: disk full")
            .context("the build\nfailed");
        assert_eq!(
            one_line(&error),
            "the build failed: cannot write: disk full"
        );
    }

    #[test]
    fn an_error_holds_nothing_that_a_terminal_obeys() {
        let error = anyhow!("\u{1b}[31mno\u{202e}").context("https://bob:s3cret@h/x failed");
        assert_eq!(
            one_line(&error),
            "https://***@h/x failed: \\u{1b}[31mno\\u{202e}"
        );
    }
}
