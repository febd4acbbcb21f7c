//! How the program ends: exit codes, the object that `--json` makes of an error, and closed pipes.
//! The signals are in `commands`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_support::image::{Image, Layer, Store};
use test_support::registry::{Action, Fault};

use crate::cli::{self, Place, program};
use crate::streams::registry;

/// Writes an image layout.
fn layout(place: &Place) {
    let mut store = Store::new();
    let image = Image::new().layer(Layer::new().file("hello", "world"));
    let image = image.add_to(&mut store);
    store.tag("v1", &image);
    store.write_layout(&place.path("layout")).unwrap();
}

/// Returns the one object on stderr of a run that failed.
fn error(place: &Place, arguments: &[&str]) -> (Option<i32>, Value) {
    let outcome = place.run(arguments);
    assert_eq!(outcome.stdout, "", "{outcome:#?}");
    let error: Value = serde_json::from_str(&outcome.stderr).unwrap();
    let fields: Vec<_> = error.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["causes", "hint", "kind", "message", "transient"]);
    (outcome.status, error)
}

#[test]
fn damaged_artifact_is_corrupt_for_every_command_that_reads_it() {
    let place = Place::new();
    layout(&place);
    let built = place.run("build oci:layout --agent agent -o out.sqsh".split(' '));
    assert_eq!(built.status, Some(0), "{built:#?}");
    let mut bytes = fs::read(place.path("out.sqsh")).unwrap();
    for byte in bytes.iter_mut().skip(560).take(40) {
        *byte ^= 0xff;
    }
    fs::write(place.path("out.sqsh"), bytes).unwrap();
    for command in ["attest", "inspect --tree", "verify"] {
        let arguments = command.split(' ').chain(["./out.sqsh", "--json"]);
        let outcome = place.run(arguments);
        assert_eq!(outcome.status, Some(1), "{command}: {outcome:#?}");
        let error: Value = serde_json::from_str(&outcome.stderr).unwrap();
        assert_eq!(error["kind"], "corrupt", "{command}: {error}");
        assert!(error["hint"].is_string(), "{command}: {error}");
    }
}

#[test]
fn rebuild_with_another_agent_is_a_usage_error() {
    let place = Place::new();
    layout(&place);
    let built = place.run("build oci:layout --agent agent -o out.sqsh".split(' '));
    let digest = built
        .status
        .map(|_| "verify --rebuild ./out.sqsh --from oci:layout --json");
    let outcome = place.run(digest.unwrap().split(' '));
    assert_eq!(outcome.status, Some(2), "{outcome:#?}");
    let error: Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!(error["kind"], "usage", "{error}");
}

#[test]
fn notices_are_none_where_the_result_is_json() {
    let place = Place::new();
    for command in ["verify", "list", "df", "gc", "man pages"] {
        let outcome = place.run(command.split(' ').chain(["--json"]));
        assert_eq!(outcome.status, Some(0), "{command}: {outcome:#?}");
        assert_eq!(outcome.stderr, "", "{command}");
    }
}

/// A log that no user asked for is no report.
#[test]
fn lease_that_is_replaced_is_a_warning() {
    let place = Place::new();
    layout(&place);
    let pulled = place.pull("oci:layout", &["--quiet"]);
    let artifact = PathBuf::from(pulled.line());
    let name = artifact.file_stem().unwrap().to_str().unwrap();
    let lease = place.cache().join(format!(".lease-{name}"));
    // As another program makes it.
    fs::remove_file(&lease).unwrap();
    fs::write(&lease, "").unwrap();
    fs::set_permissions(&lease, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(place.cache(), fs::Permissions::from_mode(0o755)).unwrap();
    let held = fs::File::open(&lease).unwrap();
    held.lock_shared().unwrap();
    let gc = place.run(["gc", "--max-size", "0"]);
    assert_eq!(gc.status, Some(0), "{gc:#?}");
    let said = format!(
        "warning: replaced {}, which another process holds",
        lease.display()
    );
    assert!(gc.stderr.replace("\n", " ").contains(&said), "{gc:#?}");
    assert!(!artifact.exists());
}

#[test]
fn failure_that_may_pass_has_exit_code_75() {
    let (registry, reference) = registry();
    let place = Place::new();
    for (status, code, kind) in [
        (401, 1, "unauthorized"),
        (403, 1, "denied"),
        (404, 1, "not-found"),
        (429, 75, "throttled"),
        (500, 75, "registry"),
        (503, 75, "registry"),
    ] {
        registry.clear_faults();
        registry.inject(Fault::status("/v2/", status));
        let pull = [
            "pull",
            &reference,
            "--agent",
            "agent",
            "--retries",
            "0",
            "--json",
        ];
        let (found, error) = error(&place, &pull);
        assert_eq!(found, Some(code), "{error}");
        assert_eq!(error["kind"], kind, "{error}");
        assert_eq!(error["transient"], code == 75, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&status.to_string()), "{message}");
        let text = place.run(&pull[..6]);
        assert_eq!(text.status, Some(code), "{text:#?}");
        assert!(
            text.stderr.ends_with(&format!("error: {message}\n")),
            "{text:#?}"
        );
    }
}

