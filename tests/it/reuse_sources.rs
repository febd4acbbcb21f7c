//! Artifacts that fail while a build copies from them: how often it begins again, what it reports, and what it makes.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hpcc_rootfs::{Agents, Digest, Error, Event, Options, Progress, Pulled, Store};
use tempfile::TempDir;
use test_support::image::{Layer, Store as Content};
use test_support::registry::Registry;
use tokio::runtime::Runtime;

use crate::reuse_place::add;
use crate::store_damage::noise;

/// Images on a registry, and stores that pull them in this process.
struct Images {
    directory: TempDir,
    registry: Registry,
    digests: Vec<Digest>,
    runtime: Runtime,
}

/// What a pull reported.
#[derive(Debug, Default)]
struct Told {
    attempts: usize,
    failed: Vec<(PathBuf, Digest, String)>,
    reused: usize,
}

impl Images {
    fn new(images: &[&[&Layer]]) -> Self {
        let mut content = Content::new();
        let digests = add(images, &mut content);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("agent"), "agent").unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            directory,
            registry: Registry::serve(content).unwrap(),
            digests,
            runtime: runtime.enable_all().build().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn artifact(&self, store: &str, image: usize) -> PathBuf {
        let name = self.digests[image].to_string().replace(':', "-");
        self.path(store).join(format!("{name}.sqsh"))
    }

    /// Pulls an image. Calls `meanwhile` whenever a layer was taken from an artifact.
    fn pull(
        &self,
        store: &str,
        image: usize,
        change: impl FnOnce(&mut Options),
        meanwhile: impl Fn() + Send + Sync + 'static,
    ) -> (Result<Pulled, Error>, Told) {
        let told = Arc::<Mutex<Told>>::default();
        let mut options = Options::default();
        options.platform = "linux/amd64".parse().unwrap();
        options.agents = Agents::default().with("amd64", self.path("agent"));
        options.threads = NonZeroUsize::MIN;
        options.store.min_free = 0;
        change(&mut options);
        let events = Arc::clone(&told);
        options.progress = Progress::new(move |event| {
            let mut told = events.lock().unwrap();
            match event {
                Event::Resolving { .. } => told.attempts += 1,
                Event::LayerReused { .. } => {
                    told.reused += 1;
                    meanwhile();
                }
                Event::SourceFailed {
                    source,
                    directory,
                    because,
                } => {
                    let failed = (
                        directory.to_path_buf(),
                        (*source).clone(),
                        because.to_string(),
                    );
                    told.failed.push(failed);
                }
                _ => {}
            }
        });
        let store = Store::open(self.path(store), options).unwrap();
        let reference = format!("{}/image", self.registry.addr());
        let pulled = store.pull_image(&reference, Some(&self.digests[image]));
        let pulled = self.runtime.block_on(pulled);
        drop(store);
        let told = std::mem::take(&mut *told.lock().unwrap());
        (pulled, told)
    }

    fn fill(&self, store: &str, images: std::ops::Range<usize>) {
        for image in images {
            self.pull(store, image, |_| {}, || {}).0.unwrap();
        }
    }

    fn cold(&self, image: usize) -> Vec<u8> {
        let name = format!("cold {image}");
        let (pulled, _) = self.pull(&name, image, |_| {}, || {});
        fs::read(pulled.unwrap().path).unwrap()
    }
}

/// Changes a byte among the data of an artifact.
fn damage(artifact: &Path) {
    let mut bytes = fs::read(artifact).unwrap();
    bytes[200] ^= 1;
    fs::write(artifact, bytes).unwrap();
}

/// Images of one layer each, and one of all these layers and another.
fn singles(count: usize) -> Images {
    let layers: Vec<_> = (0..count)
        .map(|n| Layer::new().file(format!("f{n}"), noise(n as u64, 3000)))
        .collect();
    let all: Vec<&Layer> = layers.iter().collect();
    let app = Layer::new().file("app", "app");
    let more = [&all[..], &[&app]].concat();
    let mut images: Vec<&[&Layer]> = all.chunks(1).collect();
    images.extend([&all[..], &more]);
    Images::new(&images)
}

