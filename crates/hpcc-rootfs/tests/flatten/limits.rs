//! Each limit on both sides.

use hpcc_rootfs::flatten::Options;

use crate::archive::{Item, What, layer, tar};
use crate::listing::listing;
use crate::run::{chain, flatten_blobs, flatten_items};

fn attempt(layers: Vec<Vec<Item>>, set: impl Fn(&mut Options)) -> Result<(), String> {
    let mut options = Options::default();
    set(&mut options);
    let blobs = layers.iter().map(|items| tar(items)).collect();
    let result = flatten_blobs(blobs, &options).0;
    result.map(drop).map_err(|error| chain(&error))
}

#[track_caller]
fn refuses(layers: &[&str], set: impl Fn(&mut Options), words: &[&str]) {
    let layers = layers.iter().map(|text| layer(text)).collect();
    let error = attempt(layers, set).unwrap_err();
    for word in words {
        assert!(error.contains(word), "no {word} in: {error}");
    }
}

#[track_caller]
fn accepts(layers: &[&str], set: impl Fn(&mut Options)) {
    attempt(layers.iter().map(|text| layer(text)).collect(), set).unwrap();
}

#[test]
fn entries_count_over_all_layers_markers_and_replaced_ones_included() {
    let layers = ["f=old g", "f=new .wh.g"];
    accepts(&layers, |options| options.limits.entries = 4);
    let words = ["number of entries", "\"g\"", "4", "3"];
    refuses(&layers, |options| options.limits.entries = 3, &words);
}

#[test]
fn headers_of_long_names_count_as_entries() {
    let long = "n".repeat(200);
    let layers = [long.as_str()];
    accepts(&layers, |options| options.limits.entries = 2);
    let words = ["number of entries", "2", "limit is 1"];
    refuses(&layers, |options| options.limits.entries = 1, &words);
}

#[test]
fn declared_bytes_count_over_all_layers_replaced_ones_included() {
    let layers = ["f=1234567890", "f=12345"];
    accepts(&layers, |options| options.limits.logical_bytes = 15);
    let words = ["size of all files", "\"f\"", "15", "14"];
    refuses(&layers, |options| options.limits.logical_bytes = 14, &words);
}

#[test]
fn a_layer_has_a_limit_of_its_own() {
    // Two blocks of entry, two of end.
    accepts(&["f=x"], |options| options.limits.layer_bytes = 2048);
    let words = ["decompressed size", "entry \"f\"", "2048", "2047"];
    refuses(
        &["f=x"],
        |options| options.limits.layer_bytes = 2047,
        &words,
    );
}

#[test]
fn chains_of_links_of_any_length_and_order_are_made() {
    let length = 3000;
    for step in [1, length - 1, 7] {
        let mut items: Vec<_> = (0..length)
            .map(|n| n * step % length)
            .map(|n| Item::parse(&format!("l{n}==l{}", n + 1)))
            .collect();
        items.push(Item::parse(&format!("l{length}=x")));
        attempt(vec![items], |_| {}).unwrap();
    }
}

