//! Any sequence of calls, crashes, damage and other agents, against a model of a few lines.
//!
//! `PROPTEST_CASES=1000` makes it a thousand sequences.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use hpcc_rootfs::{Agents, Bounds, Lease, Options, Progress, Store};
use ociget::Digest;
use proptest::prelude::*;
use test_support::image::{Image, Layer};
use test_support::registry::Registry;
use tokio::sync::Notify;

use crate::cli::{self, Place};
use crate::store_damage::noise;
use crate::store_races::open_in;

const IMAGES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Pull(usize),
    /// Drops a pull at one of the events that it reports.
    Drop(usize, i64),
    /// Kills a pull of another process after this many milliseconds.
    Kill(usize, u64),
    Untag(usize),
    Verify(usize),
    /// Collects until at most this many artifacts fit.
    Collect(u64),
    Damage(usize, Damage),
    Lease(usize),
    /// Gives all leases back.
    Release,
    /// From here on, another agent.
    Agent(u8),
    /// What other programs and dead builds leave lying around.
    Strays(usize),
    /// A new handle, as of a worker that restarts.
    Reopen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Cut,
    Superblock,
    Record,
    Body,
}

impl Damage {
    /// Returns whether the damage shows without reading the body.
    fn shows(self) -> bool {
        self != Self::Body
    }
}

fn step() -> impl Strategy<Value = Step> {
    let image = || 0..IMAGES;
    let damage = prop_oneof![
        Just(Damage::Cut),
        Just(Damage::Superblock),
        Just(Damage::Record),
        Just(Damage::Body),
    ];
    prop_oneof![
        4 => image().prop_map(Step::Pull),
        2 => (image(), 1..12_i64).prop_map(|(image, event)| Step::Drop(image, event)),
        1 => (image(), 0..60_u64).prop_map(|(image, time)| Step::Kill(image, time)),
        1 => image().prop_map(Step::Untag),
        1 => image().prop_map(Step::Verify),
        2 => (0..=IMAGES as u64).prop_map(Step::Collect),
        2 => (image(), damage).prop_map(|(image, damage)| Step::Damage(image, damage)),
        1 => image().prop_map(Step::Lease),
        1 => Just(Step::Release),
        1 => (0..3_u8).prop_map(Step::Agent),
        1 => image().prop_map(Step::Strays),
        1 => Just(Step::Reopen),
    ]
}

/// What is in the store, as far as anybody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Artifact {
    agent: u8,
    damage: Option<Damage>,
}

impl Artifact {
    fn usable(self, agent: u8) -> bool {
        self.agent == agent && !self.damage.is_some_and(Damage::shows)
    }
}

/// Ends a pull when it has told a number of events.
#[derive(Default)]
struct Fuse {
    left: AtomicI64,
    burnt: Notify,
}

/// Images that are served, and the bytes of every artifact that was ever made of them.
struct Served {
    registry: Registry,
    references: Vec<String>,
    digests: Vec<Digest>,
    bytes: HashMap<(usize, u8), Vec<u8>>,
}

impl Served {
    fn new() -> Self {
        let mut store = test_support::image::Store::new();
        let images: Vec<_> = (0..IMAGES)
            .map(|n| {
                let content = noise(90 + n as u64, 100_000);
                let layer = Layer::new().file("noise", content).file("n", n.to_string());
                Image::new().layer(layer).add_to(&mut store)
            })
            .collect();
        let registry = Registry::serve(store).unwrap();
        let references = images
            .iter()
            .map(|i| format!("{}/x@{}", registry.addr(), i.digest));
        Self {
            references: references.collect(),
            digests: images.iter().map(|i| i.digest.parse().unwrap()).collect(),
            bytes: HashMap::new(),
            registry,
        }
    }
}

/// The store, and what is thought of it.
struct World<'s> {
    served: &'s mut Served,
    place: Place,
    fuse: Arc<Fuse>,
    store: Store,
    agent: u8,
    artifacts: BTreeMap<usize, Artifact>,
    /// They belong to the image, whichever file has its name.
    leases: Vec<(usize, Lease)>,
}

