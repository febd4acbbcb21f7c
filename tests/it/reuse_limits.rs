//! Limits that are lower than when a layer was read.

use hpcc_rootfs::ErrorKind;
use hpcc_rootfs::layer::Limits;
use test_support::image::{Compression, Entry, Layer};

use crate::reuse_place::Stores;
use crate::store_damage::noise;

/// A limit by its name, and how it is lowered.
type Lowered = (&'static str, fn(&mut Limits));

/// A layer that takes something of each limit.
fn of_all_limits() -> Layer {
    let sparse = Entry::file("sparse", "ab")
        .pax("GNU.sparse.size", "9000")
        .pax("GNU.sparse.numblocks", "2")
        .pax("GNU.sparse.map", "0,1,8000,1");
    let long = "long name ".repeat(25);
    Layer::new()
        .dir("d")
        .dir("d/e")
        .file("d/big", noise(2, 20_000))
        .entry(sparse)
        .symlink("way", "d/e")
        .file("way/through", "the link")
        .file(format!("d/e/{long}"), "in a further header")
        .entry(
            Entry::file("many", "")
                .xattr("user.a", "a")
                .xattr("user.b", noise(1, 400)),
        )
        .compressed(Compression::Zstd)
}

#[test]
fn every_lowered_limit_gives_the_error_of_cold_builds() {
    let own = ["one", "two"].map(|name| Layer::new().file(name, name));
    let (all, zeros) = (
        of_all_limits(),
        Layer::new().file("zeros", vec![0; 200_000]),
    );
    let zeros = zeros.compressed(Compression::Gzip);
    let stores = Stores::new(&[&[&all, &zeros, &own[0]], &[&all, &zeros, &own[1]]]);
    let options = stores.options();
    stores.pull("store", 0, &options);
    assert_eq!(stores.equals_cold("store", 1, &options), 2);
    stores.remove("store", 1, &options);
    let cases: [Lowered; 16] = [
        ("entries", |limits| limits.entries = 10),
        ("logical_bytes", |limits| limits.logical_bytes = 220_000),
        ("layer_bytes", |limits| limits.layer_bytes = 100_000),
        ("unpacked_bytes", |limits| limits.unpacked_bytes = 210_000),
        ("ratio", |limits| {
            (limits.ratio_floor, limits.ratio) = (0, 10)
        }),
        ("zstd_window", |limits| limits.zstd_window = 1024),
        ("path", |limits| limits.path = 200),
        ("name", |limits| limits.name = 200),
        ("depth", |limits| limits.depth = 2),
        ("xattr_bytes", |limits| limits.xattr_bytes = 300),
        ("xattrs", |limits| limits.xattrs = 1),
        ("metadata_bytes", |limits| limits.metadata_bytes = 4000),
        ("header_bytes", |limits| limits.header_bytes = 200),
        ("sparse_segments", |limits| limits.sparse_segments = 1),
        ("layers", |limits| limits.layers = 2),
        ("link_steps", |limits| limits.link_steps = 3),
    ];
    for (name, lower) in cases {
        let mut lowered = options.clone();
        lower(&mut lowered.limits);
        let [cold, warm] = ["cold", "store"].map(|store| {
            let error = stores.try_pull(store, 1, &lowered).err();
            let error = error.unwrap_or_else(|| panic!("{name}: {store} is built"));
            assert_eq!(error.kind(), ErrorKind::Limit, "{name}: {error}");
            error.to_string()
        });
        assert_eq!(warm, cold, "{name}");
        // With enough of it, nothing is fetched again.
        assert_eq!(stores.equals_cold("store", 1, &options), 2, "{name}");
        stores.remove("store", 1, &options);
    }
}
