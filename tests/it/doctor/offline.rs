//! `doctor --offline` compared with the pull that it checks.

use std::fs;

use super::{doctor, finding, says};
use crate::cli::Place;
use crate::reuse_seeds::Both;

/// linuxkit/linuxkit#3967, sylabs/singularity#3159: an image for another platform is not the image.
#[test]
fn offline_doctor_and_pull_agree_for_each_platform() {
    let both = Both::serve();
    let place = Place::new();
    both.pull(&place, "linux/arm64", &[]).line();
    both.registry.clear_requests();
    let agree = |platform: &str, more: &[&str], status: i32, text: &str| {
        let more = [&["--offline"], more].concat();
        let arguments = ["--no-agent", &both.reference, "--platform", platform];
        let examined = doctor(&place, &[], &[&arguments, &more[..]].concat());
        let found = finding(&examined, status, "registry");
        says(&found, if status == 0 { "ok" } else { "failed" }, text);
        let pulled = both.pull(&place, platform, &more);
        assert_eq!(pulled.status, Some(status), "{pulled:#?}");
        assert!(status == 0 || pulled.stderr.contains(text), "{pulled:#?}");
    };
    let lacks = |digest: &str| format!("the store does not hold the manifest {digest}");
    let holds = "the store holds";
    agree(
        "linux/amd64",
        &[],
        1,
        &format!("{} for linux/amd64", lacks(&both.amd64)),
    );
    agree("linux/s390x", &[], 1, "has no image for linux/s390x");
    agree(
        "linux/arm64",
        &["--block-size", "4K", "--no-reuse"],
        1,
        "--no-reuse forbids",
    );
    agree("linux/arm64", &["--time", "7"], 0, holds);
    // The artifact alone will do for a pull that builds nothing.
    let recall = format!(".recall-{}", both.index.replace(':', "-"));
    fs::remove_file(place.cache().join(recall)).unwrap();
    agree("linux/arm64", &["--time", "7"], 0, holds);
    agree("linux/arm64", &["--time", "8"], 1, &lacks(&both.index));
    fs::write(place.path("file"), "").unwrap();
    let injected = ["--time", "7", "--inject", "file:/.hpcc/file"];
    agree("linux/arm64", &injected, 1, &lacks(&both.index));
    assert!(both.registry.requests().is_empty());
}
