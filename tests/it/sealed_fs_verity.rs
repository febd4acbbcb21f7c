//! `--fs-verity`: the file system of the host refuses changed blocks, where it can.

use std::fs;

use hpcc_rootfs::{Error, FsVerity, Options, Store};

use crate::cli::Place;
use crate::store_damage::serve;

#[test]
fn fs_verity_is_enabled_or_its_absence_is_reported() {
    let (registry, reference, _) = serve(330);
    let (plain, place) = (Place::new(), Place::new());
    let expected = fs::read(plain.pull(&reference, &[]).line()).unwrap();
    registry.clear_requests();
    let on = place.pull(&reference, &["--fs-verity", "on"]);
    let is_supported = on.status == Some(0);
    if !is_supported {
        println!("this file system or kernel has no fs-verity; its refusal is what is tested");
        // Before any work was done, also if only the registry could say what a tag is.
        let (tag, _) = reference.split_once('@').unwrap();
        let by_tag = place.pull(tag, &["--fs-verity", "on"]);
        assert_eq!((by_tag.status, &by_tag.stderr), (Some(1), &on.stderr));
        refuses_early(&place, tag);
        let requests = registry.requests();
        assert!(requests.is_empty(), "{requests:?}");
        assert_eq!(on.status, Some(1), "{on:#?}");
        assert!(
            on.stderr
                .contains("has no fs-verity; it needs CONFIG_FS_VERITY"),
            "{on:#?}"
        );
        assert!(place.cached().is_empty(), "{:?}", place.cached());
    }
    // Where it can, and else without.
    let path = place
        .pull(&reference, &["--fs-verity", "auto"])
        .line()
        .to_owned();
    assert!(fs::read(&path).unwrap() == expected);
    let writable = fs::File::options().write(true).open(&path);
    assert_eq!(writable.is_err(), is_supported, "{writable:?}");

    // An existing artifact gets it, too.
    let path = plain
        .pull(&reference, &["--fs-verity", "auto"])
        .line()
        .to_owned();
    let writable = fs::File::options().write(true).open(&path);
    assert_eq!(writable.is_err(), is_supported, "{writable:?}");
    let again = plain.pull(&reference, &["--fs-verity", "on"]);
    assert_eq!(again.status == Some(0), is_supported, "{again:#?}");
    assert!(fs::read(&path).unwrap() == expected);
    let unknown = plain.pull(&reference, &["--fs-verity", "maybe"]);
    assert_eq!(unknown.status, Some(2), "{unknown:#?}");
}

/// Looks whether the library refuses as early as the program.
fn refuses_early(place: &Place, reference: &str) {
    let mut options = Options::default();
    options.no_agent = true;
    options.store.min_free = 0;
    options.store.fs_verity = FsVerity::On;
    let store = Store::open(place.cache(), options.clone()).unwrap();
    let output = place.path("output");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let pulled = runtime.block_on(store.pull_image(reference, None));
    let built = runtime.block_on(hpcc_rootfs::build(reference, None, &output, &options));
    for refused in [pulled.map(drop), built.map(drop), store.check()] {
        let error = refused.unwrap_err();
        let Error::Store { source, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(source.to_string().contains("has no fs-verity"), "{error:?}");
    }
    assert!(!output.exists());
}
