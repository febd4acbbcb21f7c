//! What earlier builds left, damaged in every place: a build that copies from it makes the bytes of a cold one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hpcc_rootfs::{Agents, Compressor, Options, Pulled, Store};
use tempfile::TempDir;
use test_support::image::{Image, Layer, Store as Content};
use test_support::registry::Registry;
use tokio::runtime::Runtime;

use crate::cli::{Outcome, Place, outcome, program};
use crate::store_damage::noise;

/// A registry with images, and a store that pulls them in this process.
struct Small {
    directory: TempDir,
    registry: Registry,
    references: Vec<String>,
    runtime: Runtime,
}

impl Small {
    fn new(images: &[&[&Layer]]) -> Self {
        let mut content = Content::new();
        let mut digests = Vec::new();
        for layers in images {
            let image = layers
                .iter()
                .fold(Image::new(), |image, layer| image.layer((*layer).clone()));
            digests.push(image.add_to(&mut content).digest);
        }
        let registry = Registry::serve(content).unwrap();
        let reference = |digest: &String| format!("{}/image@{digest}", registry.addr());
        let directory = tempfile::tempdir().unwrap();
        for agent in ["agent", "another agent"] {
            fs::write(directory.path().join(agent), agent).unwrap();
        }
        Self {
            references: digests.iter().map(reference).collect(),
            directory,
            registry,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Pulls an image into the store of that name.
    fn pull(&self, store: &str, image: usize, agent: &str) -> Pulled {
        let mut options = Options::default();
        options.platform = "linux/amd64".parse().unwrap();
        options.agents = Agents::default().with("amd64", self.directory(agent));
        options.image.block_size = 4096;
        options.image.compressor = Compressor::Zstd { level: 3 };
        options.threads = std::num::NonZeroUsize::MIN;
        options.store.min_free = 0;
        let store = Store::open(self.directory(store), options).unwrap();
        let pulled = store.pull_image(&self.references[image], None);
        self.runtime.block_on(pulled).unwrap()
    }

    /// Returns the bytes of a build in an empty store.
    fn cold(&self, image: usize, agent: &str) -> Vec<u8> {
        let store = format!("cold {image} {agent}");
        let pulled = self.pull(&store, image, agent);
        assert_eq!(pulled.built.unwrap().reuse.layers, 0);
        fs::read(pulled.path).unwrap()
    }
}

fn side_of(artifact: &Path) -> PathBuf {
    let name = artifact.file_name().unwrap().to_str().unwrap();
    artifact.with_file_name(format!(".recall-{}", name.trim_end_matches(".sqsh")))
}

/// Some of the positions; `REUSE_BITS=1` takes all of them.
fn positions(bytes: &[u8], count: usize) -> impl Iterator<Item = usize> {
    let step = match std::env::var_os("REUSE_BITS") {
        Some(_) => 1,
        None => (bytes.len() / count).max(1),
    };
    (0..bytes.len()).step_by(step)
}

fn layers() -> [Layer; 3] {
    [
        Layer::new()
            .dir("usr")
            .file("usr/text", "text ".repeat(1200))
            .file("usr/short", noise(1, 60)),
        Layer::new().file("one", "1"),
        Layer::new().file("two", "2"),
    ]
}

/// That every bit counts is shown where stored bytes are read; here it is what a build makes of it.
#[test]
fn any_flipped_bit_of_a_source_costs_time_and_no_byte() {
    let [base, one, two] = layers();
    let small = Small::new(&[&[&base, &one], &[&base, &two]]);
    let expected = small.cold(1, "agent");
    let first = small.pull("store", 0, "agent").path;
    let (sound, side) = (
        fs::read(&first).unwrap(),
        fs::read(side_of(&first)).unwrap(),
    );
    let mut copied = 0;
    for at in positions(&sound, 60) {
        let mut spoiled = sound.clone();
        spoiled[at] ^= 1 << (at % 8);
        fs::write(&first, &spoiled).unwrap();
        fs::write(side_of(&first), &side).unwrap();
        let second = small.pull("store", 1, "agent");
        assert!(
            fs::read(&second.path).unwrap() == expected,
            "byte {at}: the bytes differ"
        );
        copied += second.built.unwrap().reuse.layers;
        fs::remove_file(&second.path).unwrap();
        fs::remove_file(side_of(&second.path)).unwrap();
    }
    assert_eq!(
        copied, 0,
        "one chunk covers the image, so no flip goes unnoticed"
    );
    fs::write(&first, &sound).unwrap();
    fs::write(side_of(&first), &side).unwrap();
    let second = small.pull("store", 1, "agent");
    assert_eq!(second.built.unwrap().reuse.layers, 1);
}

#[test]
fn any_spoiled_side_file_costs_time_and_no_byte() {
    let [base, one, two] = layers();
    let other = Layer::new().file("other", noise(5, 5000));
    let small = Small::new(&[&[&base, &one], &[&base, &two], &[&other, &base]]);
    let expected = small.cold(1, "agent");
    let first = small.pull("store", 0, "agent").path;
    let side = side_of(&first);
    let good = fs::read(&side).unwrap();
    let foreign = small.pull("elsewhere", 2, "agent").path;
    let stale = small.pull("stale", 0, "another agent").path;
    let again = |what: &str| {
        let second = small.pull("store", 1, "agent");
        assert!(
            fs::read(&second.path).unwrap() == expected,
            "{what}: the bytes differ"
        );
        fs::remove_file(&second.path).unwrap();
        fs::remove_file(side_of(&second.path)).unwrap();
        second.built.unwrap().reuse.layers
    };
    assert_eq!(again("sound"), 1);
    for at in positions(&good, 80) {
        let mut spoiled = good.clone();
        spoiled[at] ^= 1 << (at % 8);
        fs::write(&side, &spoiled).unwrap();
        again(&format!("byte {at}"));
    }
    for length in [0, 1, 47, 48, 49, good.len() / 2, good.len() - 1] {
        fs::write(&side, &good[..length]).unwrap();
        assert_eq!(again(&format!("cut at {length}")), 0);
    }
    for (what, bytes) in [
        ("of another image", fs::read(side_of(&foreign)).unwrap()),
        (
            "of the image with another agent",
            fs::read(side_of(&stale)).unwrap(),
        ),
        ("with more at its end", [&good[..], b"x"].concat()),
        ("noise", noise(9, good.len())),
        ("zeros", vec![0; good.len()]),
    ] {
        fs::write(&side, bytes).unwrap();
        assert_eq!(again(what), 0, "{what}");
    }
    // Offsets count from the beginning, where the same sections are.
    fs::write(&side, [good.clone(), good.clone()].concat()).unwrap();
    assert_eq!(again("twice"), 1);
    fs::remove_file(&side).unwrap();
    assert_eq!(again("gone"), 0);
    fs::write(&side, &good).unwrap();
    assert_eq!(again("sound again"), 1);
}

#[test]
fn recovered_bodies_are_copied_without_a_request() {
    // A newer layer replaces the names that were read first, and older links keep the files.
    let base = Layer::new()
        .dir("a")
        .file("a/kept", noise(3, 20_000))
        .file("a/short", noise(4, 99))
        .file("a/gone", noise(5, 5000))
        .hardlink("first", "a/kept")
        .hardlink("second", "a/short");
    let hides = Layer::new()
        .file("a/kept", "new")
        .file("a/short", "newer")
        .whiteout("a/gone");
    let app = Layer::new().file("app", noise(6, 100)).whiteout("a/gone");
    let small = Small::new(&[&[&base, &hides], &[&base, &app]]);
    let first = small.pull("store", 0, "agent");
    let summary = first.built.unwrap();
    assert_eq!(summary.flattened.layers_read_again, [0]);
    for agent in ["another agent", "agent"] {
        small.registry.clear_requests();
        let again = small.pull("store", 0, agent);
        assert!(
            small.registry.requests().is_empty(),
            "{:?}",
            small.registry.requests()
        );
        assert_eq!(again.built.unwrap().reuse.layers, 2);
        assert!(
            fs::read(again.path).unwrap() == small.cold(0, agent),
            "the bytes differ"
        );
        fs::remove_dir_all(small.directory(&format!("cold 0 {agent}"))).unwrap();
    }
    // They are as good as any other body for another image.
    let second = small.pull("store", 1, "agent");
    assert_eq!(second.built.unwrap().reuse.layers, 1);
    assert!(
        fs::read(second.path).unwrap() == small.cold(1, "agent"),
        "the bytes differ"
    );
}

/// Runs `pull` with so many descriptors.
fn pull_with(place: &Place, reference: &str, descriptors: u32) -> Outcome {
    let mut command = place.command("sh");
    command
        .args(["-c", "ulimit -n \"$1\"; shift; exec \"$@\"", "sh"])
        .arg(descriptors.to_string())
        .arg(program())
        .args(["pull", reference, "--agent"])
        .arg(place.agent());
    outcome(&mut command)
}

#[test]
fn descriptors_that_suffice_for_a_cold_build_suffice_for_reuse() {
    const LAYERS: u64 = 24;
    let layers: Vec<_> = (0..LAYERS)
        .map(|n| Layer::new().file(format!("file {n}"), noise(n, 3000)))
        .collect();
    let all: Vec<&Layer> = layers.iter().collect();
    let single: Vec<[&Layer; 1]> = layers.iter().map(|layer| [layer]).collect();
    let mut images: Vec<&[&Layer]> = single.iter().map(|image| &image[..]).collect();
    images.push(&all);
    let small = Small::new(&images);
    let place = Place::new();
    for reference in &small.references[..images.len() - 1] {
        place.pull(reference, &[]).line();
    }
    let reference = small.references.last().unwrap();
    let before: BTreeSet<_> = place.cached().into_iter().collect();
    let (mut scarce, mut enough) = (0, 0);
    for descriptors in [24, 32, 40, 48, 64, 128] {
        let empty = Place::new();
        let cold = pull_with(&empty, reference, descriptors);
        let warm = pull_with(&place, reference, descriptors);
        if cold.status != Some(0) {
            scarce += 1;
            continue;
        }
        enough += 1;
        assert_eq!(
            fs::read(warm.line()).unwrap(),
            fs::read(cold.line()).unwrap(),
            "{descriptors} descriptors"
        );
        fs::remove_file(warm.line()).unwrap();
        let after: BTreeSet<_> = place.cached().into_iter().collect();
        assert_eq!(
            after, before,
            "{descriptors} descriptors: no source is lost"
        );
    }
    assert!(
        enough > 2,
        "{scarce} of the limits are too strict for any build"
    );
}
