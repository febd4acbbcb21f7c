//! What a jail can do with the artifact that it was given, and what that costs the store: nothing.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hpcc_rootfs::{Agents, Bounds, LinkMethod, Options, Store};
use ociget::Digest;
use serde_json::json;
use test_support::image::{Image, Layer, Store as Images};
use test_support::registry::Registry;

use crate::cli::{self, Place};
use crate::store_damage::noise;

/// Two images of one base in a registry, the first of them in a store.
struct Jailed {
    _registry: Registry,
    references: [String; 2],
    digests: [Digest; 2],
    place: Place,
    store: Store,
    runtime: tokio::runtime::Runtime,
}

impl Jailed {
    fn new() -> Self {
        let base = Layer::new().file("base", noise(7, 50_000));
        let mut images = Images::new();
        let digests = ["one", "two"].map(|name| {
            let image = Image::new()
                .layer(base.clone())
                .layer(Layer::new().file(name, name));
            image.add_to(&mut images).digest.parse().unwrap()
        });
        let registry = Registry::serve(images).unwrap();
        let references = [0, 1].map(|n: usize| format!("{}/x@{}", registry.addr(), digests[n]));
        let place = Place::new();
        let mut options = Options::default();
        let architecture = options.platform.architecture();
        options.agents = Agents::default().with(architecture, place.agent());
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let jailed = Self {
            store: Store::open(place.cache(), options).unwrap(),
            _registry: registry,
            references,
            digests,
            place,
            runtime: runtime.enable_all().build().unwrap(),
        };
        jailed.pull(0);
        jailed
    }

    fn pull(&self, image: usize) -> hpcc_rootfs::Pulled {
        let pull = self.store.pull_image(&self.references[image], None);
        self.runtime.block_on(pull).unwrap()
    }

    /// Gives the first artifact to a jail, and keeps no lease.
    fn link(&self, methods: &[LinkMethod]) -> PathBuf {
        let path = self.place.path("root.sqsh");
        let linked = self.store.link_with(&self.digests[0], &path, methods);
        linked.unwrap().unwrap().path
    }

    fn collect(&self) -> hpcc_rootfs::Collected {
        let mut bounds = Bounds::default();
        bounds.max_size = Some(0);
        self.store.gc(&bounds).unwrap()
    }
}

/// Locks a file as a process in a jail might: for ever, and of either kind.
fn held(path: &Path, is_exclusive: bool) -> File {
    let file = File::open(path).unwrap();
    match is_exclusive {
        true => file.lock().unwrap(),
        false => file.lock_shared().unwrap(),
    }
    file
}

#[test]
fn locks_on_a_linked_artifact_stop_nothing_and_pin_nothing() {
    for is_exclusive in [true, false] {
        let jailed = Jailed::new();
        let digest = &jailed.digests[0];
        let _held = held(&jailed.link(LinkMethod::ALL), is_exclusive);
        assert_eq!(jailed.store.verify(digest).unwrap().unwrap(), []);
        assert!(jailed.store.lease(digest).unwrap().is_some());
        // Another image of the same base copies from it.
        let copied = jailed.pull(1).built.unwrap();
        assert_eq!(copied.reuse.layers, 1);
        // Another agent, and so another file.
        fs::write(jailed.place.agent(), "#!/another\n").unwrap();
        assert!(jailed.pull(0).built.is_some());
        let _again = held(&jailed.store.path_for(digest), is_exclusive);
        // Damage is set aside.
        let path = jailed.store.path_for(digest);
        let mut bytes = fs::read(&path).unwrap();
        bytes[200] ^= 1;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, bytes).unwrap();
        assert_ne!(jailed.store.verify(digest).unwrap().unwrap(), []);
        assert!(jailed.pull(0).built.is_some());
        let _last = held(&jailed.store.path_for(digest), is_exclusive);
        let collected = jailed.collect();
        assert_eq!(collected.removed.len(), 2, "{collected:?}");
        assert!(collected.pinned.is_empty());
        assert_eq!(fs::read_dir(jailed.place.cache()).unwrap().count(), 0);
        jailed.pull(0);
        let _held = held(&jailed.store.path_for(digest), is_exclusive);
        assert!(jailed.store.untag_image(digest).unwrap());
    }
}

#[test]
fn lease_pins_while_a_jail_locks_the_artifact() {
    let jailed = Jailed::new();
    let digest = &jailed.digests[0];
    let linked = jailed.store.link(digest, jailed.place.path("root.sqsh"));
    let linked = linked.unwrap().unwrap();
    let held = held(&linked.path, true);
    assert_eq!(jailed.collect().pinned, std::slice::from_ref(digest));
    drop(held);
    assert_eq!(jailed.collect().pinned, std::slice::from_ref(digest));
    // It belongs to the image: the file of a rebuild is pinned as well.
    fs::write(jailed.place.agent(), "#!/another\n").unwrap();
    assert!(jailed.pull(0).built.is_some());
    assert_eq!(jailed.collect().pinned, std::slice::from_ref(digest));
    drop(linked);
    assert_eq!(jailed.collect().removed.len(), 1);
}

