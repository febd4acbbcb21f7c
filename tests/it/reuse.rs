//! The second image: what the store knows is copied instead of being fetched, and the bytes are those of a cold build.

use std::fs;
use std::path::PathBuf;

use test_support::image::{Compression, Layer, Store};
use test_support::registry::Registry;

use crate::cli::{self, Place};
use crate::reuse_place::{add, side_of};
use crate::store_damage::noise;

/// Images of one registry, by their names.
pub(crate) struct Served {
    pub(crate) registry: Registry,
    pub(crate) references: Vec<String>,
    pub(crate) digests: Vec<String>,
    /// Digests of the blobs of each image's layers, oldest first.
    blobs: Vec<Vec<String>>,
}

pub(crate) fn serve(images: &[&[&Layer]]) -> Served {
    let mut store = Store::new();
    let digests = add(images, &mut store);
    let digests: Vec<_> = digests.iter().map(ToString::to_string).collect();
    let registry = Registry::serve(store).unwrap();
    let references = digests
        .iter()
        .map(|digest| format!("{}/image@{digest}", registry.addr()));
    Served {
        references: references.collect(),
        blobs: images
            .iter()
            .map(|layers| layers.iter().map(|layer| layer.blob_digest()).collect())
            .collect(),
        registry,
        digests,
    }
}

impl Served {
    /// Pulls an image, and returns its path and what is said of reuse.
    pub(crate) fn pull(
        &self,
        place: &Place,
        image: usize,
        more: &[&str],
    ) -> (PathBuf, serde_json::Value) {
        let more = [&["--json"][..], more].concat();
        let outcome = place.pull(&self.references[image], &more).json();
        (
            outcome["path"].as_str().unwrap().into(),
            outcome["built"]["reuse"].clone(),
        )
    }

    /// Returns what a cold build in an empty place makes.
    pub(crate) fn cold(&self, image: usize, more: &[&str]) -> Vec<u8> {
        let place = Place::new();
        let (path, reuse) = self.pull(&place, image, more);
        assert_eq!(reuse["layers"], 0);
        fs::read(path).unwrap()
    }

    /// Returns which layers of an image were asked for since the last time.
    pub(crate) fn fetched(&self, image: usize) -> Vec<usize> {
        let fetched = self.fetched_of(image);
        self.registry.clear_requests();
        fetched
    }

    /// Returns the same, and keeps what was asked for.
    pub(crate) fn fetched_of(&self, image: usize) -> Vec<usize> {
        let requests = self.registry.requests();
        let layers = self.blobs[image].iter().enumerate();
        let asked = layers.filter(|(_, blob)| {
            requests
                .iter()
                .any(|request| request.path.contains(blob.as_str()))
        });
        asked.map(|(layer, _)| layer).collect()
    }
}

pub(crate) fn base() -> Layer {
    let mut layer = Layer::new()
        .dir("usr")
        .dir("usr/lib")
        .symlink("lib", "usr/lib");
    for n in 0..300_u64 {
        let length = 100 + usize::try_from(n * n % 3000).unwrap();
        layer = layer.file(format!("usr/lib/{n}"), noise(n, length));
    }
    layer.file("usr/lib/big", noise(999, 700_000))
}

pub(crate) fn middle() -> Layer {
    Layer::new()
        .file("usr/lib/middle", noise(1, 400_000))
        .hardlink("usr/lib/hard", "usr/lib/3")
        .whiteout("usr/lib/7")
        .compressed(Compression::Zstd)
}

pub(crate) fn app(seed: u64) -> Layer {
    Layer::new()
        .dir("app")
        .file("app/program", noise(seed, 50_000))
}

#[test]
fn another_app_layer_fetches_nothing_else() {
    let (base, middle, one, two) = (base(), middle(), app(1), app(2));
    let served = serve(&[&[&base, &middle, &one], &[&base, &middle, &two]]);
    let place = Place::new();
    let (first, _) = served.pull(&place, 0, &[]);
    assert_eq!(fs::read(first).unwrap(), served.cold(0, &[]));
    served.registry.clear_requests();
    let (second, reuse) = served.pull(&place, 1, &[]);
    assert_eq!(served.fetched(1), [2]);
    assert_eq!(reuse["layers"], 2);
    assert!(reuse["bytes"].as_u64().unwrap() > 1_000_000, "{reuse}");
    assert_eq!(reuse["sources"], serde_json::json!([served.digests[0]]));
    assert!(
        fs::read(second).unwrap() == served.cold(1, &[]),
        "the bytes differ"
    );
}

