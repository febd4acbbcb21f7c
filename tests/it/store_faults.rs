//! Files that cannot be looked at, made or named: what is not known is not called absent, and what was done is reported.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use hpcc_rootfs::{Agents, Event, Options, Progress, Store};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::cli::{self, Outcome, Place};
use crate::store_damage::serve;

/// Runs the program while calls that have to do with a path fail.
fn with_fault(place: &Place, path: &Path, fault: &str, arguments: &[&str]) -> Outcome {
    let mut command = place.command("strace");
    command
        .args(["-f", "-qq", "-o", "calls", "-P"])
        .arg(path)
        .args(["-e", &format!("inject={fault}")])
        .arg(cli::program())
        .args(arguments);
    cli::outcome(&mut command)
}

fn parsed(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:#?}"))
}

/// One look at a file fails on a busy network file system (ccache/ccache 68).
#[test]
fn gc_keeps_artifact_whose_age_cannot_be_read() {
    let (_registry, reference, digest) = serve(86);
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let (path, cache) = (Path::new(&path), place.cache());
    for (at, fault) in [
        (path, "statx:error=EIO:when=1"),
        (path, "statx:error=ESTALE:when=1"),
        (path, "statx:error=ENOMEM:when=1"),
        (path, "statx:error=EACCES:when=1"),
        // Whether the lease file has the time of last use.
        (&cache, "statfs:error=EIO"),
    ] {
        for dry in [&[][..], &["--dry-run"]] {
            let gc = [&["gc", "--max-age", "30d", "--json"], dry].concat();
            let outcome = with_fault(&place, at, fault, &gc);
            assert_eq!(outcome.status, Some(1), "{fault}: {outcome:#?}");
            let collected = parsed(&outcome);
            assert_eq!(collected["removed"], serde_json::json!([]), "{fault}");
            let failed = collected["failed"][0].as_str().unwrap();
            let expected = format!("cannot look at {}: ", at.display());
            assert!(failed.starts_with(&expected), "{fault}: {failed}");
            assert!(path.exists(), "{fault}");
        }
    }
    let measured = with_fault(&place, path, "statx:error=EIO", &["df", "--json"]);
    assert_eq!(measured.status, Some(1), "{measured:#?}");
    let measured = parsed(&measured);
    assert_eq!(measured["artifacts"], serde_json::json!([]));
    assert_eq!(measured["failed"].as_array().unwrap().len(), 1);
    assert_ne!(measured["beside"], 0);
    let removed = with_fault(&place, path, "statx:error=EIO:when=2", &["rm", &digest]);
    assert_eq!(removed.status, Some(0), "{removed:#?}");
    assert_eq!(removed.stdout, format!("removed {digest}\n"));
}

#[test]
fn gc_reports_removals_though_directory_cannot_be_listed_again() {
    let (_registry, reference, digest) = serve(87);
    let place = Place::new();
    let mut has_failed_after_removal = false;
    for nth in 1.. {
        let path = place.pull(&reference, &[]).line().to_owned();
        let fault = format!("openat:error=EIO:when={nth}");
        let gc = ["gc", "--max-size", "0", "--json"];
        let outcome = with_fault(&place, &place.cache(), &fault, &gc);
        let calls = fs::read_to_string(place.path("calls")).unwrap();
        if !calls.contains("INJECTED") {
            break;
        }
        if Path::new(&path).exists() {
            assert_eq!(outcome.status, Some(1), "{outcome:#?}");
            continue;
        }
        let collected = parsed(&outcome);
        assert_eq!(collected["removed"][0]["digest"], digest);
        let failed = collected["failed"].as_array().unwrap().len();
        assert_eq!(outcome.status, Some(i32::from(failed > 0)), "{outcome:#?}");
        has_failed_after_removal |= failed > 0;
    }
    assert!(has_failed_after_removal);
}

