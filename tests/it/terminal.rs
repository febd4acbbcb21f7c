//! Progress on a terminal, in logs and for programs. A pseudo-terminal gets what a user would see, and a model of a
//! screen that nobody here wrote interprets it.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;
use test_support::image::{Image, Layer, Store, sha256};
use test_support::registry::{Action, Fault, Registry};

use crate::cli::{Place, program};

/// Rows that may scroll away before they are lost to the test.
const SCROLLBACK: usize = 1000;
/// How long a window keeps being drawn as it was: the program looks at it ten times a second.
const SETTLED: Duration = Duration::from_millis(400);
/// More than any run here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes that no codec shrinks.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15 ^ u64::try_from(seed).unwrap();
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}

/// An image of that many layers of 16 KiB, and the digests of their blobs.
fn serve(layers: usize) -> (Registry, String, Vec<String>) {
    let mut store = Store::new();
    let layers: Vec<_> = (0..layers)
        .map(|n| Layer::new().file(format!("file-{n}"), noise(n, 16 << 10)))
        .collect();
    let digests = layers.iter().map(|layer| sha256(&layer.blob())).collect();
    let image = layers.into_iter().fold(Image::new(), Image::layer);
    let image = image.add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/team/image:latest", registry.addr());
    (registry, reference, digests)
}

/// A blob takes about a second and a half.
fn throttle(registry: &Registry) {
    let slow = Action::Throttle {
        piece: 1024,
        every: Duration::from_millis(90),
    };
    registry.inject(Fault::on("/blobs/", slow));
}

/// A window: columns and rows.
type Size = (u16, u16);

/// A window in which the program runs.
struct Window {
    master: File,
    screen: vt100::Parser,
    child: Child,
    size: Size,
    /// Every screen that was seen, as text.
    seen: Vec<String>,
    deadline: Instant,
}

