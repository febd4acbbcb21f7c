//! Uncommon ways in which one image is like another: each build is what a cold one makes, whatever is copied.

use std::fs;
use std::os::unix::fs::symlink;

use hpcc_rootfs::{Bounds, Compressor, Options};
use test_support::image::{Compression, Entry, Layer};

use crate::reuse_place::{Stores, beside, side_of};
use crate::store_damage::noise;

/// Directories, a hard link, a file of several blocks, holes, a short one, an empty one, xattrs.
fn base() -> Layer {
    Layer::new()
        .dir("d")
        .dir("d/e")
        .file("d/e/deep", noise(1, 300))
        .file("d/big", noise(2, 20_000))
        .file("d/holes", [vec![0; 9000], noise(3, 100)].concat())
        .file("empty", "")
        .file("short", noise(4, 70))
        .hardlink("second", "d/big")
        .entry(Entry::file("noted", noise(5, 900)).xattr("user.note", "old"))
}

/// Pulls each image after those before it, and each of them again with only the last one left.
fn in_turn(stores: &Stores, options: &Options) -> Vec<usize> {
    let images = 0..stores.digests.len();
    let copied: Vec<_> = images
        .clone()
        .map(|image| stores.equals_cold("store", image, options))
        .collect();
    let last = stores.digests.len() - 1;
    for image in images {
        let store = stores.open("store", options);
        for digest in &stores.digests[..last] {
            store.untag_image(digest).unwrap();
        }
        stores.equals_cold("store", image, options);
    }
    copied
}

/// Returns stores for two images of one base.
fn siblings() -> Stores {
    let own = ["one", "two"].map(|name| Layer::new().file(name, name));
    let base = base();
    Stores::new(&[&[&base, &own[0]], &[&base, &own[1]]])
}

#[test]
fn layer_that_is_listed_twice_is_copied_twice() {
    let (base, app) = (base(), Layer::new().file("app", "1").whiteout("short"));
    let stores = Stores::new(&[
        &[&base],
        &[&base, &base],
        &[&base, &app, &base],
        &[&app, &base, &app],
    ]);
    assert_eq!(in_turn(&stores, &stores.options()), [0, 2, 2, 3]);
}

#[test]
fn same_archive_in_another_compression_is_another_layer() {
    let base = base();
    let others = [Compression::Gzip, Compression::Zstd, Compression::None];
    let [gzip, zstd, plain] = others.map(|compression| base.clone().compressed(compression));
    assert_eq!(gzip.diff_id(), zstd.diff_id());
    let app = Layer::new().file("app", "1");
    let stores = Stores::new(&[
        &[&gzip],
        &[&zstd],
        &[&zstd, &app],
        &[&gzip, &zstd, &plain],
        &[&plain, &gzip],
    ]);
    // A blob is known by its own digest as well as by that of the archive in it.
    assert_eq!(in_turn(&stores, &stores.options()), [0, 0, 1, 2, 2]);
}

