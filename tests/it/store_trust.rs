//! A store is trusted if only its user and root can write to it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use hpcc_rootfs::{Error, Options, Store};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use test_support::oracle::may_be_root;

use crate::cli::{self, Outcome, Place};
use crate::store_damage::serve;

/// Two users that are neither root nor the one that runs the tests.
const USER: u32 = 2001;
const STRANGER: u32 = 2002;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn give_to_stranger(path: &Path) {
    chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
}

/// Names and contents of a directory.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Returns the program as another user, with an umask.
fn run_as(place: &Place, user: u32, umask: &str, arguments: &[&str]) -> Outcome {
    let script =
        format!("umask {umask}; exec setpriv --reuid {user} --regid {user} --clear-groups \"$@\"");
    let mut command = place.command("sh");
    command.args(["-c", &script, "sh"]);
    command.arg(cli::program()).args(arguments);
    cli::outcome(&mut command)
}

#[test]
fn directory_writable_by_others_is_refused_by_every_command() {
    let (registry, reference, digest) = serve(90);
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let before = contents(&place.cache());
    let agent = place.agent();
    let pull = ["pull", &reference, "--agent", agent.to_str().unwrap()];
    let commands: [&[&str]; 7] = [
        &pull,
        &["list"],
        &["verify"],
        &["verify", &digest],
        &["inspect", &digest],
        &["untag", &digest],
        &["gc", "--max-size", "0"],
    ];
    for bits in [0o777, 0o775] {
        set_mode(&place.cache(), bits);
        registry.clear_requests();
        for arguments in commands {
            let outcome = place.run(arguments);
            assert_eq!(outcome.status, Some(1), "{arguments:?} {outcome:#?}");
            // `verify DIGEST` prints a line for each subject, here with the refusal.
            let says = match arguments {
                ["verify", _] => &outcome.stdout,
                _ => {
                    assert_eq!(outcome.stdout, "", "{arguments:?}");
                    &outcome.stderr
                }
            };
            let cache = place.cache();
            for part in [cache.to_str().unwrap(), &format!("mode {bits:o}")] {
                assert!(says.contains(part), "{outcome:#?}");
            }
            assert_eq!(says.lines().count(), 1, "{outcome:#?}");
        }
        assert!(registry.requests().is_empty());
        assert_eq!(contents(&place.cache()), before);
        let trusting = place.pull(&reference, &["--trust-store"]);
        assert_eq!(trusting.line(), path);
    }
    let store = Store::open(place.cache(), Options::default()).unwrap();
    let error = store.existing_images().unwrap_err();
    assert!(matches!(error, Error::Untrusted(_)), "{error}");
    // The path alone promises nothing.
    assert_eq!(place.run(["path", &digest]).line(), path);
}

/// The kernel shows the same number for every user without one in a user namespace (DeusData/codebase-memory-mcp#2138).
#[test]
fn users_without_numbers_do_not_trust_each_other() {
    if !may_be_root("changing the user") {
        return;
    }
    let (_registry, reference, digest) = serve(91);
    let place = Place::new();
    place.pull(&reference, &["--quiet"]).line();
    let artifact = place
        .cache()
        .join(format!("{}.sqsh", digest.replace(':', "-")));
    set_mode(&place.path(""), 0o755);
    set_mode(&place.cache(), 0o755);
    let inspect = |namespace: &str| {
        let script =
            format!("exec setpriv --reuid 1000 --regid 1000 --clear-groups {namespace} \"$@\"");
        let mut command = place.command("sh");
        command.args(["-c", &script, "sh"]);
        command.arg(cli::program()).args(["inspect", &digest]);
        cli::outcome(&mut command)
    };
    let unmapped = [
        "unshare --user",
        "unshare --user --map-user=65534 --map-group=65534",
    ];
    for owner in [1000, 1001] {
        for path in [&place.path(""), &place.cache(), &artifact] {
            chown(path, Some(owner), Some(owner)).unwrap();
        }
        assert_eq!(inspect("").status == Some(0), owner == 1000);
        for namespace in unmapped {
            // The root of the file system belongs to a user without a number as well.
            let outcome = inspect(namespace);
            assert_eq!(outcome.status, Some(1), "{owner} {outcome:#?}");
            let says = "another user with the number 65534 in this user namespace owns it";
            assert!(outcome.stderr.contains(says), "{outcome:#?}");
        }
    }
}

