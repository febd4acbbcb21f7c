//! The commands beside `pull` and `build`, and what `--json` makes of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use serde_json::json;
use test_support::image::{Entry, Image, Index, Layer, Store};
use test_support::oracle::Mount;
use test_support::registry::Registry;
use tree_listing::{Kind, Listing};

use crate::cli::Place;

fn serve() -> (Registry, String) {
    let mut store = Store::new();
    let image = Image::new()
        .layer(Layer::new().dir("etc").file("etc/hostname", "guest\n"))
        .env("GREETING=hello")
        .entrypoint(&["/bin/build"])
        .add_to(&mut store);
    store.tag("latest", &image);
    (Registry::serve(store).unwrap(), image.digest)
}

#[test]
fn pull_prints_the_absolute_path_and_nothing_else() {
    let (registry, digest) = serve();
    let place = Place::new();
    let reference = format!("{}/image:latest", registry.addr());
    let outcome = place.pull(&reference, &[]);
    let name = format!("{}.sqsh", digest.replace(':', "-"));
    assert_eq!(outcome.line(), place.cache().join(&name).to_str().unwrap());
    assert_eq!(place.cached(), [name]);
    assert!(
        outcome.stderr.contains(&digest),
        "says what it took: {outcome:#?}"
    );

    let quiet = place.pull(&reference, &["--quiet"]);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn list_path_inspect_and_untag_agree() {
    let (registry, digest) = serve();
    let place = Place::new();
    assert_eq!(place.run(["list"]).stdout, "");
    assert_eq!(place.run(["list", "--json"]).json(), serde_json::json!([]));
    let path = place.run(["path", &digest]).line().to_owned();
    assert!(
        !std::path::Path::new(&path).exists(),
        "path of what is not built is printed too"
    );

    let reference = format!("{}/image:latest", registry.addr());
    let pulled = place.pull(&reference, &["--json"]).json();
    assert_eq!(pulled["path"], path);
    assert_eq!(pulled["digest"], digest);
    assert!(pulled["built"].is_object());
    assert!(place.pull(&reference, &["--json"]).json()["built"].is_null());

    let line = place.run(["list", "--no-header"]).line().to_owned();
    assert!(line.starts_with(&digest), "{line}");
    let listed = place.run(["list", "--json"]).json();
    assert_eq!(listed[0]["digest"], digest);
    assert_eq!(listed[0]["path"], path);
    assert_eq!(place.run(["path", &digest, "--json"]).json()["path"], path);

    for subject in [digest.as_str(), path.as_str()] {
        let inspected = place.run(["inspect", subject, "--json"]).json();
        assert_eq!(inspected["record"]["key"]["identity"], digest);
        assert_eq!(inspected["record"], pulled["record"]);
        assert!(place.run(["inspect", subject]).stdout.contains(&digest));
    }

    assert_eq!(
        place.run(["untag", &digest, "--json"]).json()["removed"],
        true
    );
    assert_eq!(
        place.run(["untag", &digest, "--json"]).json()["removed"],
        false
    );
    assert_eq!(place.cached(), [""; 0]);
    let missing = place.run(["inspect", &digest]);
    assert_eq!(missing.status, Some(1));
    assert!(missing.stderr.contains("not in the store"), "{missing:#?}");
}

#[test]
fn the_tree_of_an_artifact_is_what_a_kernel_sees() {
    let owned = |entry: Entry| entry.mode(0o4750).owner(1000, 70_000).mtime(1_000_000_007);
    let layer = Layer::new()
        .entry(owned(Entry::dir("dir")))
        .entry(owned(Entry::file("dir/a file", vec![7; 300_000])))
        .entry(Entry::hardlink("z", "dir/a file"))
        .entry(owned(Entry::symlink(b"l\n\xFF", "dir/a file")))
        .entry(owned(Entry::char_device("dir/char", 4095, 70_000)))
        .entry(owned(Entry::block_device("dir/block", 8, 300)))
        .entry(owned(Entry::fifo("dir/fifo")));
    let layer = (0..500).fold(layer, |layer, n| layer.file(format!("many/{n}"), "many"));
    let mut store = Store::new();
    let image = Image::new().layer(layer).add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let place = Place::new();
    let reference = format!("{}/image:latest", registry.addr());
    let path = place.pull(&reference, &[]).line().to_owned();

    let Some(mount) = Mount::squashfs(path.as_ref()).unwrap() else {
        return;
    };
    let expected: BTreeMap<_, _> = Listing::walk(mount.root())
        .unwrap()
        .entries
        .into_iter()
        .map(|(path, entry)| {
            let more = match &entry.kind {
                Kind::File { .. } => json!(entry.size),
                Kind::Symlink { target } => json!(target.escape_ascii().to_string()),
                Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                    json!([major, minor])
                }
                _ => json!(null),
            };
            let (kind, mode) = (entry.kind.name(), entry.mode);
            let value = json!([kind, mode, entry.uid, entry.gid, entry.mtime, more]);
            (path.escape_ascii().to_string(), value)
        })
        .collect();
    let inspected = place.run(["inspect", &image.digest, "--tree", "--json"]);
    let tree = inspected.json()["tree"].as_array().unwrap().clone();
    let found: BTreeMap<_, _> = tree
        .iter()
        .map(|entry| {
            let more = ["size", "target", "device"].map(|name| &entry[name]);
            let more = more.into_iter().find(|value| !value.is_null());
            let path = entry["path"].as_str().unwrap().to_owned();
            let fields = ["type", "mode", "uid", "gid", "mtime"].map(|name| entry[name].clone());
            let [kind, mode, uid, gid, mtime] = fields;
            (path, json!([kind, mode, uid, gid, mtime, more]))
        })
        .collect();
    assert_eq!(tree.len(), expected.len());
    assert_eq!(found, expected);
    let inode = |path: &str| {
        let entry = tree.iter().find(|entry| entry["path"] == path);
        entry.unwrap()["inode"].clone()
    };
    assert_eq!(inode("/z"), inode("/dir/a file"));

    let text = place.run(["inspect", &path, "--tree"]).stdout;
    let line = "-rwsr-x--- 1000:70000        300000 1000000007 /dir/a file";
    assert!(text.lines().any(|found| found == line), "{text}");
    assert!(text.contains(" /l\\n\\xff -> dir/a file\n"), "{text}");
}

