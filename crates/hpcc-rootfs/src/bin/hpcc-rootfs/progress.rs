//! Reports the progress of builds: as lines that are drawn on a terminal, as lines of a log, or as lines of JSON.

mod frame;
mod json;
mod model;
mod plain;
mod rate;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use hpcc_rootfs::Event;

use crate::{output, terminal};
use model::Model;

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    // Plain comments: descriptions of values would double the length of every help.
    // Drawn on a terminal, else plain; with `--json` and no terminal none.
    #[default]
    Auto,
    // A line every few seconds.
    Plain,
    // An object a line, for programs.
    Json,
    // No progress.
    None,
}

/// The assumed size of a terminal that does not report its own.
const USUAL: (usize, usize) = (80, 24);
/// Time between two drawings.
const DRAW: Duration = Duration::from_millis(100);
/// Time between two regular lines of JSON.
const JSON: Duration = Duration::from_secs(1);
/// Time between two regular lines of a log.
const LINE: Duration = Duration::from_secs(5);
/// Time between two regular lines of a log while nothing changes.
const SELDOM: Duration = Duration::from_secs(60);

/// How progress reaches its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Drawn,
    Plain,
    Json,
}

/// Collects the events of all builds, and shows them.
#[derive(Debug)]
struct Reporter {
    form: Form,
    verbose: bool,
    started: Instant,
    model: Mutex<Model>,
    /// Odd while a thread shows the model periodically.
    generation: AtomicU64,
    /// Held while something is shown or the thread is started or ended.
    showing: Mutex<()>,
    /// Lines that are printed once no drawing would be pushed out of the window by them.
    later: Mutex<Vec<String>>,
}

/// The reporter of this run. It begins with the first build.
static REPORTER: OnceLock<Option<Arc<Reporter>>> = OnceLock::new();

/// The options that progress depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wishes {
    pub(crate) mode: Mode,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
}

impl Wishes {
    fn form(self) -> Option<Form> {
        match self.mode {
            Mode::None => None,
            Mode::Plain => Some(Form::Plain),
            Mode::Json => Some(Form::Json),
            Mode::Auto if self.quiet => None,
            Mode::Auto if output::is_terminal() && !is_dumb() => Some(Form::Drawn),
            Mode::Auto if self.json && !self.verbose => None,
            Mode::Auto => Some(Form::Plain),
        }
    }
}

/// Returns whether the terminal cannot move its cursor.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb")
}

/// Returns the callback for the events of builds.
pub(crate) fn of_builds(wishes: Wishes) -> hpcc_rootfs::Progress {
    match reporter(wishes) {
        Some(reporter) => hpcc_rootfs::Progress::new(move |event| reporter.event(event)),
        None if wishes.quiet => hpcc_rootfs::Progress::default(),
        // These events are printed without progress as well.
        None => hpcc_rootfs::Progress::new(move |event| {
            if let Event::Outdated { .. } | Event::SeedRefused { .. } | Event::SourceFailed { .. } =
                event
                && let Some(line) = plain::of_event(event, None, false)
            {
                say_event(event, &line);
            }
        }),
    }
}

/// Returns the callback for the events of the network. Warnings are printed without progress as well, unless the
/// program is quiet.
pub(crate) fn of_network(wishes: Wishes) -> ociget::Progress {
    match reporter(wishes) {
        Some(reporter) => ociget::Progress::new(move |event| reporter.network(event)),
        None if wishes.quiet => ociget::Progress::default(),
        None => ociget::Progress::new(move |event| {
            if let ociget::Event::Warning { .. } = event
                && let Some(line) = plain::of_network(event, None, false)
            {
                terminal::warn(&line);
            }
        }),
    }
}

/// Writes the line for an event of a build, on the level that it has.
fn say_event(event: &Event<'_>, line: &str) {
    match event {
        Event::SeedRefused { .. } | Event::SourceFailed { .. } => terminal::warn(line),
        _ => terminal::say(line),
    }
}

/// Whether progress is drawn, so that a user watches who needs few words at the end.
pub(crate) fn is_drawn() -> bool {
    let reporter = REPORTER.get().and_then(Option::as_ref);
    reporter.is_some_and(|reporter| reporter.form == Form::Drawn)
}

/// Ends the drawing, until the next event.
pub(crate) fn pause() {
    if let Some(Some(reporter)) = REPORTER.get() {
        reporter.pause();
    }
}

fn reporter(wishes: Wishes) -> Option<Arc<Reporter>> {
    let new = || {
        let form = wishes.form()?;
        Some(Arc::new(Reporter::new(form, wishes.verbose)))
    };
    REPORTER.get_or_init(new).clone()
}

impl Reporter {
    fn new(form: Form, verbose: bool) -> Self {
        Self {
            form,
            verbose,
            started: Instant::now(),
            model: Mutex::new(Model::new()),
            generation: AtomicU64::new(0),
            showing: Mutex::new(()),
            later: Mutex::default(),
        }
    }