#[test]
fn lease_ends_with_the_process_that_was_killed() {
    let jailed = Jailed::new();
    let digest = &jailed.digests[0];
    let lease = jailed.store.lease_file(digest);
    assert_eq!(lease.metadata().unwrap().mode() & 0o777, 0o600);
    // What docs/recipes/firecracker.md says: the command has no descriptor of the lock.
    let mut command = jailed.place.command("flock");
    command.args(["--shared", "--close"]).arg(&lease);
    command.args(["sh", "-c", "echo up; ls -l /proc/self/fd; cat"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut up = [0; 3];
    std::io::Read::read_exact(&mut output, &mut up).unwrap();
    assert_eq!(jailed.collect().pinned, std::slice::from_ref(digest));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(jailed.collect().removed.len(), 1);
    let listing = std::io::read_to_string(output).unwrap();
    assert!(!listing.contains(".lease-"), "{listing}");
}

#[test]
fn artifact_of_an_older_store_can_be_leased_and_collected() {
    let jailed = Jailed::new();
    let (digest, file) = (
        &jailed.digests[0],
        jailed.store.lease_file(&jailed.digests[0]),
    );
    fs::remove_file(&file).unwrap();
    assert!(jailed.pull(0).built.is_none());
    let lease = jailed.store.lease(digest).unwrap().unwrap();
    assert!(file.exists());
    assert_eq!(jailed.collect().pinned, std::slice::from_ref(digest));
    drop(lease);
    fs::remove_file(&file).unwrap();
    assert_eq!(jailed.collect().removed.len(), 1);
    assert!(!file.exists());
}

#[test]
fn untagged_artifact_loses_its_lease_file_with_the_last_holder() {
    let jailed = Jailed::new();
    let digest = &jailed.digests[0];
    let lease = jailed.store.lease(digest).unwrap().unwrap();
    jailed.store.untag_image(digest).unwrap();
    jailed.collect();
    assert!(jailed.store.lease_file(digest).exists());
    drop(lease);
    let mut dry = Bounds::default();
    dry.dry_run = true;
    assert_eq!(jailed.store.gc(&dry).unwrap().leftovers, 1);
    assert_eq!(jailed.collect().leftovers, 1);
    assert!(!jailed.store.lease_file(digest).exists());
}

/// A jailer that gives files to its user. Only root can do that.
#[test]
fn linked_artifact_that_was_given_away_is_built_again() {
    const STRANGER: u32 = 54_321;
    let jailed = Jailed::new();
    let digest = &jailed.digests[0];
    let sound = fs::read(jailed.store.path_for(digest)).unwrap();
    let path = jailed.link(LinkMethod::ALL);
    if let Err(error) = chown(&path, Some(STRANGER), None) {
        println!("this user cannot give files away ({error}); a wider mode is what is tested");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    }
    let _held = held(&path, true);
    assert!(jailed.store.lease(digest).is_err());
    assert!(jailed.store.verify(digest).is_err());
    // It is not copied from either.
    assert_eq!(jailed.pull(1).built.unwrap().reuse.layers, 0);
    fs::write(&path, "what the jail makes of its file").unwrap();
    assert!(jailed.pull(0).built.is_some());
    assert!(fs::read(jailed.store.path_for(digest)).unwrap() == sound);
    assert_eq!(jailed.store.verify(digest).unwrap().unwrap(), []);
}

#[test]
fn cut_artifact_is_not_linked() {
    for length in [0, 100, 4096] {
        let jailed = Jailed::new();
        let digest = &jailed.digests[0];
        let artifact = jailed.store.path_for(digest);
        let file = File::options().write(true).open(artifact).unwrap();
        file.set_len(length).unwrap();
        for methods in [LinkMethod::ALL, LinkMethod::OWN_FILE] {
            let path = jailed.place.path("jail.sqsh");
            let error = jailed.store.link_with(digest, &path, methods).unwrap_err();
            assert_eq!(error.kind(), hpcc_rootfs::ErrorKind::Corrupt, "{error}");
            assert!(!path.exists(), "{length}");
        }
    }
}

#[test]
fn file_of_its_own_can_be_given_away() {
    let jailed = Jailed::new();
    let digest = &jailed.digests[0];
    let artifact = jailed.store.path_for(digest);
    let before = artifact.metadata().unwrap();
    let path = jailed.place.path("jail.sqsh");
    let linked = jailed
        .place
        .run([
            "link",
            &digest.to_string(),
            path.to_str().unwrap(),
            "--detach",
            "--own",
            "--json",
        ])
        .json();
    assert!([json!("reflink"), json!("copy")].contains(&linked["method"]));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(&path, "what the jail makes of its file").unwrap();
    let after = artifact.metadata().unwrap();
    assert_eq!((after.mode(), after.nlink()), (before.mode(), 1));
    assert_eq!(jailed.store.verify(digest).unwrap().unwrap(), []);
    assert!(jailed.pull(0).built.is_none());
}

/// `rm` and `pull` as commands, while a jail has the file locked.
#[test]
fn commands_do_not_wait_for_a_jail() {
    let jailed = Jailed::new();
    let digest = jailed.digests[0].to_string();
    let _held = held(&jailed.link(LinkMethod::ALL), true);
    let run = |arguments: &[&str]| {
        let outcome = jailed.place.run(arguments);
        assert_eq!(outcome.status, Some(0), "{arguments:?}: {outcome:#?}");
    };
    run(&["verify", &digest]);
    run(&["rm", &digest]);
    let pulled: cli::Outcome = jailed.place.pull(&jailed.references[0], &[]);
    assert_eq!(pulled.status, Some(0), "{pulled:#?}");
    let _again = held(&jailed.store.path_for(&jailed.digests[0]), true);
    run(&["gc", "--max-size", "0"]);
    assert!(!jailed.store.path_for(&jailed.digests[0]).exists());
}
