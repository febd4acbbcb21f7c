//! Builds on a machine that has too little memory, too few threads, or no disk space for the spool.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use test_support::image::{Compression, Image, Layer, Store};

use crate::cli::{Place, outcome, program};
use crate::store_damage::noise;

/// Time in which every build ends, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// SIGABRT.
const ABORTED: i32 = 6;

/// A layout of three layers, and its name.
fn layout(place: &Place) -> String {
    let mut store = Store::new();
    let layer = |seed| Layer::new().file(format!("file{seed}"), noise(seed, 300_000));
    let image = Image::new()
        .layer(layer(1))
        .layer(layer(2).compressed(Compression::Zstd))
        .layer(layer(3).compressed(Compression::Zstd))
        .add_to(&mut store);
    store.tag("v1", &image);
    store.write_layout(&place.path("layout")).unwrap();
    format!("oci:{}", place.path("layout").display())
}

/// Waits for a run that must end by itself.
fn ends(mut command: Command, what: &str) -> (std::process::ExitStatus, String) {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("with {what} the build hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status, text)
}

#[test]
fn build_within_any_limit_of_memory_ends() {
    let place = Place::new();
    let source = layout(&place);
    let (mut built, mut refused) = (0, 0);
    // Stacks of threads are most of it, so that some limits permit the build and not all of its threads.
    for megabytes in (40..400).step_by(5) {
        let mut command = place.command("sh");
        command
            .args(["-c", "ulimit -v \"$1\"; shift; exec \"$@\"", "sh"])
            .arg((megabytes << 10).to_string())
            .arg(program())
            .args(["build", &source, "-o", "out"]);
        let (status, text) = ends(command, &format!("{megabytes} MiB"));
        match status.code() {
            Some(0) => built += 1,
            Some(75) => refused += 1,
            // Rust's allocator and the C library abort a process that gets no memory, if they can with a line that says so.
            None => assert_eq!(status.signal(), Some(ABORTED), "{status}: {text}"),
            // The loader ends it too.
            Some(_) => assert!(text.contains("shared libraries"), "{status}: {text}"),
        }
        let blames_image =
            text.contains("damaged") || text.contains("cannot read the layer's blob");
        assert!(!blames_image, "{text}");
    }
    assert!(built > 0 && refused > 0, "{built} built, {refused} refused");
}

/// The kernel ends a program whose stack cannot grow with SIGSEGV.
#[test]
fn main_thread_has_its_stack_where_address_space_is_limited() {
    let place = Place::new();
    let mut command = place.command("sh");
    command
        .args(["-c", "ulimit -v 300000; exec \"$@\"", "sh"])
        .arg(program())
        .args(["build", "oci-archive:-", "-o", "out"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let start = Instant::now();
    let mut stack = 0;
    while stack < 640 && start.elapsed() < PATIENCE {
        let text = fs::read_to_string(&status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmStk:"));
        stack = line.map_or(0, |line| {
            line.trim().trim_end_matches(" kB").parse().unwrap()
        });
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(stack >= 640, "{stack} KiB");
}

#[test]
fn build_within_any_limit_of_processes_ends() {
    if !test_support::oracle::may_be_root("building as a user of its own") {
        return;
    }
    let place = Place::new();
    let source = layout(&place);
    let copy = place.path("program");
    fs::copy(program(), &copy).unwrap();
    let open = Command::new("chmod")
        .args(["-R", "a+rwX"])
        .arg(place.path(""))
        .status();
    assert!(open.unwrap().success());
    let mut refused = 0;
    for processes in 1..12 {
        let mut command = place.command("sh");
        // No other process has this user, so that the limit counts the threads of the build alone.
        command
            .args([
                "-c",
                "exec setpriv --reuid 31339 --regid 31339 --clear-groups prlimit --nproc=\"$@\"",
                "sh",
            ])
            .arg(processes.to_string())
            .arg(&copy)
            .args(["build", &source, "-o", "out"]);
        let (status, text) = ends(command, &format!("{processes} processes"));
        match status.code() {
            Some(75) => refused += 1,
            code => assert_eq!(code, Some(0), "{text}"),
        }
        let blames_other =
            text.contains("panicked") || text.contains("damaged") || text.contains("blob:");
        assert!(!blames_other, "{text}");
        fs::remove_file(place.path("out")).ok();
    }
    assert!(refused > 0);
}

#[test]
fn full_spool_directory_is_named_with_its_option() {
    if !test_support::oracle::may_be_root("mounting a small tmpfs") {
        return;
    }
    let place = Place::new();
    layout(&place);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all("", place.path("layout")).unwrap();
    let archive = zstd::encode_all(&archive.into_inner().unwrap()[..], 1).unwrap();
    fs::write(place.path("archive.zst"), archive).unwrap();
    fs::create_dir(place.path("spool")).unwrap();
    let mut command = place.command("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=64k none spool && exec \"$@\"")
        .arg("sh")
        .arg(program())
        .args(["build", "oci-archive:archive.zst", "-o", "out"])
        .args(["--spool-dir", "spool", "--json"]);
    let full = outcome(&mut command);
    assert_eq!(full.status, Some(1), "{full:#?}");
    let error: serde_json::Value = serde_json::from_str(&full.stderr).unwrap();
    assert_eq!(error["kind"], "no-space", "{error}");
    assert_eq!(
        error["message"],
        "not enough disk space to spool the archive in spool"
    );
    assert!(
        error["hint"].as_str().unwrap().contains("--spool-dir"),
        "{error}"
    );
}
