//! Which layers a build requests, and what it leaves for later ones, for images of few and of a thousand layers.

use std::fs;

use test_support::image::Layer;

use crate::cli::Place;
use crate::reuse::{app, serve};
use crate::reuse_place::{Stores, side_of};
use crate::store_damage::noise;

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

#[test]
fn layer_that_replaces_scattered_files_is_fetched_alone() {
    let base = (0..2000_u64).fold(Layer::new().dir("d"), |layer, n| {
        let length = 50 + usize::try_from(n * n % 700).unwrap();
        layer.file(format!("d/{n}"), noise(n, length))
    });
    let base = base.file("d/big", noise(5000, 300_000));
    let scattered = (0..400_u64).fold(Layer::new(), |layer, n| {
        layer.file(format!("d/{}", n * 7 % 2000), noise(9000 + n, 400))
    });
    let served = serve(&[&[&base], &[&base, &scattered]]);
    let place = Place::new();
    served.pull(&place, 0, &[]);
    served.registry.clear_requests();
    let (path, reuse) = served.pull(&place, 1, &[]);
    assert_eq!((served.fetched(1), &reuse["layers"]), (vec![1], &1.into()));
    assert!(fs::read(path).unwrap() == served.cold(1, &[]));
}

/// Each is in an image of its own, or in one that hides nothing of it.
#[test]
fn layers_held_by_several_images_are_copied_in_any_order() {
    let a = (0..20).fold(Layer::new().dir("usr"), |layer, n| {
        layer.file(format!("usr/{n}"), noise(n, 1000))
    });
    let (b, c, d) = (app(3), app(1), app(2));
    let b = b.whiteout("usr/7").file("usr/8", "replaced");
    let all = [&a, &b, &c, &d];
    let mut images: Vec<Vec<&Layer>> = vec![vec![&a], vec![&c, &b], vec![&c], vec![&d]];
    let held = images.len();
    for order in 0..24 {
        let mut left = all.to_vec();
        let order = [order / 6, order / 2 % 3, order % 2, 0];
        images.push(order.map(|next| left.remove(next)).into());
    }
    // One layer less, and one twice.
    images.push(vec![&b, &a, &d]);
    images.push(vec![&d, &a, &d]);
    let images: Vec<&[&Layer]> = images.iter().map(Vec::as_slice).collect();
    let served = serve(&images);
    let place = Place::new();
    for image in 0..held {
        served.pull(&place, image, &[]);
    }
    for (image, layers) in images.iter().enumerate().skip(held) {
        served.registry.clear_requests();
        let (path, reuse) = served.pull(&place, image, &[]);
        assert!(served.fetched(image).is_empty(), "image {image}");
        assert_eq!(reuse["layers"], layers.len(), "image {image}");
        assert!(
            fs::read(path).unwrap() == served.cold(image, &[]),
            "image {image}"
        );
        assert_eq!(place.run(["untag", &served.digests[image]]).status, Some(0));
    }
    for image in 0..held {
        assert_eq!(place.run(["untag", &served.digests[image]]).status, Some(0));
    }
    assert_eq!(place.run(["gc"]).status, Some(0));
    let left = fs::read_dir(place.cache()).unwrap();
    let bytes: u64 = left
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes <= 64 << 10, "{bytes} bytes are left");
}

/// To copy a small file, a whole chunk of its artifact has to be compared with the record.
#[test]
fn small_layers_of_many_large_artifacts_are_copied() {
    const IMAGES: usize = 76;
    let small = tiny(IMAGES);
    let big = Layer::new().file("big", noise(1, 1_010_000));
    let pairs: Vec<_> = small.iter().map(|small| [small, &big]).collect();
    let all: Vec<&Layer> = small.iter().collect();
    let mut images: Vec<&[&Layer]> = pairs.iter().map(|pair| &pair[..]).collect();
    images.push(&all);
    let stores = Stores::new(&images);
    let mut options = stores.options();
    // All descriptors that builds may take are this one's.
    options.store.builds = std::num::NonZeroUsize::MIN;
    for image in 0..IMAGES {
        stores.pull("store", image, &options);
    }
    assert_eq!(stores.equals_cold("store", IMAGES, &options), IMAGES);
}
