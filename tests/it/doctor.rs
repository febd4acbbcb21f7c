//! `doctor`, on machines that lack something.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use test_support::image::{Image, Layer, Store};
use test_support::registry::{Action, Auth, Fault, Registry};

use crate::cli::{self, Outcome, Place, program};

mod configuration;
mod offline;

fn serve(auth: Auth) -> (Registry, String) {
    let mut store = Store::new();
    let image = Image::new()
        .layer(Layer::new().file("a", "a"))
        .add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve_with(store, auth).unwrap();
    let reference = format!("{}/image:latest", registry.addr());
    (registry, reference)
}

/// Returns the finding of a check in the JSON of a run with this exit code.
fn finding(outcome: &Outcome, status: i32, check: &str) -> Value {
    assert_eq!(outcome.status, Some(status), "{outcome:#?}");
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(document["ok"], status == 0);
    let mut findings = document["findings"].as_array().unwrap().iter();
    let found = findings.find(|finding| finding["check"] == check);
    found
        .unwrap_or_else(|| panic!("{check}: {outcome:#?}"))
        .clone()
}

fn says(finding: &Value, status: &str, text: &str) {
    assert_eq!(finding["status"], status, "{finding}");
    let all = format!("{} {}", finding["found"], finding["advice"]);
    assert!(all.contains(text), "{text}: {finding}");
}

/// Runs it with variables, arguments and `--json`.
fn doctor(place: &Place, variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    let mut command = place.command(program());
    command.envs(variables.iter().copied());
    cli::outcome(command.args(["doctor", "--json"]).args(arguments))
}

#[test]
fn healthy_machine_is_found_so_and_nothing_is_changed() {
    let (registry, reference) = serve(Auth::Anonymous);
    let place = Place::new();
    let arguments = ["doctor", &reference, "--agent", "agent", "--json"];
    let outcome = place.run(arguments);
    let of = |check| finding(&outcome, 0, check);
    says(&of("configuration"), "ok", "no file");
    says(&of("options"), "ok", "can be used");
    says(&of("cache directory"), "ok", "the first pull makes it");
    says(&of("agent"), "ok", "agent");
    says(&of("O_TMPFILE"), "ok", "can be made and locked");
    says(&of("credentials"), "ok", "anonymous");
    says(&of("connections"), "ok", "no proxy");
    says(&of("registry"), "ok", "sha256:");
    says(&of("clock"), "ok", " UTC");
    says(&of("owner"), "ok", "owns");
    for check in ["space", "kernel"] {
        assert!(of(check)["found"].is_string(), "{outcome:#?}");
    }
    assert!(!place.cache().exists());
    let blobs = registry.requests();
    let blobs = blobs
        .iter()
        .filter(|request| request.path.contains("/blobs/"));
    assert_eq!(blobs.count(), 1, "the config, and no layer");
    let text = place.run(&arguments[..4]);
    assert_eq!(text.status, Some(0), "{text:#?}");
    assert!(text.stdout.contains("ok       registry"), "{text:#?}");
    assert!(
        text.stderr
            .contains(&format!("connecting to {}", registry.addr())),
        "{text:#?}"
    );
    let quiet = place.run([&arguments[..4], &["--quiet"]].concat());
    assert_eq!((quiet.status, quiet.stderr.as_str()), (Some(0), ""));
    let without = place.run(["doctor", "--json", "--no-agent"]);
    says(
        &finding(&without, 0, "registry"),
        "skipped",
        "name an image",
    );
    says(&finding(&without, 0, "agent"), "ok", "--no-agent");
    let pulled = place.run(["pull", &reference, "--no-agent"]);
    assert_eq!(pulled.status, Some(0), "{pulled:#?}");
    let holds = place.run(["doctor", "--json", "--no-agent"]);
    says(&finding(&holds, 0, "cache directory"), "ok", "1 usable");
}

#[test]
fn each_fault_of_host_files_stops_a_pull() {
    let place = Place::new();
    let doctor = |more: &[&str]| doctor(&place, &[], more);
    let none = doctor(&[]);
    says(&finding(&none, 1, "agent"), "failed", "--no-agent");
    assert_eq!(place.run(["pull", "127.0.0.1:1/x"]).status, Some(1));
    let agent = doctor(&["--agent", "missing"]);
    says(&finding(&agent, 1, "agent"), "failed", "missing");
    fs::write(
        place.path("arm"),
        [&b"\x7FELF\x02\x01\x01"[..], &[0; 11], &[183, 0, 0, 0]].concat(),
    )
    .unwrap();
    let agent = doctor(&["--platform", "linux/amd64", "--agent", "arm"]);
    says(&finding(&agent, 1, "agent"), "failed", "ELF");
    let agent = doctor(&["--platform", "linux/amd64", "--agent-arm64", "arm"]);
    says(
        &finding(&agent, 1, "agent"),
        "failed",
        "no file is named for amd64, only for other",
    );
    let injected = doctor(&["--no-agent", "--inject", "missing:/.hpcc/x"]);
    says(
        &finding(&injected, 1, "injected files"),
        "failed",
        "missing",
    );
    let injected = doctor(&["--no-agent", "--inject", "agent:/.hpcc/x"]);
    says(&finding(&injected, 0, "injected files"), "ok", "agent");
}

