//! Damage to an artifact is noticed, reported and repaired by a rebuild; a pinned artifact stays.

use std::fs::{self, File, FileTimes};
use std::time::Duration;

use rustix::fs::FlockOperation;
use test_support::image::{Image, Layer, Store};
use test_support::registry::{Action, Fault, Registry};

use crate::cli::{self, Place};

/// Returns a registry with one image of some megabytes that don't shrink, and its pinned reference.
pub(crate) fn serve(seed: u64) -> (Registry, String, String) {
    let mut store = Store::new();
    let image = Image::new()
        .layer(Layer::new().file("noise", noise(seed, 3 << 20)))
        .layer(Layer::new().dir("etc").file("etc/hostname", "guest\n"))
        .add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/image@{}", registry.addr(), image.digest);
    (registry, reference, image.digest)
}

pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15);
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}

#[test]
fn the_fast_path_notices_all_but_the_body() {
    let (_registry, reference, _) = serve(1);
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let good = fs::read(&path).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let footer = good.len() - 64;
    for (what, bad) in [
        ("cut short", good[..good.len() - 4096].to_vec()),
        ("superblock", flipped(40)),
        ("superblock's inode count", flipped(4)),
        ("record", flipped(footer - 100)),
        ("version", flipped(footer + 8)),
        ("empty", Vec::new()),
    ] {
        fs::write(&path, bad).unwrap();
        let outcome = place.pull(&reference, &[]);
        assert_eq!(outcome.line(), path);
        assert!(
            outcome.stderr.contains("rebuilding"),
            "{what}: {outcome:#?}"
        );
        assert!(fs::read(&path).unwrap() == good, "{what}");
    }
}

#[test]
fn verify_finds_a_flipped_bit_and_sets_the_artifact_aside() {
    let (_registry, reference, digest) = serve(2);
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let good = fs::read(&path).unwrap();
    assert_eq!(place.run(["verify", &digest]).status, Some(0));
    assert_eq!(place.run(["verify", &path]).status, Some(0));

    let mut bad = good.clone();
    bad[1_500_000] ^= 1;
    fs::write(&path, &bad).unwrap();
    let range = "bytes 1048576 to 2097152: data: file /noise";
    // By path it is only looked at; the fast path does not see it either.
    let outcome = place.run(["verify", &path]);
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stdout.contains(range), "{outcome:#?}");
    assert_eq!(place.pull(&reference, &[]).line(), path);
    assert!(fs::read(&path).unwrap() == bad);

    let outcome = place.run(["verify", "--json"]);
    assert_eq!(outcome.status, Some(1));
    let said: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(said[0]["damage"][0]["start"], 1_048_576);
    assert_eq!(said[0]["damage"][0]["files"], serde_json::json!(["/noise"]));
    assert_eq!(said[0]["damage"][0]["files_complete"], true);
    assert_eq!(
        place.cached(),
        [format!(".bad-{}", digest.replace(':', "-"))]
    );
    assert_eq!(place.pull(&reference, &[]).line(), path);
    assert!(fs::read(&path).unwrap() == good);

    fs::write(&path, &bad).unwrap();
    let outcome = place.pull(&reference, &["--verify"]);
    assert_eq!(outcome.line(), path);
    assert!(outcome.stderr.contains(range), "{outcome:#?}");
    assert!(fs::read(&path).unwrap() == good);
    place.run(["gc"]);
    assert_eq!(place.cached().len(), 1, "what was set aside is collected");
}

