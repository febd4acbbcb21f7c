//! What others put into the cache directory, and what others call a digest.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::cli::{self, Place};
use crate::store_damage::serve;

#[test]
fn planted_symlinks_are_replaced_or_refused_and_never_followed() {
    let (_registry, reference, digest) = serve(80);
    let place = Place::new();
    let victim = place.path("victim");
    fs::write(&victim, "precious").unwrap();
    let name = digest.replace(':', "-");
    let at = |name: &str| place.cache().join(name);
    let plant = |name: &str| {
        fs::create_dir_all(place.cache()).unwrap();
        symlink(&victim, at(name)).unwrap();
    };
    let unharmed = || assert_eq!(fs::read(&victim).unwrap(), b"precious");

    for name in [".note-", ".bad-"].map(|prefix| format!("{prefix}{name}")) {
        plant(&name);
    }
    plant(&format!("{name}.sqsh"));
    plant(".staged-1-1");
    assert_eq!(place.run(["list", "--json"]).json(), serde_json::json!([]));
    let path = place.pull(&reference, &[]).line().to_owned();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert!(fs::symlink_metadata(at(".staged-1-1")).is_err());
    unharmed();
    // Damaged, it is set aside over the symlink that has that name.
    let mut bad = fs::read(&path).unwrap();
    bad[200] ^= 1;
    fs::write(&path, bad).unwrap();
    assert_eq!(place.run(["verify", &digest]).status, Some(1));
    assert!(
        fs::symlink_metadata(at(&format!(".bad-{name}")))
            .unwrap()
            .is_file()
    );
    unharmed();

    // A lock can't be one: whoever follows it locks something else.
    fs::remove_file(at(&format!(".lock-{name}"))).unwrap();
    plant(&format!(".lock-{name}"));
    let refused = place.pull(&reference, &[]);
    assert_eq!(refused.status, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("cannot lock"), "{refused:#?}");
    assert_eq!(place.run(["gc"]).status, Some(0));
    assert_eq!(fs::read_dir(place.cache()).unwrap().count(), 0);
    assert_eq!(place.pull(&reference, &[]).line(), path);
    unharmed();
}

