//! Credential helpers, as programs that a pull starts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use test_support::docker_registry::DockerRegistry;
use test_support::registry::{Auth, Registry};
use test_support::skopeo::Copy;

use crate::cli::{self, Outcome, Place};
use crate::registry_pull::store;

/// Puts a helper into `bin` of the place, and a config that names it for everything.
fn install(place: &Place, name: &str, script: &str) {
    let bin = place.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let program = bin.join(format!("docker-credential-{name}"));
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    configure(place, &format!(r#"{{"credsStore":"{name}"}}"#));
}

fn configure(place: &Place, config: &str) {
    let directory = place.path(".docker");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.json"), config).unwrap();
}

fn pull(place: &Place, reference: &str) -> Outcome {
    pull_by(place.command(cli::program()), place, reference)
}

fn pull_by(mut command: Command, place: &Place, reference: &str) -> Outcome {
    let path = std::env::var("PATH").unwrap();
    let bin = place.path("bin");
    command
        .env("PATH", format!("{}:{path}", Path::display(&bin)))
        .args([
            "pull",
            reference,
            "--platform",
            "linux/amd64",
            "-v",
            "--agent",
        ])
        .arg(place.agent());
    cli::outcome(&mut command)
}

#[test]
fn helper_logs_in_at_real_registry_without_showing_its_secret() {
    let registry = DockerRegistry::start_with_user("ada", "hunter2").unwrap();
    let seed = Registry::serve(store(10_000)).unwrap();
    let reference = format!("{}/app:v1", registry.addr());
    Copy::new(
        &format!("docker://{}/seed:latest", seed.addr()),
        &format!("docker://{reference}"),
    )
    .destination_user("ada", "hunter2")
    .run()
    .unwrap();
    let place = Place::new();
    let asked = place.path("asked");
    let script = format!(
        "cat > {}\nprintf '{{\"Username\":\"ada\",\"Secret\":\"hunter2\"}}'",
        asked.display()
    );
    install(&place, "works", &script);
    let outcome = pull(&place, &reference);
    assert!(outcome.line().contains("sha256"));
    assert!(!format!("{outcome:?}").contains("hunter2"), "{outcome:#?}");
    let server = fs::read_to_string(asked).unwrap();
    assert_eq!(server, registry.addr().to_string());

    let script = "printf '{\"Username\":\"ada\",\"Secret\":\"hunter3\"}'";
    install(&place, "lies", script);
    place.run(["untag", &digest_of(outcome.line())]);
    let refused = pull(&place, &reference);
    assert_ne!(refused.status, Some(0));
    assert!(
        refused.stderr.contains("docker-credential-lies"),
        "{refused:#?}"
    );
    assert!(!format!("{refused:?}").contains("hunter3"), "{refused:#?}");
}

/// The kernel keeps no exit status for a parent that ignores SIGCHLD, and programs inherit that (sudo-project/sudo#98).
#[test]
fn helper_logs_in_where_children_leave_no_status() {
    let user = Some(("ada".to_owned(), "hunter2".to_owned()));
    let registry = Registry::serve_with(store(10_000), Auth::Bearer { user }).unwrap();
    let reference = format!("{}/app:latest", registry.addr());
    let place = Place::new();
    let login = "printf '{\"Username\":\"ada\",\"Secret\":\"hunter2\"}'";
    for (script, status) in [(login, 0), ("echo credentials not found", 1)] {
        install(&place, "works", script);
        let mut command = place.command("sh");
        command.args(["-c", "trap '' CHLD; exec \"$@\"", "sh"]);
        command.arg(cli::program());
        let outcome = pull_by(command, &place, &reference);
        assert_eq!(outcome.status, Some(status), "{outcome:#?}");
        assert!(!outcome.stderr.contains("got lost"), "{outcome:#?}");
        place.run(["gc", "--max-size", "0"]);
    }
}

/// Returns the digest that the name of an artifact holds.
fn digest_of(path: &str) -> String {
    let name = Path::new(path).file_name().unwrap().to_str().unwrap();
    let hex: String = name
        .split(|c: char| !c.is_ascii_hexdigit())
        .find(|part| part.len() == 64)
        .unwrap()
        .to_owned();
    format!("sha256:{hex}")
}

#[test]
fn helpers_that_fail_do_not_fail_a_public_pull() {
    // Docker Hub's way: a token for everybody, from a token server that has to be asked.
    let registry = Registry::serve_with(store(10_000), Auth::Bearer { user: None }).unwrap();
    let reference = format!("{}/app:latest", registry.addr());
    for (name, script) in [
        (
            "none",
            "echo 'credentials not found in native keychain'; exit 1",
        ),
        ("broken", "echo hunter2; echo hunter2 >&2; exit 3"),
        ("babbles", "echo hunter2"),
        ("floods", "yes hunter2"),
    ] {
        let place = Place::new();
        install(&place, name, script);
        let outcome = pull(&place, &reference);
        assert_eq!(outcome.status, Some(0), "{name}: {outcome:#?}");
        assert!(!format!("{outcome:?}").contains("hunter2"), "{outcome:#?}");
    }
    let place = Place::new();
    configure(&place, r#"{"credsStore":"not-installed"}"#);
    assert_eq!(pull(&place, &reference).status, Some(0));
    for request in registry.requests() {
        if request.path.starts_with("/token") {
            assert_eq!(request.header("authorization"), None);
        }
    }
}

#[test]
fn a_helper_name_that_is_a_path_is_never_started() {
    let registry = Registry::serve_with(store(10_000), Auth::Bearer { user: None }).unwrap();
    let reference = format!("{}/app:latest", registry.addr());
    let place = Place::new();
    let mark = place.path("mark");
    install(&place, "x", &format!("touch {}", mark.display()));
    configure(
        &place,
        r#"{"credsStore":"x/../../bin/docker-credential-x"}"#,
    );
    let outcome = pull(&place, &reference);
    assert_ne!(outcome.status, Some(0));
    assert!(outcome.stderr.contains("no plain word"), "{outcome:#?}");
    assert!(!mark.exists());
}
