//! Images in a directory.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::fs;
use std::path::{Path, PathBuf};

use ociget::{Client, Digest, Error, Image, Options, Source, SourceSpec};

use crate::support::{Content, noise, pull};

/// Writes `content` as a layout with the images `tags`.
fn write(dir: &Path, content: &Content, tags: &[(&str, &Digest)]) {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    for (digest, bytes) in content.by_digest() {
        fs::write(dir.join("blobs").join(digest.replace(':', "/")), bytes).unwrap();
    }
    let entries: Vec<String> = tags
        .iter()
        .map(|(tag, digest)| {
            let size = content.manifest(&digest.to_string()).len();
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size},
                "annotations":{{"org.opencontainers.image.ref.name":"{tag}"}}}}"#
            )
        })
        .collect();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        entries.join(",")
    );
    fs::write(dir.join("index.json"), index).unwrap();
}

fn open(dir: &Path, tag: &str) -> Box<dyn Source> {
    let spec: SourceSpec = format!("oci:{}:{tag}", dir.display()).parse().unwrap();
    spec.open(&Client::new(Options::default()).unwrap())
        .unwrap()
}

async fn resolve(source: &dyn Source, expected: Option<&Digest>) -> Result<Image, Error> {
    ociget::resolve(source, expected, &"linux/amd64".parse().unwrap()).await
}

/// A layout of one image with one layer, and the path of that layer.
fn small(dir: &Path, layer: &[u8]) -> (Digest, PathBuf) {
    let (content, manifest) = Content::image(layer);
    write(dir, &content, &[("v1", &manifest)]);
    (
        manifest,
        dir.join("blobs/sha256").join(Digest::of(layer).hex()),
    )
}

#[tokio::test]
async fn an_image_is_found_by_tag_by_digest_or_alone() {
    let dir = tempfile::tempdir().unwrap();
    let layer = noise(700_000);
    let (manifest, _) = small(dir.path(), &layer);
    for tag in ["", "v1"] {
        let source = open(dir.path(), tag);
        assert_eq!(
            resolve(&*source, None).await.unwrap().identity.get(),
            &manifest
        );
        assert_eq!(
            resolve(&*source, Some(&manifest))
                .await
                .unwrap()
                .identity
                .get(),
            &manifest
        );
        assert_eq!(pull(&*source).await.unwrap(), std::slice::from_ref(&layer));
    }
    let error = resolve(&*open(dir.path(), "v2"), None)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("does not hold v2; it holds v1 ({manifest})")),
        "{error}"
    );
    let absent = Digest::of(b"absent");
    let error = resolve(&*open(dir.path(), ""), Some(&absent))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("does not hold {absent}")),
        "{error}"
    );
}

#[tokio::test]
async fn several_images_are_a_question() {
    let dir = tempfile::tempdir().unwrap();
    let mut content = Content::default();
    let one = content.add_image("linux", "amd64", &[b"1"]);
    let two = content.add_image("linux", "amd64", &[b"2"]);
    write(
        dir.path(),
        &content,
        &[("one", &one), ("two", &two), ("alias", &one)],
    );
    let error = resolve(&*open(dir.path(), ""), None)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("several images: one (sha256:"), "{error}");
    for (tag, digest) in [("one", &one), ("two", &two), ("alias", &one)] {
        let image = resolve(&*open(dir.path(), tag), None).await.unwrap();
        assert_eq!(image.identity.get(), digest);
    }
}

#[tokio::test]
async fn nothing_but_a_regular_file_under_its_own_name_is_read() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    let layer = b"layer".to_vec();
    fs::write(secret.path(), &layer).unwrap();
    let link = |target: &Path, at: &Path| {
        fs::remove_file(at).unwrap();
        std::os::unix::fs::symlink(target, at).unwrap();
    };
    type Change<'a> = &'a dyn Fn(&Path, &Path);
    let replace: [(&str, Change<'_>, &str); 4] = [
        (
            "a blob that is a symlink",
            &|_, blob| link(secret.path(), blob),
            "is a symlink",
        ),
        (
            "a directory of blobs that is a symlink",
            &|dir, _| {
                let blobs = dir.join("blobs");
                fs::rename(&blobs, dir.join("elsewhere")).unwrap();
                std::os::unix::fs::symlink("elsewhere", blobs).unwrap();
            },
            "blobs is a symlink",
        ),
        (
            "an index that is a symlink",
            &|dir, _| link(secret.path(), &dir.join("index.json")),
            "is a symlink",
        ),
        (
            "a fifo",
            &|_, blob| {
                fs::remove_file(blob).unwrap();
                let made = std::process::Command::new("mkfifo")
                    .arg(blob)
                    .status()
                    .unwrap();
                assert!(made.success());
            },
            "not a regular file",
        ),
    ];
    for (name, change, says) in replace {
        let dir = tempfile::tempdir().unwrap();
        let (_, blob) = small(dir.path(), &layer);
        change(dir.path(), &blob);
        let error = pull(&*open(dir.path(), "")).await.unwrap_err().to_string();
        assert!(error.contains(says), "{name}: {error}");
    }
}

#[tokio::test]
async fn damage_on_disk_is_told() {
    let layer = noise(5000);
    for (name, change, says) in [
        (
            "flipped",
            [&layer[..4999], b"!"].concat(),
            "digest mismatch",
        ),
        (
            "short",
            layer[..4999].to_vec(),
            "has 4999, its descriptor says 5000",
        ),
        (
            "long",
            [&layer[..], b"!"].concat(),
            "has 5001, its descriptor says 5000",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (_, blob) = small(dir.path(), &layer);
        fs::write(&blob, change).unwrap();
        let error = pull(&*open(dir.path(), "")).await.unwrap_err().to_string();
        assert!(
            error.contains(says) && error.contains("/blobs/sha256/"),
            "{name}: {error}"
        );
    }
}

#[tokio::test]
async fn a_directory_that_is_no_layout_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = pull(&*open(dir.path(), "")).await.unwrap_err().to_string();
    assert!(error.contains("oci-layout: No such file"), "{error}");
    fs::write(
        dir.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"9"}"#,
    )
    .unwrap();
    let error = pull(&*open(dir.path(), "")).await.unwrap_err().to_string();
    assert!(error.contains("another version"), "{error}");
}