#[test]
fn each_fault_of_the_registry_has_its_exit_code() {
    let (registry, reference) = serve(Auth::Basic {
        user: "bob".into(),
        password: "s3cret".into(),
    });
    let place = Place::new();
    let with = |variables: &[(&str, &str)], more: &[&str]| {
        doctor(&place, variables, &[&["--no-agent"], more].concat())
    };
    let doctor = |more: &[&str]| with(&[], more);

    let refused = doctor(&[&reference]);
    says(
        &finding(&refused, 1, "registry"),
        "failed",
        "not authorized",
    );
    assert!(
        refused.stderr.contains("a pull would fail: registry"),
        "{refused:#?}"
    );
    let auth = format!(
        "{{\"auths\":{{\"{}\":{{\"auth\":\"Ym9iOnMzY3JldA==\"}}}}}}",
        registry.addr()
    );
    fs::write(place.path("auth.json"), auth).unwrap();
    fs::set_permissions(place.path("auth.json"), fs::Permissions::from_mode(0o600)).unwrap();
    let authorized = doctor(&[&reference, "--authfile", "auth.json"]);
    says(&finding(&authorized, 0, "registry"), "ok", "sha256:");
    says(&finding(&authorized, 0, "credentials"), "ok", "auth.json");
    assert!(!authorized.stdout.contains("s3cret"), "{authorized:#?}");
    let other = [
        &reference,
        "--authfile",
        "auth.json",
        "--platform",
        "linux/s390x",
    ];
    says(&finding(&doctor(&other), 1, "registry"), "failed", "s390x");
    let offline = doctor(&[&reference, "--offline"]);
    says(&finding(&offline, 1, "registry"), "failed", "offline");
    let pulled = place.run(["pull", &reference, "--no-agent", "--authfile", "auth.json"]);
    assert_eq!(pulled.status, Some(0), "{pulled:#?}");
    registry.clear_requests();
    let offline = doctor(&[&reference, "--offline"]);
    says(&finding(&offline, 0, "registry"), "ok", "the store holds");
    let unseen = "only the pull looks for the layers";
    says(&finding(&offline, 0, "registry"), "ok", unseen);
    assert_eq!(registry.requests().len(), 0);
    drop(registry);
    let gone = doctor(&[&reference, "--retries", "0"]);
    let found = finding(&gone, 75, "registry");
    says(&found, "failed", "cannot reach");
    assert_eq!(found["transient"], true);
    let error: Value = serde_json::from_str(gone.stderr.trim()).unwrap();
    assert_eq!(error["transient"], true);
    // What fails again whenever it is tried decides.
    let both = doctor(&[&reference, "--retries", "0", "--min-free", "1000T"]);
    says(&finding(&both, 1, "registry"), "failed", "cannot reach");
    assert_eq!(doctor(&["a b"]).status, Some(2));
}