#[test]
fn damage_names_the_files_it_hit_even_in_tables() {
    let mut store = Store::new();
    let layer = Layer::new()
        .file("first", noise(60, 2 << 20))
        .file("second", noise(61, 2 << 20))
        .file("etc/small", "small");
    let image = Image::new().layer(layer).add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let place = Place::new();
    let path = place.pull(&format!("{}/image:latest", registry.addr()), &[]);
    let path = path.line().to_owned();
    let good = fs::read(&path).unwrap();
    let said = |flips: &[usize]| {
        let mut bad = good.clone();
        for at in flips {
            bad[*at] ^= 1;
        }
        fs::write(&path, bad).unwrap();
        let outcome = place.run(["verify", &path]);
        assert_eq!(outcome.status, Some(1));
        outcome.stdout
    };
    let first = said(&[2 << 20 | 1]);
    assert!(first.contains("data: files /first, /second\n"), "{first}");
    let both = said(&[200, 3 << 20 | 1]);
    assert!(
        both.contains("1048576: superblock, data: file /first; "),
        "{both}"
    );
    assert!(both.contains("4194304: data: file /second"), "{both}");
    // A bit of the only block of inodes, so that nothing leads anywhere any more.
    let inodes = u64::from_le_bytes(*good[64..].first_chunk().unwrap());
    let tables = said(&[usize::try_from(inodes).unwrap() + 1]);
    assert!(tables.contains("the tables can't be read"), "{tables}");
    assert!(tables.contains("inode table"), "{tables}");
}

#[test]
fn gc_takes_least_recently_used_and_nothing_pinned() {
    let place = Place::new();
    let served: Vec<_> = (10..13).map(serve).collect();
    let paths: Vec<_> = served
        .iter()
        .map(|(_, reference, _)| place.pull(reference, &[]).line().to_owned())
        .collect();
    // The first one becomes the last one used.
    assert_eq!(place.pull(&served[0].1, &[]).line(), paths[0]);
    let lease = format!(".lease-{}", served[1].2.replace(':', "-"));
    let pin = File::open(place.cache().join(lease)).unwrap();
    rustix::fs::flock(&pin, FlockOperation::LockShared).unwrap();

    let listed = place.run(["list", "--json"]).json();
    let entry = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["digest"] == served[0].2);
    let entry = entry.unwrap();
    assert_eq!(entry["source"], served[0].1);
    assert_eq!(entry["size"], fs::metadata(&paths[0]).unwrap().len());
    assert!(entry["agent"].as_str().unwrap().starts_with("sha256:"));
    assert!(entry["last_used"].as_u64() >= entry["built"].as_u64());

    let collected = place.run(["gc", "--max-size", "4M", "--json"]).json();
    assert_eq!(collected["pinned"], serde_json::json!([served[1].2]));
    assert_eq!(collected["removed"][0]["digest"], served[2].2);
    assert!(!fs::exists(&paths[2]).unwrap());
    assert!(fs::exists(&paths[1]).unwrap());
    drop(pin);
    place.run(["gc", "--max-age", "0s", "--max-size", "0"]);
    assert_eq!(place.cached(), [""; 0]);
    let left = fs::read_dir(place.cache()).unwrap().count();
    assert_eq!(left, 0, "neither locks nor notes");
}

#[test]
fn reading_keeps_last_use_and_pull_sets_it() {
    let (registry, reference, digest) = serve(13);
    let place = Place::new();
    // The file is made before its contents come, and longer before the last write than a tick of the kernel's clock.
    registry.inject(Fault::on(
        "/blobs/",
        Action::Stall {
            at: 1 << 20,
            time: Duration::from_millis(100),
        },
    ));
    let path = place.pull(&reference, &[]).line().to_owned();
    registry.clear_faults();
    let times = || {
        let metadata = fs::metadata(&path).unwrap();
        (metadata.accessed().unwrap(), metadata.modified().unwrap())
    };
    let (used, written) = times();
    assert!(
        used >= written,
        "the last use is the beginning of the build"
    );

    // So long ago that a kernel notes the next reading.
    let long_ago = written - Duration::from_secs(1_000_000);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_times(FileTimes::new().set_accessed(long_ago))
        .unwrap();
    for look in [
        vec!["list"],
        vec!["inspect", &digest],
        vec!["verify", &digest],
        vec!["verify"],
        vec!["gc", "--max-age", "365d"],
    ] {
        assert_eq!(place.run(&look).status, Some(0));
        assert_eq!(times().0, long_ago, "{look:?}");
    }
    place.pull(&reference, &[]).line();
    assert!(times().0 >= used);
}

