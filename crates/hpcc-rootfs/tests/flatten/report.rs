//! What is counted: what is left out of an image is not left out in silence.

use hpcc_rootfs::flatten::Report;

use crate::archive::layer;
use crate::run::flatten_items;

fn report(layers: &[&str]) -> Report {
    let layers: Vec<_> = layers.iter().map(|text| layer(text)).collect();
    flatten_items(&layers).unwrap().report
}

#[test]
fn every_attempt_at_the_reserved_name_is_counted_once() {
    for (text, count) in [
        (".hpcc/ .hpcc/agent ./.hpcc//x", 3),
        (".hpcc->/etc .hpcc", 2),
        ("n==.hpcc/agent m==n", 2),
        ("m==n n==.hpcc/agent", 2),
        ("s->.hpcc s/agent s/.wh.x s/.wh..wh..opq n==s/agent", 4),
        (".wh..hpcc .hpcc/.wh..wh..opq", 2),
        ("a .wh..wh..opq d/.hpcc", 0),
        ("d/a d/.hpcc d/b", 0),
    ] {
        assert_eq!(report(&[text]).reserved, count, "{text}");
    }
}

#[test]
fn markers_and_what_is_hidden_by_them_are_counted_apart() {
    for (text, whiteouts, hidden) in [
        ("a b/ b/c", 0, 0),
        (".wh.a b/.wh.c b/.wh..wh..opq .wh..wh..opqX", 4, 0),
        (".wh.a/ .wh.a/x .wh.a/x/.wh.y", 1, 2),
        ("b/.wh.a/x/y", 0, 1),
        (
            ".wh..wh.aufs .wh..wh.orph/ .wh..wh.orph/x .wh..wh.plnk/1",
            0,
            4,
        ),
        // aufs does not link directories there, nor links. What these lead to does not matter.
        (".wh..wh.plnk/d/ .wh..wh.plnk/2==nothing", 0, 2),
    ] {
        let report = report(&["a b/", text]);
        let counted = (report.whiteouts, report.hidden);
        assert_eq!(counted, (whiteouts, hidden), "{text}");
    }
}

#[test]
fn access_control_lists_are_omitted_and_counted_over_all_layers() {
    let with = |text, kinds: &[&str]| {
        let mut items = layer(text);
        for kind in kinds {
            items[0].acls.push(((*kind).into(), "user::rw-".into()));
        }
        items
    };
    let layers = [
        with("d/ d/f", &["access", "default"]),
        with("g", &["access"]),
    ];
    let flattened = flatten_items(&layers).unwrap();
    assert_eq!(flattened.report.acls, 3);
    let mut nodes = flattened.tree.nodes();
    assert!(nodes.all(|(_, node)| node.metadata().xattrs.is_empty()));
}

#[test]
fn attributes_are_omitted_and_counted_by_reason_over_layers() {
    let with = |text, names: &[&str]| {
        let mut items = layer(text);
        let xattrs = names.iter().map(|name| ((*name).into(), b"y".to_vec()));
        items[0].xattrs.extend(xattrs);
        items
    };
    let layers = [
        with(
            "d/ d/f",
            &["foreign.a", "user.kept", "trusted.overlay.opaque"],
        ),
        with(
            "g",
            &["user.overlay.a", "foreign.b", "trusted.overlay.redirect"],
        ),
        with("h", &["plain", "foreign.c"]),
    ];
    let report = flatten_items(&layers).unwrap().report;
    assert_eq!((report.unstorable_xattrs, report.overlay_xattrs), (4, 3));
}

#[test]
fn entries_whose_time_does_not_fit_are_counted() {
    let with = |text, times: &[u64]| {
        let mut items = layer(text);
        for (item, time) in items.iter_mut().zip(times) {
            item.mtime = *time;
        }
        items
    };
    let last = u64::from(u32::MAX);
    let layers = [
        with("d/ d/f s->d", &[last + 1, last, 1 << 32]),
        // The time of a hard link is none of an inode, nor is that of a marker or of what is dropped.
        with("n==d/f d/.wh.x .hpcc/agent", &[last + 1; 3]),
        with("g", &[last + 1]),
    ];
    assert_eq!(flatten_items(&layers).unwrap().report.clamped_times, 3);
}