#[test]
fn names_that_change_their_kind_between_layers_equal_cold_builds() {
    let base = base();
    let layers = [
        Layer::new().opaque("d").file("d/new", "new"),
        Layer::new().whiteout("d").symlink("d", "elsewhere"),
        Layer::new().symlink("d", "e"),
        Layer::new().dir("e").file("d/through", "the link"),
        Layer::new()
            .whiteout("d")
            .dir("d")
            .file("d/big", noise(2, 20_000)),
        Layer::new().hardlink("third", "d/big").whiteout("d/big"),
        Layer::new()
            .hardlink("d/e/fourth", "second")
            .file("second", "new"),
        Layer::new().entry(Entry::file("noted", noise(5, 900)).xattr("user.note", "new")),
        Layer::new().entry(Entry::file("noted", noise(5, 900))),
        Layer::new().entry(Entry::file("short", noise(4, 70)).mode(0o4711).owner(7, 8)),
        Layer::new().entry(Entry::file("short", noise(4, 70)).mtime(1_000_000)),
        Layer::new().file("d/holes", [vec![0; 9000], noise(3, 100)].concat()),
        Layer::new().entry(Entry::fifo("short")),
        Layer::new()
            .whiteout("second")
            .hardlink("short", "d/e/deep"),
    ];
    let mut images: Vec<Vec<&Layer>> = vec![vec![&base]];
    for layer in &layers {
        images.push(vec![&base, layer]);
    }
    for pair in layers.windows(2) {
        images.push(vec![&base, &pair[1], &pair[0]]);
    }
    let images: Vec<&[&Layer]> = images.iter().map(Vec::as_slice).collect();
    let stores = Stores::new(&images);
    let options = stores.options();
    let (mut copied, mut refused) = (0, 0);
    for image in 0..images.len() {
        match stores.try_pull("store", image, &options) {
            Ok(pulled) => {
                let same = fs::read(pulled.path).unwrap() == stores.cold(image, &options);
                assert!(same, "image {image} is not what a cold build makes");
                copied += pulled.built.unwrap().reuse.layers;
            }
            // Some pairs lead a link to a file that the layer before it removed.
            Err(warm) => {
                let mut options = options.clone();
                options.store.reuse = false;
                let cold = stores.try_pull("cold", image, &options).unwrap_err();
                assert_eq!(warm.to_string(), cold.to_string(), "image {image}");
                refused += 1;
            }
        }
    }
    assert!(copied > layers.len(), "{copied}");
    assert!(refused < 4, "{refused}");
}

