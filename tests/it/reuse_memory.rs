//! What a build holds in memory while it copies from an earlier one.

use test_support::image::{Compression, Image, Layer, Store as Content};

use crate::cli::Place;
use crate::store_damage::noise;

/// The bound that docs/reuse.md gives.
const MOST: u64 = 96 << 20;

#[test]
fn peak_memory_of_a_build_that_copies_is_bounded() {
    const FILES: u64 = 24;
    const NAMES: u64 = 20_000;
    let mut base = Layer::new().dir("big").dir("small");
    for n in 0..FILES {
        base = base.file(format!("big/{n}"), noise(n, 2 << 20));
    }
    for n in 0..NAMES {
        base = base.file(format!("small/{n}"), n.to_string());
    }
    let base = base.compressed(Compression::None);
    // The neighbors of the replaced files have to be decompressed and packed again.
    let scattered = (0..200).fold(Layer::new(), |layer, n| {
        layer.file(format!("small/{}", n * 97), noise(n, 500))
    });
    let mut content = Content::new();
    let first = Image::new().layer(base.clone()).add_to(&mut content);
    let second = Image::new()
        .layer(base)
        .layer(scattered)
        .add_to(&mut content);
    let place = Place::new();
    content.write_layout(&place.path("layout")).unwrap();
    drop(content);
    let source = format!("oci:{}", place.path("layout").display());
    place.pull(&source, &["--digest", &first.digest]).line();
    let agent = place.agent();
    let (outcome, peak) = place.run_measured(&[
        "pull",
        &source,
        "--digest",
        &second.digest,
        "--block-size",
        "128K",
        "--threads",
        "2",
        "--json",
        "--agent",
        agent.to_str().unwrap(),
    ]);
    let reuse = outcome.json()["built"]["reuse"].clone();
    assert_eq!(reuse["layers"], 1, "{reuse}");
    assert!(reuse["bytes"].as_u64() > Some(FILES << 20), "{reuse}");
    assert!(peak <= MOST, "peak of {peak} bytes");
}