#[test]
fn a_second_pull_needs_no_network() {
    let (registry, digest) = serve();
    let place = Place::new();
    let reference = format!("{}/image@{digest}", registry.addr());
    let first = place.pull(&reference, &[]).line().to_owned();
    drop(registry);
    assert_eq!(place.pull(&reference, &[]).line(), first);
}

#[test]
fn a_damaged_or_outdated_artifact_is_replaced() {
    let (registry, digest) = serve();
    let place = Place::new();
    let reference = format!("{}/image@{digest}", registry.addr());
    let path = place.pull(&reference, &[]).line().to_owned();
    let good = std::fs::read(&path).unwrap();

    let mut bad = good.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    for damaged in [bad, good[..good.len() - 4096].to_vec(), Vec::new()] {
        std::fs::write(&path, damaged).unwrap();
        let listed = place.run(["list", "--no-header"]);
        assert!(listed.line().contains("unusable"), "{listed:#?}");
        assert_eq!(place.pull(&reference, &[]).line(), path);
        assert!(std::fs::read(&path).unwrap() == good);
    }

    std::fs::write(place.agent(), "another agent").unwrap();
    place.pull(&reference, &[]).line();
    assert!(
        std::fs::read(&path).unwrap() != good,
        "the agent is part of the key"
    );
    assert_eq!(place.cached().len(), 1);
}

#[test]
fn build_writes_the_bytes_that_pull_writes() {
    let (registry, digest) = serve();
    let place = Place::new();
    let reference = format!("{}/image:latest", registry.addr());
    let pulled = place.pull(&reference, &[]).line().to_owned();
    let agent = place.agent();
    let source = format!("docker://{reference}");
    let built = place.run([
        "build",
        &source,
        "--agent",
        agent.to_str().unwrap(),
        "-o",
        "out.sqsh",
    ]);
    assert_eq!(built.status, Some(0), "{built:#?}");
    assert_eq!(built.stdout, "");
    assert!(std::fs::read(place.path("out.sqsh")).unwrap() == std::fs::read(pulled).unwrap());
    let inspected = place.run(["inspect", "out.sqsh", "--json"]).json();
    assert_eq!(inspected["record"]["key"]["manifest"], digest);

    let bare = place.run(["build", &source, "-o", "bare.sqsh"]);
    assert_eq!(bare.status, Some(0), "{bare:#?}");
    let inspected = place.run(["inspect", "bare.sqsh", "--json"]).json();
    assert!(inspected["record"]["key"]["agent"].is_null());
}