#[test]
fn names_paths_and_depth() {
    accepts(&["abc/de"], |options| options.limits.path = 6);
    refuses(
        &["abc/de"],
        |options| options.limits.path = 5,
        &["length of the path", "abc/de"],
    );
    accepts(&["a/abc"], |options| options.limits.name = 3);
    refuses(
        &["a/abc"],
        |options| options.limits.name = 2,
        &["length of a name", "a/abc"],
    );
    accepts(&["a/b/c"], |options| options.limits.depth = 3);
    refuses(
        &["a/b/c"],
        |options| options.limits.depth = 2,
        &["depth", "a/b/c"],
    );
    let long = "x".repeat(256);
    accepts(&[&long[1..]], |_| ());
    refuses(&[&long], |_| (), &["length of a name", "256", "255"]);
    // squashfs cannot hold more, whatever the limit allows.
    refuses(
        &[&long],
        |options| options.limits.name = 300,
        &["length of a name", "256", "255"],
    );
    let path = vec!["x".repeat(240); 17].join("/");
    assert_eq!(path.len(), 4096);
    accepts(&[&path], |_| ());
    refuses(
        &[&format!("{path}y")],
        |_| (),
        &["length of the path", "4097"],
    );
    refuses(
        &[&format!("a==/{path}y")],
        |_| (),
        &["length of the path", "4097"],
    );
    let deep = vec!["d"; 1024].join("/");
    accepts(&[&deep], |_| ());
    refuses(&[&format!("{deep}/d")], |_| (), &["depth", "1025"]);
    let link = format!("a=={deep}/d");
    refuses(&[&link], |_| (), &["\"a\"", "depth", "1025"]);
    let target = "t".repeat(4095);
    accepts(&[&format!("s->{target}")], |_| ());
    refuses(
        &[&format!("s->{target}t")],
        |_| (),
        &["symlink's target", "4096"],
    );
}

#[test]
fn depth_through_symlinks_counts() {
    let layers = ["a/b/c/", "s->a/b/c s/d/e"];
    accepts(&layers, |options| options.limits.depth = 5);
    let words = ["\"s/d/e\"", "5 directories deep", "limit is 4"];
    refuses(&layers, |options| options.limits.depth = 4, &words);
}

#[test]
fn the_length_of_a_path_through_symlinks_counts() {
    let old = "abc/def/ghi/ abc/n";
    for (link, path, length) in [
        ("s->abc/def/ghi", "s/x", 13),
        ("s->abc/def/ghi", "s/new/x", 17),
        ("abc/s->/abc/def/../def/ghi/", "abc/s/x", 13),
        ("abc/s->../../../abc/no/../def/more", "abc/s/x", 14),
        ("s->abc/def/ghi", "s/x/", 13),
        ("s->abc/def/ghi", "s/x==abc/n", 13),
        ("s->abc/def/ghi", "s/x==later", 13),
    ] {
        let newer = format!("{path} later");
        let layers = [old, link, &newer];
        accepts(&layers, |options| options.limits.path = length);
        let name = path.split("==").next().unwrap().trim_matches('/');
        let entry = format!("\"{name}\"");
        let bytes = format!("a path of {length} bytes");
        let limit = format!("limit is {}", length - 1);
        refuses(
            &layers,
            |options| options.limits.path = length - 1,
            &["layer 3", &entry, &bytes, &limit],
        );
    }
    // No link makes a path longer than it may be, however many there are on the way.
    let name = "d".repeat(250);
    let mut layer = format!("0/{name}/");
    for n in 1..=16 {
        layer += &format!(" {n}->{}/{name} {n}/{name}/", n - 1);
    }
    refuses(
        &[&layer],
        |_| (),
        &["a path of 4268 bytes", "limit is 4096"],
    );
    layer.truncate(layer.rfind(" 16->").unwrap());
    accepts(&[&layer], |_| ());
}

#[test]
fn a_parent_may_lead_through_255_symlinks() {
    let chain = |length| {
        let links: Vec<_> = (0..length).map(|n| format!("l{n}->l{}", n + 1)).collect();
        format!("l{length}/ {} l0/f", links.join(" "))
    };
    accepts(&[&chain(255)], |_| ());
    refuses(&[&chain(256)], |_| (), &["\"l0/f\"", "255 symlinks"]);
}

#[test]
fn steps_through_symlinks_count_over_the_image() {
    let layers = ["d/ s->d", "s/a s/b s/c"];
    accepts(&layers, |options| options.limits.link_steps = 10);
    refuses(
        &layers,
        |options| options.limits.link_steps = 2,
        &["path components", "limit of 2 "],
    );
}