#[test]
fn options_between_two_builds_decide_what_is_copied() {
    let stores = siblings();
    let plain = stores.options();
    let with = |change: fn(&mut Options)| {
        let mut options = stores.options();
        change(&mut options);
        options
    };
    for (n, (change, copied)) in [
        (
            (|options| options.image.time = 1_700_000_000) as fn(&mut Options),
            1,
        ),
        (|options| options.image.verity = true, 1),
        (
            |options| options.image.mount_points = vec!["/mnt".parse().unwrap()],
            1,
        ),
        (|options| options.image.block_size = 8192, 0),
        (|options| options.image.tails = false, 0),
        (
            |options| options.image.compressor = Compressor::Zstd { level: 4 },
            0,
        ),
        (
            |options| options.image.compressor = Compressor::Gzip { level: 3 },
            0,
        ),
        (
            |options| options.threads = std::num::NonZeroUsize::new(3).unwrap(),
            1,
        ),
        (|options| options.limits.metadata_bytes = 1 << 20, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let changed = with(change);
        for (direction, before, after) in [("there", &plain, &changed), ("back", &changed, &plain)]
        {
            let store = format!("{n} {direction}");
            stores.pull(&store, 0, before);
            let found = stores.equals_cold(&store, 1, after);
            assert_eq!(found, copied, "case {n}, {direction}");
            // The same image, built again.
            stores.equals_cold(&store, 0, after);
        }
    }
}

#[test]
fn empty_images_and_layers_equal_cold_builds() {
    let (base, empty) = (base(), Layer::new());
    let hides = Layer::new()
        .whiteout("d")
        .whiteout("empty")
        .whiteout("short")
        .whiteout("second")
        .whiteout("noted");
    let stores = Stores::new(&[
        &[],
        &[&empty],
        &[&empty, &empty],
        &[&empty, &base, &empty],
        &[&base, &hides],
        &[&base, &hides, &base],
        &[],
    ]);
    assert_eq!(in_turn(&stores, &stores.options()), [0, 0, 2, 2, 1, 3, 0]);
}

#[test]
fn artifact_without_agent_is_a_source_and_a_target() {
    let stores = siblings();
    let with = stores.options();
    let mut without = with.clone();
    without.no_agent = true;
    for (store, before, after) in [("there", &without, &with), ("back", &with, &without)] {
        stores.pull(store, 0, before);
        assert_eq!(stores.equals_cold(store, 1, after), 1, "{store}");
        assert_eq!(stores.equals_cold(store, 0, after), 2, "{store}");
    }
}

#[test]
fn many_images_on_one_base_copy_it_for_each() {
    const IMAGES: usize = 50;
    let base = base();
    let apps: Vec<_> = (0..IMAGES as u64)
        .map(|n| Layer::new().file("app", noise(n, 600)))
        .collect();
    let images: Vec<_> = apps.iter().map(|app| [&base, app]).collect();
    let images: Vec<&[&Layer]> = images.iter().map(|image| &image[..]).collect();
    let stores = Stores::new(&images);
    let options = stores.options();
    for image in 0..IMAGES {
        let pulled = stores.pull("store", image, &options);
        assert_eq!(pulled.built.unwrap().reuse.layers, usize::from(image > 0));
    }
    for image in [0, 1, IMAGES - 1] {
        let found = fs::read(
            stores
                .open("store", &options)
                .path_for(&stores.digests[image]),
        );
        assert!(
            found.unwrap() == stores.cold(image, &options),
            "image {image}"
        );
    }
}

#[test]
fn seed_that_is_the_store_itself_or_vanishes_costs_nothing() {
    let stores = siblings();
    let mut options = stores.options();
    stores.pull("store", 0, &options);
    // By its own name, by another one, and through a link.
    symlink(stores.path("store"), stores.path("alias")).unwrap();
    for seed in ["store", "cold/../store", "alias"] {
        fs::create_dir_all(stores.path("cold")).unwrap();
        options.store.seeds = vec![stores.path(seed)];
        assert_eq!(stores.equals_cold("store", 1, &options), 1, "{seed}");
        stores.remove("store", 1, &options);
    }
    let damaged = stores.open("store", &options).path_for(&stores.digests[0]);
    let sound = fs::read(&damaged).unwrap();
    let mut bytes = sound.clone();
    bytes[2000] ^= 1;
    fs::write(&damaged, &bytes).unwrap();
    assert_eq!(stores.equals_cold("store", 1, &options), 0);
    // A seed is removed while builds copy from it.
    for n in 0..20 {
        let seed = stores.path(&format!("seed {n}"));
        stores.pull(&format!("seed {n}"), 0, &stores.options());
        options.store.seeds = vec![seed.clone()];
        let expected = stores.cold(1, &options);
        let pulled = std::thread::scope(|scope| {
            let removed = scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_micros(n * 400));
                fs::remove_dir_all(&seed).unwrap();
            });
            let pulled = stores.pull(&format!("of seed {n}"), 1, &options);
            removed.join().unwrap();
            pulled
        });
        assert!(fs::read(pulled.path).unwrap() == expected, "seed {n}");
    }
}

#[test]
fn concurrent_pulls_share_a_source_while_it_is_collected() {
    let base = base();
    let apps: Vec<_> = (0..4)
        .map(|n| Layer::new().file(format!("app {n}"), noise(n, 600)))
        .collect();
    let images: Vec<_> = apps.iter().map(|app| [&base, app]).collect();
    let images: Vec<&[&Layer]> = images.iter().map(|image| &image[..]).collect();
    let stores = Stores::new(&images);
    let options = stores.options();
    let expected: Vec<_> = (0..images.len())
        .map(|image| stores.cold(image, &options))
        .collect();
    let mut bounds = Bounds::default();
    bounds.max_size = Some(0);
    for round in 0..12 {
        stores.pull("store", 0, &options);
        let wanted = [1, 2, 3, 1, 0];
        // An open file keeps the bytes of an artifact whose name is collected.
        let pulled = stores.pull_together("store", &wanted, &options, |store| {
            for digest in &stores.digests {
                if let Ok(file) = fs::File::open(store.path_for(digest)) {
                    let damage = hpcc_rootfs::verify_file(format!(
                        "/dev/fd/{}",
                        std::os::fd::AsRawFd::as_raw_fd(&file)
                    ));
                    assert_eq!(damage.unwrap(), [], "round {round}");
                }
            }
            let collected = store.gc(&bounds).unwrap();
            assert!(collected.failed.is_empty(), "{collected:?}");
        });
        for (image, pulled) in wanted.iter().zip(pulled) {
            // It may have been collected since.
            if let Ok(bytes) = fs::read(pulled.path) {
                assert!(bytes == expected[*image], "round {round}: image {image}");
            }
        }
        let store = stores.open("store", &options);
        store.gc(&bounds).unwrap();
        let left = fs::read_dir(store.directory()).unwrap().count();
        assert_eq!(left, 0, "round {round}");
    }
}

