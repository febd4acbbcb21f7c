//! What is written although it is dead, and what is read twice: nothing, on images as they are
//! built.

use std::io;

use hpcc_rootfs::flatten::{LayerSource, Layers, Options, Report, flatten};
use hpcc_rootfs::layer::{self, Stream};

use crate::archive::{Item, layer, tar};
use crate::listing::{listing, notation};
use crate::run::{Collector, chain, flatten_items, spec};

fn report(layers: &[&str]) -> (Report, String) {
    let layers: Vec<_> = layers.iter().map(|text| layer(text)).collect();
    let flattened = flatten_items(&layers).unwrap();
    let tree = notation(&listing(&flattened));
    (flattened.report, tree)
}

#[test]
fn ordinary_images_write_nothing_dead_and_read_nothing_twice() {
    for (what, layers) in [
        ("replaced", &["d/ d/f=old", "d/ d/f=new"][..]),
        (
            "replaced, no entries for parents",
            &["d/e/f=old", "d/e/f=new"],
        ),
        ("removed", &["d/ d/f", "d/ d/.wh.f"]),
        ("directory removed", &["d/ d/e/ d/e/f", ".wh.d"]),
        ("directory replaced by a symlink", &["d/ d/f", "d->e"]),
        ("directory replaced by a file", &["d/ d/f", "d"]),
        ("file replaced by a directory", &["d", "d/ d/f"]),
        (
            "file replaced by a directory without an entry",
            &["d", "d/f"],
        ),
        ("emptied", &["d/ d/f", "d/ d/.wh..wh..opq d/g"]),
        ("emptied root", &["d/ d/f g", ".wh..wh..opq h"]),
        (
            "hard-linked files replaced together",
            &["g/ g/a=old g/b==g/a", "g/ g/a=new g/b==g/a"],
        ),
        (
            "a link to a file copied up with it",
            &["t=old", "t=old n==t"],
        ),
        ("a link to an older file", &["t", "n==t"]),
        (
            "usrmerge",
            &[
                "usr/lib/libc=old lib->usr/lib",
                "usr/ usr/lib/ usr/lib/libc=new",
            ],
        ),
        (
            "usrmerge through the link",
            &["usr/lib/libc lib->usr/lib", "lib/new"],
        ),
        ("three times", &["f=1", "f=2", "f=3"]),
        ("link in the middle", &["t=old", "n==t", "t=new"]),
        ("replaced, then linked", &["t=1", "t=2", "n==t"]),
        (
            "an empty file that lives on under a second name",
            &["t= n==t", "t=new"],
        ),
        (
            "removed, then linked ahead of a new one",
            &["t=1", ".wh.t", "n==t t=2"],
        ),
    ] {
        let (report, _) = report(layers);
        assert_eq!(report.dead_bytes, 0, "{what}");
        assert_eq!(report.layers_read_again, [0usize; 0], "{what}");
    }
}

#[test]
fn replaced_bodies_are_counted_as_skipped() {
    let (report, tree) = report(&["d/f=12345 g=1", "d/f=123"]);
    assert_eq!(tree, "d/ d/f=123 g=1");
    assert_eq!(report.skipped_bytes, 5);
    assert_eq!((report.entries, report.logical_bytes), (3, 9));
}

#[test]
fn second_name_of_a_replaced_file_is_read_again() {
    let (report, tree) = report(&["t2=old t3==t2", "t2=new", "x"]);
    assert_eq!(tree, "t2=new t3=old x");
    assert_eq!(report.layers_read_again, [0]);
    assert_eq!((report.dead_bytes, report.skipped_bytes), (0, 0));
}

#[test]
fn layer_is_read_again_once_for_all_that_it_lacks() {
    let (report, tree) = report(&["b/ a->b", "a/x=1 a/y=2 a/z=3", "a/ a/x=new a/y=new"]);
    assert_eq!(tree, "a/ a/x=new a/y=new b/ b/x=1 b/y=2 b/z=3");
    assert_eq!(report.layers_read_again, [1]);
}

/// Gives other bytes the second time.
struct Fickle(Vec<Vec<u8>>);

impl LayerSource for Fickle {
    fn open(&mut self, layer: usize, layers: Layers<'_>) -> Result<Stream<'_>, layer::Error> {
        let blob = self.0[layer].clone();
        self.0[layer] = tar(&self::layer("t2=bad t3==t2"));
        layers.stream(layer, io::Cursor::new(blob))
    }
}

#[test]
fn a_second_reading_is_verified_as_the_first_was() {
    let blobs: Vec<_> = ["t2=old t3==t2", "t2=new"]
        .iter()
        .map(|text| tar(&layer(text)))
        .collect();
    let specs: Vec<_> = blobs.iter().map(|blob| spec(blob)).collect();
    let mut bodies = Collector { written: 0 };
    let result = flatten(&specs, &mut Fickle(blobs), &mut bodies, &Options::default());
    let message = chain(&result.unwrap_err());
    assert!(
        message.contains("layer 1") && message.contains("digest mismatch"),
        "{message}"
    );
}

#[test]
fn markers_by_the_hundred_thousand_do_not_take_hours() {
    let mut items: Vec<_> = (0..20_000)
        .map(|i| Item::parse(&format!("d/{i}")))
        .collect();
    items.extend(vec![Item::parse("d/.wh..wh..opq"); 50_000]);
    items.extend(vec![Item::parse(".wh.d"); 50_000]);
    let flattened = flatten_items(&[layer("d/ d/old"), items]).unwrap();
    assert_eq!(flattened.tree.len(), 20_002);
}

#[test]
fn path_twice_in_a_layer_is_reported_as_dead_bytes() {
    let (report, _) = report(&["f=12345 f=123"]);
    assert_eq!(report.dead_bytes, 5);
}