fn open(place: &Place, fuse: &Arc<Fuse>) -> Store {
    let mut options = Options::default();
    options.agents = Agents::default().with(options.platform.architecture(), place.agent());
    let fuse = Arc::clone(fuse);
    options.progress = Progress::new(move |_| {
        if fuse.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            fuse.burnt.notify_one();
        }
    });
    Store::open(place.cache(), options).unwrap()
}

impl<'s> World<'s> {
    fn new(served: &'s mut Served) -> Self {
        let (place, fuse) = (Place::new(), Arc::new(Fuse::default()));
        let mut world = Self {
            served,
            store: open(&place, &fuse),
            place,
            fuse,
            agent: 0,
            artifacts: BTreeMap::new(),
            leases: Vec::new(),
        };
        world.choose_agent(0);
        world
    }

    fn choose_agent(&mut self, agent: u8) {
        fs::write(self.place.agent(), format!("#!agent {agent}")).unwrap();
        self.agent = agent;
    }

    fn path(&self, image: usize) -> std::path::PathBuf {
        self.store.path_for(&self.served.digests[image])
    }

    /// Takes a step, and compares what it did with what it should have done.
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Pull(image) => self.pull(image),
            Step::Drop(image, event) => self.drop_at(image, event),
            Step::Kill(image, time) => self.kill_after(image, time),
            Step::Untag(image) => {
                let removed = self.store.untag_image(&self.served.digests[image]).unwrap();
                assert_eq!(removed, self.artifacts.remove(&image).is_some());
            }
            Step::Verify(image) => self.verify(image),
            Step::Collect(room) => self.collect(room),
            Step::Damage(image, damage) => self.damage(image, damage),
            Step::Lease(image) => {
                let lease = self.store.lease(&self.served.digests[image]).unwrap();
                assert_eq!(lease.is_some(), self.artifacts.contains_key(&image));
                self.leases.extend(lease.map(|lease| (image, lease)));
            }
            Step::Release => self.leases.clear(),
            Step::Agent(agent) => self.choose_agent(agent),
            Step::Strays(image) => self.strays(image),
            Step::Reopen => self.store = open(&self.place, &self.fuse),
        }
        self.compare();
    }

    fn pull(&mut self, image: usize) {
        self.served.registry.clear_requests();
        self.fuse.left.store(0, Ordering::SeqCst);
        let pull = self.store.pull_image(&self.served.references[image], None);
        let pulled = runtime().block_on(pull).unwrap();
        let there = self.artifacts.get(&image).copied();
        let usable = there.is_some_and(|artifact| artifact.usable(self.agent));
        assert_eq!(pulled.built.is_none(), usable);
        let asked = !self.served.registry.requests().is_empty();
        // With an artifact that has another agent there may be nothing to ask for.
        assert!(asked || there.is_some());
        assert!(!(asked && usable));
        assert_eq!(pulled.path, self.path(image));
        if !usable {
            self.set_aside_by_copying();
            self.is_new(image);
        }
        let used = self.store.artifacts().unwrap();
        let last = used
            .iter()
            .map(|artifact| artifact.last_used)
            .max()
            .unwrap();
        let digest = &self.served.digests[image];
        let artifact = used.iter().find(|artifact| artifact.digest == *digest);
        // The kernel's clock for such times ticks every few milliseconds, and not for all alike.
        let later = last.duration_since(artifact.unwrap().last_used).unwrap();
        assert!(
            later < Duration::from_millis(20),
            "something was used later"
        );
    }

    /// Images of this store share a layer, and a build that copies it may find damage that does not show.
    fn set_aside_by_copying(&mut self) {
        let gone: Vec<_> = self
            .artifacts
            .iter()
            .filter(|(image, artifact)| {
                artifact.damage == Some(Damage::Body) && !self.path(**image).exists()
            })
            .map(|(image, _)| *image)
            .collect();
        for image in gone {
            self.artifacts.remove(&image);
        }
    }

    /// The artifact is one that was built just now: the same bytes as ever.
    fn is_new(&mut self, image: usize) {
        let bytes = fs::read(self.path(image)).unwrap();
        let known = self
            .served
            .bytes
            .entry((image, self.agent))
            .or_insert_with(|| bytes.clone());
        assert!(*known == bytes, "the bytes are a function of the key");
        let (agent, damage) = (self.agent, None);
        self.artifacts.insert(image, Artifact { agent, damage });
    }

    fn drop_at(&mut self, image: usize, event: i64) {
        let before = self.inode(image);
        self.fuse.left.store(event, Ordering::SeqCst);
        let runtime = runtime();
        runtime.block_on(async {
            tokio::select! {
                pulled = self.store.pull_image(&self.served.references[image], None) => {
                    pulled.unwrap();
                }
                () = self.fuse.burnt.notified() => {}
            }
            let start = Instant::now();
            // Each has the artifact open, and its lease file.
            let ours = 2 * self.leases.len();
            while open_in(&self.place) > ours {
                // Long: it may be in the middle of a sync, which nothing cuts short, on a busy disk.
                let late = start.elapsed() > Duration::from_secs(60);
                assert!(!late, "the build is still there");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        drop(runtime);
        // One that has burnt too late is not to end the next pull.
        self.fuse = Arc::default();
        self.store = open(&self.place, &self.fuse);
        self.old_or_new(image, before);
    }

    fn kill_after(&mut self, image: usize, time: u64) {
        let before = self.inode(image);
        let mut command = self.place.command(cli::program());
        command
            .args(["pull", &self.served.references[image], "--agent", "agent"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(time));
        child.kill().unwrap();
        child.wait().unwrap();
        self.old_or_new(image, before);
    }

    /// Which file has the name.
    fn inode(&self, image: usize) -> Option<u64> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::symlink_metadata(self.path(image));
        metadata.ok().map(|metadata| metadata.ino())
    }

    fn old_or_new(&mut self, image: usize, before: Option<u64>) {
        // It may have been ended just after it found damage in what it copied from.
        self.set_aside_by_copying();
        let now = self.inode(image);
        if now.is_none() && before.is_some() {
            let is_known = self.artifacts.contains_key(&image);
            assert!(!is_known, "a crash removes nothing that is sound");
        } else if now != before {
            self.is_new(image);
        }
    }

    fn verify(&mut self, image: usize) {
        let verdict = self.store.verify(&self.served.digests[image]);
        let Some(artifact) = self.artifacts.get(&image) else {
            return assert!(matches!(verdict, Ok(None)));
        };
        match artifact.damage {
            None => assert_eq!(verdict.unwrap().unwrap(), []),
            Some(damage) => {
                let named = verdict.map(|ranges| ranges.unwrap().len());
                assert_eq!(named.ok(), (!damage.shows()).then_some(1), "{damage:?}");
                self.artifacts.remove(&image);
                assert!(!self.path(image).exists(), "it was set aside");
            }
        }
    }

    fn collect(&mut self, room: u64) {
        let mut artifacts = self.store.artifacts().unwrap();
        artifacts.sort_by(|a, b| (a.last_used, &a.digest).cmp(&(b.last_used, &b.digest)));
        let mut bounds = Bounds::default();
        let largest = artifacts
            .iter()
            .map(|artifact| artifact.size + artifact.beside)
            .max()
            .unwrap_or(0);
        let max = room * largest;
        bounds.max_size = Some(max);
        let sizes = artifacts.iter();
        let mut left: u64 = sizes.map(|artifact| artifact.size + artifact.beside).sum();
        let mut removed = Vec::new();
        for artifact in artifacts {
            let digests = &self.served.digests;
            let image = digests
                .iter()
                .position(|digest| *digest == artifact.digest)
                .unwrap();
            let pinned = self.leases.iter().any(|(leased, _)| *leased == image);
            if left > max && !pinned {
                left -= artifact.size + artifact.beside;
                self.artifacts.remove(&image);
                removed.push(artifact.digest);
            }
        }
        let mut collected = self.store.gc(&bounds).unwrap();
        let mut found: Vec<_> = collected.removed.into_iter().map(|a| a.digest).collect();
        // A lock outlives its holder for as long as a child of another test, forked meanwhile, has not executed its
        // program, and its artifact stays. No lock outlives it for longer.
        let start = Instant::now();
        while found.len() < removed.len() && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(50));
            collected = self.store.gc(&bounds).unwrap();
            found.extend(collected.removed.into_iter().map(|a| a.digest));
            // What stayed at first comes last.
            found.sort();
            removed.sort();
        }
        assert_eq!(found, removed);
        assert_eq!(collected.remaining_bytes, left);
        for entry in fs::read_dir(self.place.cache()).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let ours = [".staged-", ".bad-"]
                .iter()
                .any(|prefix| name.starts_with(prefix));
            assert!(!ours, "{name} is left");
        }
    }

    fn damage(&mut self, image: usize, damage: Damage) {
        let path = self.path(image);
        let Ok(mut bytes) = fs::read(&path) else {
            return;
        };
        let Some(artifact) = self.artifacts.get_mut(&image) else {
            panic!("{} was not to be there", path.display());
        };
        // One at a time is enough, and two may cancel each other.
        if artifact.damage.is_some() {
            return;
        }
        artifact.damage = Some(damage);
        let end = bytes.len();
        match damage {
            Damage::Cut => bytes.truncate(end - 4096),
            Damage::Superblock => bytes[40] ^= 1,
            Damage::Record => bytes[end - 1] ^= 1,
            Damage::Body => bytes[50_000] ^= 1,
        }
        fs::write(path, bytes).unwrap();
    }

    fn strays(&self, image: usize) {
        let cache = self.place.cache();
        fs::create_dir_all(&cache).unwrap();
        let name = self.served.digests[image].to_string().replace(':', "-");
        for (name, content) in [
            (".staged-1-1".to_owned(), "torn"),
            (format!(".note-{name}"), "{\"source\":"),
            (format!(".lock-{name}"), ""),
            (format!(".lease-{name}"), ""),
            (format!("{name}.sqsh.tmp"), "torn"),
            ("lost+found".to_owned(), ""),
        ] {
            fs::write(cache.join(name), content).unwrap();
        }
    }

    /// What the store says of itself, by all its calls that only look.
    fn compare(&self) {
        let mut expected: Vec<_> = self
            .artifacts
            .keys()
            .map(|image| self.served.digests[*image].clone())
            .collect();
        expected.sort();
        assert_eq!(self.store.existing_images().unwrap(), expected);
        let artifacts = self.store.artifacts().unwrap();
        assert_eq!(artifacts.len(), expected.len());
        for (image, artifact) in &self.artifacts {
            let digest = &self.served.digests[*image];
            let listed = artifacts.iter().find(|a| a.digest == *digest).unwrap();
            let shows = artifact.damage.is_some_and(Damage::shows);
            assert_eq!(listed.record.is_err(), shows);
            assert_eq!(self.store.record(digest).is_err(), shows);
            let damaged = hpcc_rootfs::verify_file(self.path(*image));
            let sound = damaged.is_ok_and(|ranges| ranges.is_empty());
            assert_eq!(sound, artifact.damage.is_none());
        }
    }

    /// After all of it, everything can be pulled, is sound, and goes without a trace.
    fn end(mut self) {
        self.leases.clear();
        for image in 0..IMAGES {
            self.verify(image);
            self.pull(image);
            self.verify(image);
        }
        self.compare();
        self.collect(0);
        self.compare();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

#[test]
fn any_sequence_of_calls_does_what_the_model_says() {
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 24;
    }
    let served = std::cell::RefCell::new(Served::new());
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let sequences = prop::collection::vec(step(), 1..16);
    let outcome = runner.run(&sequences, |steps| {
        let mut served = served.borrow_mut();
        let mut world = World::new(&mut served);
        for step in &steps {
            world.take(step);
        }
        world.end();
        Ok(())
    });
    outcome.unwrap();
}