    fn event(self: &Arc<Self>, event: &Event<'_>) {
        let (finished, received) = {
            let now = self.started.elapsed();
            let mut model = lock(&self.model);
            let finished = model.event(event, now);
            (finished, model.received_until(event, now))
        };
        self.begin();
        match self.form {
            Form::Json => {
                if let Some(line) = json::of_event(event, finished) {
                    output::say_json(&line);
                }
            }
            Form::Plain => {
                if let Some(line) = plain::of_event(event, finished, self.verbose) {
                    say_event(event, &line);
                }
            }
            Form::Drawn => {
                let line = match event {
                    Event::Resolved { image } => {
                        lock(&self.later).push(plain::resolved_in_short(image));
                        None
                    }
                    // It is drawn for as long as it lasts.
                    Event::Waiting { .. } | Event::Queued { .. } if !self.verbose => None,
                    _ => plain::of_event(event, finished, self.verbose),
                };
                line.iter().for_each(|line| say_event(event, line));
            }
        }
        if received.is_some() {
            // The lines of the layers would push the message out of the window.
            if self.form == Form::Drawn {
                self.draw();
            }
            self.say_what_waits();
        }
        if let (Some((bytes, time)), false) = (received, self.form == Form::Json)
            && (self.verbose || self.form == Form::Drawn)
        {
            terminal::say(&plain::received(bytes, time));
        }
    }

    fn network(self: &Arc<Self>, event: &ociget::Event<'_>) {
        let now = self.started.elapsed();
        match event {
            ociget::Event::Retry {
                url,
                attempt,
                pause,
                reason,
            } => {
                let mut model = lock(&self.model);
                // The reason comes first, because a line is cut at the width of the window.
                let trouble = match model.layer_at(url) {
                    Some(layer) => format!("{layer}: {reason}"),
                    None => format!("{reason}: {url}"),
                };
                model.retry(trouble, *attempt, *pause, now);
            }
            ociget::Event::Answered { .. } => lock(&self.model).heard(now),
            ociget::Event::Login { registry, is_known } => {
                lock(&self.model).login(registry, *is_known, now);
            }
            _ => {}
        }
        if self.form == Form::Json {
            if let Some(line) = json::of_network(event) {
                output::say_json(&line);
            }
            return;
        }
        // A retry is drawn for as long as it lasts.
        let is_drawn = self.form == Form::Drawn && matches!(event, ociget::Event::Retry { .. });
        if is_drawn && !self.verbose {
            return;
        }
        let layer = match event {
            ociget::Event::Retry { url, .. } => lock(&self.model).layer_at(url),
            _ => None,
        };
        let Some(line) = plain::of_network(event, layer.as_deref(), self.verbose) else {
            return;
        };
        match event {
            ociget::Event::Warning { .. } => terminal::warn(&line),
            _ => terminal::say(&line),
        }
    }

    /// Starts the thread that shows the model periodically, unless it runs.
    fn begin(self: &Arc<Self>) {
        if self.generation.load(Ordering::Relaxed) % 2 == 1 {
            return;
        }
        let _showing = lock(&self.showing);
        let generation = self.generation.load(Ordering::Relaxed);
        if generation % 2 == 1 {
            return;
        }
        self.generation.store(generation + 1, Ordering::Relaxed);
        let reporter = Arc::clone(self);
        // Without the thread less is shown, and nothing else is different.
        let _ = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || reporter.show(generation + 1));
    }

    fn pause(&self) {
        let _showing = lock(&self.showing);
        let generation = self.generation.load(Ordering::Relaxed);
        if generation % 2 == 1 {
            self.generation.store(generation + 1, Ordering::Relaxed);
            output::erase();
        }
        self.say_what_waits();
    }

    fn draw(&self) {
        let view = lock(&self.model).view(self.started.elapsed());
        let (columns, rows) = output::window().unwrap_or(USUAL);
        output::draw(&frame::frame(&view, columns, rows));
    }

    fn say_what_waits(&self) {
        let waits = std::mem::take(&mut *lock(&self.later));
        waits.iter().for_each(|line| terminal::say(line));
    }

    fn show(&self, generation: u64) {
        let mut every = match self.form {
            Form::Drawn => DRAW,
            Form::Json => JSON,
            Form::Plain => LINE,
        };
        let mut said = None;
        loop {
            thread::sleep(every);
            let _showing = lock(&self.showing);
            if self.generation.load(Ordering::Relaxed) != generation {
                return;
            }
            let view = || lock(&self.model).view(self.started.elapsed());
            match self.form {
                Form::Drawn => self.draw(),
                Form::Json => output::say_json(&json::of_view(&view())),
                Form::Plain => {
                    let view = view();
                    terminal::say(&plain::of_view(&view));
                    let is_new = said.replace((view.stage, view.received))
                        != Some((view.stage, view.received));
                    every = if is_new {
                        LINE
                    } else {
                        (every * 2).min(SELDOM)
                    };
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
