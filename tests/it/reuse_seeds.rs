//! Stores of others that a build copies from.

use std::fs;
use std::path::Path;

use serde_json::json;
use test_support::image::{Image, Index, Layer, Store};
use test_support::registry::Registry;

use crate::cli::{Outcome, Place};
use crate::reuse::{app, base, middle, serve};

#[test]
fn seeds_are_copied_from_and_never_written() {
    let (base, middle, one, two) = (base(), middle(), app(1), app(2));
    let served = serve(&[&[&base, &middle, &one], &[&base, &middle, &two]]);
    let (seed, place) = (Place::new(), Place::new());
    served.pull(&seed, 0, &[]);
    let listing = || {
        let entries = fs::read_dir(seed.cache()).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                (
                    entry.file_name(),
                    metadata.len(),
                    metadata.modified().unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    };
    let before = listing();
    served.registry.clear_requests();
    let cache = seed.cache();
    let missing = place.path("missing");
    // Relative to the directory that the program runs in, which is the place's own.
    let relative = Path::new("..")
        .join(cache.parent().unwrap().file_name().unwrap())
        .join("cache");
    let more = [
        "--seed",
        missing.to_str().unwrap(),
        "--seed",
        relative.to_str().unwrap(),
    ];
    let (path, reuse) = served.pull(&place, 1, &more);
    assert_eq!(served.fetched(1), [2]);
    assert_eq!(reuse["sources"], serde_json::json!([served.digests[0]]));
    assert!(
        fs::read(path).unwrap() == served.cold(1, &[]),
        "the bytes differ"
    );
    let untagged = place.run(["untag", &served.digests[1]]);
    assert_eq!(untagged.status, Some(0));
    let told = place.pull(&served.references[1], &more);
    let warning = format!("the seed {} is passed over", missing.display());
    assert!(told.stderr.contains(&warning), "{told:#?}");
    // The image of the seed itself needs no request at all.
    served.registry.clear_requests();
    let (path, _) = served.pull(&place, 0, &more);
    assert!(served.registry.requests().is_empty());
    assert!(
        fs::read(path).unwrap() == served.cold(0, &[]),
        "the bytes differ"
    );
    assert_eq!(listing(), before);
    // A damaged seed costs time.
    let artifact = cache.join(format!("{}.sqsh", served.digests[0].replace(':', "-")));
    let mut bytes = fs::read(&artifact).unwrap();
    bytes[5000] ^= 1;
    fs::write(&artifact, &bytes).unwrap();
    assert_eq!(place.run(["untag", &served.digests[1]]).status, Some(0));
    assert_eq!(place.run(["untag", &served.digests[0]]).status, Some(0));
    let (path, _) = served.pull(&place, 1, &more);
    assert!(
        fs::read(path).unwrap() == served.cold(1, &[]),
        "the bytes differ"
    );
    assert!(
        fs::read(&artifact).unwrap() == bytes,
        "the seed was written"
    );
}

/// An index for arm64 and amd64, whose images have the same layer.
pub(crate) struct Both {
    pub(crate) registry: Registry,
    /// The tag of the index.
    pub(crate) reference: String,
    /// Digest of the index.
    pub(crate) index: String,
    /// Digest of the manifest for amd64.
    pub(crate) amd64: String,
}

impl Both {
    pub(crate) fn serve() -> Self {
        let mut store = Store::new();
        let [arm64, amd64] = ["linux/arm64", "linux/amd64"].map(|platform| {
            let layer = Layer::new().file("a", "a");
            Image::new().platform(platform).layer(layer)
        });
        let manifest = amd64.add_to(&mut store).digest;
        let index = Index::new().image(arm64).image(amd64).add_to(&mut store);
        store.tag("both", &index);
        let registry = Registry::serve(store).unwrap();
        Self {
            reference: format!("{}/image:both", registry.addr()),
            registry,
            index: index.digest,
            amd64: manifest,
        }
    }

    pub(crate) fn pull(&self, place: &Place, platform: &str, more: &[&str]) -> Outcome {
        let arguments = ["pull", "-q", &self.reference, "--no-agent", "--platform"];
        place.run(arguments.iter().chain(&[platform]).chain(more))
    }
}

/// GoogleContainerTools/jib#2655, moby/moby#46765: what another platform left is not what is missing.
#[test]
fn seed_has_the_documents_of_another_platform() {
    let both = Both::serve();
    let (seed, place) = (Place::new(), Place::new());
    let cold = both.pull(&seed, "linux/amd64", &[]).line().to_owned();
    both.pull(&place, "linux/arm64", &[]).line();
    both.registry.clear_requests();
    let pull = |more: &[&str]| {
        let outcome = both.pull(&place, "linux/amd64", &[&["--offline"], more].concat());
        assert!(both.registry.requests().is_empty());
        outcome
    };
    let alone = pull(&[]);
    assert_eq!(alone.status, Some(1), "{alone:#?}");
    let lacks = format!(
        "the store does not hold the manifest {} for linux/amd64;",
        both.amd64
    );
    assert!(alone.stderr.contains(&lacks), "{alone:#?}");
    assert!(!alone.stderr.contains(&both.index), "{alone:#?}");
    let seeds = ["--seed", seed.cache().to_str().unwrap()].map(str::to_owned);
    let seeded = pull(&[&seeds[0], &seeds[1]]);
    let bytes = fs::read(seeded.line()).unwrap();
    assert!(bytes == fs::read(cold).unwrap(), "the bytes differ");
    // The documents go with the artifact.
    pull(&["--time", "7"]).line();
}

/// GoogleContainerTools/jib#2658, containerd/containerd#2410.
#[test]
fn error_of_kept_documents_is_that_of_the_registry() {
    let both = Both::serve();
    let place = Place::new();
    both.pull(&place, "linux/arm64", &[]).line();
    let same = |[offline, online]: [Outcome; 2], text: &str| {
        for outcome in [&offline, &online] {
            assert_eq!(outcome.status, Some(1), "{outcome:#?}");
            assert!(outcome.stderr.contains(text), "{outcome:#?}");
        }
        let [offline, online] = [offline, online].map(|outcome| {
            let at = outcome.stderr.find(text).unwrap();
            outcome.stderr[at..].to_owned()
        });
        assert_eq!(offline, online);
    };
    let errors = [&["--offline"][..], &[]].map(|more| both.pull(&place, "linux/s390x", more));
    same(errors, " has no image for linux/s390x; it has linux/");

    // A pull that names its platform takes the image that the index lists for it.
    let [host, other] = match std::env::consts::ARCH {
        "aarch64" => ["arm64", "amd64"],
        _ => ["amd64", "arm64"],
    };
    let mut store = Store::new();
    let image = Image::new().platform(&format!("linux/{other}"));
    let image = image.layer(Layer::new().file("a", "a")).add_to(&mut store);
    let listed = image.with_platform(json!({ "os": "linux", "architecture": host }));
    let index = Index::new().member(listed).add_to(&mut store);
    store.tag("lie", &index);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/image:lie", registry.addr());
    let pull = |more: &[&str]| {
        let arguments = ["pull", "-q", &reference, "--no-agent"];
        place.run(arguments.iter().chain(more))
    };
    pull(&["--platform", &format!("linux/{host}")]).line();
    let errors = [&["--offline", "--time", "7"][..], &["--time", "7"]].map(pull);
    same(errors, ": the index says that this image is for linux/");
}
