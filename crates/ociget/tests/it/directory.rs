//! Images in a directory as `skopeo copy … dir:DIR` writes them.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::fs;
use std::path::Path;

use ociget::{Digest, DirectorySource, Error, Source as _};

use crate::support::{Content, noise, pull};

/// Writes the blobs of `content`, and `root` as `manifest.json`.
fn write(dir: &Path, content: &Content, root: &Digest) {
    fs::write(dir.join("version"), "Directory Transport Version: 1.1\n").unwrap();
    fs::write(
        dir.join("manifest.json"),
        content.manifest(&root.to_string()),
    )
    .unwrap();
    for (digest, bytes) in &content.blobs {
        fs::write(dir.join(digest.strip_prefix("sha256:").unwrap()), bytes).unwrap();
    }
}

#[tokio::test]
async fn directory_of_one_image_is_read_and_verified() {
    let layer = noise(300_000);
    let (content, manifest) = Content::image(&layer);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &content, &manifest);
    let source = DirectorySource::new(dir.path().to_owned());
    assert_eq!(source.root(None).await.unwrap().digest().get(), &manifest);
    assert_eq!(pull(&source).await.unwrap(), std::slice::from_ref(&layer));
    let error = source.root(Some(&Digest::of(b"x"))).await.unwrap_err();
    assert!(matches!(error, Error::Absent { .. }), "{error}");
    let blob = dir.path().join(Digest::of(&layer).hex());
    // The name that version 1.0 of the format gave to layers.
    fs::rename(
        &blob,
        dir.path().join(format!("{}.tar", Digest::of(&layer).hex())),
    )
    .unwrap();
    assert_eq!(pull(&source).await.unwrap(), std::slice::from_ref(&layer));
    for (bytes, size) in [
        ([&layer[1..], b"!"].concat(), false),
        (layer[1..].to_vec(), true),
    ] {
        fs::write(&blob, bytes).unwrap();
        match pull(&source).await.unwrap_err() {
            Error::Size { .. } => assert!(size),
            error => assert!(!size && matches!(error, Error::Digest { .. }), "{error}"),
        }
    }
    fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &blob).unwrap();
    let error = pull(&source).await.unwrap_err().to_string();
    assert!(error.contains("leads out of the directory"), "{error}");
}

/// `skopeo copy --all`.
#[tokio::test]
async fn directory_of_several_platforms_has_a_file_for_each_manifest() {
    let mut content = Content::default();
    let amd64 = content.add_image("linux", "amd64", &[b"a"]);
    let arm64 = content.add_image("linux", "arm64", &[b"b"]);
    let index = content.add_index(&[("linux/arm64", &arm64), ("linux/amd64", &amd64)]);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &content, &index);
    for digest in [&amd64, &arm64] {
        let name = format!("{}.manifest.json", digest.hex());
        fs::write(dir.path().join(name), content.manifest(&digest.to_string())).unwrap();
    }
    let source = DirectorySource::new(dir.path().to_owned());
    assert_eq!(pull(&source).await.unwrap(), [b"a"]);
    let pinned = source.root(Some(&arm64)).await.unwrap();
    assert_eq!(pinned.digest().get(), &arm64);
    fs::write(
        dir.path().join(format!("{}.manifest.json", amd64.hex())),
        "{}",
    )
    .unwrap();
    assert!(pull(&source).await.is_err());
}

#[tokio::test]
async fn directory_without_a_manifest_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let source = DirectorySource::new(dir.path().to_owned());
    let error = pull(&source).await.unwrap_err().to_string();
    assert!(error.contains("a directory without an image"), "{error}");
    fs::write(dir.path().join("oci-layout"), "").unwrap();
    let error = pull(&source).await.unwrap_err().to_string();
    assert!(error.contains("write oci:"), "{error}");
}