#[test]
fn directory_that_an_access_control_list_opens_is_refused() {
    let place = Place::new();
    fs::create_dir(place.cache()).unwrap();
    set_mode(&place.cache(), 0o700);
    // Version 2, then tag, permissions and id of each entry: the owner, a stranger, the owning group, the
    // mask and all others.
    let nobody = u32::MAX;
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (0x01_u16, 7_u16, nobody),
        (0x02, 7, STRANGER),
        (0x04, 0, nobody),
        (0x10, 7, nobody),
        (0x20, 0, nobody),
    ] {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    let name = "system.posix_acl_access";
    match rustix::fs::setxattr(place.cache(), name, &list, XattrFlags::empty()) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP) => {
            eprintln!("not tested: the file system has no access control lists");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    let outcome = place.run(["list"]);
    assert_eq!(outcome.status, Some(1), "{outcome:#?}");
    assert!(outcome.stderr.contains("mode 770"), "{outcome:#?}");
}

#[test]
fn artifact_writable_by_others_is_rebuilt_with_a_warning() {
    let (_registry, reference, digest) = serve(91);
    let place = Place::new();
    let path = PathBuf::from(place.pull(&reference, &[]).line());
    set_mode(&path, 0o666);
    let store = Store::open(place.cache(), Options::default()).unwrap();
    let parsed = digest.parse().unwrap();
    assert_eq!(store.existing_images().unwrap(), []);
    assert!(store.record(&parsed).is_err());
    assert!(store.lease(&parsed).is_err());
    let listed = place.run(["list"]);
    assert_eq!(listed.status, Some(0));
    assert!(listed.stdout.contains("unusable"), "{listed:#?}");
    let verified = place.run(["verify"]);
    assert_eq!(verified.status, Some(1));
    assert!(verified.stdout.contains("mode 666"), "{verified:#?}");
    assert!(path.exists(), "only damaged artifacts are set aside");

    let rebuilt = place.pull(&reference, &[]);
    assert_eq!(rebuilt.line(), path.to_str().unwrap());
    assert!(rebuilt.stderr.contains("rebuilding"), "{rebuilt:#?}");
    assert!(rebuilt.stderr.contains("mode 666"), "{rebuilt:#?}");
    assert_eq!(mode(&path), 0o644);
    assert_eq!(store.existing_images().unwrap(), [parsed]);
}

#[test]
fn files_of_another_user_are_replaced_in_own_directory() {
    if !may_be_root("giving files to another user") {
        return;
    }
    for bits in [0o755, 0o1777] {
        replaces_files_of_another_user(bits);
    }
}

fn replaces_files_of_another_user(bits: u32) {
    let (_registry, reference, digest) = serve(92);
    let place = Place::new();
    fs::create_dir(place.cache()).unwrap();
    set_mode(&place.cache(), bits);
    let path = PathBuf::from(place.pull(&reference, &[]).line());
    let name = digest.replace(':', "-");
    let at = |name: &str| place.cache().join(name);
    let lock = at(&format!(".lock-{name}"));
    let staged = at(".staged-1-1");
    fs::write(&staged, "").unwrap();
    let note = at(&format!(".note-{name}"));
    let lease = at(&format!(".lease-{name}"));
    let files = [path.clone(), lock.clone(), note, lease.clone()];
    for file in files.iter().chain([&staged]) {
        give_to_stranger(file);
    }
    // A stranger's lock that is never given back.
    let held = [&lock, &staged, &lease].map(|path| {
        let file = fs::File::open(path).unwrap();
        file.lock().unwrap();
        file
    });
    let rebuilt = place.pull(&reference, &[]);
    assert_eq!(rebuilt.line(), path.to_str().unwrap());
    assert!(rebuilt.stderr.contains("rebuilding"), "{rebuilt:#?}");
    let says = format!("user {STRANGER} owns it");
    assert!(rebuilt.stderr.contains(&says), "{rebuilt:#?}");
    for file in &files {
        assert_ne!(fs::metadata(file).unwrap().uid(), STRANGER, "{file:?}");
    }
    assert!(!staged.exists());
    drop(held);
}