#[test]
fn another_agent_asks_the_registry_for_nothing() {
    let (base, middle) = (base(), middle());
    let served = serve(&[&[&base, &middle]]);
    let place = Place::new();
    served.pull(&place, 0, &[]);
    let agent = place.path("other-agent");
    fs::write(&agent, "#!/other\n").unwrap();
    served.registry.clear_requests();
    let more = ["--json"];
    let outcome = place.run(
        [
            "pull",
            &served.references[0],
            "--agent",
            agent.to_str().unwrap(),
        ]
        .iter()
        .chain(&more),
    );
    let outcome = outcome.json();
    let requests = served.registry.requests();
    assert!(requests.is_empty(), "{requests:?}");
    assert_eq!(outcome["built"]["reuse"]["layers"], 2);
    let cold = Place::new();
    fs::write(cold.agent(), "#!/other\n").unwrap();
    let (path, _) = served.pull(&cold, 0, &[]);
    let found = fs::read(outcome["path"].as_str().unwrap()).unwrap();
    assert!(found == fs::read(path).unwrap(), "the bytes differ");
}

/// Layers that docker packed from aufs keep a file with several names under a name of their own.
#[test]
fn aufs_layer_is_copied_from_an_earlier_build() {
    let aufs = Layer::new()
        .dir(".wh..wh.plnk")
        .file(".wh..wh.plnk/7.9", noise(7, 90_000))
        .dir("usr")
        .hardlink("usr/one", ".wh..wh.plnk/7.9")
        .hardlink("usr/two", ".wh..wh.plnk/7.9");
    let (one, two) = (app(1), app(2).whiteout("usr/one"));
    let served = serve(&[&[&aufs, &one], &[&aufs, &two]]);
    let place = Place::new();
    served.pull(&place, 0, &[]);
    served.registry.clear_requests();
    let (path, reuse) = served.pull(&place, 1, &[]);
    assert_eq!((served.fetched(1), &reuse["layers"]), (vec![1], &1.into()));
    assert!(fs::read(path).unwrap() == served.cold(1, &[]));
}

#[test]
fn layers_in_another_order_and_with_gaps_are_copied() {
    let (base, middle, one, two) = (base(), middle(), app(1), app(2));
    let scattered = (0..40).fold(Layer::new(), |layer, n| {
        layer.file(format!("usr/lib/{}", n * 7), noise(5000 + n, 900))
    });
    let images: &[&[&Layer]] = &[
        &[&base, &middle, &one],
        &[&base, &two],
        &[&base, &one],
        &[&one, &base],
        &[&base, &two, &middle, &one],
        &[&two, &base, &middle],
        &[&base, &base],
        &[&base, &scattered],
        &[&base, &scattered, &middle],
    ];
    let served = serve(images);
    let place = Place::new();
    for image in 0..images.len() {
        let (path, _) = served.pull(&place, image, &[]);
        assert!(
            fs::read(path).unwrap() == served.cold(image, &[]),
            "image {image} differs"
        );
    }
    // All of their layers are in the store now, in some image alive.
    for image in 0..images.len() {
        assert_eq!(place.run(["untag", &served.digests[image]]).status, Some(0));
        served.registry.clear_requests();
        let (path, reuse) = served.pull(&place, image, &[]);
        assert!(
            fs::read(path).unwrap() == served.cold(image, &[]),
            "image {image} differs"
        );
        assert!(reuse["layers"].as_u64() > Some(0), "image {image}: {reuse}");
    }
}

#[test]
fn a_body_that_was_dead_is_fetched_when_it_lives() {
    let (base, one) = (base(), app(1));
    let hides = Layer::new().whiteout("usr").file("etc", "a file");
    let served = serve(&[&[&base, &hides], &[&base, &one]]);
    let place = Place::new();
    served.pull(&place, 0, &[]);
    served.registry.clear_requests();
    let (path, reuse) = served.pull(&place, 1, &[]);
    assert_eq!(served.fetched(1), [0, 1]);
    assert_eq!(reuse["layers"], 0);
    assert!(
        fs::read(path).unwrap() == served.cold(1, &[]),
        "the bytes differ"
    );
}

#[test]
fn other_options_for_blocks_copy_nothing() {
    let (base, one, two) = (base(), app(1), app(2));
    let served = serve(&[&[&base, &one], &[&base, &two]]);
    for more in [
        &["--compressor", "gzip"][..],
        &["--compressor", "lz4"],
        &["--level", "7"],
        &["--block-size", "64K"],
        &["--tails", "no"],
    ] {
        let place = Place::new();
        served.pull(&place, 0, &[]);
        let (path, reuse) = served.pull(&place, 1, more);
        assert_eq!(reuse["layers"], 0, "{more:?}");
        let expected = served.cold(1, more);
        assert!(
            fs::read(path).unwrap() == expected,
            "{more:?}: the bytes differ"
        );
        // Both know it now, each in its own way.
        assert_eq!(place.run(["untag", &served.digests[0]]).status, Some(0));
        let (path, reuse) = served.pull(&place, 0, more);
        assert_eq!(reuse["layers"], 1, "{more:?}");
        assert!(
            fs::read(path).unwrap() == served.cold(0, more),
            "{more:?}: the bytes differ"
        );
    }
    let place = Place::new();
    served.pull(&place, 0, &[]);
    let (_, reuse) = served.pull(&place, 1, &["--no-reuse"]);
    assert_eq!(reuse["layers"], 0);
}

