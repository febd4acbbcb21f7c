//! Builds that copy and are killed.

use std::fs;

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
    let mut finished = 0;
    for kill in 0..KILLS {
        let image = 1 + usize::try_from(kill % 5).unwrap();
        let mut command = place.command(cli::program());
        command
            .args(["--quiet", "pull", &served.references[image], "--agent"])
            .arg(&agent);
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(kill * 37 % 120));
        // It may have ended before.
        let _ = child.kill();
        finished += u64::from(child.wait().unwrap().success());
        if kill % 20 == 19 {
            place.run(["gc"]);
        }
        if kill % 7 == 6 {
            place.run(["untag", &served.digests[image]]);
        }
    }
    assert!(finished < KILLS, "no build was killed");
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