#[test]
fn strays_of_every_kind_are_skipped_and_stay_nobodys_business() {
    let (_registry, reference, digest) = serve(81);
    let place = Place::new();
    fs::create_dir(place.cache()).unwrap();
    let at = |name: &str| place.cache().join(name);
    let hex = |digit: char| digit.to_string().repeat(64);
    let fifo = |path: &Path| {
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    };
    fs::create_dir(at(&format!("sha256-{}.sqsh", hex('a')))).unwrap();
    fifo(&at(&format!("sha256-{}.sqsh", hex('b'))));
    let _socket = UnixListener::bind(at(&format!("sha256-{}.sqsh", hex('c')))).unwrap();
    fs::create_dir(at(&format!(".lock-sha256-{}", hex('d')))).unwrap();
    fs::create_dir(at(&format!(".note-sha256-{}", hex('d')))).unwrap();
    fs::create_dir(at(&format!(".bad-sha256-{}", hex('d')))).unwrap();
    fs::create_dir(at(".staged-1-1")).unwrap();
    for name in [
        format!("sha256-{}.sqsh", hex('A')),
        format!("sha256-{}.sqsh", "a".repeat(63)),
        format!("md5-{}.sqsh", "a".repeat(32)),
        format!("sha256-{}.sqsh.tmp", hex('a')),
        "README".into(),
        ".staged-".into(),
        "\u{fffd}".into(),
    ] {
        fs::write(at(&name), "stray").unwrap();
    }
    let before = fs::read_dir(place.cache()).unwrap().count();
    assert_eq!(place.run(["list", "--json"]).json(), serde_json::json!([]));

    let path = place.pull(&reference, &[]).line().to_owned();
    let listed = place.run(["list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["digest"], digest);
    assert_eq!(place.run(["verify"]).status, Some(0));
    let collected = place.run(["gc", "--max-size", "0", "--json"]).json();
    assert_eq!(collected["removed"].as_array().unwrap().len(), 1);
    assert!(!Path::new(&path).exists());
    assert_eq!(fs::read_dir(place.cache()).unwrap().count(), before);

    // Under the artifact's own name, what can be replaced is, and what can't be is said.
    let open = |path: &str| fs::symlink_metadata(path).unwrap().file_type();
    fifo(path.as_ref());
    assert!(open(&path).is_fifo());
    assert_eq!(place.pull(&reference, &[]).line(), path);
    assert!(open(&path).is_file());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let refused = place.pull(&reference, &[]);
    assert_eq!(refused.status, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("cannot publish to"), "{refused:#?}");
    fs::remove_dir(&path).unwrap();
    assert_eq!(place.run(["gc"]).status, Some(0));
    assert_eq!(fs::read_dir(place.cache()).unwrap().count(), before);
}

#[test]
fn what_is_no_digest_never_gets_to_the_file_system() {
    let place = Place::new();
    let good = "0123456789abcdef".repeat(4);
    for digest in [
        "sha256:../../../etc/passwd".to_owned(),
        format!("sha256:../{}", &good[3..]),
        format!("sha256:{}/{}", &good[..31], &good[32..]),
        format!("sha256:{}", good.to_uppercase()),
        format!("sha256:{}", &good[1..]),
        format!("sha256:{good}0"),
        format!("SHA256:{good}"),
        format!("md5:{}", &good[..32]),
        format!("sha512:{good}"),
        "sha256:".to_owned(),
    ] {
        for arguments in [
            vec!["path", &digest],
            vec!["untag", &digest],
            vec!["inspect", &digest],
            vec!["verify", &digest],
            vec![
                "pull",
                "loopback.invalid/x",
                "--agent",
                "agent",
                "--digest",
                &digest,
            ],
        ] {
            let log = place.path("calls");
            let mut command = place.command("strace");
            command
                .args(["-f", "-qq", "-e", "trace=%file", "-o"])
                .arg(&log)
                .arg(cli::program())
                .args(&arguments);
            let outcome = cli::outcome(&mut command);
            assert_eq!(outcome.status, Some(2), "{arguments:?}: {outcome:#?}");
            let log = fs::read_to_string(&log).unwrap();
            let calls = log.lines().filter(|line| !line.contains("execve"));
            let cache = place.cache();
            let found = calls.filter(|line| {
                line.contains(digest.trim_start_matches("sha256:"))
                    && digest.len() > "sha256:".len()
                    || line.contains(cache.to_str().unwrap())
            });
            assert_eq!(found.collect::<Vec<_>>(), [""; 0], "{arguments:?}");
        }
    }
    assert!(!place.cache().exists());
}

#[test]
fn without_proc_a_file_is_staged_under_a_name_and_nothing_else_changes() {
    if !test_support::oracle::may_be_root("hiding /proc") {
        return;
    }
    let (_registry, reference, _) = serve(82);
    let place = Place::new();
    let pull = |log: &Path| {
        let mut command = place.command("strace");
        command
            .args(["-f", "-qq", "-e", "trace=openat,linkat,renameat", "-o"])
            .arg(log)
            .args(["unshare", "--mount", "sh", "-c"])
            .arg("mount -t tmpfs none /proc && exec \"$@\"")
            .arg("sh")
            .arg(cli::program())
            .args(["pull", &reference, "--agent", "agent"]);
        cli::outcome(&mut command)
    };
    let log = place.path("calls");
    let path = pull(&log).line().to_owned();
    let calls = fs::read_to_string(&log).unwrap();
    assert!(
        !calls.contains("O_TMPFILE") && !calls.contains("linkat("),
        "{calls}"
    );
    assert!(calls.contains("O_EXCL"), "{calls}");
    let without = fs::read(&path).unwrap();
    assert_eq!(place.cached().len(), 1);
    assert_eq!(place.run(["verify"]).status, Some(0));

    let with = Place::new();
    let path = with.pull(&reference, &[]).line().to_owned();
    assert!(fs::read(path).unwrap() == without);
}