#[test]
fn build_reads_an_image_layout() {
    let mut store = Store::new();
    let image = Image::new()
        .layer(Layer::new().file("hello", "world"))
        .add_to(&mut store);
    store.tag("v1", &image);
    let place = Place::new();
    let layout = place.path("layout");
    store.write_layout(&layout).unwrap();
    let (registry, place_of_registry) = (Registry::serve(store).unwrap(), Place::new());
    let from_layout = place.run(["build", "oci:layout:v1", "-o", "a.sqsh"]);
    assert_eq!(from_layout.status, Some(0), "{from_layout:#?}");
    let reference = format!("docker://{}/x:v1", registry.addr());
    let from_registry = place_of_registry.run(["build", &reference, "-o", "a.sqsh"]);
    assert_eq!(from_registry.status, Some(0), "{from_registry:#?}");
    assert!(
        std::fs::read(place.path("a.sqsh")).unwrap()
            == std::fs::read(place_of_registry.path("a.sqsh")).unwrap()
    );
}

#[test]
fn an_index_gives_each_platform_its_own_image_and_agent() {
    let platform = |name: &str| {
        Image::new()
            .platform(name)
            .layer(Layer::new().file("arch", name))
    };
    let mut store = Store::new();
    let index = Index::new()
        .image(platform("linux/amd64"))
        .image(platform("linux/arm64"))
        .attestation()
        .add_to(&mut store);
    store.tag("latest", &index);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/image@{}", registry.addr(), index.digest);
    for (name, agent) in [("amd64", "agent for amd64"), ("arm64", "agent for arm64")] {
        let place = Place::new();
        std::fs::write(place.path("a"), "agent for amd64").unwrap();
        std::fs::write(place.path("b"), "agent for arm64").unwrap();
        let platform = format!("linux/{name}");
        let arguments = [
            "pull",
            &reference,
            "--platform",
            &platform,
            "--agent-amd64",
            "a",
            "--agent-arm64",
            "b",
        ];
        let path = place.run(arguments).line().to_owned();
        assert!(path.ends_with(&format!("{}.sqsh", index.digest.replace(':', "-"))));
        let tree = test_support::oracle::unsquashfs::extract(path.as_ref()).unwrap();
        let read = |path: &str| std::fs::read_to_string(tree.root().join(path)).unwrap();
        assert_eq!(read("arch"), platform);
        assert_eq!(read(".hpcc/agent"), agent);
    }
}

#[test]
fn an_interrupted_pull_leaves_nothing() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::time::{Duration, Instant};
    use test_support::registry::{Action, Fault};

    let layer = Layer::new().file("big", vec![1; 1 << 20]);
    let blob = format!("/blobs/{}", test_support::image::sha256(&layer.blob()));
    let mut store = Store::new();
    let image = Image::new().layer(layer).add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/image:latest", registry.addr());
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let stall = Action::Stall {
            at: 100,
            time: Duration::from_secs(600),
        };
        registry.clear_requests();
        registry.inject(Fault::on(&blob, stall));
        let place = Place::new();
        let child = place
            .listening()
            .args(["pull", &reference, "--agent", "agent"])
            .args(["--metrics-file", "metrics.prom"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while !registry.requests().iter().any(|r| r.path.ends_with(&blob)) {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "never got to a layer"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.ends_with("nothing more was published\n"), "{said}");
        assert_eq!(place.cached(), [""; 0]);
        let metrics = std::fs::read_to_string(place.path("metrics.prom")).unwrap();
        let counted = "hpcc_rootfs_pulls_total{outcome=\"interrupted\"} 1\n";
        assert!(metrics.contains(counted), "{metrics}");
        assert!(!metrics.contains("last_success"), "{metrics}");
    }
}