impl Window {
    fn open(place: &Place, arguments: &[&str], size: Size) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        set_size(&master, size);
        let child = place
            .command(program())
            .env("TERM", "xterm")
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(OwnedFd::from(slave))
            .spawn()
            .unwrap();
        Self {
            screen: vt100::Parser::new(number(size.1), number(size.0), SCROLLBACK),
            master: master.into(),
            child,
            size,
            seen: Vec::new(),
            deadline: Instant::now() + PATIENCE,
        }
    }

    /// Reads once, and checks what the screen looks like. `false` at the end.
    fn step(&mut self) -> bool {
        assert!(Instant::now() < self.deadline, "{:#?}", self.seen.last());
        let mut bytes = [0; 4096];
        match self.master.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.screen.process(&bytes[..count]);
                self.check();
                true
            }
            // All ends of the other side are closed.
            Err(error) if error.raw_os_error() == Some(5) => false,
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => panic!("{error}"),
        }
    }

    fn check(&mut self) {
        let screen = self.screen.screen();
        let text = screen.contents();
        for row in 0..self.size.1 {
            assert!(
                !screen.row_wrapped(row),
                "row {row} of {:?}:\n{text}",
                self.size
            );
        }
        assert_eq!(screen.scrollback_len(), 0, "{:?}:\n{text}", self.size);
        if self.seen.last() != Some(&text) {
            self.seen.push(text);
        }
    }

    /// Reads until the screen has the words.
    fn wait_for(&mut self, words: &str) {
        while !self.screen.screen().contents().contains(words) {
            assert!(self.step(), "it ended before {words:?}: {:#?}", self.seen);
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && self.step() {}
    }

    /// Changes the size of the window. What is drawn for the old one may still be on its way, so the model becomes
    /// smaller a moment later, and larger a moment earlier.
    fn resize(&mut self, size: Size) {
        let smaller = (self.size.0.min(size.0), self.size.1.min(size.1));
        set_size(&self.master, smaller);
        self.run_for(SETTLED);
        self.size = size;
        self.screen.set_size(number(size.1), number(size.0));
        set_size(&self.master, size);
        self.run_for(SETTLED);
    }

    /// Reads to the end; returns the exit code and the last screen.
    fn end(&mut self) -> (Option<i32>, String) {
        while self.step() {}
        let status = self.child.wait().unwrap();
        (status.code(), self.screen.screen().contents())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(value: u16) -> NonZeroU16 {
    NonZeroU16::new(value).unwrap()
}

fn set_size(master: impl std::os::fd::AsFd, (columns, rows): Size) {
    let size = Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).unwrap();
}

/// Pulls in a window of one size that becomes one of another size in the middle.
fn pull_in_a_window(layers: usize, before: Size, after: Size) {
    let (registry, reference, _) = serve(layers);
    throttle(&registry);
    let place = Place::new();
    let parallel = layers.to_string();
    let mut window = Window::open(
        &place,
        &[
            "pull",
            &reference,
            "--agent",
            "agent",
            "--parallel-layers",
            &parallel,
        ],
        before,
    );
    window.wait_for("ETA");
    window.resize(after);
    let (code, last) = window.end();
    let seen = &window.seen;
    assert_eq!(code, Some(0), "{seen:#?}");
    let drawn: Vec<_> = seen.iter().filter(|text| text.contains("ETA")).collect();
    assert!(drawn.len() > 3, "{seen:#?}");
    for text in &drawn {
        assert_eq!(text.matches("ETA").count(), 1, "drawn twice:\n{text}");
    }
    // The lines of the progress are gone, and what came of it stays.
    assert!(!last.contains("ETA"), "{last}");
    assert!(
        last.contains("received ") && last.contains("wrote "),
        "{last}"
    );
    let moving = |text: &&String| {
        text.contains(if layers > 9 { " more layers" } else { "held" })
            || text
                .lines()
                .any(|line| line.contains("/s") && !line.contains("ETA"))
    };
    assert!(drawn.iter().any(moving), "no layer is drawn: {seen:#?}");
}

/// Runs all at the same time, because they mostly wait.
fn side_by_side(runs: impl IntoIterator<Item = (usize, Size, Size)>) {
    program();
    thread::scope(|scope| {
        for (layers, before, after) in runs {
            scope.spawn(move || pull_in_a_window(layers, before, after));
        }
    });
}

#[test]
fn progress_fits_windows_of_every_size_with_one_layer() {
    side_by_side([
        (1, (40, 10), (80, 24)),
        (1, (80, 24), (120, 10)),
        (1, (120, 10), (40, 24)),
    ]);
}

#[test]
fn progress_fits_windows_of_every_size_with_7_layers() {
    side_by_side([
        (7, (40, 24), (120, 10)),
        (7, (80, 10), (40, 10)),
        (7, (120, 24), (80, 10)),
    ]);
}

#[test]
fn progress_fits_windows_of_every_size_with_60_layers() {
    side_by_side([
        (60, (40, 10), (120, 24)),
        (60, (80, 24), (40, 10)),
        (60, (120, 10), (80, 24)),
    ]);
}

/// How a run off a terminal ended, and the lines of its stderr.
fn lines(place: &Place, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let outcome = place.run(arguments);
    let lines = outcome.stderr.lines().map(str::to_owned).collect();
    (outcome.status, lines)
}

#[test]
fn waiting_retries_and_silence_are_said() {
    let (registry, reference, digests) = serve(2);
    registry.inject(Fault::status("/blobs/", 503).times(2));
    let stall = Action::Stall {
        at: 100,
        time: Duration::from_millis(5500),
    };
    registry.inject(Fault::on(&digests[0], stall.clone()));
    let pull = ["pull", &reference, "--agent", "agent", "--cache-dir"];
    let with = |more: &[&'static str]| {
        pull.iter()
            .copied()
            .chain(more.iter().copied())
            .collect::<Vec<_>>()
    };
    let place = Place::new();
    program();
    thread::scope(|scope| {
        let drawn = scope.spawn(|| {
            let mut window = Window::open(&place, &with(&["a"]), (80, 24));
            window.wait_for("fetch ");
            window.wait_for("registry silent for ");
            assert_eq!(window.end().0, Some(0));
        });
        let waits = scope.spawn(|| {
            // The other one has the lock once it asks for blobs.
            let start = Instant::now();
            while !registry
                .requests()
                .iter()
                .any(|r| r.path.contains(&digests[0]))
            {
                assert!(start.elapsed() < PATIENCE);
                thread::sleep(Duration::from_millis(20));
            }
            let mut window = Window::open(&place, &with(&["a"]), (80, 24));
            window.wait_for("waiting for another build of sha256:");
            assert_eq!(window.end().0, Some(0));
        });
        let plain = scope.spawn(|| lines(&place, &with(&["b"])));
        drawn.join().unwrap();
        waits.join().unwrap();
        let (code, plain) = plain.join().unwrap();
        assert_eq!(code, Some(0), "{plain:#?}");
        let regular: Vec<_> = plain
            .iter()
            .filter(|line| line.starts_with("fetch: "))
            .collect();
        assert_eq!(regular.len(), 1, "{plain:#?}");
        assert!(regular[0].contains("; registry silent for "), "{plain:#?}");
    });
}

#[test]
fn each_retry_is_a_line_of_a_log_and_of_json() {
    let (registry, reference, _) = serve(1);
    let place = Place::new();
    let pull = ["pull", &reference, "--agent", "agent"];
    registry.inject(Fault::status("/blobs/", 503).times(2));
    let (code, plain) = lines(&place, &[&pull[..], &["--cache-dir", "a"]].concat());
    assert_eq!(code, Some(0), "{plain:#?}");
    for attempt in 1..=2 {
        let start = format!("retry {attempt} in ");
        let found = plain.iter().filter(|line| line.starts_with(&start));
        assert_eq!(found.count(), 1, "{plain:#?}");
    }
    registry.inject(Fault::status("/blobs/", 503).times(2));
    let json = ["--cache-dir", "b", "--progress", "json"];
    let (code, json) = lines(&place, &[&pull[..], &json].concat());
    assert_eq!(code, Some(0), "{json:#?}");
    let json: Vec<Value> = json
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let attempts = json.iter().filter(|line| line["event"] == "retry");
    let attempts: Vec<_> = attempts.map(|line| &line["attempt"]).collect();
    assert_eq!(attempts, [1, 2]);
    let done = json
        .iter()
        .find(|line| line["event"] == "layer-done")
        .unwrap();
    assert_eq!((&done["layer"], &done["layers"]), (&1.into(), &1.into()));
    let stages: Vec<_> = json
        .iter()
        .filter(|line| line["event"] == "stage")
        .map(|line| line["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["resolve", "seal", "sync", "publish"]);
}

#[test]
fn layers_are_named_alike_in_progress_and_errors() {
    let mut store = Store::new();
    let bad = Layer::new().hardlink("link", "nowhere");
    let blob = bad.blob();
    let (digest, size) = (sha256(&blob), blob.len());
    let good = Layer::new().file("file", "content");
    let image = Image::new().layer(good).layer(bad).add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/team/image:latest", registry.addr());
    let place = Place::new();
    let (code, lines) = lines(&place, &["pull", &reference, "--agent", "agent", "-v"]);
    assert_eq!(code, Some(1));
    let name = format!("layer 2 of 2 ({}, {size}B): ", &digest[..19]);
    assert!(
        lines.iter().any(|line| line.starts_with(&name)),
        "{name} {lines:#?}"
    );
    let error = lines.last().unwrap();
    let name = format!("layer 2 ({}, {size}B): ", &digest[..19]);
    assert!(error.contains(&name), "{name} {error}");
}

#[test]
fn progress_options_choose_what_stderr_gets() {
    let (_registry, reference, _) = serve(1);
    let place = Place::new();
    let run = |more: &[&str]| {
        let (code, lines) = lines(
            &place,
            &[&["pull", &reference, "--no-agent", "--no-reuse"], more].concat(),
        );
        assert_eq!(code, Some(0), "{lines:#?}");
        std::fs::remove_dir_all(place.cache()).unwrap();
        lines
    };
    assert!(run(&[])[0].starts_with("image sha256:"));
    assert_eq!(run(&["--quiet"]), [""; 0]);
    assert_eq!(run(&["--json"]), [""; 0]);
    assert!(run(&["--progress", "none"])[0].starts_with("layers: "));
    assert!(
        run(&["--json", "--progress", "plain", "--log-format", "text"])[0].starts_with("image ")
    );
    let verbose = run(&["-v", "--verbose"]);
    assert!(
        verbose
            .iter()
            .any(|line| line.contains(": verified after ")),
        "{verbose:#?}"
    );
    let quiet = run(&["--quiet", "--progress", "json"]);
    for lines in [
        run(&["--log-format", "json"]),
        quiet,
        run(&["--json", "-v"]),
    ] {
        assert!(!lines.is_empty());
        for line in lines {
            let line: Value = serde_json::from_str(&line).unwrap();
            assert!(
                line["message"].is_string() || line["event"].is_string(),
                "{line}"
            );
        }
    }
}

#[test]
fn rust_log_prints_records_in_both_formats() {
    let (_registry, reference, _) = serve(1);
    let place = Place::new();
    let run = |filter: &str, more: &[&str]| {
        let output = place
            .command(program())
            .args([
                "build",
                &reference,
                "-o",
                "out",
                "--progress",
                "none",
                "--quiet",
            ])
            .args(more)
            .env("RUST_LOG", filter)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(run("", &[]), "");
    assert_eq!(run("off", &[]), "");
    let text = run("ociget=debug", &[]);
    assert!(
        text.lines()
            .any(|line| line.contains("DEBUG") && line.ends_with("answer status=200")),
        "{text}"
    );
    assert!(run("hpcc_rootfs=error,ociget=trace", &[]).contains("answer"));
    let json = run("debug", &["--log-format", "json"]);
    let lines: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let answer = lines
        .iter()
        .find(|line| line["message"] == "answer")
        .unwrap();
    assert_eq!(
        (&answer["level"], &answer["status"]),
        (&"DEBUG".into(), &200.into())
    );
    let wrong = run("a=b=c\u{1b}[31m", &[]);
    assert!(
        wrong.starts_with("RUST_LOG is not used: found \"a=b=c"),
        "{wrong}"
    );
    assert_eq!(wrong.lines().count(), 1);
}
