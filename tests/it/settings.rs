//! Settings from the environment and from files that no command can use: what the program says, and where it says that
//! they are.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::cli::{Outcome, Place, outcome, program};

/// Runs the program with variables.
fn run(place: &Place, variables: &[(&str, &str)], arguments: &str) -> Outcome {
    let mut command = place.command(program());
    command.args(arguments.split(' '));
    outcome(command.envs(variables.iter().copied()))
}

/// Writes a configuration file.
fn write(place: &Place, text: &str) {
    let path = place.path("own.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn assert_usage(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.status, Some(2), "{outcome:#?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word}: {outcome:#?}");
    }
}

#[test]
fn value_that_no_command_can_use_names_its_variable() {
    let place = Place::new();
    for (variable, value) in [
        ("HPCC_BLOCK_SIZE", "5000"),
        ("HPCC_PROXY", "ftp://x"),
        ("HPCC_PLAIN_HTTP", "registry/path"),
        ("HPCC_PLAIN_HTTP", "a,10.0.0.0/8"),
        ("HPCC_ALLOW_PRIVATE_REALM", "*.corp"),
    ] {
        let variables = [(variable, value)];
        for command in [
            "pull localhost:1/x --no-agent",
            "config show",
            "config show pull",
        ] {
            assert_usage(&run(&place, &variables, command), &[variable, "expected "]);
        }
        let doctor = run(&place, &variables, "doctor --no-agent --json");
        let report: Value = serde_json::from_str(&doctor.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().iter();
        let mut wrong = findings.filter(|finding| finding["place"]["variable"] == variable);
        assert_eq!(wrong.next().unwrap()["status"], "failed", "{report}");
    }
}

#[test]
fn values_that_do_not_go_together_name_their_places() {
    let place = Place::new();
    write(&place, "[pull]\nlevel = 19\n[build]\nlevel = 19\n");
    let variables = [("HPCC_CONFIG", "own.toml"), ("HPCC_COMPRESSOR", "gzip")];
    let range = "--level 19 is out of range for --compressor gzip, expected 1 to 9";
    for (command, line) in [
        ("pull localhost:1/x --no-agent", "own.toml:2"),
        ("build localhost:1/x -o out", "own.toml:4"),
        ("config show", "own.toml:2"),
        ("config show build", "own.toml:4"),
    ] {
        assert_usage(&run(&place, &variables, command), &[line, range]);
    }
    let shown = run(&place, &variables, "config show list");
    assert_eq!(shown.status, Some(0), "{shown:#?}");
    let doctor = run(&place, &variables, "doctor --no-agent --json");
    let report: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let mut wrong = findings.filter(|finding| finding["check"] == "options");
    let wrong = wrong.next().unwrap();
    assert_eq!(wrong["place"]["line"], 2, "{report}");
    // On the command line there is nothing to name.
    let given = run(
        &place,
        &[],
        "build localhost:1/x -o out --compressor lz4 --level 1",
    );
    assert_usage(
        &given,
        &["error: --level cannot be used with --compressor lz4"],
    );
}

#[test]
fn empty_path_in_a_file_is_refused_in_whole_words() {
    let place = Place::new();
    for key in ["seed", "spool-dir", "ca-file", "authfile", "hosts-dir"] {
        write(&place, &format!("[pull]\n{key} = \"\"\n"));
        let outcome = run(
            &place,
            &[],
            "pull localhost:1/x --no-agent --config own.toml",
        );
        let words =
            format!("own.toml:2: cannot use \"\" as {key}: expected a value that is not empty;");
        assert_usage(&outcome, &[&words]);
    }
}

#[test]
fn hosts_that_match_none_are_usage_errors() {
    let place = Place::new();
    for option in ["--plain-http", "--allow-private-realm"] {
        for value in [
            "reg/path",
            "reg:99999",
            "reg:",
            "*.corp",
            "10.0.0.0/8",
            "a,b",
        ] {
            let arguments = format!("pull localhost:1/x --no-agent {option} {value}");
            let outcome = run(&place, &[], &arguments);
            assert_usage(
                &outcome,
                &[option, "expected one host, with or without a port"],
            );
        }
    }
}

/// Thirty thousand of them took 13 seconds of processor time.
#[test]
fn problems_of_one_file_are_bounded() {
    let place = Place::new();
    let (mut keys, mut lines) = (String::new(), String::new());
    for number in 0..30_000 {
        let _ = writeln!(keys, "levle-{number} = 1");
        let _ = writeln!(lines, "= {number}");
    }
    for text in [keys, lines] {
        write(&place, &text);
        let shown = run(&place, &[], "config show --config own.toml --json");
        assert_eq!(shown.status, Some(2));
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!(shown["problems"].as_array().unwrap().len(), 64);
    }
}

#[test]
fn commands_for_shells_obey_variables_and_read_no_file() {
    let place = Place::new();
    write(&place, "nonsense\n");
    let config = ("HPCC_CONFIG", "own.toml");
    for variables in [
        &[config, ("HPCC_QUIET", "1")][..],
        &[config, ("HPCC_JSON", "1")],
        &[
            config,
            ("HPCC_QUIET", "1"),
            ("HPCC_PROGRESS", "x"),
            ("HPCC_LEVLE", "1"),
        ],
    ] {
        let outcome = run(&place, variables, "man pages");
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""));
        let outcome = run(&place, variables, "completions bash");
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""));
    }
    let outcome = run(&place, &[], "man pages");
    assert!(outcome.stderr.starts_with("wrote "), "{outcome:#?}");
}