#[test]
fn second_damaged_source_ends_reuse() {
    const COUNT: usize = 12;
    let images = singles(COUNT);
    images.fill("store", 0..COUNT);
    for image in 0..COUNT {
        damage(&images.artifact("store", image));
    }
    let (pulled, told) = images.pull("store", COUNT, |_| {}, || {});
    let pulled = pulled.unwrap();
    assert_eq!(told.attempts, 3, "{told:?}");
    assert_eq!(told.failed.len(), 2, "{told:?}");
    for (directory, digest, because) in &told.failed {
        assert_eq!(*directory, images.path("store"));
        assert_eq!(because, "it is damaged and was quarantined");
        let image = images.digests.iter().position(|of| of == digest).unwrap();
        assert!(!images.artifact("store", image).exists());
    }
    assert!(fs::read(pulled.path).unwrap() == images.cold(COUNT));
    let left = (0..COUNT).filter(|image| images.artifact("store", *image).exists());
    assert_eq!(left.count(), COUNT - 2);
}

#[test]
fn one_damaged_source_leaves_the_others_in_use() {
    let images = singles(3);
    images.fill("store", 0..3);
    damage(&images.artifact("store", 1));
    let (pulled, told) = images.pull("store", 3, |_| {}, || {});
    let pulled = pulled.unwrap();
    assert_eq!((told.attempts, told.failed.len()), (2, 1), "{told:?}");
    assert!(fs::read(&pulled.path).unwrap() == images.cold(3));
    assert_eq!(pulled.built.unwrap().reuse.layers, 2);
}

/// Without network, and with another agent, so that the artifact of the image itself has to be built again.
fn offline(images: &Images) -> impl Fn(&mut Options) {
    let agent = images.path("another agent");
    fs::write(&agent, "another agent").unwrap();
    move |options| {
        options.store.offline = true;
        options.agents = Agents::default().with("amd64", &agent);
    }
}

#[test]
fn damaged_sources_are_found_at_once_without_network() {
    const COUNT: usize = 8;
    let images = singles(COUNT);
    images.fill("store", 0..COUNT + 1);
    for image in [0, 2, 5, COUNT] {
        damage(&images.artifact("store", image));
    }
    let (pulled, told) = images.pull("store", COUNT, offline(&images), || {});
    let error = pulled.unwrap_err();
    assert_eq!((told.attempts, told.failed.len()), (2, 4), "{told:?}");
    let text = error.to_string();
    assert!(matches!(error, Error::Offline { .. }), "{error:?}");
    assert!(
        text.contains("does not hold layer 6 of 8 (sha256:"),
        "{text}"
    );
    let damaged = text.matches("it is damaged and was quarantined").count();
    assert_eq!(damaged, 4, "{text}");
    assert!(
        text.ends_with("pull it without StoreOptions::offline"),
        "{text}"
    );
}

#[test]
fn sound_source_is_copied_without_network_after_damaged_ones() {
    let images = singles(4);
    images.fill("store", 0..6);
    for image in [1, 4] {
        damage(&images.artifact("store", image));
    }
    let offline = offline(&images);
    let (pulled, told) = images.pull("store", 4, &offline, || {});
    assert_eq!((told.attempts, told.failed.len()), (2, 1), "{told:?}");
    let again = |options: &mut Options| {
        offline(options);
        options.store.offline = false;
    };
    let cold = images.pull("cold", 4, again, || {}).0.unwrap();
    assert!(fs::read(pulled.unwrap().path).unwrap() == fs::read(cold.path).unwrap());
}

