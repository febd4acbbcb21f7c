//! The work of the library, with the messages to its user meanwhile and at its end.

use anyhow::Context as _;
use hpcc_rootfs::{Size, Span, Summary};

use crate::global::Global;
use crate::terminal::{say, warn};
use crate::{progress, signals};

/// Runs the library's work, until it ends or a signal asks to stop. Then the work is dropped, which
/// cleans up after itself, and the program ends.
pub(crate) fn block_on<T, E: Into<anyhow::Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<T> {
    let runtime = signals::runtime().context("cannot start the work")?;
    let signal = signals::listen()?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = work => Ok(outcome),
            Ok(reason) = signal => Err(reason),
        }
    });
    progress::pause();
    match outcome {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(reason) => {
            runtime.shutdown_background();
            // What the threads still hold is cleaned up by them.
            let _ = hpcc_rootfs::wait_for_builds(signals::CLEANUP);
            Err(reason.into())
        }
    }
}

/// What a build did, for people.
pub(crate) fn summary(global: &Global, summary: &Summary, timings: bool) {
    // The document on stdout holds all of it; what may be wrong is said all the same.
    if global.json {
        if let Some(problem) = &summary.agent_problem {
            warn(problem);
        }
        return;
    }
    let say_line = |line: &str| match line.starts_with("warning:") {
        true => warn(line),
        false => say(line),
    };
    if progress::is_drawn() && !global.verbose {
        let text = summary.to_string();
        let is_note = |line: &&str| line.starts_with("note:") || line.starts_with("warning:");
        text.lines().filter(is_note).for_each(say_line);
        say(&format!(
            "wrote {} in {:.1}",
            Size(summary.image.image_bytes),
            Span(summary.timings.total)
        ));
    } else if !global.quiet {
        summary.to_string().lines().for_each(say_line);
    }
    // Asked for by name, so said even where little else is.
    if timings {
        summary.timings.to_string().lines().for_each(say);
    }
}

/// Returns the callback that says how far builds are, as far as the user wants to know.
pub(crate) fn progress(global: &Global) -> hpcc_rootfs::Progress {
    progress::of_builds(global.wishes())
}

/// Returns the callback for events of the network.
pub(crate) fn network(global: &Global) -> ociget::Progress {
    progress::of_network(global.wishes())
}
