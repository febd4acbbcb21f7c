//! What flattening holds in memory, on an image of 600 MB.

use std::path::Path;
use std::process::Command;

use test_support::oracle::umoci;
use test_support::real_image::{self, RealImage};

use crate::cli::Place;

const MOST: u64 = 64 << 20;

#[test]
fn memory_stays_small_when_a_layer_replaces_half() {
    let Some(image) = real_image::big().unwrap() else {
        return;
    };
    let place = Place::new();
    let (before, written) = build(&place, image.layout());
    assert!(before <= MOST, "peak of {before} bytes");

    let Some(tree) = umoci::unpack(image.layout(), RealImage::TAG).unwrap() else {
        return;
    };
    let half = place.path("half");
    run(Command::new("cp").arg("-r").arg(image.layout()).arg(&half));
    let tar = place.path("layer.tar");
    run(Command::new("tar")
        .args(["--numeric-owner", "-C"])
        .args([&tree.root(), Path::new("-cf"), &tar])
        .args(["usr/lib", "usr/libexec"]));
    let replaced = std::fs::metadata(&tar).unwrap().len();
    run(Command::new("umoci")
        .args(["raw", "add-layer", "--image"])
        .arg(format!("{}:{}", half.display(), RealImage::TAG))
        .arg(&tar));

    let (after, rewritten) = build(&place, &half);
    assert!(after <= MOST, "peak of {after} bytes");
    // The same files once more: nothing of what they replace was written.
    assert!(replaced > 200 << 20, "{replaced}");
    assert!(
        rewritten.abs_diff(written) < written / 20,
        "{written}, then {rewritten}"
    );
}

/// Returns the peak of memory in bytes, and the size of the image.
fn build(place: &Place, layout: &Path) -> (u64, u64) {
    let source = format!("oci:{}:{}", layout.display(), RealImage::TAG);
    let arguments = ["build", &source, "--threads", "2", "-o", "image"];
    let (outcome, peak) = place.run_measured(&arguments);
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    let size = std::fs::metadata(place.path("image")).unwrap().len();
    std::fs::remove_file(place.path("image")).unwrap();
    (peak, size)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {message}");
}
