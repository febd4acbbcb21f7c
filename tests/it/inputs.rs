//! Results that would replace what a run reads, and files that are larger than the process may write.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;
use test_support::image::{Image, Layer, Store};

use crate::cli::{Outcome, Place, outcome, program};

fn layout(place: &Place) {
    let mut store = Store::new();
    let noise = crate::store_damage::noise(1, 300_000);
    let layer = Layer::new().file("noise", noise);
    let image = Image::new().layer(layer).add_to(&mut store);
    store.tag("v1", &image);
    store.write_layout(&place.path("layout")).unwrap();
}

/// Returns the contents of each file below a directory, by its path.
fn contents(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.append(&mut contents(&path)),
            false => found.push((path.display().to_string(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

fn assert_usage(outcome: &Outcome, words: &str) {
    assert_eq!(outcome.status, Some(2), "{outcome:#?}");
    assert!(outcome.stderr.contains(words), "{outcome:#?}");
}

/// evanw/esbuild#4493: a build that replaces its own source by its result.
#[test]
fn output_never_replaces_an_input() {
    let place = Place::new();
    layout(&place);
    fs::write(place.path("own.tar"), Layer::new().file("a", "b").tar()).unwrap();
    fs::hard_link(place.path("own.tar"), place.path("hard.tar")).unwrap();
    symlink("agent", place.path("soft")).unwrap();
    fs::write(place.path("token"), "secret").unwrap();
    fs::write(place.path("auth.json"), "{}").unwrap();
    fs::write(place.path("own.toml"), "").unwrap();
    fs::create_dir_all(place.path("hosts/example.org")).unwrap();
    fs::write(place.path("hosts/example.org/hosts.toml"), "").unwrap();
    let blobs = contents(&place.path("layout/blobs"));
    let blob = blobs.first().map(|(path, _)| path.as_str()).unwrap();
    let skopeo = place.path("skopeo");
    fs::create_dir(&skopeo).unwrap();
    fs::write(skopeo.join("manifest.json"), "{}").unwrap();
    let before = contents(&place.path("."));
    for arguments in [
        "tar:own.tar -o own.tar",
        "tar:own.tar -o hard.tar",
        "oci-archive:own.tar -o own.tar",
        "docker-archive:own.tar -o ./layout/../own.tar",
        "dir:skopeo -o skopeo/manifest.json",
        "oci:layout -o layout/index.json",
        "oci:layout -o layout/oci-layout",
        &format!("oci:layout -o {blob}"),
        "oci:layout --agent agent -o agent",
        "oci:layout --agent soft -o soft",
        "oci:layout --agent soft -o agent",
        "oci:layout --inject token:/.hpcc/token -o token",
        "oci:layout --authfile auth.json -o auth.json",
        "oci:layout --ca-file auth.json -o auth.json",
        "oci:layout --hosts-dir hosts -o hosts/example.org/hosts.toml",
        "oci:layout --config own.toml -o own.toml",
        "oci:layout --agent agent --metrics-file agent -o out",
    ] {
        let words = arguments.split(' ');
        let outcome = place.run(["build"].into_iter().chain(words));
        assert_usage(&outcome, ", which this run reads; name another file");
    }
    let twice = "build oci:layout -o out --metrics-file layout/../out".split(' ');
    assert_usage(&place.run(twice), "--metrics-file names it as well");
    let pull = "pull oci:layout --agent agent --metrics-file agent".split(' ');
    assert_usage(
        &place.run(pull),
        ", which this run reads; name another file",
    );
    assert!(contents(&place.path(".")) == before, "a file was changed");
}

#[test]
fn output_never_replaces_the_file_on_stdin() {
    let place = Place::new();
    let tar = Layer::new().file("a", "b").tar();
    fs::write(place.path("own.tar"), &tar).unwrap();
    let mut build = place.command(program());
    build.args(["build", "tar:-", "-o", "own.tar"]);
    build.stdin(fs::File::open(place.path("own.tar")).unwrap());
    assert_usage(&outcome(&mut build), "it would replace the file on stdin");
    assert!(fs::read(place.path("own.tar")).unwrap() == tar);
}

#[test]
fn output_beside_inputs_is_written_as_often_as_wanted() {
    let place = Place::new();
    layout(&place);
    for _ in 0..2 {
        let outcome = place.run("build oci:layout --agent agent -o layout/out.sqsh".split(' '));
        assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    }
}

#[test]
fn build_writes_no_file_into_a_store() {
    let place = Place::new();
    layout(&place);
    let pulled = place.pull("oci:layout", &[]);
    let artifact = pulled.line().to_owned();
    let before = fs::read(&artifact).unwrap();
    for output in [artifact.as_str(), "cache/out.sqsh"] {
        let outcome = place.run(["build", "oci:layout", "-o", output]);
        assert_eq!(outcome.status, Some(1), "{outcome:#?}");
        let words = "this is the directory of a store, which takes the files in it for its own";
        assert!(outcome.stderr.contains(words), "{outcome:#?}");
    }
    assert!(fs::read(&artifact).unwrap() == before);
    assert!(!place.path("cache/out.sqsh").exists());
}

/// Runs the program where no file may have more than 64 KiB.
fn limited(place: &Place, arguments: &str) -> Outcome {
    let mut command = place.command("bash");
    command.args(["-c", "ulimit -c 0; ulimit -f 64; exec \"$@\"", "bash"]);
    command.arg(program()).args(arguments.split(' '));
    outcome(&mut command)
}

/// nodejs/node#27798: SIGXFSZ ends a program without a word.
#[test]
fn file_beyond_the_limit_of_sizes_is_an_error() {
    let place = Place::new();
    layout(&place);
    for arguments in [
        "pull oci:layout --agent agent --json",
        "build oci:layout -o out --json",
    ] {
        let outcome = limited(&place, arguments);
        assert_eq!(outcome.status, Some(1), "{outcome:#?}");
        let error: Value = serde_json::from_str(&outcome.stderr).unwrap();
        assert_eq!(error["kind"], "io", "{error}");
        assert_eq!(error["transient"], false, "{error}");
        let hint = error["hint"].as_str().unwrap();
        assert!(hint.contains("ulimit -f"), "{error}");
    }
    let advice = "; raise the limit of file sizes (ulimit -f)";
    for arguments in [
        "pull oci:layout --agent agent -q",
        "build oci:layout -o out -q",
    ] {
        let outcome = limited(&place, arguments);
        assert_eq!(outcome.stderr.matches(advice).count(), 1, "{outcome:#?}");
        assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{outcome:#?}");
    }
    assert!(!place.path("out").exists());
    assert_eq!(place.cached(), Vec::<String>::new());
    let doctor = limited(&place, "doctor --agent agent --json");
    let report: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let mut found = findings.filter(|finding| finding["check"] == "file size");
    let finding = found.next().unwrap();
    assert_eq!(finding["status"], "warning", "{finding}");
}

/// The descriptors of the program's own channels are missing before any file is opened.
#[test]
fn shortage_of_descriptors_is_an_error_that_may_pass() {
    let place = Place::new();
    layout(&place);
    for descriptors in 4..=32 {
        let script = format!("ulimit -n {descriptors}; exec \"$@\"");
        let mut command = place.command("bash");
        command.args(["-c", &script, "bash"]).arg(program());
        command.args("pull oci:layout --agent agent --json".split(' '));
        let outcome = outcome(&mut command);
        if outcome.status == Some(0) {
            continue;
        }
        // The loader fails before the program begins.
        if outcome.stderr.contains("shared libraries") {
            continue;
        }
        assert_eq!(outcome.status, Some(75), "{descriptors}: {outcome:#?}");
        let error: Value = serde_json::from_str(&outcome.stderr).unwrap();
        assert_eq!(error["kind"], "io", "{error}");
        assert_eq!(error["transient"], true, "{error}");
    }
}