#[test]
fn spoiled_side_files_cost_time_and_no_byte() {
    let (base, middle, one, two) = (base(), middle(), app(1), app(2));
    let served = serve(&[&[&base, &middle, &one], &[&base, &middle, &two]]);
    let expected = served.cold(1, &[]);
    let place = Place::new();
    let (first, _) = served.pull(&place, 0, &[]);
    let side = side_of(&first);
    let good = fs::read(&side).unwrap();
    let artifact = fs::metadata(&first).unwrap().len();
    assert!(
        good.len() as u64 * 100 < artifact * 3,
        "{} of {artifact}",
        good.len()
    );
    let again = |what: &str| {
        let (path, reuse) = served.pull(&place, 1, &[]);
        assert!(
            fs::read(path).unwrap() == expected,
            "{what}: the bytes differ"
        );
        assert_eq!(place.run(["untag", &served.digests[1]]).status, Some(0));
        reuse["layers"].as_u64().unwrap()
    };
    assert_eq!(again("sound"), 2);
    let step = good.len() / 60;
    for at in (0..good.len()).step_by(step) {
        let mut spoiled = good.clone();
        spoiled[at] ^= 0x10;
        fs::write(&side, &spoiled).unwrap();
        again(&format!("a bit at {at}"));
        fs::write(&side, &good[..at]).unwrap();
        assert_eq!(again(&format!("cut at {at}")), 0);
    }
    fs::write(&side, noise(77, 10_000)).unwrap();
    assert_eq!(again("noise"), 0);
    fs::remove_file(&side).unwrap();
    assert_eq!(again("gone"), 0);
    std::os::unix::fs::symlink("/dev/zero", &side).unwrap();
    assert_eq!(again("a link"), 0);
}

#[test]
fn damaged_source_is_noticed_and_quarantined() {
    let (base, middle, one, two) = (base(), middle(), app(1), app(2));
    let served = serve(&[&[&base, &middle, &one], &[&base, &middle, &two]]);
    let expected = served.cold(1, &[]);
    let sound = served.cold(0, &[]);
    for at in [5000, 700_000, 1_200_000] {
        let place = Place::new();
        let (first, _) = served.pull(&place, 0, &[]);
        let mut spoiled = sound.clone();
        spoiled[at] ^= 1;
        fs::write(&first, &spoiled).unwrap();
        let outcome = place.pull(&served.references[1], &["--json"]);
        let directory = place.cache();
        let warning = format!(
            "the artifact {} in {} is not copied from: it is damaged and was quarantined",
            served.digests[0],
            directory.display()
        );
        assert_eq!(outcome.stderr.matches(&warning).count(), 1, "{outcome:#?}");
        let outcome = outcome.json();
        let (path, reuse) = (&outcome["path"], &outcome["built"]["reuse"]);
        assert!(
            fs::read(path.as_str().unwrap()).unwrap() == expected,
            "{at}: the bytes differ"
        );
        assert_eq!(reuse["layers"], 0, "{at}");
        assert!(!first.exists(), "{at}: it was not set aside");
    }
}

#[test]
fn side_files_go_with_their_artifacts() {
    let (base, one) = (base(), app(1));
    let served = serve(&[&[&base, &one]]);
    let place = Place::new();
    let (first, _) = served.pull(&place, 0, &[]);
    assert!(side_of(&first).exists());
    assert_eq!(place.run(["untag", &served.digests[0]]).status, Some(0));
    assert!(!side_of(&first).exists());
    let (first, _) = served.pull(&place, 0, &[]);
    place.run(["gc", "--max-size", "0"]);
    assert!(!first.exists() && !side_of(&first).exists());
    let (first, _) = served.pull(&place, 0, &[]);
    fs::remove_file(&first).unwrap();
    place.run(["gc"]);
    assert!(!side_of(&first).exists());
}

#[test]
fn lowered_limits_give_the_error_of_a_cold_build() {
    let (base, one, two) = (base(), app(1), app(2));
    let served = serve(&[&[&base, &one], &[&base, &two]]);
    let place = Place::new();
    served.pull(&place, 0, &[]);
    for limit in [
        ["--max-entries", "100"],
        ["--max-bytes", "100K"],
        ["--max-unpacked", "100K"],
        ["--max-layer-bytes", "100K"],
        ["--max-path", "5"],
        ["--max-depth", "1"],
        ["--max-metadata", "20K"],
    ] {
        let warm = place.pull(&served.references[1], &limit);
        let cold = Place::new().pull(&served.references[1], &limit);
        assert_eq!(warm.status, Some(1), "{limit:?}");
        let error = |outcome: &cli::Outcome| {
            let lines = outcome
                .stderr
                .lines()
                .filter(|line| line.starts_with("error"));
            lines.collect::<Vec<_>>().join("\n")
        };
        assert!(!error(&cold).is_empty(), "{limit:?}: {cold:?}");
        assert_eq!(error(&warm), error(&cold), "{limit:?}");
    }
}