#[test]
fn each_fault_of_credentials_and_connections_is_found() {
    let (_registry, reference) = serve(Auth::Anonymous);
    let place = Place::new();
    let with = |variables: &[(&str, &str)], more: &[&str]| {
        doctor(&place, variables, &[&["--no-agent"], more].concat())
    };
    let broken = with(&[], &["--authfile", "missing.json"]);
    says(&finding(&broken, 1, "credentials"), "failed", "--authfile");
    let unneeded = with(&[], &[&reference, "--authfile", "missing.json"]);
    says(
        &finding(&unneeded, 0, "credentials"),
        "warning",
        "missing.json",
    );

    let config = place.path(".docker/config.json");
    fs::create_dir(place.path(".docker")).unwrap();
    fs::write(&config, "{").unwrap();
    says(
        &finding(&with(&[], &[]), 1, "credentials"),
        "failed",
        "not valid",
    );
    fs::write(&config, "{\"credsStore\":\"surely-missing\"}").unwrap();
    for variables in [&[][..], &[("PATH", "")]] {
        let helper = finding(&with(variables, &[]), 0, "credentials");
        says(&helper, "warning", "is not installed");
    }
    fs::remove_file(&config).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &config,
        rustix::fs::FileType::Fifo,
        mode,
        0,
    )
    .unwrap();
    let fifo = finding(&with(&[], &[]), 0, "credentials");
    says(&fifo, "warning", "cannot be read");
    fs::remove_file(&config).unwrap();

    let proxy = [("HTTPS_PROXY", "http://bob:s3cret@:")];
    let outcome = with(&proxy, &[]);
    says(
        &finding(&outcome, 1, "connections"),
        "failed",
        "HTTPS_PROXY",
    );
    assert!(!format!("{outcome:?}").contains("s3cret"), "{outcome:#?}");
    says(
        &finding(&with(&[], &["--ca-file", "agent"]), 1, "connections"),
        "failed",
        "agent",
    );
    says(
        &finding(&with(&[], &["--cert", "agent"]), 1, "connections"),
        "failed",
        "agent",
    );
    let unneeded = with(&[], &[&reference, "--ca-file", "agent"]);
    says(&finding(&unneeded, 0, "connections"), "warning", "agent");
    let mirrors = with(&[], &["--hosts-dir", "missing"]);
    says(&finding(&mirrors, 0, "mirrors"), "warning", "no mirror");
    let proxy = with(&[("HPCC_PROXY", "http://[")], &[&reference]);
    says(&finding(&proxy, 1, "options"), "failed", "URL of a proxy");
    says(&finding(&proxy, 1, "registry"), "skipped", "no request");
}

#[test]
fn each_fault_of_the_disk_is_found() {
    let place = Place::new();
    let with = |variables: &[(&str, &str)], more: &[&str]| {
        doctor(&place, variables, &[&["--no-agent"], more].concat())
    };
    let full = with(&[], &["--min-free", "1000T"]);
    says(&finding(&full, 1, "space"), "failed", "make room");
    let pull = ["pull", "tar:agent", "--no-agent", "--cache-dir", "other"];
    let pulled = place.run(pull.iter().chain(&["--min-free", "1000T"]));
    assert_eq!(pulled.status, Some(1), "{pulled:#?}");
    let file = with(&[], &["--cache-dir", "agent"]);
    says(
        &finding(&file, 1, "cache directory"),
        "failed",
        "--cache-dir",
    );
    let relative = with(&[("HPCC_CACHE_DIR", "relative")], &[]);
    assert_eq!(relative.status, Some(0), "{relative:#?}");
    assert!(
        relative.stdout.contains("write an absolute path"),
        "{relative:#?}"
    );
    let empty = [("HPCC_CACHE_DIR", "")];
    says(
        &finding(&with(&empty, &[]), 0, "cache directory"),
        "ok",
        ".cache/hpcc-rootfs",
    );
    let homeless = [("HPCC_CACHE_DIR", ""), ("HOME", "")];
    says(
        &finding(&with(&homeless, &[]), 1, "cache directory"),
        "failed",
        "HOME",
    );

    symlink("nowhere/deep", place.path("dangling")).unwrap();
    let dangling = with(&[], &["--cache-dir", "dangling"]);
    says(
        &finding(&dangling, 0, "cache directory"),
        "ok",
        "the first pull makes it",
    );
    symlink("circle", place.path("circle")).unwrap();
    let circle = with(&[], &["--cache-dir", "circle"]);
    says(&finding(&circle, 1, "cache directory"), "failed", "circle");
    fs::create_dir(place.cache()).unwrap();
    fs::set_permissions(place.cache(), fs::Permissions::from_mode(0o777)).unwrap();
    let open = with(&[], &[]);
    says(
        &finding(&open, 1, "cache directory"),
        "failed",
        "chmod go-w",
    );
    let below = place.cache().join("new");
    let below = with(&[], &["--cache-dir", below.to_str().unwrap()]);
    says(
        &finding(&below, 1, "cache directory"),
        "failed",
        "chmod go-w",
    );
    assert_eq!(with(&[], &["--trust-store"]).status, Some(0));
    for (option, value, check) in [
        ("--seed", "missing", "seed"),
        ("--spool-dir", "agent", "spool"),
    ] {
        let outcome = with(&[], &[option, value, "--cache-dir", "new"]);
        says(&finding(&outcome, 0, check), "warning", option);
    }
}