#[test]
fn long_names_take_steps_for_their_bytes() {
    let under = |name: &str| format!("{name}/ {name}/f");
    let few = |options: &mut Options| options.limits.link_steps = 4;
    accepts(&[&under("short")], few);
    refuses(&[&under(&"n".repeat(200))], few, &["path components"]);
}

#[test]
fn layers() {
    accepts(&["a", "b"], |options| options.limits.layers = 2);
    refuses(
        &["a", "b"],
        |options| options.limits.layers = 1,
        &["2 layers", "1"],
    );
    accepts(&[""; 1024], |_| ());
    refuses(&[""; 1025], |_| (), &["1025 layers", "limit is 1024"]);
}

#[test]
fn xattrs_count_names_and_values() {
    let mut item = Item::new("f", What::File("x".into()));
    item.xattrs.push(("user.a".into(), vec![1; 4]));
    let with = |max| move |options: &mut Options| options.limits.xattr_bytes = max;
    attempt(vec![vec![item.clone()]], with(10)).unwrap();
    let error = attempt(vec![vec![item]], with(9)).unwrap_err();
    assert!(
        error.contains("size of the extended attributes is 10") && error.contains("\"f\""),
        "{error}"
    );
    let mut item = Item::new("f", What::File("x".into()));
    item.xattrs.push(("user.a".into(), vec![1; 40_000]));
    item.xattrs.push(("user.b".into(), vec![1; 25_524]));
    attempt(vec![vec![item.clone()]], |_| {}).unwrap();
    item.xattrs[1].1.push(1);
    let error = attempt(vec![vec![item]], |_| {}).unwrap_err();
    assert!(error.contains("is 65537, the limit is 65536"), "{error}");
}

#[test]
fn extended_headers_have_a_size() {
    let mut item = Item::new("f", What::File("x".into()));
    item.xattrs.push(("user.a".into(), vec![1; 400]));
    let with = |max| move |options: &mut Options| options.limits.header_bytes = max;
    attempt(vec![vec![item.clone()]], with(500)).unwrap();
    let error = attempt(vec![vec![item]], with(400)).unwrap_err();
    assert!(error.contains("size of an extended header"), "{error}");
}

#[test]
fn xattrs_of_an_entry_have_a_number_dropped_ones_included() {
    let mut item = Item::new("f", What::File("x".into()));
    for name in ["user.a", "system.b", "trusted.overlay.c"] {
        item.xattrs.push((name.into(), Vec::new()));
    }
    let with = |max| move |options: &mut Options| options.limits.xattrs = max;
    attempt(vec![vec![item.clone()]], with(3)).unwrap();
    let error = attempt(vec![vec![item]], with(2)).unwrap_err();
    let words = [
        "number of extended attributes is 3",
        "\"f\"",
        "Limits::xattrs",
    ];
    for word in words {
        assert!(error.contains(word), "no {word} in: {error}");
    }
}

#[test]
fn xattrs_up_to_1024_are_allowed_and_1025_refused() {
    let item = |count| {
        let mut item = Item::new("f", What::File("x".into()));
        let names = (0..count).map(|n| (format!("user.{n}"), Vec::new()));
        item.xattrs.extend(names);
        vec![vec![item]]
    };
    attempt(item(1024), |_| {}).unwrap();
    let error = attempt(item(1025), |_| {}).unwrap_err();
    assert!(error.contains("is 1025, the limit is 1024"), "{error}");
}

