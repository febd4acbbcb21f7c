//! Builds in which a single allocation gets no memory: each in turn that an image can make large.
//!
//! The allocator of Rust ends the process where the program has no answer to that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::image::{Entry, Image, Layer, Store};

use crate::cli::{Place, outcome, program};
use crate::store_damage::noise;

/// Bytes above which an allocation is large. Those of an image's blocks are.
const LARGE: usize = 64 << 10;

/// Names of each kind: enough for each list of them to become large.
const MANY: usize = 9000;

/// Compiles the allocator that fails.
fn allocator(place: &Place) -> PathBuf {
    let (source, library) = (place.path("failing.c"), place.path("failing.so"));
    fs::write(&source, include_str!("allocations/failing.c")).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-pthread", "-o"]);
    let compiled = outcome(compiler.arg(&library).arg(&source));
    assert_eq!(compiled.status, Some(0), "{compiled:#?}");
    library
}

/// Writes a layout, and returns its name.
fn layout(place: &Place, name: &str, image: &Image) -> String {
    let mut store = Store::new();
    let image = image.add_to(&mut store);
    store.tag("v1", &image);
    store.write_layout(&place.path(name)).unwrap();
    format!("oci:{}", place.path(name).display())
}

/// Images of many things, most of them small, and their names.
fn images() -> Vec<(&'static str, Image)> {
    let each = |entry: &dyn Fn(usize) -> Entry| {
        (0..MANY).fold(Layer::new(), |layer, n| layer.entry(entry(n)))
    };
    let names = each(&|n| {
        Entry::file(format!("file{n}"), format!("{n}")).owner(
            u32::try_from(2 * n).unwrap_or_default(),
            u32::try_from(2 * n + 1).unwrap_or_default(),
        )
    });
    let again = each(&|n| Entry::file(format!("file{}", n + MANY / 2), "new"));
    let links = each(&|n| Entry::hardlink(format!("link{n}"), "file0"));
    let directories = each(&|n| Entry::dir(format!("directory{n}")));
    let below = each(&|n| Entry::file(format!("directory{n}/.wh..wh..opq"), ""));
    let whiteouts = (0..MANY).fold(Layer::new(), |layer, n| layer.whiteout(format!("link{n}")));
    let waiting = each(&|n| Entry::hardlink(format!("waits{n}"), format!("waits{}", n + 1)));
    let reserved = each(&|n| Entry::hardlink(format!("link{n}"), ".hpcc/agent"));
    let xattrs =
        each(&|n| Entry::file(format!("file{n}"), "").xattr("user.n", format!("{n:0100}")));
    let long = format!("{}/file", ["n"; 39].map(|n| n.repeat(100)).join("/"));
    let opaque = Layer::new().opaque("");
    vec![
        (
            "names",
            Image::new()
                .layer(names.clone())
                .layer(again)
                .layer(links.clone()),
        ),
        (
            "markers",
            Image::new()
                .layer(links_of(names))
                .layer(directories)
                .layer(whiteouts)
                .layer(below)
                .layer(opaque),
        ),
        (
            "waiting",
            Image::new()
                .layer(waiting.file(format!("waits{MANY}"), "w"))
                .layer(reserved),
        ),
        ("xattrs", Image::new().layer(xattrs)),
        (
            "bodies",
            Image::new()
                .layer(Layer::new().file("noise", noise(7, 3 << 20)))
                .layer(
                    Layer::new()
                        .entry(Entry::file("short", "s").pax("comment", "c".repeat(1 << 19))),
                )
                .layer(Layer::new().entry(Entry::file("short", "s").pax("path", long))),
        ),
    ]
}

/// Adds hard links to a layer of files.
fn links_of(files: Layer) -> Layer {
    (0..MANY).fold(files, |layer, n| {
        layer.hardlink(format!("link{n}"), "file0")
    })
}

/// Pulls an image with the allocator that fails at a place. Returns whether it did, and how the pull ended.
fn pull(
    place: &Place,
    library: &Path,
    source: &str,
    failing: usize,
) -> (bool, Option<i32>, String) {
    let (store, told) = (place.path("store"), place.path("told"));
    fs::remove_dir_all(&store).ok();
    fs::remove_file(&told).ok();
    let mut command = place.command(program());
    command
        .args([
            "pull",
            "--no-agent",
            "--threads",
            "1",
            "--quiet",
            source,
            "--cache-dir",
        ])
        .arg(&store)
        .env("LD_PRELOAD", library)
        .env("FAILING_ABOVE", LARGE.to_string())
        .env("FAILING_PLACE", failing.to_string())
        .env("FAILING_TOLD", &told);
    let ended = outcome(&mut command);
    (told.exists(), ended.status, ended.stderr)
}

/// Pulls an image again and again, each time with another place that gets no memory.
fn pull_at_every_place(library: &Path, name: &str, image: &Image) {
    let place = Place::new();
    let source = layout(&place, name, image);
    let (mut refused, mut survived) = (0, 0);
    for failing in 1.. {
        let (failed, status, text) = pull(&place, library, &source, failing);
        match status {
            Some(0) if !failed => break,
            Some(0) => survived += 1,
            Some(75) if text.contains("memory") => refused += 1,
            _ => panic!("{name}, place {failing}: {status:?}: {text}"),
        }
    }
    assert!(
        refused > 3,
        "{name}: {refused} refused, {survived} survived"
    );
}

#[test]
fn allocation_that_an_image_makes_large_may_fail() {
    let place = Place::new();
    let library = &allocator(&place);
    std::thread::scope(|scope| {
        for (name, image) in images() {
            scope.spawn(move || pull_at_every_place(library, name, &image));
        }
    });
}

#[test]
fn document_that_needs_missing_memory_is_an_error() {
    let place = Place::new();
    let library = allocator(&place);
    let source = layout(&place, "layout", &Image::new());
    let index = place.path("layout").join("index.json");
    let text = fs::read_to_string(&index).unwrap();
    // Three bytes each, and hundreds in memory.
    let many = text.replacen('[', &format!("[{}", "{},".repeat(30_000)), 1);
    assert!(many.len() > text.len());
    for (text, large, status) in [
        (&many, 1 << 20, Some(75)),
        (&many, usize::MAX, Some(0)),
        (&text, 1 << 20, Some(0)),
    ] {
        fs::write(&index, text).unwrap();
        let mut command = place.command(program());
        command
            .args([
                "build",
                "--no-agent",
                "--threads",
                "1",
                &source,
                "-o",
                "out",
            ])
            .env("LD_PRELOAD", &library)
            .env("FAILING_ABOVE", large.to_string());
        let ended = outcome(&mut command);
        fs::remove_file(place.path("out")).ok();
        assert_eq!(ended.status, status, "{ended:#?}");
        assert_eq!(
            ended.stderr.contains("memory"),
            status == Some(75),
            "{ended:#?}"
        );
    }
}
