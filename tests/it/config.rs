//! Options from the command line, the environment and `hpcc-rootfs.toml`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use test_support::image::{Image, Layer, Store};
use test_support::registry::Registry;

use crate::cli::{self, Outcome, Place, program};

/// Writes the configuration of the place's user.
fn configure(place: &Place, text: &str) -> PathBuf {
    let directory = place.path(".config/hpcc-rootfs");
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("hpcc-rootfs.toml");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

fn run(place: &Place, variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    let mut command = place.command(program());
    cli::outcome(command.envs(variables.iter().copied()).args(arguments))
}

/// What `config show` says of an option of a command.
fn shown(outcome: &Outcome, option: &str) -> Value {
    let document = outcome.json();
    let mut options = document["options"].as_array().unwrap().iter();
    let found = options.find(|found| found["option"] == option);
    found
        .unwrap_or_else(|| panic!("{option}: {outcome:#?}"))
        .clone()
}

fn wrong(outcome: &Outcome, says: &str) {
    assert_eq!(outcome.status, Some(2), "{outcome:#?}");
    // In JSON if the file that is wrong asks for it.
    let text = outcome.stderr.replace("\\\"", "\"");
    assert!(text.contains(says), "{says}: {outcome:#?}");
    assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{outcome:#?}");
    assert_eq!(outcome.stdout, "", "{outcome:#?}");
}

#[test]
fn command_line_counts_before_environment_before_file() {
    let place = Place::new();
    let file = configure(
        &place,
        "level = 7\n[pull]\nblock-size = \"64K\"\nverify = true\n",
    );
    let show = |variables: &[(&str, &str)], more: &[&str]| {
        let arguments = [&["config", "show", "pull", "--json"], more].concat();
        run(&place, variables, &arguments)
    };
    let plain = show(&[], &[]);
    assert_eq!(plain.json()["files"], json!([file]));
    let from = |line: u64| json!({ "kind": "file", "file": file, "line": line });
    let level = shown(&plain, "level");
    assert_eq!(
        (&level["values"], &level["from"]),
        (&json!(["7"]), &from(1))
    );
    assert_eq!(shown(&plain, "block-size")["from"], from(3));
    assert_eq!(shown(&plain, "verify")["values"], json!(["true"]));
    assert_eq!(
        shown(&plain, "platform")["from"],
        json!({ "kind": "default" })
    );
    let directory = json!({ "kind": "environment", "variable": "HPCC_CACHE_DIR" });
    assert_eq!(shown(&plain, "cache-dir")["from"], directory);

    let set = show(
        &[
            ("HPCC_LEVEL", "9"),
            ("HPCC_VERIFY", "0"),
            ("HPCC_SEED", "a,b"),
            ("HPCC_BLOCK_SIZE", ""),
        ],
        &["--cache-dir", "elsewhere"],
    );
    let level = shown(&set, "level");
    let variable = json!({ "kind": "environment", "variable": "HPCC_LEVEL" });
    assert_eq!(
        (&level["values"], &level["from"]),
        (&json!(["9"]), &variable)
    );
    assert_eq!(shown(&set, "verify")["values"], json!(["false"]));
    assert_eq!(shown(&set, "seed")["values"], json!(["a", "b"]));
    assert_eq!(
        shown(&set, "block-size")["from"],
        from(3),
        "an empty variable is not set"
    );
    assert_eq!(
        shown(&set, "cache-dir")["from"],
        json!({ "kind": "command line" })
    );
    assert_eq!(shown(&set, "cache-dir")["values"], json!(["elsewhere"]));

    let text = run(&place, &[("HPCC_AGNET", "x")], &["config", "show"]);
    let line = text
        .stdout
        .lines()
        .find(|line| line.starts_with("level "))
        .unwrap();
    assert!(
        line.ends_with(&format!("{}:1", file.display())),
        "{text:#?}"
    );
    assert!(
        text.stderr
            .contains("the variable HPCC_AGNET sets no option"),
        "{text:#?}"
    );
}

#[test]
fn values_from_elsewhere_take_effect() {
    let mut store = Store::new();
    let image = Image::new()
        .layer(Layer::new().file("a", "a"))
        .add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let place = Place::new();
    let reference = format!("{}/image:latest", registry.addr());
    configure(
        &place,
        "agent = \"agent\"\ncompressor = \"gzip\"\njson = true\n",
    );
    let variables = [("HPCC_COMPRESSOR", "xz"), ("SOURCE_DATE_EPOCH", "77")];
    let pulled = run(&place, &variables, &["pull", &reference]).json();
    assert_eq!(pulled["record"]["key"]["compressor"], "xz 6");
    assert_eq!(pulled["record"]["key"]["time"], 77);
    let variables = [("HPCC_TIME", "78"), ("SOURCE_DATE_EPOCH", "77")];
    let pulled = run(
        &place,
        &variables,
        &["pull", &reference, "--compressor", "none"],
    )
    .json();
    assert_eq!(pulled["record"]["key"]["compressor"], "none");
    assert_eq!(pulled["record"]["key"]["time"], 78);
    // The command line decides between options that exclude each other.
    let variables = [("HPCC_VERBOSE", "1"), ("HPCC_JSON", "0")];
    let quiet = run(&place, &variables, &["pull", &reference, "--quiet"]);
    assert_eq!(
        (quiet.status, quiet.stderr.as_str()),
        (Some(0), ""),
        "{quiet:#?}"
    );
    // A required option may come from the environment, and does not count as forgotten.
    let built = run(
        &place,
        &[("HPCC_OUTPUT", "out.sqsh")],
        &["build", &reference],
    );
    assert_eq!(built.status, Some(0), "{built:#?}");
    assert!(place.path("out.sqsh").exists());
}

#[test]
fn wrong_values_are_refused_by_their_origin() {
    let place = Place::new();
    let pull = ["pull", "127.0.0.1:1/x", "--agent", "agent"];
    for (variable, value, says) in [
        (
            "HPCC_LEVEL",
            "high",
            "HPCC_LEVEL: cannot use \"high\" as level: expected a level, a whole number from 0 to 22",
        ),
        (
            "HPCC_COMPRESSOR",
            "rar",
            "HPCC_COMPRESSOR: cannot use \"rar\" as compressor: expected zstd, ",
        ),
        (
            "HPCC_OFFLINE",
            "maybe",
            "cannot use \"maybe\" as HPCC_OFFLINE: expected 1, 0, true",
        ),
        (
            "HPCC_CONFIG",
            "missing.toml",
            "cannot read the configuration missing.toml",
        ),
    ] {
        wrong(&run(&place, &[(variable, value)], &pull), says);
    }
    let both = [("HPCC_VERBOSE", "1"), ("HPCC_QUIET", "1")];
    wrong(&run(&place, &both, &["list"]), "exclude each other");

    let file = configure(&place, "\n\nlevel = \"high\"\n");
    let says = format!("{}:3: cannot use \"high\" as level: ", file.display());
    wrong(&run(&place, &[], &pull), &says);
    configure(&place, "json = true\nagnet = \"x\"\n");
    let says = format!(
        "{}:2: \"agnet\" is not an option of any command",
        file.display()
    );
    wrong(&run(&place, &[], &["list"]), &says);
    assert_eq!(
        run(&place, &[], &["list", "--config", "none"]).status,
        Some(0)
    );
    // What explains the program works all the same.
    assert_eq!(run(&place, &[], &["completions", "bash"]).status, Some(0));

    configure(&place, "json = true\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    wrong(
        &run(&place, &[], &["list"]),
        "users other than its owner can write to it (mode 0666)",
    );
    let fifo = place.path("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let named = ["list", "--config", fifo.to_str().unwrap()];
    wrong(&run(&place, &[], &named), "a named pipe (FIFO)");
}

#[test]
fn value_of_the_wrong_type_is_refused_by_every_command() {
    let place = Place::new();
    for (text, says) in [
        (
            "\nagent = true\n",
            ":2: cannot use the boolean true as agent: expected a string; correct or remove this line",
        ),
        (
            "[pull]\nseed = [\"a\", 5]\n",
            ":2: cannot use an array with the whole number 5 as seed: expected a string, or an array of these",
        ),
        (
            "creds-stdin = \"bob:s3cret\"\n",
            ":1: cannot use a string as creds-stdin: expected true or false",
        ),
        (
            "[pull]\nagnet = \"x\"\n",
            ":2: \"agnet\" is not an option of pull; a similar one is agent; correct or remove this line",
        ),
    ] {
        let file = configure(&place, text);
        let says = format!("{}{says}", file.display());
        for arguments in [&["list"][..], &["pull", "127.0.0.1:1/x"]] {
            let outcome = run(&place, &[], arguments);
            wrong(&outcome, &says);
            assert!(!outcome.stderr.contains("s3cret"), "{outcome:#?}");
        }
    }
}

#[test]
fn config_show_suggests_a_command_for_a_mistyped_one() {
    let place = Place::new();
    let outcome = run(&place, &[], &["config", "show", "pul"]);
    wrong(
        &outcome,
        "there is no command \"pul\"; a similar one is pull",
    );
}

#[test]
fn mistyped_variable_is_a_warning_of_every_command() {
    let place = Place::new();
    let warning =
        "warning: the variable HPCC_CAHCE_DIR sets no option; a similar one is HPCC_CACHE_DIR";
    for (variable, arguments, expected) in [
        ("HPCC_CAHCE_DIR", &["df"][..], true),
        ("HPCC_CAHCE_DIR", &["config", "show"], true),
        ("HPCC_CAHCE_DIR", &["df", "--quiet"], false),
        // Names of other programs.
        ("HPCC_HOME", &["df"], false),
        ("HPCC_VERSION", &["df"], false),
    ] {
        let outcome = run(&place, &[(variable, "x")], arguments);
        assert_eq!(outcome.status, Some(0), "{outcome:#?}");
        let said = outcome.stderr.lines().filter(|line| *line == warning);
        assert_eq!(said.count(), usize::from(expected), "{outcome:#?}");
        let warned = outcome.stderr.contains("warning:");
        assert_eq!(warned, expected, "{outcome:#?}");
    }
}

/// Whether the error of a command line that is wrong is an object.
#[test]
fn usage_error_is_in_the_language_of_the_settings() {
    let place = Place::new();
    let wrong = ["pull", "a", "--level", "high"];
    let says_json = |variables: &[(&str, &str)], more: &[&str]| {
        let outcome = run(&place, variables, &[&wrong[..], more].concat());
        assert_eq!(outcome.status, Some(2), "{outcome:#?}");
        match serde_json::from_str::<Value>(&outcome.stderr) {
            Ok(error) => error["kind"] == "usage",
            Err(_) => !outcome.stderr.contains("\"kind\""),
        }
        .then(|| outcome.stderr.starts_with('{'))
        .unwrap()
    };
    for (variables, more, expected) in [
        (&[][..], &[][..], false),
        (&[("HPCC_JSON", "on")], &[], true),
        (&[("HPCC_JSON", "1")], &[], true),
        (&[("HPCC_JSON", "TRUE")], &[], true),
        (&[("HPCC_JSON", "off")], &[], false),
        (&[("HPCC_JSON", "perhaps")], &[], false),
        (&[("HPCC_JSON", "yes")], &["--log-format", "text"], false),
        (&[("HPCC_PROGRESS", "json")], &[], true),
        (&[("HPCC_PROGRESS", "json")], &["--progress", "none"], false),
        (&[("HPCC_LOG_FORMAT", "text")], &["--json"], false),
        (&[("HPCC_LOG_FORMAT", "text")], &["--log-format=json"], true),
        (&[("HPCC_LOG_FORMAT", "json")], &[], true),
    ] {
        assert_eq!(
            says_json(variables, more),
            expected,
            "{variables:?} {more:?}"
        );
    }
    for (text, expected) in [
        ("json = true\n", true),
        ("json = false\n", false),
        ("[pull]\njson = true\n", true),
        ("[list]\njson = true\n", false),
        ("log-format = \"json\"\n", true),
        ("progress = \"json\"\n", true),
        ("json = true\nlog-format = \"text\"\n", false),
        // What is wrong with the file itself is said in its language, too.
        ("json = true\nagnet = \"x\"\n", true),
        ("json = true\n\"\n", true),
    ] {
        let file = configure(&place, text);
        assert_eq!(says_json(&[], &[]), expected, "{text}");
        assert!(
            !says_json(&[("HPCC_JSON", "0")], &["--config", "none"]),
            "{text}"
        );
        let named = ["--config", file.to_str().unwrap()];
        assert_eq!(says_json(&[("HOME", "/")], &named), expected, "{text}");
        if text.starts_with("json = true\n") && expected {
            assert!(!says_json(&[("HPCC_JSON", "0")], &[]), "{text}");
        }
    }
}

#[test]
fn configuration_that_exists_and_cannot_be_read_is_an_error() {
    let place = Place::new();
    let file = configure(&place, "json = true\n");
    // A symlink to nothing cannot be read by any user, root included.
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("nowhere", &file).unwrap();
    let says = format!("cannot read the configuration {}", file.display());
    wrong(&run(&place, &[], &["list"]), &says);
    fs::remove_file(&file).unwrap();
    assert_eq!(run(&place, &[], &["list"]).status, Some(0));

    // Everything else needs a user whom permissions concern.
    configure(&place, "json = true\n");
    let as_nobody = |arguments: &[&str]| {
        let mut command = place.command("setpriv");
        let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        cli::outcome(command.args(user).arg(program()).args(arguments))
    };
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
        wrong(&run(&place, &[], &["list"]), &says);
        return;
    }
    let open = |path: &str, mode: u32| {
        fs::set_permissions(place.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    open("", 0o755);
    open(".config", 0o755);
    open(".config/hpcc-rootfs", 0o755);
    wrong(&as_nobody(&["list"]), &says);
    // A directory that cannot be searched has no file for this user.
    open(".config/hpcc-rootfs", 0o700);
    let shown = as_nobody(&["config", "show"]);
    assert_eq!(shown.status, Some(0), "{shown:#?}");
}

#[test]
fn bytes_that_are_no_text_are_named_with_their_place() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let place = Place::new();
    let said = |variable: &str, value: &[u8], arguments: &[&str]| {
        let mut command = place.command(program());
        command
            .args(arguments)
            .env(variable, OsStr::from_bytes(value));
        let outcome = cli::outcome(&mut command);
        assert_eq!(outcome.status, Some(2), "{outcome:#?}");
        outcome.stderr
    };
    let expected = "HPCC_PLATFORM: cannot use linux/\\xffamd64 as platform: expected text in UTF-8";
    let platform = said("HPCC_PLATFORM", b"linux/\xffamd64", &["pull", "a"]);
    assert!(platform.contains(expected), "{platform}");
    let expected = "HPCC_FILTER: cannot use source=\\xff as filter";
    let filter = said("HPCC_FILTER", b"source=\xff", &["list"]);
    assert!(filter.contains(expected), "{filter}");
    let file = place.path("bytes.toml");
    fs::write(&file, b"json = true\n\ncache-dir = \"\xff\"\n").unwrap();
    let file = file.to_str().unwrap();
    let named = said("HPCC_X", b"", &["list", "--config", file]);
    let expected = format!("{file}:3: expected text in UTF-8; correct or remove this line");
    assert!(named.contains(&expected), "{named}");
}

#[test]
fn config_show_prints_what_a_broken_file_leaves() {
    let place = Place::new();
    let file = configure(
        &place,
        "level =\nagent = \"a\"\n[pull]\nagnet = 1\nlevel = \"high\"\n",
    );
    let show = |more: &[&str]| {
        let variables = [("HPCC_OFFLINE", "maybe")];
        run(&place, &variables, &[&["config", "show"], more].concat())
    };
    let text = show(&[]);
    assert_eq!(text.status, Some(2), "{text:#?}");
    let agent = format!("{}:2", file.display());
    let mut lines = text.stdout.lines();
    let found = lines.find(|line| line.starts_with("agent "));
    assert!(found.unwrap().ends_with(&agent), "{text:#?}");
    for says in [
        ":1: ",
        ":4: \"agnet\" ",
        ":5: cannot use \"high\" as level",
        "HPCC_OFFLINE",
    ] {
        assert!(text.stderr.contains(says), "{says}: {text:#?}");
    }
    let document: Value = serde_json::from_str(&show(&["--json"]).stdout).unwrap();
    let problems = document["problems"].as_array().unwrap();
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| &problem["place"]["line"])
        .collect();
    assert_eq!(
        lines,
        [&json!(1), &json!(4), &Value::Null, &json!(5)],
        "{document}"
    );
    // A file of another user decides nothing.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let open = show(&[]);
    assert_eq!(open.status, Some(2), "{open:#?}");
    assert!(
        !open.stdout.contains(&agent) && open.stdout.contains("cache-dir"),
        "{open:#?}"
    );
}

#[test]
fn secrets_in_the_configuration_are_not_shown() {
    let place = Place::new();
    let file = configure(&place, "proxy = \"http://bob:s3cret@proxy.example:3128\"\n");
    for variables in [
        &[][..],
        &[("HPCC_PROXY", "socks5://eve:s3cret@proxy.example:1")],
    ] {
        for arguments in [
            &["config", "show"][..],
            &["config", "show", "--json"],
            &["doctor"],
        ] {
            let outcome = run(&place, variables, arguments);
            assert!(!format!("{outcome:?}").contains("s3cret"), "{outcome:#?}");
        }
        let shown = run(&place, variables, &["config", "show"]);
        assert!(shown.stdout.contains("://***@proxy.example"), "{shown:#?}");
    }
    fs::write(
        file,
        "proxy = \"http://bob:s3cret@\nlevel = \"http://bob:s3cret@h/\"",
    )
    .unwrap();
    let outcome = run(&place, &[], &["list"]);
    assert_eq!(outcome.status, Some(2));
    assert!(!outcome.stderr.contains("s3cret"), "{outcome:#?}");
}
