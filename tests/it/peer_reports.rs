//! Complaints about the command lines of other image tools, each tried on this program.

use std::fs;
use std::process::Stdio;

use serde_json::json;

use crate::cli::{Place, outcome, program};
use crate::names::{failed, serve};

/// podman-container-tools/podman#4245, cri-o/cri-o#886: an empty list was `null`, or nothing at all.
#[test]
fn empty_lists_are_arrays_of_json() {
    let place = Place::new();
    for command in ["list", "verify"] {
        let empty = place.run([command, "--json"]);
        assert_eq!(empty.json(), json!([]), "{command}");
    }
    assert_eq!(place.run(["df", "--json"]).json()["artifacts"], json!([]));
    assert_eq!(place.run(["gc", "--json"]).json()["removed"], json!([]));
}

/// podman-container-tools/skopeo#2468, bootc-dev/containers-image-proxy-rs#1: a wrong command line printed the help to
/// stdout and succeeded.
#[test]
fn wrong_command_lines_fail_and_print_nothing_on_stdout() {
    let place = Place::new();
    for arguments in [
        &[][..],
        &["config"],
        &["unknown-command"],
        &["pull"],
        &["pull", "a", "--unknown"],
        // A switch takes no value, so the word is one image more.
        &["build", "--verity", "false", "a", "-o", "x"],
        &["list", "--json=true"],
        &["list", "more"],
        &["pull", ""],
    ] {
        let wrong = place.run(arguments);
        assert_eq!(wrong.status, Some(2), "{arguments:?}: {wrong:#?}");
        assert_eq!(wrong.stdout, "", "{arguments:?}");
        assert!(!wrong.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(place.cached(), [""; 0]);
}

/// podman-container-tools/podman#930: two references of one image in one call left an image without a name.
/// podman-container-tools/podman#2234: cleaning up twice has to succeed.
#[test]
fn two_references_of_one_artifact_are_removed_as_one() {
    let (registry, [a, _]) = serve();
    let place = Place::new();
    let tag = format!("{}/image:a", registry.addr());
    let other = format!("{}/mirror:a", registry.addr());
    let path = place.pull(&tag, &["--quiet"]).line().to_owned();
    assert_eq!(place.pull(&other, &["--quiet"]).line(), path);
    let removed = place.run(["rm", &tag, &other, "--json"]).json();
    assert_eq!(removed, json!([{ "digest": a.digest, "removed": true }]));
    assert_eq!(place.cached(), [""; 0]);
    let again = place.run(["untag", &a.digest, "--json"]).json();
    assert_eq!(again, json!({ "digest": a.digest, "removed": false }));
    failed(&place.run(["rm", &a.digest]), 1, "is not in the store");
}

/// moby/moby#3694, docker/compose#1839: redirected progress was blank lines and control sequences.
/// podman-container-tools/skopeo#2590: it was on stdout, among the results.
#[test]
fn redirected_pull_writes_plain_lines_and_its_result_alone() {
    let (registry, _) = serve();
    let place = Place::new();
    let tag = format!("{}/image:a", registry.addr());
    let path = place.path("cache").display().to_string();
    for (number, more) in [&[][..], &["-v"], &["--progress", "plain"]]
        .iter()
        .enumerate()
    {
        let cache = format!("{path}-{number}");
        let more = [&["--cache-dir", &cache], *more].concat();
        let pulled = place.pull(&tag, &more);
        assert!(pulled.line().starts_with(&cache), "{pulled:#?}");
        for line in pulled.stderr.lines() {
            assert!(!line.is_empty(), "{pulled:#?}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}

/// docker/cli#1751, moby/moby#33968: a clean-up reported space that it had not freed.
#[test]
fn space_of_artifact_with_another_link_is_not_freed() {
    let (registry, [a, _]) = serve();
    let place = Place::new();
    let tag = format!("{}/image:a", registry.addr());
    place.pull(&tag, &["--quiet"]).line();
    let linked = place.run(["link", &a.digest, "jail", "--detach", "--json"]);
    assert_eq!(linked.json()["method"], "hard link");
    let size = fs::metadata(place.path("jail")).unwrap().len();
    let collect = ["gc", "--max-size", "0"];
    let text = place.run([&collect[..], &["--dry-run"]].concat());
    let says = ", whose file another link keeps\n";
    assert!(text.stdout.contains(says), "{text:#?}");
    let freed = |more: &[&str]| {
        let collected = place.run([&collect[..], &["--json"], more].concat()).json();
        assert_eq!(collected["removed"][0]["size"], size, "{collected}");
        collected["freed_bytes"].as_u64().unwrap()
    };
    // The files beside it go.
    assert!((1..size).contains(&freed(&["--dry-run"])));
    assert!((1..size).contains(&freed(&[])));
    fs::remove_file(place.path("jail")).unwrap();
    place.pull(&tag, &["--quiet"]).line();
    assert!(freed(&[]) > size);
}

/// oras-project/oras#1505, opencontainers/umoci#265, moby/buildkit#6447: an at sign or a space in a path, or a slash or
/// a colon in a tag, made the layout unreadable. The path is one, however it is spelled.
#[test]
fn layouts_are_found_again_by_any_spelling_of_their_path() {
    let place = Place::new();
    let mut store = test_support::image::Store::new();
    let layer = test_support::image::Layer::new().file("etc", "x");
    let image = test_support::image::Image::new()
        .layer(layer)
        .add_to(&mut store);
    store.tag("team/app:v1", &image);
    let directory = "work@2/lay out";
    fs::create_dir_all(place.path(directory)).unwrap();
    store.write_layout(&place.path(directory)).unwrap();
    let pulled = place.pull(&format!("oci:{directory}:team/app:v1"), &[]);
    let path = pulled.line();
    let absolute = place.path(directory);
    for spelled in [
        "work@2/lay out/",
        "./work@2//lay out",
        "work@2/../work@2/lay out/.",
        absolute.to_str().unwrap(),
    ] {
        let found = place.run(["path", &format!("oci:{spelled}:team/app:v1")]);
        assert_eq!(found.line(), path, "{spelled}");
    }
}

/// ActiveState/appdirs#61: a relative path in a variable of the XDG specification is another directory for each working
/// directory, and the specification has it ignored.
#[test]
fn relative_directories_of_the_environment_are_ignored() {
    let place = Place::new();
    for (home, found) in [(place.path("home"), true), ("home".into(), false)] {
        let mut command = place.command(program());
        let command = command
            .env_remove("HPCC_CACHE_DIR")
            .env("XDG_CACHE_HOME", "relative")
            .env("XDG_CONFIG_HOME", "relative")
            .env("HOME", &home);
        let listed = outcome(command.args(["list", "--json"]));
        assert_eq!(listed.status == Some(0), found, "{listed:#?}");
        let says = "neither XDG_CACHE_HOME nor HOME names an absolute path";
        assert_eq!(listed.stderr.contains(says), !found, "{listed:#?}");
        assert_eq!(
            listed.status,
            Some(if found { 0 } else { 2 }),
            "{listed:#?}"
        );
    }
}

/// fish-shell/fish-shell#11646, nodejs/node#57045: a program in a directory that was removed crashed, or said that "no
/// such file" exists without naming one.
#[test]
fn removed_working_directory_is_no_problem_of_absolute_paths() {
    let (registry, _) = serve();
    let place = Place::new();
    let tag = format!("{}/image:a", registry.addr());
    let gone = place.path("gone");
    let run = |arguments: &[&str]| {
        fs::create_dir(&gone).unwrap();
        let script = "rmdir \"$PWD\" && exec \"$0\" \"$@\"";
        let mut command = place.command("sh");
        let command = command.current_dir(&gone).args(["-c", script]);
        outcome(command.arg(program()).args(arguments))
    };
    let cache = place.path("absolute").display().to_string();
    let agent = place.agent().display().to_string();
    let pull = ["pull", &tag, "--agent", &agent, "--quiet"];
    run(&[&pull[..], &["--cache-dir", &cache]].concat()).line();
    run(&["list", "--no-header", "--cache-dir", &cache]).line();
    for arguments in [
        &[&pull[..], &["--cache-dir", "relative"]].concat()[..],
        &["build", &tag, "-o", "relative"],
        &["inspect", "./relative"],
    ] {
        let failed = run(arguments);
        assert_eq!(failed.status, Some(1), "{failed:#?}");
        assert!(failed.stderr.contains("relative"), "{failed:#?}");
    }
}

/// pypa/pip#2462, Textualize/rich#3673: an interrupted progress left the terminal without a cursor.
#[test]
fn nothing_that_is_drawn_hides_the_cursor() {
    let (registry, _) = serve();
    let place = Place::new();
    let tag = format!("{}/image:a", registry.addr());
    let arguments = ["pull", &tag, "--agent", "agent"];
    let mut window = crate::window::Window::open(&place, &arguments, (80, 24));
    assert_eq!(window.end().0, Some(0));
    let written = String::from_utf8_lossy(&window.written);
    assert!(!written.contains("\u{1b}[?25"), "{written:?}");
    // Lines are not wrapped while they are drawn, which each drawing undoes.
    let last = written.rfind("\u{1b}[?7").map(|at| &written[at..]);
    assert!(
        last.is_none_or(|last| last.starts_with("\u{1b}[?7h")),
        "{written:?}"
    );
}

/// linuxserver-archive/docker-tt-rss#33: a switch could not be turned off, because every value of its variable meant yes.
#[test]
fn switches_are_turned_off_by_their_variables() {
    let place = Place::new();
    for (value, is_json) in [
        ("true", true),
        ("1", true),
        ("false", false),
        ("0", false),
        ("", false),
    ] {
        let mut command = place.command(program());
        let listed = outcome(command.arg("list").env("HPCC_JSON", value));
        assert_eq!(listed.status, Some(0), "{value:?}: {listed:#?}");
        assert_eq!(listed.stdout == "[]\n", is_json, "{value:?}");
    }
}

/// A program whose output is piped and that failed writes nothing. The command line is not wrong then.
#[test]
fn empty_archive_is_no_mistake_of_the_command_line() {
    let place = Place::new();
    fs::write(place.path("empty"), "").unwrap();
    for transport in ["docker-archive", "oci-archive", "tar"] {
        for source in ["-", "empty"] {
            let mut command = place.command(program());
            let command = command.args(["build", &format!("{transport}:{source}"), "-o", "x"]);
            let built = outcome(command.stdin(Stdio::null()));
            failed(
                &built,
                1,
                "it is empty, and a tar file has at least one block",
            );
        }
    }
    for transport in ["oci", "dir"] {
        let built = place.run(["build", &format!("{transport}:empty"), "-o", "x"]);
        failed(&built, 2, "it is not a directory; name a directory");
    }
}

/// A pipe that another process made non-blocking cut the output short, and on stderr the error of the program was lost
/// (ClickHouse/ClickHouse#108078).
#[test]
fn output_into_a_slow_nonblocking_pipe_is_whole() {
    use rustix::fs::{OFlags, fcntl_setfl};
    use std::io::{Read as _, Write as _};

    let place = Place::new();
    let missing = ["path", "a-name-that-no-store-has"];
    for (arguments, code) in [(&["completions", "bash"][..], 0), (&missing, 1)] {
        let whole = place.run(arguments);
        let text = [&whole.stdout, &whole.stderr].map(String::as_str).concat();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        let mut before = 0;
        while let Ok(length) = writer.write(&[b'x'; 4096]) {
            before += length;
        }
        let mut command = place.command(program());
        command.args(arguments).stdout(writer.try_clone().unwrap());
        let mut child = command.stderr(writer).spawn().unwrap();
        // The command holds the other end as well.
        drop(command);
        std::thread::sleep(std::time::Duration::from_millis(200));
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(read.get(before..), Some(&*text), "{arguments:?}");
    }
}
