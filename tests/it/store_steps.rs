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

#[test]
fn collection_takes_calls_in_proportion_to_artifacts() {
    let mut content = Content::new();
    let layer = Layer::new().file("file", "file");
    let image = Image::new().layer(layer).add_to(&mut content);
    content.tag("tag", &image);
    let registry = Registry::serve(content).unwrap();
    let reference = format!("{}/image:tag", registry.addr());
    for collection in [
        &["gc", "--max-size", "0", "--dry-run"][..],
        &["gc", "--max-size", "0"],
        // Those without an artifact alone.
        &["gc"],
    ] {
        let counts = [0, 100, 200].map(|count| {
            let place = Place::new();
            place.pull(&reference, &[]).line();
            multiply(&place.cache(), &image.digest, count);
            let summary = place.path("calls");
            let mut command = place.command("strace");
            command.args(["-f", "-qq", "-c", "-o"]).arg(&summary);
            command.arg(cli::program()).args(collection);
            let outcome = cli::outcome(&mut command);
            assert_eq!(outcome.status, Some(0), "{outcome:#?}");
            calls(&fs::read_to_string(summary).unwrap())
        });
        let [few, some, many] = counts;
        let (first, second) = (some - few, many - some);
        assert!(second * 10 <= first * 11, "{collection:?}: {counts:?}");
        assert!(second <= 100 * 200, "{collection:?}: {counts:?}");
    }
}