#[test]
fn gc_removes_what_is_no_lock_and_names_directory() {
    let (_registry, reference, digest) = serve(88);
    let place = Place::new();
    let lock = place
        .cache()
        .join(format!(".lock-{}", digest.replace(':', "-")));
    let plants: [(bool, &dyn Fn()); 3] = [
        (true, &|| symlink("victim", &lock).unwrap()),
        (true, &|| {
            mknodat(CWD, &lock, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
        }),
        (false, &|| fs::create_dir(&lock).unwrap()),
    ];
    for (is_removed, plant) in plants {
        let path = place.pull(&reference, &[]).line().to_owned();
        fs::remove_file(&lock).unwrap();
        plant();
        for dry in [&["--dry-run"][..], &[]] {
            let gc = [&["gc", "--max-size", "0", "--json"], dry].concat();
            let outcome = place.run(gc);
            let collected = parsed(&outcome);
            assert_eq!(collected["pinned"], serde_json::json!([]));
            let count = |list: &str| collected[list].as_array().unwrap().len();
            let expected = if is_removed { (0, 1, 0) } else { (1, 0, 1) };
            let status = outcome.status.unwrap();
            assert_eq!((status, count("removed"), count("failed")), expected);
            if !is_removed {
                let expected = format!("cannot lock {}: a directory", lock.display());
                assert!(outcome.stderr.contains(&expected), "{outcome:#?}");
            }
        }
        assert_eq!(Path::new(&path).exists(), !is_removed);
    }
}

/// There is no inode for a lock file where one has to be freed (containers/podman 13967).
#[test]
fn gc_frees_artifacts_where_no_inode_is_left() {
    if !test_support::oracle::may_be_root("mounting a small tmpfs") {
        return;
    }
    let (_registry, reference, digest) = serve(89);
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    fs::create_dir(place.path("small")).unwrap();
    // Its root, the directory of the store, and the artifact.
    let mut command = place.command("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg(
            "mount -t tmpfs -o mode=700,size=50m,nr_inodes=3 none small && mkdir -m 700 small/store \
             && cp -p \"$1\" small/store && shift && exec \"$@\"",
        )
        .arg("sh")
        .arg(path)
        .arg(cli::program())
        .args(["gc", "--max-size", "0", "--json", "--cache-dir", "small/store"]);
    let collected = cli::outcome(&mut command).json();
    assert_eq!(collected["removed"][0]["digest"], digest);
    assert_eq!(collected["remaining_bytes"], 0);
}

/// What may not be looked at may exist (uutils/coreutils 10365).
#[test]
fn path_that_cannot_be_looked_at_is_not_called_absent() {
    let (_registry, reference, _) = serve(90);
    let place = Place::new();
    place.pull(&reference, &[]).line();
    symlink("loop", place.path("loop")).unwrap();
    fs::create_dir(place.path("out")).unwrap();
    let output = place.path("out/file");
    let output = output.to_str().unwrap();
    let build = |output| ["build", &reference, "--no-agent", "--json", "-o", output];
    let inspect = ["inspect", "loop/file", "--json"];
    for arguments in [&build("loop/file")[..], &build("loop"), &inspect] {
        let outcome = place.run(arguments);
        let error: Value = serde_json::from_str(outcome.stderr.trim()).unwrap();
        assert_eq!((outcome.status, &error["kind"]), (Some(1), &"io".into()));
        assert!(
            error
                .to_string()
                .contains("Too many levels of symbolic links"),
            "{error}"
        );
    }
    for (error, status) in [("EIO", 1), ("ENOMEM", 75)] {
        let fault = format!("statx:error={error}");
        let outcome = with_fault(&place, &place.path("out"), &fault, &build(output));
        assert_eq!(outcome.status, Some(status), "{outcome:#?}");
    }
    let told = [
        (1, "--hosts-dir", "cannot look at loop/x: "),
        (
            0,
            "--seed",
            "loop/x cannot be looked at and is passed over: ",
        ),
    ];
    for (status, option, expected) in told {
        let outcome = place.run(["doctor", &reference, "--no-agent", option, "loop/x"]);
        assert_eq!(outcome.status, Some(status), "{outcome:#?}");
        assert!(outcome.stdout.contains(expected), "{outcome:#?}");
    }
}

#[test]
fn directory_at_the_name_is_refused_before_any_request() {
    let (registry, reference, digest) = serve(91);
    let place = Place::new();
    let name = format!("{}.sqsh", digest.replace(':', "-"));
    fs::create_dir_all(place.cache().join(&name)).unwrap();
    let refused = place.pull(&reference, &[]);
    assert_eq!(refused.status, Some(1), "{refused:#?}");
    let expected = format!("{name}: a directory has this name; remove it");
    assert!(refused.stderr.contains(&expected), "{refused:#?}");
    assert!(registry.requests().is_empty());
}

/// The system has one error for both (NLnetLabs/routinator 785).
#[test]
fn lack_of_inodes_is_distinguished_from_lack_of_space() {
    if !test_support::oracle::may_be_root("mounting a small tmpfs") {
        return;
    }
    let (_registry, reference, digest) = serve(92);
    let place = Place::new();
    for (limit, lacks_inodes) in [
        ("nr_inodes=2", true),
        ("nr_inodes=3", true),
        ("size=64k", false),
    ] {
        let mut command = place.command("unshare");
        command
            .args(["--mount", "sh", "-c"])
            .arg(format!(
                "mkdir -p small && mount -t tmpfs -o mode=700,{limit} none small \
                 && mkdir -m 700 small/store && exec \"$@\""
            ))
            .arg("sh")
            .arg(cli::program())
            .args([
                "pull",
                &reference,
                "--no-agent",
                "--min-free",
                "0",
                "--cache-dir",
                "small/store",
            ]);
        let full = cli::outcome(&mut command);
        assert_eq!(full.status, Some(1), "{full:#?}");
        assert!(full.stderr.contains("No space left on device"), "{full:#?}");
        let expected = "inodes left on the file system: 0; remove files";
        let is_named = full.stderr.contains(expected);
        assert_eq!(is_named, lacks_inodes, "{limit}: {full:#?}");
    }
    // A lease needs a file of its own, which the message names.
    let path = place.pull(&reference, &[]).line().to_owned();
    let mut command = place.command("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg(
            "mount -t tmpfs -o mode=700,nr_inodes=3 none small && mkdir -m 700 small/store \
             && cp -p \"$1\" small/store && shift && exec \"$@\"",
        )
        .arg("sh")
        .arg(path)
        .arg(cli::program())
        .args(["link", &digest, "linked", "--cache-dir", "small/store"]);
    let full = cli::outcome(&mut command);
    assert_eq!(full.status, Some(1), "{full:#?}");
    let expected = "No space left on device (os error 28); inodes left on the file system: 0";
    assert!(full.stderr.contains(expected), "{full:#?}");
}

/// Pulls, and does something when the artifact is about to get its name. Returns the error.
fn pull_with(
    place: &Place,
    reference: &str,
    when_publishing: impl Fn() + Send + Sync + 'static,
) -> String {
    let mut options = Options::default();
    options.agents = Agents::default().with(options.platform.architecture(), place.agent());
    options.progress = Progress::new(move |event| {
        if matches!(event, Event::Publishing { .. }) {
            when_publishing();
        }
    });
    let store = Store::open(place.cache(), options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let pulled = runtime.block_on(store.pull_image(reference, None));
    pulled.unwrap_err().to_string()
}

#[test]
fn directory_that_appears_during_a_pull_is_named() {
    let (_registry, reference, digest) = serve(95);
    let place = Place::new();
    let name = format!("{}.sqsh", digest.replace(':', "-"));
    let at = place.cache().join(name);
    let expected = format!("cannot publish to {}", at.display());
    let error = pull_with(&place, &reference, move || fs::create_dir(&at).unwrap());
    assert_eq!(error, expected);
}

#[test]
fn store_that_is_renamed_during_a_pull_is_an_error() {
    let (_registry, reference, digest) = serve(94);
    let place = Place::new();
    let (cache, moved) = (place.cache(), place.path("moved"));
    let (from, to) = (cache.clone(), moved.clone());
    let error = pull_with(&place, &reference, move || fs::rename(&from, &to).unwrap());
    assert_eq!(error, format!("cannot publish to {}", cache.display()));
    let digest = digest.parse().unwrap();
    assert!(!cache.exists());
    // The file is complete, and went with its directory.
    let store = Store::open(&moved, Options::default()).unwrap();
    assert_eq!(store.verify(&digest).unwrap(), Some(Vec::new()));
}
