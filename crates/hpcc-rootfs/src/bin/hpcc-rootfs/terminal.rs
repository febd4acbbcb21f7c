//! stderr: errors in one line, progress as bars on a terminal and as plain lines elsewhere.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hpcc_rootfs::{Event, Progress, Summary};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ociget::printable;
use ociget::{Digest, Image};

use crate::args::Global;
use crate::output;
pub(crate) use crate::output::say;
use crate::signals;

/// Prints an error with its causes, in one line.
pub(crate) fn error(error: &anyhow::Error) {
    say(&format!("error: {}", one_line(error)));
}

/// Reports a panic in one line, because its message may hold text of others. A backtrace follows if the
/// environment asks for one, as with the standard hook.
pub(crate) fn panicked(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let panic = info.to_string().replacen(":\n", ": ", 1);
    say(&format!(
        "internal error: thread {name} {panic}; this is a bug, please report it"
    ));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        for line in backtrace.to_string().lines() {
            say(line);
        }
    }
}

/// The chain of causes, in printable text, without repeating a cause that the message before already holds.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = printable::text(cause.to_string().replace('\n', " "));
        if line.ends_with(&cause) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&cause);
    }
    line
}

/// Runs the library's work, until it ends or a signal asks to stop. Then the work is dropped, which
/// cleans up after itself, and the program ends.
pub(crate) fn block_on<T>(
    work: impl Future<Output = Result<T, hpcc_rootfs::Error>>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let signal = signals::listen()?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = work => Ok(outcome),
            Ok(reason) = signal => Err(reason),
        }
    });
    match outcome {
        Ok(outcome) => Ok(outcome?),
        Err(reason) => {
            // A runtime that is just dropped waits for its threads as long as they take.
            runtime.shutdown_timeout(signals::CLEANUP);
            bail!(signals::stopped(reason))
        }
    }
}

/// What a build did, for people.
pub(crate) fn summary(global: &Global, summary: &Summary, timings: bool) {
    let say_all = |text: String| text.lines().for_each(say);
    if !global.quiet {
        say_all(summary.to_string());
    }
    // Asked for by name, so said even where little else is.
    if timings {
        say_all(summary.timings.to_string());
    }
}

/// What tells the user how far it is, as far as he wants to know.
pub(crate) fn progress(global: &Global) -> Progress {
    if global.quiet {
        return Progress::default();
    }
    if output::is_terminal() {
        let bars = Bars::new(std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()));
        return Progress::new(move |event| bars.event(event));
    }
    let verbose = global.verbose;
    Progress::new(move |event| plain(event, verbose))
}

/// Returns the callback for events of the network: it prints warnings and long pauses, with
/// `--verbose` every retry, every change of host and notes, and with `--quiet` nothing.
pub(crate) fn network(global: &Global) -> ociget::Progress {
    if global.quiet {
        return ociget::Progress::default();
    }
    let verbose = global.verbose;
    ociget::Progress::new(move |event| {
        if let Some(line) = of_network(event, verbose) {
            say(&line);
        }
    })
}

/// A pause of this length is told without `--verbose`, so that the program does not seem to hang.
const LONG_PAUSE: Duration = Duration::from_secs(3);

fn of_network(event: &ociget::Event<'_>, verbose: bool) -> Option<String> {
    match event {
        ociget::Event::Warning { text } => Some(format!("warning: {text}")),
        ociget::Event::Retry {
            url,
            attempt,
            pause,
            reason,
        } if verbose || *pause >= LONG_PAUSE => Some(format!(
            "retry {attempt} in {:.1} s: {url}: {reason}",
            pause.as_secs_f32()
        )),
        ociget::Event::NextHost { host, reason } if verbose => {
            Some(format!("asking the next host after {host}: {reason}"))
        }
        ociget::Event::Note { text } if verbose => Some((*text).to_owned()),
        _ => None,
    }
}

fn plain(event: &Event<'_>, verbose: bool) {
    match event {
        Event::Resolved { image } => say(&resolved(image)),
        Event::Outdated { digest, because } => {
            say(&format!("rebuilding {digest}: {because}"));
        }
        Event::Waiting { digest } => say(&waiting(digest)),
        Event::LayerStarted { layer, descriptor } if verbose => say(&format!(
            "layer {layer}: fetching {} ({})",
            descriptor.digest,
            indicatif::HumanBytes(descriptor.size)
        )),
        Event::LayerDone { layer } if verbose => say(&format!("layer {layer}: verified")),
        Event::Sealing if verbose => say("writing the tables"),
        Event::Publishing if verbose => say("syncing and publishing"),
        _ => {}
    }
}

fn waiting(digest: &Digest) -> String {
    format!("waiting for another process that works on {digest}")
}

fn resolved(image: &Image) -> String {
    let bytes = image.layers.iter().map(|layer| layer.descriptor.size).sum();
    let (identity, manifest) = (image.identity.get(), image.manifest.get());
    let mut line = format!("image {identity}");
    if manifest != identity {
        line.push_str(&format!(", manifest {manifest}"));
    }
    let count = image.layers.len();
    let noun = if count == 1 { "layer" } else { "layers" };
    line.push_str(&format!(
        ", {}, {count} {noun}, {}",
        image.platform,
        indicatif::HumanBytes(bytes)
    ));
    line
}

/// A bar for each layer.
struct Bars {
    all: MultiProgress,
    layers: Mutex<Vec<ProgressBar>>,
    style: ProgressStyle,
}

impl Bars {
    fn new(no_color: bool) -> Self {
        let template = if no_color {
            "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {msg}"
        } else {
            "{prefix} [{bar:30.cyan}] {bytes}/{total_bytes} {bytes_per_sec} {msg}"
        };
        Self {
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            layers: Mutex::default(),
            style: ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> "),
        }
    }

    /// One line above the bars.
    fn say(&self, line: String) {
        let _ = self.all.println(printable::text(line));
    }

    fn event(&self, event: &Event<'_>) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Resolved { image } => {
                self.say(resolved(image));
                *layers = image
                    .layers
                    .iter()
                    .enumerate()
                    .map(|(index, layer)| {
                        let bar = ProgressBar::new(layer.descriptor.size)
                            .with_style(self.style.clone())
                            .with_prefix(format!("layer {index}"));
                        self.all.add(bar)
                    })
                    .collect();
            }
            Event::Outdated { digest, because } => {
                self.say(format!("rebuilding {digest}: {because}"));
            }
            Event::Waiting { digest } => {
                self.say(waiting(digest));
            }
            Event::LayerStarted { layer, .. } => with(&layers, *layer, ProgressBar::reset),
            Event::LayerBytes { layer, bytes } => with(&layers, *layer, |bar| bar.inc(*bytes)),
            Event::LayerDone { layer } => {
                with(&layers, *layer, |bar| bar.finish_with_message("verified"));
            }
            Event::Publishing => {
                // The lines stay on the screen, the cursor goes below them.
                for bar in layers.drain(..) {
                    bar.abandon();
                }
            }
            _ => {}
        }
    }
}

fn with(layers: &[ProgressBar], layer: usize, act: impl FnOnce(&ProgressBar)) {
    if let Some(bar) = layers.get(layer) {
        act(bar);
    }
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
