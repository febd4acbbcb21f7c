//! Standard streams that are closed, full or not what a program expects, and arguments that are not text.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use serde_json::Value;
use test_support::image::{Image, Layer, Store};
use test_support::registry::Registry;

use crate::cli::{Outcome, Place, outcome, program};
use crate::window::Window;

/// Serves an image with more names than a pipe takes. Returns its reference.
pub(crate) fn registry() -> (Registry, String) {
    let mut store = Store::new();
    let layer = (0..3000).fold(Layer::new(), |layer, n| {
        layer.file(format!("a-name-of-some-length-{n}"), "")
    });
    let image = Image::new().layer(layer).add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/team/image:latest", registry.addr());
    (registry, reference)
}

/// The same with a store that has the image.
fn serve() -> (Registry, String, Place) {
    let (registry, reference) = registry();
    let place = Place::new();
    place.pull(&reference, &["--quiet"]).line();
    (registry, reference, place)
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// Runs the program with a redirection of a shell.
fn redirected(place: &Place, redirection: &str, arguments: &[&str]) -> Outcome {
    let script = format!("exec \"$0\" \"$@\" {redirection}");
    let mut command = place.command("sh");
    outcome(command.args(["-c", &script]).arg(program()).args(arguments))
}

#[test]
fn full_disk_at_stdout_fails_every_command_that_prints() {
    let (_registry, reference, place) = serve();
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["path", &reference],
        &["inspect", &reference],
        &["inspect", &reference, "--tree"],
        &["inspect", &reference, "--tree", "--json"],
        &["inspect", &reference, "--requires"],
        &["attest", &reference],
        &["boot-args", &reference],
        &["vm-config", &reference, "--qemu", "--kernel", "vmlinux"],
        &["verify"],
        &["df"],
        &["gc"],
        &["gc", "--dry-run", "--json"],
        &["link", &reference, "jailed", "--detach"],
        &["pull", &reference, "--agent", "agent", "--quiet"],
        &["config", "show", "--quiet"],
        &["completions", "bash"],
        &["completions", "markdown"],
        &["--help"],
        &["help", "pull"],
        &["--version"],
        &["untag", &reference, "--json"],
    ] {
        let mut command = place.command(program());
        let command = command.args(arguments).stdout(full());
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
        let says = "cannot write to stdout: No space left on device";
        match arguments.contains(&"--json") {
            true => {
                let error: Value = serde_json::from_str(&stderr).unwrap();
                assert_eq!(error["kind"], "io", "{arguments:?}: {error}");
            }
            false => assert!(stderr.contains(says), "{arguments:?}: {stderr}"),
        }
    }
}

/// GNU `ls` fails as well (rust-lang/rust#57931).
#[test]
fn stdout_open_for_reading_alone_fails_every_command() {
    let (_registry, reference, place) = serve();
    for arguments in [
        &["list"][..],
        &["path", &reference],
        &["inspect", &reference],
        &["verify"],
        &["pull", &reference, "--agent", "agent", "--quiet"],
        &["--help"],
    ] {
        let mut command = place.command(program());
        let stdout = File::open("/dev/null").unwrap();
        let output = command.args(arguments).stdout(stdout).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        let says = "cannot write to stdout: Bad file descriptor";
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
    }
}

#[test]
fn full_disk_at_stderr_changes_no_exit_code() {
    let (_registry, reference, place) = serve();
    for (arguments, code) in [
        (
            &[
                "pull",
                &reference,
                "--agent",
                "agent",
                "--no-reuse",
                "--cache-dir",
                "other",
            ][..],
            0,
        ),
        (&["list", "-v"], 0),
        (&["frobnicate"], 2),
        (&["inspect", "debian:12"], 1),
        (
            &[
                "pull",
                "127.0.0.1:1/a",
                "--agent",
                "agent",
                "--retries",
                "0",
            ],
            75,
        ),
    ] {
        let mut command = place.command(program());
        let output = command.args(arguments).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}

/// Files that are opened must not get the numbers of standard streams.
#[test]
fn closed_streams_damage_no_artifact() {
    let (_registry, reference, place) = serve();
    let pull = ["pull", &reference, "--agent", "agent", "--no-reuse", "-v"];
    for (number, redirection) in [">&-", "2>&-", "<&-", "<&- >&- 2>&-"].iter().enumerate() {
        let cache = format!("cache-{number}");
        let arguments = [&pull[..], &["--cache-dir", &cache]].concat();
        let pulled = redirected(&place, redirection, &arguments);
        assert_eq!(pulled.status, Some(0), "{redirection}: {pulled:#?}");
        let verified = place.run(["verify", "--cache-dir", &cache]);
        assert_eq!(verified.status, Some(0), "{redirection}: {verified:#?}");
        assert!(verified.line().ends_with("  intact"), "{verified:#?}");
        for (arguments, code) in [(["list", "-v"], 0), (["list", "--jsn"], 2)] {
            let listed = redirected(&place, redirection, &arguments);
            assert_eq!(listed.status, Some(code), "{redirection}: {listed:#?}");
        }
    }
}

#[test]
fn closed_pipe_amid_json_ends_the_program_silently() {
    let (_registry, reference, place) = serve();
    for arguments in [
        &["inspect", &reference, "--tree", "--json"][..],
        &["inspect", &reference, "--tree"],
    ] {
        let mut command = place.command(program());
        let command = command.args(arguments).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut some = [0; 4096];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(141), "{arguments:?}");
        assert_eq!(output.stderr, b"", "{arguments:?}");
    }
}