#[test]
fn artifact_planted_in_shared_directory_is_never_returned() {
    if !may_be_root("acting for two other users") {
        return;
    }
    let (registry, reference, _) = serve(95);
    let place = Place::new();
    set_mode(&place.path(""), 0o755);
    let path = PathBuf::from(place.pull(&reference, &[]).line());
    set_mode(&place.cache(), 0o1777);
    let agent = place.agent();
    let pull = ["pull", &reference, "--agent", agent.to_str().unwrap()];
    let verify = [
        "pull",
        &reference,
        "--verify",
        "--agent",
        agent.to_str().unwrap(),
    ];
    give_to_stranger(&path);
    registry.clear_requests();
    for arguments in [&pull[..], &verify, &["verify"], &["list"]] {
        // The directory is root's: this user could not replace the file.
        let outcome = run_as(&place, USER, "022", arguments);
        assert_eq!(outcome.status, Some(1), "{outcome:#?}");
        assert_eq!(outcome.stdout, "");
        assert!(outcome.stderr.contains("mode 1777"), "{outcome:#?}");
    }
    assert!(registry.requests().is_empty());
    assert_eq!(fs::metadata(&path).unwrap().uid(), STRANGER);
}

#[test]
fn planted_name_neither_answers_to_prefix_nor_hides_artifact() {
    if !may_be_root("acting for two other users") {
        return;
    }
    let (_registry, reference, digest) = serve(96);
    let place = Place::new();
    set_mode(&place.path(""), 0o755);
    let cache = place.cache();
    fs::create_dir(&cache).unwrap();
    chown(&cache, Some(USER), Some(USER)).unwrap();
    set_mode(&cache, 0o1777);
    let agent = place.agent();
    let pull = ["pull", &reference, "--agent", agent.to_str().unwrap()];
    let path = run_as(&place, USER, "022", &pull).line().to_owned();
    let prefix = &digest["sha256:".len()..][..6];
    let other = "abcdef";
    assert_ne!(prefix, other);
    for start in [prefix, other] {
        let planted = cache.join(format!("sha256-{start}{}.sqsh", "0".repeat(58)));
        fs::write(&planted, "x").unwrap();
        give_to_stranger(&planted);
    }

    for command in ["path", "rm"] {
        let outcome = run_as(&place, USER, "022", &[command, other]);
        assert_eq!(outcome.status, Some(1), "{outcome:#?}");
        assert_eq!(outcome.stdout, "");
        assert!(outcome.stderr.contains("owns it"), "{outcome:#?}");
    }
    let found = run_as(&place, USER, "022", &["path", prefix]);
    assert_eq!(found.line(), path);
    let removed = run_as(&place, USER, "022", &["rm", prefix]);
    assert_eq!(removed.status, Some(0), "{removed:#?}");
    assert!(!Path::new(&path).exists());
}

