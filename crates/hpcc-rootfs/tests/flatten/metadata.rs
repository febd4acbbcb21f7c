//! Metadata of entries that no layer describes, and metadata that does not count.

use hpcc_rootfs::flatten::Options;

use crate::archive::{layer, tar};
use crate::listing::listing;
use crate::run::{flatten_blobs, flatten_items};

#[test]
fn implied_directories_take_the_time_option() {
    let mut options = Options::default();
    options.time = 77;
    let blob = tar(&layer("a/b/ a/b/c"));
    let lines = listing(&flatten_blobs(vec![blob], &options).0.unwrap());
    for (path, mtime) in [("", 77), ("a", 77), ("a/b", 1), ("a/b/c", 1)] {
        let line = &lines[path];
        assert_eq!((line.mtime, line.uid, line.gid), (mtime, 0, 0), "{path:?}");
    }
    assert_eq!((lines[""].mode, lines["a"].mode), (0o755, 0o755));
}

#[test]
fn a_described_root_is_as_described() {
    let mut root = layer("./@1700");
    root[0].uid = 5;
    let lines = listing(&flatten_items(&[root]).unwrap());
    assert_eq!(
        (lines[""].mode, lines[""].uid, lines[""].mtime),
        (0o1700, 5, 1)
    );
}

#[test]
fn a_hard_link_brings_no_metadata_of_its_own() {
    let mut items = layer("t n==t@0777");
    items[1].uid = 9;
    items[1].mtime = 9;
    items[1].xattrs.push(("user.a".into(), b"b".to_vec()));
    let lines = listing(&flatten_items(&[items]).unwrap());
    assert_eq!(
        (lines["n"].uid, lines["n"].mtime, lines["n"].mode),
        (0, 1, 0o644)
    );
    assert!(lines["n"].xattrs.is_empty());
    assert_eq!((lines["n"].links, &*lines["t"].inode), (2, "n"));
}

#[test]
fn a_directory_over_a_directory_loses_its_xattrs() {
    let mut older = layer("d/ d/f");
    older[0].xattrs.push(("user.old".into(), b"1".to_vec()));
    let mut newer = layer("d/");
    newer[0].xattrs.push(("user.new".into(), b"2".to_vec()));
    let lines = listing(&flatten_items(&[older, newer]).unwrap());
    assert_eq!(lines["d"].xattrs, [("user.new".to_string(), b"2".to_vec())]);
}
