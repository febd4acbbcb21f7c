//! How the system calls of a command grow with the store, counted from outside with strace.

use std::fs;
use std::path::Path;

use hpcc_rootfs::Digest;
use test_support::image::{Image, Layer, Store as Content};
use test_support::registry::Registry;

use crate::cli::{self, Place};

/// Files of an artifact: what stands before and after its digest in their names.
const FILES: [(&str, &str); 5] = [
    ("", ".sqsh"),
    (".recall-", ""),
    (".note-", ""),
    (".lock-", ""),
    (".lease-", ""),
];

/// Gives the files of one artifact to others, of which each lacks one kind of file or none.
fn multiply(cache: &Path, digest: &str, count: usize) {
    let of = |prefix: &str, digest: &str, suffix: &str| {
        cache.join(format!("{prefix}{}{suffix}", digest.replace(':', "-")))
    };
    for n in 0..count {
        let other = Digest::of(&n.to_le_bytes()).to_string();
        for (kind, (prefix, suffix)) in FILES.iter().enumerate() {
            if n % 8 != kind {
                fs::copy(of(prefix, digest, suffix), of(prefix, &other, suffix)).unwrap();
            }
        }
    }
}

/// Returns the number of system calls in the summary of strace.
fn calls(summary: &str) -> u64 {
    let total = summary.lines().find(|line| line.ends_with(" total"));
    let total = total.unwrap_or_else(|| panic!("no total: {summary}"));
    // Share of the time, seconds, microseconds for a call, calls, errors.
    total.split_whitespace().nth(3).unwrap().parse().unwrap()
}

/// Returns the numbers of system calls of a command in stores with few artifacts, with some, and with twice as many.
/// `arguments` returns the command for the digests in the store.
fn growth(arguments: impl Fn(&[String]) -> Vec<String>) -> [u64; 3] {
    let mut content = Content::new();
    let layer = Layer::new().file("file", "file");
    let image = Image::new().layer(layer).add_to(&mut content);
    content.tag("tag", &image);
    let registry = Registry::serve(content).unwrap();
    let reference = format!("{}/image:tag", registry.addr());
    [0, 100, 200].map(|count| {
        let place = Place::new();
        place.pull(&reference, &[]).line();
        multiply(&place.cache(), &image.digest, count);
        let names = fs::read_dir(place.cache()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let digests: Vec<_> = names
            .filter_map(|name| Some(name.strip_suffix(".sqsh")?.replacen('-', ":", 1)))
            .collect();
        let summary = place.path("calls");
        let mut command = place.command("strace");
        command.args(["-f", "-qq", "-c", "-o"]).arg(&summary);
        command.arg(cli::program()).args(arguments(&digests));
        let outcome = cli::outcome(&mut command);
        assert_eq!(outcome.status, Some(0), "{outcome:#?}");
        calls(&fs::read_to_string(summary).unwrap())
    })
}

#[test]
fn collection_takes_calls_in_proportion_to_artifacts() {
    for collection in [
        &["gc", "--max-size", "0", "--dry-run"][..],
        &["gc", "--max-size", "0"],
        // Those without an artifact alone.
        &["gc"],
    ] {
        let counts = growth(|_| collection.iter().map(ToString::to_string).collect());
        let [few, some, many] = counts;
        let (first, second) = (some - few, many - some);
        assert!(second * 10 <= first * 11, "{collection:?}: {counts:?}");
        assert!(second <= 100 * 200, "{collection:?}: {counts:?}");
    }
}

/// Removing hundreds of images took hours (containers/podman#13204).
#[test]
fn removal_takes_calls_in_proportion_to_artifacts() {
    let counts = growth(|digests| [&["rm".to_owned()], digests].concat());
    let [few, some, many] = counts;
    let (first, second) = (some - few, many - some);
    assert!(second * 10 <= first * 11, "{counts:?}");
    assert!(second <= 100 * 200, "{counts:?}");
}
