//! What others put into the cache directory, and what others call a digest.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
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

    // A lock cannot be a symlink, because a process that follows it locks something else.
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
fn fifos_in_place_of_files_are_refused_without_waiting() {
    let (_registry, reference, digest) = serve(83);
    let place = Place::new();
    let fifo = |path: &Path| {
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    };
    let at = place.path("fifo");
    fifo(&at);
    let name = at.to_str().unwrap();
    let inject = format!("{name}:/.hpcc/x");
    let type_ = format!("{name}: a named pipe (FIFO), not a regular file");
    let refused = |arguments: &[&str]| {
        let outcome = place.run(arguments);
        assert_eq!(outcome.status, Some(1), "{outcome:#?}");
        let said = outcome.stdout + &outcome.stderr;
        assert!(said.contains(&type_), "{arguments:?}: {said}");
    };
    let build = ["build", &reference, "-o", "output"];
    let with = |option, value| [&build[..], &[option, value]].concat();
    for writer in [false, true] {
        // Reading and writing, so that opening it does not wait for a reader.
        let _writer = writer.then(|| {
            let mut options = fs::File::options();
            options.read(true).write(true).open(&at).unwrap()
        });
        refused(&["verify", name]);
        refused(&["inspect", name]);
        refused(&["inspect", "--tree", name]);
        refused(&with("--agent", name));
        refused(&with("--inject", inject.as_str()));
    }

    // In the store: a note is of no consequence, a lock is named, and `gc` removes both.
    fs::create_dir(place.cache()).unwrap();
    let name = digest.replace(':', "-");
    let (lock, note) = (format!(".lock-{name}"), format!(".note-{name}"));
    fifo(&place.cache().join(&lock));
    fifo(&place.cache().join(&note));
    let outcome = place.pull(&reference, &[]);
    assert_eq!(outcome.status, Some(1), "{outcome:#?}");
    let said = format!("{lock}: a named pipe (FIFO), not a regular file");
    assert!(outcome.stderr.contains(&said), "{outcome:#?}");
    assert_eq!(place.run(["gc"]).status, Some(0));
    assert_eq!(fs::read_dir(place.cache()).unwrap().count(), 0);
    fifo(&place.cache().join(&note));
    place.pull(&reference, &[]).line();
}

#[test]
fn one_bad_file_does_not_stop_list_gc_and_verify() {
    let (_registry, reference, digest) = serve(84);
    let place = Place::new();
    let good = place.pull(&reference, &[]).line().to_owned();
    let good = fs::read(good).unwrap();
    let bad = format!("sha256:{}", "ab".repeat(32));
    let at = place
        .cache()
        .join(format!("{}.sqsh", bad.replace(':', "-")));
    // A TiB of holes, as long as the footer says.
    let image = 1_u64 << 40;
    let facts: [u8; 4] = *good[good.len() - 52..].first_chunk().unwrap();
    let record = (32 << 20) + u64::from(u32::from_le_bytes(facts)) + 64;
    let length = image + record.next_multiple_of(4096);
    let mut footer = good[good.len() - 64..].to_vec();
    footer[16..24].copy_from_slice(&image.to_le_bytes());
    let plant = || {
        let file = fs::File::create(&at).unwrap();
        file.set_len(length).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &footer, length - 64).unwrap();
    };
    let problem = "the file has a hole in it";
    plant();
    let listed = place.run(["list", "--json"]);
    assert_eq!(listed.status, Some(0), "{listed:#?}");
    let listed = listed.json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let entry = |digest: &str| {
        let mut entries = listed.as_array().unwrap().iter();
        entries
            .find(|entry| entry["digest"] == digest)
            .unwrap()
            .clone()
    };
    assert!(entry(&digest)["record"].is_object());
    assert!(entry(&bad)["error"].as_str().unwrap().contains(problem));

    let collected = place.run(["gc", "--json"]).json();
    assert_eq!(collected["unusable"][0]["digest"], bad);
    assert!(
        collected["unusable"][0]["error"]
            .as_str()
            .unwrap()
            .contains(problem)
    );
    let collected = place.run(["gc"]);
    assert!(
        collected
            .stdout
            .contains(&format!("kept {bad}: unusable: ")),
        "{collected:#?}"
    );

    let verified = place.run(["verify", "--json"]);
    assert_eq!(verified.status, Some(1));
    assert!(
        verified
            .stderr
            .contains(&format!("1 of 2 artifacts is not intact: {bad}")),
        "{verified:#?}"
    );
    let outcomes: serde_json::Value = serde_json::from_str(&verified.stdout).unwrap();
    let found = |digest: &str| {
        let mut outcomes = outcomes.as_array().unwrap().iter();
        let outcome = outcomes.find(|outcome| outcome["subject"] == digest);
        ["sound", "state"].map(|member| outcome.unwrap()[member].to_string())
    };
    assert_eq!(found(&digest), ["true", "\"intact\""]);
    assert_eq!(found(&bad), ["false", "\"unusable\""]);
    // It was set aside.
    assert_eq!(place.run(["verify"]).status, Some(0));
}

