//! What reuse may cost: disk space beside artifacts, memory, time, and what is reported of it.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hpcc_rootfs::{Agents, Bounds, Digest, Error, Event, Options, Progress, Pulled, Reuse, Store};
use tempfile::TempDir;
use test_support::image::{Entry, Image, Index, Layer, Store as Content};
use test_support::registry::Registry;
use tokio::runtime::Runtime;

use crate::reuse_place::add;
use crate::store_damage::noise;

/// Images of one layout, and stores that pull them in this process.
struct Images {
    directory: TempDir,
    digests: Vec<Digest>,
    runtime: Runtime,
}

impl Images {
    fn new(images: &[&[&Layer]]) -> Self {
        let mut content = Content::new();
        Self {
            digests: add(images, &mut content),
            ..Self::of(&content)
        }
    }

    fn of(content: &Content) -> Self {
        let directory = tempfile::tempdir().unwrap();
        content
            .write_layout(&directory.path().join("layout"))
            .unwrap();
        fs::write(directory.path().join("agent"), "agent").unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            digests: Vec::new(),
            directory,
            runtime: runtime.enable_all().build().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn store(&self, name: &str, change: impl FnOnce(&mut Options)) -> Store {
        let mut options = Options::default();
        options.platform = "linux/amd64".parse().unwrap();
        options.agents = Agents::default().with("amd64", self.path("agent"));
        options.threads = NonZeroUsize::MIN;
        options.store.min_free = 0;
        // All descriptors that builds may take are this one's.
        options.store.builds = NonZeroUsize::MIN;
        change(&mut options);
        Store::open(self.path(name), options).unwrap()
    }

    fn pull_from(&self, store: &Store, image: usize) -> Result<Pulled, Error> {
        let layout = format!("oci:{}", self.path("layout").display());
        let pulled = store.pull_image(&layout, Some(&self.digests[image]));
        self.runtime.block_on(pulled)
    }

    fn pull(&self, store: &str, image: usize) -> Pulled {
        let store = self.store(store, |_| {});
        self.pull_from(&store, image).unwrap()
    }

    /// Pulls an image whose bytes have to be those of a build in an empty store, and returns what was reused.
    fn reuse(&self, store: &str, image: usize) -> Reuse {
        let cold = self.pull(&format!("cold {image}"), image);
        let warm = self.pull(store, image);
        assert!(
            fs::read(&warm.path).unwrap() == fs::read(&cold.path).unwrap(),
            "the bytes differ"
        );
        warm.built.unwrap().reuse
    }
}

fn side_of(artifact: &Path) -> PathBuf {
    let name = artifact.file_name().unwrap().to_str().unwrap();
    artifact.with_file_name(format!(".recall-{}", name.trim_end_matches(".sqsh")))
}

/// Bytes of the file beside an artifact, or `None` if there is none.
fn side_bytes(artifact: &Path) -> Option<u64> {
    Some(fs::metadata(side_of(artifact)).ok()?.len())
}

/// Returns the most that the documentation allows beside an artifact.
fn allowed(artifact: &Path) -> u64 {
    (256 << 10) + fs::metadata(artifact).unwrap().len() / 8
}

/// Entries with attributes of 30 KB each that compress badly.
fn heavy(count: u64, path: impl Fn(u64) -> String) -> Layer {
    (0..count).fold(Layer::new(), |layer, n| {
        let entry = Entry::file(path(n), "").xattr("user.a", noise(n, 30_000));
        layer.entry(entry)
    })
}

#[test]
fn dropped_entries_leave_no_attributes_beside_the_artifact() {
    for path in [
        ".hpcc/d",
        "a/.wh.b",
        "a/.wh..wh..opq",
        ".wh..wh.aufs",
        ".wh.d/x",
    ] {
        let layer = heavy(40, |_| path.to_owned());
        let images = Images::new(&[&[&layer]]);
        let artifact = images.pull("store", 0).path;
        let bytes = side_bytes(&artifact).unwrap();
        assert!(bytes < 8192, "{path}: {bytes}");
        // They are dropped again by a build that reads the list, and counted as before.
        fs::write(images.path("agent"), "another agent").unwrap();
        assert_eq!(images.reuse("store", 0).layers, 1, "{path}");
    }
}

#[test]
fn side_file_that_outgrows_its_artifact_is_dropped() {
    // A newer layer replaces all that the older one has.
    let old = heavy(100, |n| format!("d/{n}"));
    let new = Layer::new().whiteout("d").file("small", "small");
    let images = Images::new(&[&[&old, &new], &[&new]]);
    let artifact = images.pull("store", 0).path;
    assert!(fs::metadata(&artifact).unwrap().len() < 1 << 20);
    assert_eq!(side_bytes(&artifact), None);
    let artifact = images.pull("store", 1).path;
    assert!(side_bytes(&artifact).unwrap() <= allowed(&artifact));
}

#[test]
fn collection_counts_what_lies_beside_artifacts() {
    let layer = Layer::new().file("file", noise(1, 100_000));
    let images = Images::new(&[&[&layer]]);
    let artifact = images.pull("store", 0).path;
    let store = images.store("store", |_| {});
    let listed = store.artifacts().unwrap().remove(0);
    assert!(listed.beside > side_bytes(&artifact).unwrap());
    let all = listed.size + listed.beside;
    let mut bounds = Bounds::default();
    bounds.max_size = Some(all);
    let collected = store.gc(&bounds).unwrap();
    assert_eq!(
        (collected.removed.len(), collected.remaining_bytes),
        (0, all)
    );
    bounds.max_size = Some(all - 1);
    let collected = store.gc(&bounds).unwrap();
    assert_eq!((collected.removed.len(), collected.remaining_bytes), (1, 0));
}

/// Pulls an image, and returns what was reused and how many layers were fetched.
fn reused_and_fetched(images: &Images, name: &str, image: usize) -> (Reuse, usize, usize) {
    let numbers = Arc::<Mutex<BTreeSet<usize>>>::default;
    let (reused, started) = (numbers(), numbers());
    let store = images.store(name, |options| {
        let (reused, started) = (Arc::clone(&reused), Arc::clone(&started));
        options.progress = Progress::new(move |event| match event {
            Event::LayerReused { layer } => {
                reused.lock().unwrap().insert(layer.number);
            }
            Event::LayerStarted { layer } => {
                started.lock().unwrap().insert(layer.number);
            }
            _ => {}
        });
    });
    let pulled = images.pull_from(&store, image).unwrap();
    let (reused, started) = (reused.lock().unwrap(), started.lock().unwrap());
    (pulled.built.unwrap().reuse, reused.len(), started.len())
}

#[test]
fn layer_that_is_fetched_after_all_is_not_counted() {
    let base = Layer::new()
        .dir("a")
        .file("a/f", noise(1, 20_000))
        .hardlink("b", "a/f")
        .file("x", noise(2, 3000));
    let gone = Layer::new().whiteout("a/f").whiteout("b");
    let half = Layer::new().whiteout("a/f").file("q", "hi");
    let images = Images::new(&[&[&base, &gone], &[&base, &half], &[&base, &gone, &half]]);
    images.pull("store", 0);
    let (reuse, told, fetched) = reused_and_fetched(&images, "store", 1);
    // The list of the base was taken, and a file that looked replaced was read from its archive.
    assert_eq!((reuse.layers, told, fetched), (0, 1, 2));
    let (reuse, told, fetched) = reused_and_fetched(&images, "store", 2);
    assert_eq!((reuse.layers, told, fetched), (3, 3, 0));
}

#[test]
fn ends_of_files_count_as_copied_bytes() {
    let bodies: Vec<_> = (0..200).map(|n| noise(n, 2000)).collect();
    let layer = |directory: &str, step: usize| {
        (0..200).fold(Layer::new(), |layer, n| {
            layer.file(format!("{directory}/{n}"), &bodies[n * step % 200])
        })
    };
    // The older layer has the bodies of the newer one in another order, so its fragments are no copies.
    let (old, new) = (layer("old", 7), layer("new", 1));
    let images = Images::new(&[&[&old, &new], &[&old]]);
    images.pull("store", 0);
    let reuse = images.reuse("store", 1);
    assert_eq!(reuse.layers, 1);
    assert_eq!(reuse.bytes, 400_000);
    assert_eq!(reuse.sources, images.digests[..1]);
}

#[test]
fn layers_of_many_images_are_all_found() {
    let layers: Vec<_> = (0..33)
        .map(|n| Layer::new().file(format!("f{n}"), noise(n, 300)))
        .collect();
    let all: Vec<&Layer> = layers.iter().collect();
    let mut images: Vec<&[&Layer]> = all.chunks(1).collect();
    images.push(&all);
    let images = Images::new(&images);
    for image in 0..33 {
        images.pull("store", image);
    }
    assert_eq!(images.reuse("store", 33).layers, 33);
}

#[test]
fn artifact_with_all_files_of_a_layer_comes_before_others() {
    let base = (0..20).fold(Layer::new().dir("usr"), |layer, n| {
        layer.file(format!("usr/{n}"), noise(n, 300))
    });
    let app = Layer::new().file("app", noise(50, 500));
    let hides = Layer::new().whiteout("usr");
    let others = ["1", "2", "3", "4"].map(|name| Layer::new().file(name, name));
    let [one, two, three, four] = &others;
    let images = Images::new(&[
        &[&base, &app, &hides, one],
        &[&base, &app, &hides, two],
        &[&base, &app, &hides, three],
        &[&base, &app, &hides, four],
        &[&base],
        &[&base, &app],
    ]);
    for image in 0..5 {
        images.pull("store", image);
    }
    assert_eq!(images.reuse("store", 5).layers, 2);
}

#[test]
fn index_that_contradicts_its_config_needs_no_source_again() {
    let mut content = Content::new();
    let layer = Layer::new().file("file", "file");
    let image = Image::new().layer(layer).add_to(&mut content);
    let arm = serde_json::json!({"architecture": "arm64", "os": "linux"});
    let index = Index::new()
        .member(image.with_platform(arm))
        .add_to(&mut content);
    let mut images = Images::of(&content);
    images.digests = vec![index.digest.parse().unwrap()];
    let store = || {
        images.store("store", |options| {
            options.platform = "linux/arm64".parse().unwrap();
            options.insist_on_platform = true;
            options.agents = Agents::default().with("arm64", images.path("agent"));
        })
    };
    images.pull_from(&store(), 0).unwrap();
    fs::remove_dir_all(images.path("layout")).unwrap();
    fs::write(images.path("agent"), "another agent").unwrap();
    let again = images.pull_from(&store(), 0).unwrap();
    assert_eq!(again.built.unwrap().reuse.layers, 1);
}

#[test]
fn seed_that_is_not_trusted_is_reported_once() {
    let layer = Layer::new().file("file", noise(1, 1000));
    let (one, two) = (Layer::new().file("1", "1"), Layer::new().file("2", "2"));
    let images = Images::new(&[&[&layer], &[&layer, &one], &[&layer, &two]]);
    images.pull("seed", 0);
    let seed = images.path("seed");
    fs::set_permissions(&seed, fs::Permissions::from_mode(0o777)).unwrap();
    let told = Arc::<Mutex<Vec<String>>>::default();
    let store = images.store("store", |options| {
        options.store.seeds = vec![seed.clone()];
        let (told, expected) = (Arc::clone(&told), seed.clone());
        options.progress = Progress::new(move |event| {
            if let Event::SeedRefused { seed, because } = event {
                assert_eq!(*seed, expected);
                told.lock().unwrap().push((*because).to_owned());
            }
        });
    });
    for image in [1, 2] {
        let built = images.pull_from(&store, image).unwrap().built;
        assert_eq!(built.unwrap().reuse.layers, image - 1);
    }
    let told = told.lock().unwrap();
    assert!(
        matches!(&told[..], [because] if because.contains("seed")),
        "{told:?}"
    );
    drop(told);
    fs::set_permissions(&seed, fs::Permissions::from_mode(0o755)).unwrap();
    let trusted = images.store("other", |options| options.store.seeds = vec![seed]);
    let built = images.pull_from(&trusted, 1).unwrap().built;
    assert_eq!(built.unwrap().reuse.layers, 1);
}

#[test]
fn another_agent_for_a_tag_costs_one_request() {
    let mut content = Content::new();
    let layer = Layer::new().file("file", noise(1, 1000));
    let image = Image::new().layer(layer).add_to(&mut content);
    content.tag("tag", &image);
    let registry = Registry::serve(content.clone()).unwrap();
    let images = Images::of(&content);
    let reference = format!("{}/image:tag", registry.addr());
    let pull = || {
        let store = images.store("store", |_| {});
        let pulled = store.pull_image(&reference, None);
        images
            .runtime
            .block_on(pulled)
            .unwrap()
            .built
            .unwrap()
            .reuse
    };
    pull();
    fs::write(images.path("agent"), "another agent").unwrap();
    registry.clear_requests();
    assert_eq!(pull().layers, 1);
    let requests = registry.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].path.ends_with("/manifests/tag"), "{requests:?}");
}