#[test]
fn error_without_network_says_what_was_tried() {
    let (base, hides) = (
        Layer::new().file("base", noise(1, 5000)),
        Layer::new().whiteout("base"),
    );
    let images = Images::new(&[&[&base], &[&base, &hides]]);
    images.fill("store", 0..2);
    let offline = offline(&images);
    let text = |change: fn(&mut Options)| {
        let (pulled, told) = images.pull(
            "store",
            0,
            |options| {
                offline(options);
                change(options);
            },
            || {},
        );
        let error = pulled.unwrap_err();
        assert!(matches!(error, Error::Offline { .. }), "{error:?} {told:?}");
        error.to_string()
    };
    let layer = "does not hold layer 1 of 1 (sha256:";
    let unknown = "and no artifact from which it can be copied knows it (sha256:";
    let said = text(|options| options.image.block_size = 4096);
    assert!(said.contains(layer) && said.contains(unknown), "{said}");
    assert!(
        said.contains(": its blocks are compressed in another way"),
        "{said}"
    );
    let said = text(|options| options.limits.path = 1000);
    assert!(said.contains(layer) && said.contains(unknown), "{said}");
    assert!(
        said.contains(": it knows no layer of the image under these limits"),
        "{said}"
    );
    let said = text(|options| options.store.reuse = false);
    assert!(
        said.contains("StoreOptions::reuse forbids to take the manifest sha256:"),
        "{said}"
    );
    // What is left knows the layer, and has none of its files.
    damage(&images.artifact("store", 0));
    let said = text(|_| {});
    let lacks = "and every artifact that knows it lacks files which the image needs of it (sha256:";
    assert!(said.contains(layer) && said.contains(lacks), "{said}");
    assert!(
        said.contains(": it is damaged and was quarantined"),
        "{said}"
    );
}

#[test]
fn limit_of_the_whole_image_is_named_without_network() {
    let layer = (0..20).fold(Layer::new(), |layer, n| layer.file(format!("f{n}"), ""));
    let images = Images::new(&[&[&layer]]);
    images.fill("store", 0..1);
    let offline = offline(&images);
    let change = |options: &mut Options| {
        offline(options);
        options.limits.metadata_bytes = 2000;
    };
    let error = images.pull("store", 0, change, || {}).0.unwrap_err();
    assert_eq!(error.kind(), hpcc_rootfs::ErrorKind::Limit, "{error}");
}

/// The older layer comes last in an artifact, and is copied last.
fn large() -> Images {
    let base = Layer::new().file("big", noise(1, 3 << 20));
    let (app, other) = (
        Layer::new().file("app", noise(2, 100)),
        Layer::new().file("other", noise(3, 100)),
    );
    Images::new(&[&[&base, &app], &[&base, &app, &other]])
}

#[test]
fn source_that_is_cut_during_a_build_is_reported() {
    let images = large();
    images.fill("store", 0..1);
    let artifact = images.artifact("store", 0);
    let cut = artifact.clone();
    let (pulled, told) = images.pull(
        "store",
        1,
        |_| {},
        move || {
            if let Ok(file) = fs::File::options().write(true).open(&cut) {
                file.set_len(1 << 20).unwrap();
            }
        },
    );
    let pulled = pulled.unwrap();
    assert_eq!((told.attempts, told.failed.len()), (2, 1), "{told:?}");
    assert_eq!(told.failed[0].2, "it is damaged and was quarantined");
    assert!(!artifact.exists());
    assert_eq!(pulled.built.unwrap().reuse.layers, 0);
    assert!(fs::read(pulled.path).unwrap() == images.cold(1));
}

#[test]
fn source_that_loses_its_name_during_a_build_is_copied() {
    let images = large();
    images.fill("store", 0..1);
    let artifact = images.artifact("store", 0);
    let gone = artifact.clone();
    let (pulled, told) = images.pull("store", 1, |_| {}, move || drop(fs::remove_file(&gone)));
    let pulled = pulled.unwrap();
    assert!(!artifact.exists());
    assert_eq!((told.attempts, told.failed.len()), (1, 0), "{told:?}");
    assert_eq!(pulled.built.unwrap().reuse.layers, 2);
    assert!(fs::read(pulled.path).unwrap() == images.cold(1));
}

#[test]
fn damaged_seed_is_reported_and_left_alone() {
    let images = large();
    images.fill("seed", 0..1);
    let artifact = images.artifact("seed", 0);
    damage(&artifact);
    let seed = images.path("seed");
    let (pulled, told) = images.pull(
        "store",
        1,
        |options| options.store.seeds = vec![seed.clone()],
        || {},
    );
    assert!(fs::read(pulled.unwrap().path).unwrap() == images.cold(1));
    let expected = (seed, images.digests[0].clone(), "it is damaged".to_owned());
    assert_eq!(told.failed, [expected]);
    assert!(artifact.exists());
}