/// moby/buildkit#5962, moby/buildkit#3963, docker/buildx#1399
#[test]
fn pull_ends_well_in_windows_that_hold_nothing() {
    let (_registry, reference, place) = serve();
    for (number, size) in [(1, 1), (2, 1), (1, 2), (0, 0), (0, 24), (80, 0)]
        .into_iter()
        .enumerate()
    {
        let cache = format!("cache-{number}");
        let arguments = [
            "pull",
            &reference,
            "--agent",
            "agent",
            "--cache-dir",
            &cache,
        ];
        let mut window = Window::open(&place, &arguments, size).may_overflow();
        assert_eq!(window.end().0, Some(0), "{size:?}: {:#?}", window.seen);
        for command in ["list", "df"] {
            let mut window = Window::of_results(&place, &[command, "--cache-dir", &cache], size);
            assert_eq!(window.end().0, Some(0), "{command} {size:?}");
        }
    }
}

/// No colors are used, so that `NO_COLOR` has nothing to forbid. A dumb terminal gets no control sequence at all.
#[test]
fn dumb_terminals_get_no_control_sequences_and_others_no_colors() {
    let (_registry, reference, place) = serve();
    for (number, (variable, value)) in [
        ("TERM", "dumb"),
        ("NO_COLOR", "1"),
        ("TERM", ""),
        ("CLICOLOR_FORCE", "1"),
    ]
    .into_iter()
    .enumerate()
    {
        for arguments in [
            &[
                "pull",
                &reference,
                "--agent",
                "agent",
                "--cache-dir",
                &format!("cache-{number}"),
            ][..],
            &["pul"],
            &["inspect", "debian:12"],
        ] {
            let mut command = place.command(program());
            let command = command
                .env("TERM", "xterm")
                .env(variable, value)
                .args(arguments);
            let mut window = Window::run(command.stdout(Stdio::null()), (80, 24)).may_overflow();
            window.end();
            let written = String::from_utf8(std::mem::take(&mut window.written)).unwrap();
            assert!(!written.is_empty(), "{arguments:?}");
            let mut sequences = written.split('\u{1b}').skip(1);
            if value == "dumb" {
                assert_eq!(sequences.next(), None, "{arguments:?}: {written:?}");
            }
            let letter = |text: &str| text.chars().find(char::is_ascii_alphabetic);
            let is_color = |text: &&str| letter(text) == Some('m');
            assert_eq!(sequences.find(is_color), None, "{arguments:?}: {written:?}");
        }
    }
}

#[test]
fn names_that_are_not_text_are_files_and_no_images() {
    let (_registry, reference, place) = serve();
    let name = OsStr::from_bytes(b"out-\xff\n.sqsh");
    let os = OsStr::new;
    let built = place.run([os("build"), os(&reference), os("-o"), name, os("--json")]);
    assert_eq!(
        built.json()["path"],
        format!(
            "{}/out-\\xff\\n.sqsh",
            place.path("").display().to_string().trim_end_matches('/')
        )
    );
    assert!(place.path("").join(name).is_file());
    for command in ["inspect", "verify", "boot-args", "attest"] {
        let read = place.run(
            [os(command), name, os("--init"), os("/init")]
                .iter()
                .take(if command == "boot-args" { 4 } else { 2 }),
        );
        assert_eq!(read.status, Some(0), "{command}: {read:#?}");
    }
    for arguments in [
        [os("pull"), name],
        [name, os("pull")],
        [os("list"), OsStr::from_bytes(b"--\xff")],
        [os("list"), OsStr::from_bytes(b"-\xff")],
    ] {
        let refused = place.run(arguments);
        assert_eq!(refused.status, Some(2), "{refused:#?}");
        assert!(refused.stderr.starts_with("error: "), "{refused:#?}");
        let json = place.run(arguments.into_iter().chain([os("--json")]));
        let error: Value = serde_json::from_str(&json.stderr).unwrap();
        assert_eq!((json.status, &error["kind"]), (Some(2), &"usage".into()));
    }
    let missing = place.run([os("rm"), OsStr::from_bytes(b"\xff")]);
    assert_eq!(missing.status, Some(1), "{missing:#?}");
    fs::remove_file(place.path("").join(name)).unwrap();
}
