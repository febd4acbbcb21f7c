//! Images of many layers: what their builds leave for later ones, and that those take all of it.

use std::fs;

use test_support::image::Layer;

use crate::cli::Place;
use crate::reuse::serve;
use crate::reuse_place::{Stores, side_of};

/// Layers of one file each.
fn tiny(count: usize) -> Vec<Layer> {
    let layers = (0..count).map(|n| Layer::new().file(format!("f{n}"), n.to_string()));
    layers.collect()
}

#[test]
fn thousand_tiny_layers_are_copied_in_another_order() {
    const LAYERS: usize = 1000;
    let layers = tiny(LAYERS + 1);
    let all: Vec<&Layer> = layers.iter().collect();
    let (new, known) = all.split_last().unwrap();
    // Each layer has another neighbor than before.
    let mut other: Vec<_> = (0..LAYERS).map(|n| known[n * 7 % LAYERS]).collect();
    other.insert(LAYERS / 3, new);
    let served = serve(&[known, &other]);
    let place = Place::new();
    let (first, _) = served.pull(&place, 0, &[]);
    // 256 KiB, 1280 bytes for each layer, and an eighth of the image.
    let beside = fs::metadata(side_of(&first)).unwrap().len();
    let allowed = (256 << 10) + 1280 * LAYERS as u64 + fs::metadata(&first).unwrap().len() / 8;
    assert!(beside <= allowed, "{beside} of {allowed}");
    served.registry.clear_requests();
    let (second, reuse) = served.pull(&place, 1, &[]);
    assert_eq!(served.fetched(1), [LAYERS / 3]);
    assert_eq!(reuse["layers"], LAYERS);
    assert!(fs::read(second).unwrap() == served.cold(1, &[]));
}

#[test]
fn image_of_more_layers_than_allowed_leaves_nothing() {
    const MOST: usize = 4096;
    let layer = Layer::new().file("file", "file");
    let more = [&layer; MOST + 1];
    let stores = Stores::new(&[&more]);
    let mut options = stores.options();
    options.limits.layers = more.len();
    let artifact = stores.pull("store", 0, &options).path;
    assert!(artifact.exists() && !side_of(&artifact).exists());
}