#[test]
fn side_file_of_another_version_is_passed_over_and_replaced() {
    let stores = siblings();
    let options = stores.options();
    let first = stores.pull("store", 0, &options).path;
    let sound = fs::read(&first).unwrap();
    let side = fs::read(side_of(&first)).unwrap();
    // Magic, version, length and checksum are the last 48 bytes. The head begins with magic and version as well.
    let versions = [8, side.len() - 40];
    let own = u32::from_le_bytes(side[8..12].try_into().unwrap());
    for (number, version) in [0, own - 1, own + 1, u32::MAX]
        .into_iter()
        .flat_map(|number| versions.map(|at| (number, at)))
    {
        let mut other = side.clone();
        other[version..][..4].copy_from_slice(&number.to_le_bytes());
        fs::write(side_of(&first), other).unwrap();
        assert_eq!(stores.equals_cold("store", 1, &options), 0, "{number}");
        stores.remove("store", 1, &options);
    }
    fs::write(side_of(&first), &side).unwrap();
    // So is an artifact with a record of another version: the next pull of its image builds it again.
    let footer = sound.len() - 64;
    for number in [0_u32, 3, u32::MAX] {
        let mut other = sound.clone();
        other[footer + 8..][..4].copy_from_slice(&number.to_le_bytes());
        fs::write(&first, other).unwrap();
        assert_eq!(stores.equals_cold("store", 1, &options), 0, "{number}");
        stores.remove("store", 1, &options);
        let again = stores.pull("store", 0, &options);
        assert!(fs::read(again.path).unwrap() == sound, "{number}");
        assert_eq!(stores.equals_cold("store", 1, &options), 1, "{number}");
        stores.remove("store", 1, &options);
    }
}

#[test]
fn files_beside_an_artifact_can_hold_anything() {
    let stores = siblings();
    let options = stores.options();
    let first = stores.pull("store", 0, &options).path;
    let side = fs::read(side_of(&first)).unwrap();
    let expected = stores.cold(1, &options);
    for prefix in [".note-", ".lock-", ".lease-"] {
        let path = beside(&first, prefix);
        let good = fs::read(&path).unwrap();
        for bytes in [
            None,
            Some(Vec::new()),
            Some(good[..good.len() / 2].to_vec()),
            Some(noise(8, 500)),
            Some(side.clone()),
        ] {
            match &bytes {
                None => fs::remove_file(&path).unwrap(),
                Some(bytes) => fs::write(&path, bytes).unwrap(),
            }
            let case = format!("{prefix} with {:?} bytes", bytes.as_ref().map(Vec::len));
            assert!(stores.pull("store", 0, &options).built.is_none(), "{case}");
            let second = stores.pull("store", 1, &options);
            assert!(fs::read(second.path).unwrap() == expected, "{case}");
            assert_eq!(second.built.unwrap().reuse.layers, 1, "{case}");
            let store = stores.open("store", &options);
            assert!(store.lease(&stores.digests[0]).unwrap().is_some(), "{case}");
            store.untag_image(&stores.digests[1]).unwrap();
        }
    }
}