/// Bytes of which half remain when they are compressed.
fn digits(seed: u64, length: usize) -> Vec<u8> {
    let bytes = noise(seed, length).into_iter();
    bytes
        .map(|byte| b"0123456789abcdef"[usize::from(byte % 16)])
        .collect()
}

#[test]
fn reuse_that_costs_more_than_it_delivers_is_given_up() {
    const FILES: u64 = 1200;
    let bodies: Vec<_> = (0..FILES).map(|n| digits(n, 2000)).collect();
    let layer = |directory: &str, step: u64| {
        (0..FILES).fold(Layer::new(), |layer, n| {
            let body = usize::try_from(n * step % FILES).unwrap();
            layer.file(format!("{directory}/{n}"), &bodies[body])
        })
    };
    // The newer layer is packed first, so each end of the older one lies in another fragment than the one before. 18 fragments
    // are more than are kept after they were decompressed.
    let (scattered, ordered) = (layer("old", 487), layer("old", 1));
    let (new, app) = (layer("new", 1), Layer::new().file("app", "app"));
    let images = Images::new(&[
        &[&scattered, &new],
        &[&scattered, &app],
        &[&ordered, &new],
        &[&ordered, &app],
    ]);
    let attempts = |store: &str, image: usize| {
        let told = Arc::<Mutex<usize>>::default();
        let cold = images.pull(&format!("cold {image}"), image);
        let store = images.store(store, |options| {
            let told = Arc::clone(&told);
            options.progress = Progress::new(move |event| {
                if let Event::Resolving { .. } = event {
                    *told.lock().unwrap() += 1;
                }
            });
        });
        let warm = images.pull_from(&store, image).unwrap();
        assert!(fs::read(&warm.path).unwrap() == fs::read(&cold.path).unwrap());
        // The artifact that was too costly to copy from is sound.
        assert_eq!(
            store.verify(&images.digests[image - 1]).unwrap(),
            Some(Vec::new())
        );
        let attempts = *told.lock().unwrap();
        (attempts, warm.built.unwrap().reuse.layers)
    };
    images.pull("scattered", 0);
    assert_eq!(attempts("scattered", 1), (2, 0));
    images.pull("ordered", 2);
    assert_eq!(attempts("ordered", 3), (1, 1));
}