#[test]
fn invalid_digest_never_reaches_the_file_system() {
    let place = Place::new();
    let good = "0123456789abcdef".repeat(4);
    for digest in [
        "sha256:../../../etc/passwd".to_owned(),
        format!("sha256:../{}", &good[3..]),
        format!("sha256:{}/{}", &good[..31], &good[32..]),
        format!("sha256:{}", good.to_uppercase()),
        format!("sha256:{good}0"),
        format!("SHA256:{good}"),
        format!("md5:{}", &good[..32]),
        "sha256:".to_owned(),
        "sha256:01234".to_owned(),
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
fn without_proc_a_file_is_staged_under_a_name() {
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
    for (name, more) in [("linked", &[][..]), ("copied", &["--own"])] {
        let mut command = place.command("unshare");
        command
            .args(["--mount", "sh", "-c"])
            .arg("mount -t tmpfs none /proc && exec \"$@\"")
            .arg("sh")
            .arg(cli::program())
            .args(["link", "--detach", &path, name])
            .args(more);
        let linked = cli::outcome(&mut command);
        assert_eq!(linked.status, Some(0), "{linked:#?}");
        assert!(fs::read(place.path(name)).unwrap() == without);
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let is_same = inode(&place.path(name)) == inode(Path::new(&path));
        assert_eq!(is_same, more.is_empty());
    }
    assert_eq!(place.run(["verify"]).status, Some(0));

    let with = Place::new();
    let path = with.pull(&reference, &[]).line().to_owned();
    assert!(fs::read(path).unwrap() == without);
}

#[test]
fn last_use_in_a_lower_layer_copies_no_artifact_up() {
    if !test_support::oracle::may_be_root("mounting overlayfs") {
        return;
    }
    let (_registry, reference, _) = serve(83);
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let artifact = fs::File::options().append(true).open(&path).unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(90 * 86_400);
    let times = fs::FileTimes::new().set_accessed(long_ago);
    artifact.set_times(times).unwrap();
    for entry in fs::read_dir(place.cache()).unwrap() {
        let file = fs::File::open(entry.unwrap().path()).unwrap();
        file.set_times(times).unwrap();
    }
    for name in ["upper", "work"] {
        fs::create_dir(place.path(name)).unwrap();
    }
    let mut command = place.command("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg(
            "mount -t overlay none -o lowerdir=cache,upperdir=upper,workdir=work cache && \
             \"$0\" list --json && \"$0\" pull \"$1\" --agent agent && \"$0\" gc --max-age 1d && \
             \"$0\" list --json",
        )
        .arg(cli::program())
        .arg(&reference);
    let outcome = cli::outcome(&mut command);
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    assert!(outcome.stdout.contains("removed nothing"), "{outcome:#?}");
    let copied: Vec<_> = fs::read_dir(place.path("upper"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".sqsh"))
        .collect();
    assert!(copied.is_empty(), "{copied:?}");
}

#[test]
fn artifact_that_cannot_be_read_is_not_called_damaged() {
    let (_registry, reference, _) = serve(84);
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let mut command = place.command("strace");
    command
        .args(["-f", "-qq", "-o", "calls", "-P", &path])
        .args(["-e", "trace=pread64", "-e", "inject=pread64:error=EIO"])
        .arg(cli::program())
        .args(["verify", "--json"]);
    let outcome = cli::outcome(&mut command);
    assert_eq!(outcome.status, Some(1), "{outcome:#?}");
    let error: serde_json::Value = serde_json::from_str(outcome.stderr.trim()).unwrap();
    assert_eq!(error["kind"], "io", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("cannot read 1 of 1 artifact"),
        "{error}"
    );
    assert!(!outcome.stdout.contains("damage"), "{outcome:#?}");
    assert!(Path::new(&path).exists());
}

/// Memory still has the bytes that were written (minio/minio 6143).
#[test]
fn verify_reads_the_disk_and_not_the_memory() {
    let (_registry, reference, _) = serve(85);
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    for command in ["verify", "attest"] {
        let mut traced = place.command("strace");
        traced
            .args(["-f", "-qq", "-o", "calls", "-P", &path])
            .args(["-e", "trace=fadvise64,pread64"])
            .arg(cli::program())
            .args([command, &path]);
        assert_eq!(cli::outcome(&mut traced).status, Some(0));
        let calls = fs::read_to_string(place.path("calls")).unwrap();
        let (before, after) = calls.split_once("POSIX_FADV_DONTNEED").unwrap();
        // What was read earlier only shows whether the name is that of an artifact.
        assert!(after.contains("pread64"), "{command}: {before}");
    }
}
