//! What a build of a sealed artifact holds in memory.

use test_support::image::{Image, Layer, Store};

use crate::cli::Place;

/// A tree of 8 MB, of which at most 4 MiB of each level stay in memory.
const LENGTH: u64 = 1_000_000_000;
const MOST: u64 = 64_000_000;

#[test]
fn sealing_a_gigabyte_of_noise_takes_64_megabytes() {
    let mut content = Store::new();
    let image = Image::new()
        .layer(Layer::of_incompressible::<LENGTH>("noise"))
        .add_to(&mut content);
    content.tag("v1", &image);
    let place = Place::new();
    content.write_layout(&place.path("layout")).unwrap();
    let (outcome, peak) = place.run_measured(&[
        "build",
        "oci:layout:v1",
        "--no-agent",
        "--verity",
        "--threads",
        "2",
        "--json",
        "-o",
        "out",
    ]);
    let verity = &outcome.json()["record"]["verity"];
    assert!(
        verity["data_blocks"].as_u64() > Some(LENGTH / 4096),
        "{verity}"
    );
    assert!(peak <= MOST, "peak of {peak} bytes");
}