#[test]
fn a_full_disk_leaves_nothing() {
    if !test_support::oracle::may_be_root("mounting a small tmpfs") {
        return;
    }
    let (_registry, reference, _) = serve(20);
    let place = Place::new();
    fs::create_dir(place.cache()).unwrap();
    let cache = place.cache();
    let mounted = Mounted::tmpfs(&cache, "2m");
    let full = place.pull(&reference, &["--min-free", "0"]);
    assert_eq!(full.status, Some(1));
    assert!(
        full.stderr.contains("not enough disk space to write to"),
        "{full:#?}"
    );
    assert_eq!(place.cached(), [""; 0]);
    let refused = place.pull(&reference, &["--min-free", "1G"]);
    assert!(
        refused.stderr.contains("are to be left free"),
        "{refused:#?}"
    );
    assert_eq!(place.cached(), [""; 0]);
    // By default both leave more free than there is (jellyfin/jellyfin#15390).
    for entry in fs::read_dir(&cache).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let build = ["build", &reference, "--agent", "agent", "-o", "cache/x"];
    let refused = place.run(build);
    assert!(
        refused.stderr.contains("are to be left free"),
        "{refused:#?}"
    );
    let full = place.run(build.iter().chain(&["--min-free", "0"]));
    assert!(
        full.stderr.contains("not enough disk space to write to"),
        "{full:#?}"
    );
    drop(mounted);
}

/// Changes a bit of an artifact. Returns its bytes before and after.
fn damage(path: &str) -> (Vec<u8>, Vec<u8>) {
    let good = fs::read(path).unwrap();
    let mut bad = good.clone();
    bad[1_500_000] ^= 1;
    fs::write(path, &bad).unwrap();
    (good, bad)
}

/// NixOS/nix#1281: a repair that could not replace the damaged path reported success.
#[test]
fn pull_that_cannot_replace_a_damaged_artifact_fails() {
    let (_registry, reference, digest) = serve(23);
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let (good, bad) = damage(&path);
    let name = digest.replace(':', "-");
    let refused = |status: i32, advice: &str| {
        let pulled = place.pull(&reference, &["--verify"]);
        assert_eq!(pulled.status, Some(status), "{pulled:#?}");
        assert_eq!(pulled.stdout, "");
        let says = format!("cannot replace {digest}: damaged in bytes 1048576 to 2097152");
        assert!(pulled.stderr.contains(&says), "{pulled:#?}");
        let verified = place.run(["verify"]);
        assert!(verified.stdout.contains("not quarantined"), "{verified:#?}");
        let to_verify = "make the store writable for this user";
        for (outcome, advice) in [(&pulled, advice), (&verified, to_verify)] {
            assert!(outcome.stderr.contains(advice), "{outcome:#?}");
        }
        assert!(fs::read(&path).unwrap() == bad);
    };
    // Another process may be building it.
    let lock = File::create(place.cache().join(format!(".lock-{name}"))).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    refused(75, "another process works on this artifact");
    drop(lock);
    let taken = place.cache().join(format!(".bad-{name}"));
    fs::create_dir(&taken).unwrap();
    refused(1, "make the store writable for this user");
    fs::remove_dir(&taken).unwrap();
    assert_eq!(place.pull(&reference, &["--verify"]).line(), path);
    assert!(fs::read(&path).unwrap() == good);
}

/// The process that worked on it ends between the two looks. On a busy machine its end may come too late for both.
#[test]
fn pull_replaces_a_damaged_artifact_when_its_lock_is_free() {
    let (_registry, reference, digest) = serve(25);
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let (good, bad) = damage(&path);
    let name = format!(".lock-{}", digest.replace(':', "-"));
    let agent = place.agent();
    let is_replaced = (0..20).any(|_| {
        fs::write(&path, &bad).unwrap();
        let lock = File::create(place.cache().join(&name)).unwrap();
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
        let mut command = place.command(cli::program());
        command
            .args(["pull", &reference, "--verify", "--agent"])
            .arg(&agent)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped());
        let mut pull = command.spawn().unwrap();
        let mut lines = std::io::BufReader::new(pull.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("rebuilding") {
            line.clear();
            let read = std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
            assert!(read > 0, "no warning");
        }
        drop(lock);
        std::io::copy(&mut lines, &mut std::io::sink()).unwrap();
        pull.wait().unwrap().success()
    });
    assert!(is_replaced && fs::read(&path).unwrap() == good);
}

