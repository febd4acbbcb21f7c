//! Stores of others that a build copies from.

use std::fs;
use std::path::Path;

use crate::cli::Place;
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