#[test]
fn json_of_error_lists_causes_and_what_to_do() {
    let (_registry, reference) = registry();
    let place = Place::new();
    let (code, agent) = error(
        &place,
        &["pull", &reference, "--agent", "nowhere", "--json"],
    );
    assert_eq!(code, Some(1));
    assert_eq!(agent["kind"], "io");
    assert_eq!(agent["message"], "cannot use the agent nowhere");
    assert_eq!(
        agent["causes"],
        json!(["No such file or directory (os error 2)"])
    );
    assert!(
        agent["hint"].as_str().unwrap().contains("--agent"),
        "{agent}"
    );

    let (code, missing) = error(&place, &["--json", "pull", &reference]);
    assert_eq!((code, &missing["kind"]), (Some(1), &json!("no-agent")));
}

#[test]
fn usage_errors_are_objects_whatever_is_wrong() {
    let place = Place::new();
    for (arguments, words) in [
        (&["pull", "--json"][..], "<IMAGE>"),
        (&["--json"], "subcommand"),
        (&["--json", "pul"], "'pul'"),
        (&["pull", "a", "--json", "--level", "x"], "'x'"),
        (
            &["pull", "A", "--agent", "agent", "--json"],
            "image reference",
        ),
        (
            &["pull", "a", "--block-size", "8G", "--json"],
            "--block-size",
        ),
    ] {
        let (code, error) = error(&place, arguments);
        assert_eq!(code, Some(2), "{error}");
        assert_eq!(error["kind"], "usage", "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
        assert!(!message.starts_with("error"), "{message}");
    }
    let after_the_options = place.run(["pull", "--", "--json", "b"]);
    assert!(after_the_options.stderr.starts_with("error: "));
}

/// Whatever a warning is about, its level is that of warnings, and its text begins alike.
#[test]
fn warnings_have_one_level_and_one_beginning() {
    let (_registry, reference) = registry();
    let place = Place::new();
    let pull = ["pull", &reference, "--agent", "agent", "--progress", "none"];
    for (arguments, variables, says) in [
        (
            vec!["--seed", "nowhere"],
            vec![],
            "the seed nowhere is passed over",
        ),
        (
            vec!["--metrics-file", "no/metrics"],
            vec![],
            "cannot write the metrics to no/metrics",
        ),
        (
            vec!["--retries", "0", "127.0.0.1:1/x"],
            vec![],
            "127.0.0.1:1/x: cannot reach",
        ),
        (vec![], vec![("RUST_LOG", "a=b=c")], "RUST_LOG is not used"),
        (
            vec![],
            vec![("RUST_LOG", "nonsense=,=")],
            "RUST_LOG is not used",
        ),
        (
            vec![],
            vec![("HPCC_NOTHING", "1")],
            "the variable HPCC_NOTHING sets no option",
        ),
    ] {
        let run = |format: &str, quiet: bool| {
            let mut command = place.command(program());
            match variables.iter().any(|(name, _)| *name == "HPCC_NOTHING") {
                true => command.args(["config", "show"]),
                false => command.args(pull).args(&arguments),
            };
            command.args(quiet.then_some("--quiet"));
            command
                .args(["--log-format", format])
                .envs(variables.iter().copied());
            String::from_utf8(command.output().unwrap().stderr).unwrap()
        };
        let text = run("text", false);
        let line = text.lines().find(|line| line.contains(says));
        let line = line.unwrap_or_else(|| panic!("{says}: {text}"));
        assert!(line.starts_with(&format!("warning: {says}")), "{line}");
        let json = run("json", false);
        let line = json.lines().find(|line| line.contains(says)).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "WARN", "{line}");
        assert!(
            line["message"].as_str().unwrap().starts_with(says),
            "{line}"
        );
        // What failed is an error, which a quiet program says as well.
        let is_failure = says.contains("cannot reach") || says.starts_with("RUST_LOG");
        assert_eq!(
            run("text", true).contains(&format!("warning: {says}")),
            is_failure
        );
    }
}