#[test]
fn disk_that_cannot_be_written_to_is_found() {
    if !test_support::oracle::may_be_root("mounting") {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("mounted")).unwrap();
    let mounted_with = |mount: &str, directory: &str, more: &[&str]| {
        let mut command = place.command("unshare");
        command
            .args(["--mount", "sh", "-c"])
            .arg(format!("{mount} && exec \"$@\""))
            .arg("sh")
            .arg(program())
            .args(["doctor", "--json", "--no-agent", "--cache-dir", directory])
            .args(more);
        cli::outcome(&mut command)
    };
    let mounted = |mount: &str, directory: &str| mounted_with(mount, directory, &[]);
    let read_only = mounted("mount -t tmpfs -o ro none mounted", "mounted/new");
    says(&finding(&read_only, 1, "owner"), "failed", "Read-only");
    says(&finding(&read_only, 1, "owner"), "failed", "remount,rw");
    says(&finding(&read_only, 1, "O_TMPFILE"), "failed", "Read-only");
    let without_proc = mounted("mount -t tmpfs none /proc", "new");
    says(&finding(&without_proc, 0, "O_TMPFILE"), "warning", "/proc");
    says(
        &finding(&without_proc, 0, "kernel"),
        "skipped",
        "no kernel configuration",
    );
    // procfs has neither sizes nor files of its own.
    let odd = mounted("true", "/proc/hpcc");
    says(
        &finding(&odd, 1, "O_TMPFILE"),
        "failed",
        "cannot write to /proc",
    );
    let verity = ["--fs-verity", "on"];
    let verity = mounted_with("mount -t tmpfs none mounted", "mounted/new", &verity);
    says(
        &finding(&verity, 1, "fs-verity"),
        "failed",
        "--fs-verity auto",
    );
    let full = mounted("mount -t tmpfs -o size=1M none mounted", "mounted/new");
    says(&finding(&full, 1, "space"), "failed", "make room");
    // Builds may fill this one to its last byte, which it has reached.
    let filled =
        "mount -t tmpfs -o size=1M none mounted; cat /dev/zero > mounted/fill 2> /dev/null; true";
    let filled = mounted_with(filled, "mounted/new", &["--min-free", "0"]);
    says(&finding(&filled, 1, "space"), "failed", "make room");
    says(&finding(&filled, 1, "write"), "failed", "No space left");
    // ramfs reports zeros for its size.
    let endless = mounted("mount -t ramfs none mounted", "mounted/new");
    says(&finding(&endless, 0, "space"), "ok", "reports no size");
    let no_inode = mounted("mount -t tmpfs -o nr_inodes=1 none mounted", "mounted/new");
    says(&finding(&no_inode, 1, "space"), "failed", "0 inodes");
    rustix::fs::chown(
        place.path("mounted"),
        Some(rustix::fs::Uid::from_raw(7)),
        None,
    )
    .unwrap();
    let foreign = mounted("true", "mounted");
    says(
        &finding(&foreign, 1, "cache directory"),
        "failed",
        "user 7 owns",
    );
}

#[test]
fn missing_locks_are_a_finding_of_their_own() {
    let place = Place::new();
    let mut command = place.command("strace");
    command
        .args(["-f", "-qq", "-o", "calls", "-e", "trace=flock"])
        .args(["-e", "inject=flock:error=ENOLCK"])
        .arg(program())
        .args(["doctor", "--json", "--no-agent"]);
    let outcome = cli::outcome(&mut command);
    let found = finding(&outcome, 1, "locks");
    says(&found, "failed", "flock");
    says(&found, "failed", "No locks available");
}

#[test]
fn variable_of_the_package_s_unit_is_no_mistake() {
    let place = Place::new();
    let variables = [("HPCC_GC_OPTIONS", "--max-age 30d")];
    let outcome = doctor(&place, &variables, &["--no-agent"]);
    says(&finding(&outcome, 0, "configuration"), "ok", "no file");
    assert!(!outcome.stdout.contains("HPCC_GC_OPTIONS"), "{outcome:#?}");
}

#[test]
fn clock_before_an_artifact_was_built_is_a_warning() {
    let (_registry, reference) = serve(Auth::Anonymous);
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let tomorrow = SystemTime::now() + Duration::from_secs(200_000);
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(tomorrow).unwrap();
    let outcome = doctor(&place, &[], &["--no-agent"]);
    says(&finding(&outcome, 0, "clock"), "warning", "set the clock");
}

#[test]
fn findings_appear_before_a_silent_registry_and_signals_end_it() {
    use rustix::process::{Pid, Signal, kill_process};

    let (registry, reference) = serve(Auth::Anonymous);
    registry.inject(Fault::on(
        "/manifests/",
        Action::Delay(Duration::from_secs(600)),
    ));
    let place = Place::new();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut child = place
            .listening()
            .args(["doctor", &reference, "--agent", "agent"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let clock = lines.find(|line| line.as_ref().unwrap().contains(" clock "));
        assert!(clock.is_some());
        let mut said = String::new();
        BufReader::new(child.stderr.as_mut().unwrap())
            .read_line(&mut said)
            .unwrap();
        let host = format!("connecting to {}; ", registry.addr());
        assert!(said.starts_with(&host), "{said}");
        let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}
