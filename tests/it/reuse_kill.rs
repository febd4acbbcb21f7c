//! Builds that copy and are killed.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use test_support::image::Layer;

use crate::cli::{self, Place};
use crate::reuse::{app, base, middle, serve};

#[test]
fn kills_during_reuse_leave_sound_artifacts_and_sources() {
    const KILLS: u64 = 300;
    let (base, middle) = (base(), middle());
    let apps: Vec<_> = (0..6).map(app).collect();
    let images: Vec<Vec<&Layer>> = apps.iter().map(|app| vec![&base, &middle, app]).collect();
    let images: Vec<&[&Layer]> = images.iter().map(Vec::as_slice).collect();
    let served = serve(&images);
    let expected: Vec<_> = (0..images.len())
        .map(|image| served.cold(image, &[]))
        .collect();
    let place = Place::new();
    let (source, _) = served.pull(&place, 0, &[]);
    let agent = place.agent();
    let start = |image: usize| {
        let mut command = place.command(cli::program());
        let pull = ["--quiet", "pull", &served.references[image], "--agent"];
        command.args(pull).arg(&agent);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let untag = |image: usize| place.run(["untag", &served.digests[image]]);
    let began = Instant::now();
    assert!(start(1).wait().unwrap().success());
    let whole = began.elapsed().min(Duration::from_millis(300));
    untag(1);
    served.registry.clear_requests();
    let (mut killed, mut collections) = (0, 0);
    // A build that ends before its signal is no kill, and the next one of its image would find an artifact.
    for (round, image) in (0..10 * KILLS).zip((1..images.len()).cycle()) {
        let mut child = start(image);
        // Beside the build: nothing is beyond the bounds but what killed ones left.
        let collection = (round % 10 == 9).then(|| {
            let mut command = place.command(cli::program());
            command.args(["gc", "--quiet", "--max-size", "1G"]);
            command.stdout(Stdio::null());
            command.spawn().unwrap()
        });
        std::thread::sleep(whole * u32::try_from(round * 37 % 100).unwrap() / 100);
        child.kill().unwrap();
        if let Some(mut collection) = collection {
            assert!(collection.wait().unwrap().success());
            collections += 1;
        }
        match child.wait().unwrap().success() {
            true => drop(untag(image)),
            false => killed += 1,
        }
        if killed == KILLS {
            break;
        }
    }
    assert_eq!(killed, KILLS);
    assert!(collections > 20, "{collections}");
    // Each of them copied, and no source was lost meanwhile.
    for image in 0..images.len() {
        let fetched = served.fetched_of(image);
        assert!(
            !fetched.contains(&0) && !fetched.contains(&1),
            "{fetched:?}"
        );
    }
    for (image, expected) in expected.iter().enumerate() {
        let path =
            source.with_file_name(format!("{}.sqsh", served.digests[image].replace(':', "-")));
        if let Ok(found) = fs::read(path) {
            assert!(found == *expected, "image {image} is no sound artifact");
        }
    }
    assert!(source.exists());
    served.registry.clear_requests();
    for (image, expected) in expected.iter().enumerate() {
        place.run(["untag", &served.digests[image]]);
        let (path, reuse) = served.pull(&place, image, &[]);
        assert!(
            fs::read(path).unwrap() == *expected,
            "image {image} differs"
        );
        // Some other image with the base is left, unless none was finished.
        assert!(
            image == 0 || reuse["layers"].as_u64() >= Some(2),
            "{image}: {reuse}"
        );
    }
}