/// docs/reuse.md: a seed that cannot be used is a warning, once.
#[test]
fn seed_that_is_refused_is_one_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_registry, reference) = registry();
    let place = Place::new();
    let open = place.path("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let open = open.to_str().unwrap();
    let seeds = ["agent", "nowhere", open];
    let pull = ["pull", &reference, "--agent", "agent", "--json"];
    let mut command = place.command(program());
    command.args(pull);
    for seed in seeds {
        command.args(["--seed", seed]);
    }
    let stderr = String::from_utf8(command.output().unwrap().stderr).unwrap();
    let records: Vec<Value> = stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for seed in seeds {
        let says = format!("the seed {seed} is passed over: ");
        let of_seed = |record: &&Value| record["message"].as_str().unwrap().contains(&says);
        let found: Vec<_> = records.iter().filter(of_seed).collect();
        assert_eq!(found.len(), 1, "{seed}: {stderr}");
        assert_eq!(found[0]["level"], "WARN", "{stderr}");
        let message = found[0]["message"].as_str().unwrap();
        assert!(message.starts_with(&says), "{stderr}");
    }
}

#[test]
fn stderr_of_json_is_empty_where_nothing_is_found() {
    let place = Place::new();
    for arguments in [&["list"][..], &["df"], &["config", "show"]] {
        let outcome = place.run(arguments.iter().chain(&["--json"]));
        assert_eq!(outcome.status, Some(0), "{outcome:#?}");
        assert_eq!(outcome.stderr, "", "{outcome:#?}");
    }
}

/// Runs with a pipe without a reader as stdout or stderr.
fn unread(place: &Place, arguments: &[&str], stdout: bool) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.command(program());
    command.args(arguments);
    if stdout {
        command.stdout(writer).stderr(Stdio::piped());
    } else {
        command.stdout(Stdio::piped()).stderr(writer);
    }
    command.spawn().unwrap().wait_with_output().unwrap()
}

/// rust-lang/cargo#5234, BurntSushi/ripgrep#22
#[test]
fn closed_stdout_ends_the_program_in_silence() {
    let (_registry, reference) = registry();
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let inspect = ["inspect", &path, "--tree"];
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &inspect,
        &["inspect", &path, "--tree", "--json"],
        &["verify"],
        &["--help"],
        &["pull", &reference, "--agent", "agent", "--quiet"],
    ] {
        let output = unread(&place, arguments, true);
        assert_eq!(output.status.code(), Some(141), "{arguments:?} {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

/// A reader that stops reading, such as a pager, must not keep the program.
#[test]
fn full_pipe_at_stderr_does_not_delay_a_signal() {
    use rustix::fs::{OFlags, fcntl_setfl};
    use rustix::process::{Pid, Signal, kill_process};

    let (registry, reference) = registry();
    let stall = Action::Stall {
        at: 100,
        time: Duration::from_secs(600),
    };
    registry.inject(Fault::on("/blobs/", stall));
    let place = Place::new();
    let (_reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    let mut child = place
        .command(program())
        .args(["pull", &reference, "--agent", "agent", "-v"])
        .stderr(writer)
        .spawn()
        .unwrap();
    // It blocks at its first line, before or after the registry hears of it.
    std::thread::sleep(Duration::from_millis(500));
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let start = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn closed_stderr_ends_pull_and_changes_no_other_exit_code() {
    let (registry, reference) = registry();
    let place = Place::new();
    let stall = Action::Stall {
        at: 100,
        time: Duration::from_secs(600),
    };
    registry.inject(Fault::on("/blobs/", stall));
    program();
    let start = Instant::now();
    let output = unread(&place, &["pull", &reference, "--agent", "agent"], false);
    assert_eq!(output.status.code(), Some(141), "{output:?}");
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(place.cached(), [""; 0]);

    for (arguments, code) in [
        (&["list", "--quiet"][..], 0),
        (&["frobnicate"], 2),
        (&["pull", "a", "--agent", "nowhere"], 1),
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
        let output = unread(&place, arguments, false);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
    }
}

#[test]
fn signals_end_the_first_process_of_a_container() {
    use std::io::{BufRead as _, BufReader};

    if !test_support::oracle::may_be_root("making a PID namespace") {
        return;
    }
    let place = Place::new();
    layout(&place);
    let pulled = place.run(["pull", "oci:layout:v1", "--no-agent"]);
    let artifact = pulled.line();
    for (number, signal, code) in [(1, "HUP", 129), (2, "INT", 130), (15, "TERM", 143)] {
        let name = format!("linked-{number}");
        let mut command = place.command("env");
        let mut child = command
            .arg("--default-signal=HUP,INT,TERM")
            .args(["unshare", "--pid", "--fork", "--mount-proc"])
            .arg(program())
            .args(["link", artifact, &name])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The path appears when the link is there and only a signal can end the program.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        let first = format!(
            "kill -{signal} $(cat /proc/{0}/task/{0}/children)",
            child.id()
        );
        let killed = cli::outcome(place.command("sh").args(["-c", &first]));
        assert_eq!(killed.status, Some(0), "{killed:#?}");
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
    }
}