#[test]
fn memory_of_every_entry_kind_is_charged_to_the_byte() {
    let mut xattrs = Item::new("f", What::File("x".into()));
    xattrs.xattrs.push(("user.a".into(), vec![1; 4]));
    let text = |layers: &[&str]| layers.iter().map(|text| layer(text)).collect();
    let images: [Vec<Vec<Item>>; 8] = [
        text(&["file"]),
        text(&["a/b/c"]),
        text(&["d/ s->d"]),
        text(&["t n==t"]),
        text(&["n==t t"]),
        text(&["n==.hpcc/agent"]),
        text(&["a", ".wh.a d/.wh..wh..opq"]),
        vec![vec![xattrs]],
    ];
    for image in images {
        let blobs = || image.iter().map(|items| tar(items)).collect();
        let report = flatten_blobs(blobs(), &Options::default())
            .0
            .unwrap()
            .report;
        let charged = report.metadata_bytes;
        assert!(charged > 0);
        let with = |max| move |options: &mut Options| options.limits.metadata_bytes = max;
        attempt(image.clone(), with(charged)).unwrap();
        let error = attempt(image.clone(), with(charged - 1)).unwrap_err();
        for word in [
            "layer",
            "memory",
            "Limits::metadata_bytes",
            &(charged - 1).to_string(),
        ] {
            assert!(error.contains(word), "no {word} in: {error}");
        }
    }
}

#[test]
fn decompressed_bytes_count_over_all_layers_the_same_one_twice() {
    // Two blocks of entry, two of end.
    let layers = ["f=x"; 3];
    accepts(&layers, |options| options.limits.unpacked_bytes = 3 * 2048);
    refuses(
        &layers,
        |options| options.limits.unpacked_bytes = 3 * 2048 - 1,
        &[
            "layer 1 ",
            "all layers of the image is 6144, the limit is 6143",
            "Limits::unpacked_bytes",
        ],
    );
    // The entry is named whose contents exceed it.
    refuses(
        &layers,
        |options| options.limits.unpacked_bytes = 2 * 2048 + 512,
        &["layer 1 ", "\"f\"", "Limits::unpacked_bytes"],
    );
}

#[test]
fn decompressed_bytes_after_the_end_of_an_archive_count() {
    let blob = [tar(&layer("f=x")), vec![0; 100_000]].concat();
    let attempt = |max| {
        let mut options = Options::default();
        options.limits.unpacked_bytes = max;
        flatten_blobs(vec![blob.clone()], &options).0.map(drop)
    };
    attempt(102_048).unwrap();
    let error = chain(&attempt(102_047).unwrap_err());
    assert!(error.contains("Limits::unpacked_bytes"), "{error}");
}

#[test]
fn a_second_pass_over_a_layer_does_not_count_again() {
    let layers = ["b/ a->b", "a/x=old", "a/ a/x=new"].map(layer);
    let blobs = || layers.iter().map(|items| tar(items)).collect::<Vec<_>>();
    let mut options = Options::default();
    options.limits.unpacked_bytes = blobs().iter().map(|blob| blob.len() as u64).sum();
    let (flattened, source, _) = flatten_blobs(blobs(), &options);
    assert_eq!(flattened.unwrap().report.layers_read_again, [1]);
    assert_eq!(source.opened.len(), 4);
}

#[test]
fn layers_are_counted_before_any_is_opened() {
    let layers = ["a=1", "b=2", "c=3"];
    accepts(&layers, |options| options.limits.layers = 3);
    refuses(&layers, |options| options.limits.layers = 2, &["3", "2"]);
    refuses(&layers, |options| options.limits.layers = 1, &["3", "1"]);
}

// containers/fuse-overlayfs#236 and #351: such names exist, and a marker has four bytes more.
#[test]
fn names_of_every_length_can_be_removed() {
    for length in [251, 252, 255] {
        let name = "n".repeat(length);
        let layers = [
            layer(&format!("{name} d/{name} k")),
            layer(&format!(".wh.{name} d/.wh.{name}")),
        ];
        let lines = listing(&flatten_items(&layers).unwrap());
        let paths: Vec<_> = lines.keys().map(String::as_str).collect();
        assert_eq!(paths, ["", "d", "k"], "{length}");
    }
    let beyond = layer(&format!(".wh.{}", "n".repeat(256)));
    let error = flatten_items(&[layer("k"), beyond]).unwrap_err();
    assert!(chain(&error).contains("255"), "{error}");
}