#[test]
fn gc_goes_on_past_file_that_it_must_keep() {
    if !may_be_root("acting for two other users") {
        return;
    }
    let (_registry, reference, digest) = serve(93);
    let place = Place::new();
    set_mode(&place.path(""), 0o755);
    let cache = place.cache();
    fs::create_dir(&cache).unwrap();
    chown(&cache, Some(USER), Some(USER)).unwrap();
    let agent = place.agent();
    let pull = ["pull", &reference, "--agent", agent.to_str().unwrap()];
    let path = PathBuf::from(run_as(&place, USER, "022", &pull).line());
    let hex = |digit: char| digit.to_string().repeat(64);
    let unreadable = cache.join(format!("sha256-{}.sqsh", hex('4')));
    fs::write(&unreadable, "x").unwrap();
    set_mode(&unreadable, 0o600);
    give_to_stranger(&unreadable);
    let leftover = cache.join(format!(".bad-sha256-{}", hex('5')));
    fs::write(&leftover, "x").unwrap();
    give_to_stranger(&leftover);

    let listed = run_as(&place, USER, "022", &["list"]);
    assert_eq!(listed.status, Some(0));
    assert!(listed.stdout.contains(&digest), "{listed:#?}");
    let line = listed.stdout.lines().find(|line| line.contains(&hex('4')));
    assert!(line.unwrap().contains("unusable"), "{listed:#?}");
    let verified = run_as(&place, USER, "022", &["verify", "--json"]);
    assert_eq!(verified.status, Some(1), "{verified:#?}");
    let value: serde_json::Value = serde_json::from_str(&verified.stdout).unwrap();
    let states = value.as_array().unwrap().iter().map(|artifact| {
        let is_unread = artifact["subject"].as_str().unwrap().contains(&hex('4'));
        (is_unread, artifact["sound"].clone(), &artifact["state"])
    });
    for (is_unread, sound, state) in states {
        // Nothing may take a file that was not read for a damaged one.
        let (expected, name) = match is_unread {
            true => (serde_json::Value::Null, "unknown"),
            false => (true.into(), "intact"),
        };
        assert_eq!((sound, state.as_str()), (expected, Some(name)), "{value}");
    }
    assert_eq!(
        run_as(&place, USER, "022", &pull).line(),
        path.to_str().unwrap()
    );

    let collected = run_as(&place, USER, "022", &["gc", "--max-size", "0", "--json"]);
    assert_eq!(collected.status, Some(1), "{collected:#?}");
    let value: serde_json::Value = serde_json::from_str(&collected.stdout).unwrap();
    assert_eq!(value["removed"][0]["digest"], digest);
    assert_eq!(value["failed"].as_array().unwrap().len(), 1, "{value}");
    assert!(collected.stderr.contains(unreadable.to_str().unwrap()));
    assert!(!path.exists() && !leftover.exists() && unreadable.exists());

    // Root is not told by another user what to boot.
    let root = place.pull(&reference, &[]);
    assert_eq!(root.status, Some(1), "{root:#?}");
    assert!(
        root.stderr.contains(&format!("user {USER} owns it")),
        "{root:#?}"
    );
}

#[test]
fn permissions_of_new_files_do_not_depend_on_the_umask() {
    if !may_be_root("acting for another user") {
        return;
    }
    let (_registry, reference, digest) = serve(94);
    let place = Place::new();
    set_mode(&place.path(""), 0o1777);
    let agent = place.agent();
    let name = digest.replace(':', "-");
    for umask in ["000", "022", "077", "777"] {
        let cache = place.path(&format!("{umask}/store"));
        let cache = cache.to_str().unwrap();
        let agent = agent.to_str().unwrap();
        let arguments = ["pull", &reference, "--agent", agent, "--cache-dir", cache];
        for _ in 0..2 {
            run_as(&place, USER, umask, &arguments).line();
        }
        let at = |name: &str| Path::new(cache).join(name);
        for (path, expected) in [
            (place.path(umask), 0o700),
            (at(""), 0o700),
            (at(&format!("{name}.sqsh")), 0o644),
            (at(&format!(".note-{name}")), 0o644),
            (at(&format!(".lock-{name}")), 0o600),
            (at(&format!(".lease-{name}")), 0o600),
        ] {
            assert_eq!(mode(&path), expected, "umask {umask}: {path:?}");
        }
        // A file outside of the store is the user's, and so is its umask.
        let output = place.path(&format!("{umask}.sqsh"));
        let build = ["build", &reference, "-o", output.to_str().unwrap()];
        let built = run_as(&place, USER, umask, &build);
        assert_eq!(built.status, Some(0), "{built:#?}");
        let umask = u32::from_str_radix(umask, 8).unwrap();
        assert_eq!(mode(&output), 0o644 & !umask);
    }
}
