//! `--fs-verity`: the file system of the host refuses changed blocks, where it can.

use std::fs;

use crate::cli::Place;
use crate::store_damage::serve;

#[test]
fn fs_verity_is_enabled_or_its_absence_is_reported() {
    let (_registry, reference, _) = serve(330);
    let (plain, place) = (Place::new(), Place::new());
    let expected = fs::read(plain.pull(&reference, &[]).line()).unwrap();
    let on = place.pull(&reference, &["--fs-verity", "on"]);
    let is_supported = on.status == Some(0);
    if !is_supported {
        println!("this file system or kernel has no fs-verity; its refusal is what is tested");
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