/// As `nohup` starts a program, and a shell one in the background.
#[test]
fn ignored_signals_stay_ignored() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::time::{Duration, Instant};
    use test_support::registry::{Action, Fault};

    let (registry, _) = serve();
    let stall = Action::Stall {
        at: 10,
        time: Duration::from_secs(600),
    };
    registry.inject(Fault::on("/blobs/", stall));
    let reference = format!("{}/image:latest", registry.addr());
    let place = Place::new();
    let mut child = place
        .command("sh")
        .args(["-c", "trap '' HUP INT; exec \"$0\" \"$@\""])
        .arg(crate::cli::program())
        .args(["pull", &reference, "--agent", "agent", "--quiet"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !registry
        .requests()
        .iter()
        .any(|r| r.path.contains("/blobs/"))
    {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(child.try_wait().unwrap(), None);
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn tree_containing_itself_is_an_error_in_both_formats() {
    let mut store = Store::new();
    let image = Image::new()
        .layer(Layer::new().dir("sub"))
        .add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let place = Place::new();
    let reference = format!("{}/image:latest", registry.addr());
    let path = place.pull(&reference, &["--compressor", "none"]);
    let path = path.line().to_owned();
    let mut bytes = std::fs::read(&path).unwrap();
    let number = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    let (root, listings) = (number(32), usize::try_from(number(72)).unwrap());
    let at = bytes.windows(3).rposition(|name| name == b"sub").unwrap();
    assert!(at > listings);
    // The offset of an entry's inode stands eight bytes in front of its name.
    bytes[at - 8..at - 6].copy_from_slice(&root.to_le_bytes()[..2]);
    std::fs::write(&path, bytes).unwrap();

    let said = format!("cannot read the tables of {path}: damaged: a directory contains itself");
    let text = place.run(["inspect", "--tree", &path]);
    assert_eq!(text.status, Some(1));
    assert!(text.stdout.contains(" /\n"), "{text:#?}");
    assert!(text.stderr.contains(&said), "{text:#?}");
    let json = place.run(["inspect", "--tree", "--json", &path]);
    assert_eq!(json.status, Some(1));
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["error"], said);
    assert_eq!(document["tree"][0]["path"], "/");
    let report: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    let error = [&report["message"], &report["causes"][0]].map(|line| line.as_str().unwrap());
    assert_eq!(error.join(": "), said, "{json:#?}");
}

#[test]
fn output_that_is_no_file_is_refused_before_fetching() {
    let place = Place::new();
    let fifo = place.path("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let directory = place.cache();
    std::fs::create_dir_all(&directory).unwrap();
    let (stdout, null) = (place.path("stdout"), place.path("null"));
    std::os::unix::fs::symlink("/proc/self/fd/1", &stdout).unwrap();
    std::os::unix::fs::symlink("/dev/null", &null).unwrap();
    for (output, found) in [
        (fifo.to_str().unwrap(), "a named pipe (FIFO)"),
        (directory.to_str().unwrap(), "a directory"),
        ("/dev/null", "a character device"),
        // containers/skopeo#1485: people write to such names. Root would replace the stream of the whole machine.
        (stdout.to_str().unwrap(), "a name in /proc"),
        ("/dev/fd/1", "a name in /proc"),
        (
            null.to_str().unwrap(),
            "a symbolic link to a character device",
        ),
    ] {
        let outcome = place.run(["build", "loopback.invalid/x", "-o", output]);
        assert_eq!(outcome.status, Some(2), "{outcome:#?}");
        let said = format!("cannot write {output}: {found}, not a regular file");
        assert!(outcome.stderr.contains(&said), "{outcome:#?}");
    }
    assert!(stdout.is_symlink() && null.is_symlink());
}

/// A metrics file is written after the work, and must not keep the program from its end.
#[test]
fn metrics_file_that_is_no_file_is_one_warning() {
    let place = Place::new();
    let (fifo, null) = (place.path("fifo"), place.path("null"));
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    std::os::unix::fs::symlink("/dev/null", &null).unwrap();
    for file in [&fifo, &null] {
        let outcome = place.run([OsStr::new("list"), "--metrics-file".as_ref(), file.as_ref()]);
        assert_eq!(outcome.status, Some(0), "{outcome:#?}");
        let warning = "warning: cannot write the metrics to ";
        assert_eq!(outcome.stderr.matches(warning).count(), 1, "{outcome:#?}");
        assert!(
            outcome.stderr.contains(", not a regular file"),
            "{outcome:#?}"
        );
    }
    assert!(null.is_symlink());
}

/// Nothing is written for a second or more while names are settled, so no write can notice.
#[test]
fn signal_ends_build_while_names_are_settled() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::io::{BufRead as _, BufReader};
    use std::time::{Duration, Instant};

    // Each file below `l0` takes 9000 path components.
    let mut layer = Layer::new().dir("d").symlink("l200", "d");
    for n in 0..200 {
        layer = layer.symlink(format!("l{n}"), format!("{}l{}", "./".repeat(45), n + 1));
    }
    for n in 0..7000 {
        layer = layer.file(format!("l0/f{n}"), "");
    }
    let mut store = Store::new();
    let image = Image::new().layer(layer).add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/image:latest", registry.addr());
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let place = Place::new();
        let mut child = place
            .listening()
            .args(["--verbose", "build", &reference, "-o", "image.sqsh"])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let fetched = lines
            .by_ref()
            .any(|line| line.unwrap().contains(": verified after "));
        assert!(fetched, "it never got to the end of the layer");
        let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let start = Instant::now();
        let said: Vec<_> = lines.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{said:?}");
        assert!(start.elapsed() < Duration::from_secs(10));
        // It did not get to the next stage before it noticed.
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].ends_with("nothing more was published"), "{said:?}");
        assert!(!place.path("image.sqsh").exists());
    }
}