#[test]
fn inspect_reports_tables_that_cannot_be_read() {
    let (_registry, reference, digest) = serve(24);
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let mut bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[40..48].try_into().unwrap());
    let tables = u64::from_le_bytes(bytes[64..72].try_into().unwrap());
    assert!(tables < length);
    let start = usize::try_from(tables).unwrap();
    bytes[start..start + 64].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    let outcome = place.run(["inspect", &digest, "--json"]);
    assert_eq!(outcome.status, Some(1), "{outcome:#?}");
    let value: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let error = value["error"].as_str().unwrap();
    assert!(error.contains("cannot read the tables of"), "{error}");
    assert!(value["record"].is_object() && value["contents"].is_null());
    let outcome = place.run(["inspect", &digest]);
    assert_eq!(outcome.status, Some(1), "{outcome:#?}");
    assert!(
        outcome.stdout.contains("contents    not known"),
        "{outcome:#?}"
    );
    assert!(outcome.stderr.contains("cannot read the tables of"));
}

/// Seeds are often on read-only file systems, where a damaged artifact cannot be set aside.
#[test]
fn damage_in_a_read_only_store_is_reported() {
    if !test_support::oracle::may_be_root("mounting a store read-only") {
        return;
    }
    let place = Place::new();
    let [changed, cut] = [21, 22].map(|seed| {
        let (_registry, reference, _) = serve(seed);
        place.pull(&reference, &[]).line().to_owned()
    });
    let mut bytes = fs::read(&changed).unwrap();
    bytes[2 << 20] ^= 1;
    fs::write(&changed, bytes).unwrap();
    let cut = File::options().write(true).open(cut).unwrap();
    cut.set_len(5000).unwrap();
    let before = place.cached();
    let mut command = place.command("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind cache cache && mount -o remount,ro,bind cache && exec \"$@\"")
        .arg("sh")
        .arg(cli::program())
        .args(["verify", "--json"]);
    // podman#2234: what is not there is removed, also where nothing can be.
    let mut removing = place.command("unshare");
    let script = "mount --bind cache cache && mount -o remount,ro,bind cache && exec \"$@\"";
    removing.args(["--mount", "sh", "-c", script, "sh"]);
    removing
        .arg(cli::program())
        .args(["untag", &format!("sha256:{}", "0".repeat(64))]);
    assert_eq!(cli::outcome(&mut removing).status, Some(0));
    let outcome = cli::outcome(&mut command);
    assert_eq!(outcome.status, Some(1), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("make the store writable"),
        "{outcome:#?}"
    );
    let reports: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let reports = reports.as_array().unwrap();
    assert!(reports.iter().all(|report| report["sound"] == false));
    let range = |report: &serde_json::Value| report["damage"][0]["start"] == 2 << 20;
    assert!(reports.iter().any(range), "{outcome:#?}");
    let record = |report: &serde_json::Value| {
        let error = report["error"].as_str();
        error.is_some_and(|error| error.contains("cut short"))
    };
    assert!(reports.iter().any(record), "{outcome:#?}");
    assert_eq!(place.cached(), before);
}

/// Unmounts on drop.
struct Mounted<'a>(&'a std::path::Path);

impl<'a> Mounted<'a> {
    fn tmpfs(at: &'a std::path::Path, size: &str) -> Self {
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={size}"))
            .arg("tmpfs")
            .arg(at)
            .status()
            .unwrap();
        assert!(status.success());
        Self(at)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg(self.0).status());
    }
}
