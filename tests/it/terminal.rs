//! Progress on a terminal, in logs and for programs.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use test_support::image::{Image, Layer, Store, sha256};
use test_support::registry::{Action, Fault, Registry};

use crate::cli::{Place, program};
use crate::window::{PATIENCE, Size, Window};

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

/// Returns an image of that many layers of 16 KiB, and the digests of their blobs.
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

/// Pulls that many layers in windows of every size, each of which becomes another one in the middle. All run at
/// the same time, because they mostly wait.
fn pull_in_windows_of_every_size(layers: usize) {
    const SIZES: [Size; 6] = [(40, 10), (80, 24), (120, 10), (40, 24), (80, 10), (120, 24)];
    program();
    thread::scope(|scope| {
        for (before, after) in SIZES.iter().zip(SIZES.iter().cycle().skip(1)) {
            scope.spawn(move || pull_in_a_window(layers, *before, *after));
        }
    });
}

#[test]
fn progress_fits_windows_of_every_size_with_one_layer() {
    pull_in_windows_of_every_size(1);
}

#[test]
fn progress_fits_windows_of_every_size_with_7_layers() {
    pull_in_windows_of_every_size(7);
}

#[test]
fn progress_fits_windows_of_every_size_with_60_layers() {
    pull_in_windows_of_every_size(60);
}

/// How a run off a terminal ended, and the lines of its stderr.
fn lines(place: &Place, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let outcome = place.run(arguments);
    let lines = outcome.stderr.lines().map(str::to_owned).collect();
    (outcome.status, lines)
}

/// The terminal belongs to the shell and its user while the program is in the background.
#[test]
fn pull_in_the_background_draws_nothing() {
    let (registry, reference, _) = serve(2);
    throttle(&registry);
    let place = Place::new();
    for (job, is_drawn) in [("\"$0\" \"$@\" & wait $!", false), ("\"$0\" \"$@\"", true)] {
        // A session with the window as its terminal, in which the shell gives each job a group of its own.
        let script = format!("set -m; {job}");
        let outer = "exec setsid -c \"$@\" <&2";
        let mut command = place.command("sh");
        let command = command
            .env("TERM", "xterm")
            .args(["-c", outer, "sh", "sh", "-c", &script]);
        let cache = format!("cache-{is_drawn}");
        let pull = [
            "pull",
            &reference,
            "--agent",
            "agent",
            "--cache-dir",
            &cache,
        ];
        let command = command.arg(program()).args(pull).stdout(Stdio::null());
        let mut window = Window::run(command, (80, 24)).may_overflow();
        assert_eq!(window.end().0, Some(0), "{:#?}", window.seen);
        let written = String::from_utf8_lossy(&window.written);
        assert_eq!(written.contains("ETA"), is_drawn, "{written:?}");
        assert_eq!(written.contains("\u{1b}[J"), is_drawn, "{written:?}");
        assert!(written.contains("wrote "), "{written:?}");
    }
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
fn each_retry_is_a_line_of_log_and_json() {
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
fn retries_and_errors_of_a_blob_name_its_layer() {
    let (registry, reference, digests) = serve(7);
    let place = Place::new();
    let pull = ["pull", &reference, "--agent", "agent", "--cache-dir"];
    registry.inject(Fault::status(&digests[2], 503).times(1));
    let (code, plain) = lines(&place, &[&pull[..], &["a"]].concat());
    assert_eq!(code, Some(0), "{plain:#?}");
    let of_layer = |line: &&String| line.contains(": layer 3 of 7 (sha256:");
    assert!(
        plain.iter().find(of_layer).unwrap().contains("503"),
        "{plain:#?}"
    );
    registry.inject(Fault::status(&digests[2], 404));
    let (code, plain) = lines(&place, &[&pull[..], &["b"]].concat());
    assert_eq!(code, Some(1), "{plain:#?}");
    let error = plain.last().unwrap();
    assert!(
        error.starts_with("error: cannot fetch layer 3 (sha256:"),
        "{error}"
    );
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
        wrong.starts_with("warning: RUST_LOG is not used: found \"a=b=c"),
        "{wrong}"
    );
    assert_eq!(wrong.lines().count(), 1);
}
