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
async fn only_regular_file_under_its_own_name_is_read() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    let layer = b"layer".to_vec();
    fs::write(secret.path(), &layer).unwrap();
    let link = |target: &Path, at: &Path| {
        fs::remove_file(at).unwrap();
        std::os::unix::fs::symlink(target, at).unwrap();
    };
    type Change<'a> = &'a dyn Fn(&Path, &Path);
    let replace: [(&str, Change<'_>, &str); 6] = [
        (
            "a blob that is a symlink",
            &|_, blob| link(secret.path(), blob),
            "leads out of the directory",
        ),
        (
            "a blob that leads out and in again",
            &|dir, blob| {
                let name = dir.file_name().unwrap().to_str().unwrap();
                let target = format!("../../../{name}/layer");
                fs::rename(blob, dir.join("layer")).unwrap();
                std::os::unix::fs::symlink(target, blob).unwrap();
            },
            "leads out of the directory",
        ),
        (
            "a directory of blobs that is a symlink out of the layout",
            &|dir, _| {
                let blobs = dir.join("blobs");
                fs::remove_dir_all(&blobs).unwrap();
                std::os::unix::fs::symlink("..", blobs).unwrap();
            },
            "leads out of the directory",
        ),
        (
            "a symlink that leads to itself",
            &|_, blob| {
                fs::remove_file(blob).unwrap();
                std::os::unix::fs::symlink(blob.file_name().unwrap(), blob).unwrap();
            },
            "symbolic links",
        ),
        (
            "an index that is a symlink",
            &|dir, _| link(secret.path(), &dir.join("index.json")),
            "leads out of the directory",
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
async fn damage_on_disk_is_reported() {
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
            "has 4999 bytes, its descriptor says 5000",
        ),
        (
            "long",
            [&layer[..], b"!"].concat(),
            "has 5001 bytes, its descriptor says 5000",
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
    assert!(error.contains("a directory without an image"), "{error}");
    let missing = dir.path().join("missing");
    let error = pull(&*open(&missing, "")).await.unwrap_err().to_string();
    assert!(error.contains("oci-layout: No such file"), "{error}");
    for marker in [r#"{"imageLayoutVersion":"9"}"#, r#"["1.0.0"]"#] {
        fs::write(dir.path().join("oci-layout"), marker).unwrap();
        let error = pull(&*open(dir.path(), "")).await.unwrap_err().to_string();
        assert!(error.contains("another version"), "{error}");
    }
}

/// Blobs that are links into a store beside them (debuerreotype/debuerreotype#149, bazel-contrib/rules_oci#505).
#[tokio::test]
async fn symlinks_within_the_layout_are_followed() {
    let layer = noise(5000);
    let dir = tempfile::tempdir().unwrap();
    let (_, blob) = small(dir.path(), &layer);
    let store = dir.path().join("store/deep");
    fs::create_dir_all(&store).unwrap();
    fs::rename(&blob, store.join("layer")).unwrap();
    std::os::unix::fs::symlink("../../store/./deep/../deep/layer", &blob).unwrap();
    fs::rename(dir.path().join("blobs"), dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", dir.path().join("blobs")).unwrap();
    fs::rename(dir.path().join("index.json"), dir.path().join("the-index")).unwrap();
    std::os::unix::fs::symlink("./the-index", dir.path().join("index.json")).unwrap();
    assert_eq!(pull(&*open(dir.path(), "")).await.unwrap(), [layer]);
}

/// Sets the entries of `index.json`.
fn list(dir: &Path, entries: &str) {
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
    fs::write(dir.join("index.json"), index).unwrap();
}

fn entry(content: &Content, digest: &Digest, rest: &str) -> String {
    let size = content.manifest(&digest.to_string()).len();
    format!(
        r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size}{rest}}}"#
    )
}

fn on(architecture: &str) -> String {
    format!(r#","platform":{{"os":"linux","architecture":"{architecture}"}}"#)
}

fn tagged(tag: &str) -> String {
    format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{tag}"}}"#)
}

/// containers/skopeo#2463; the same index twice over makes the same identity.
#[tokio::test]
async fn platforms_of_the_top_index_are_chosen_from() {
    let dir = tempfile::tempdir().unwrap();
    let mut content = Content::default();
    let amd64 = content.add_image("linux", "amd64", &[b"a"]);
    let arm64 = content.add_image("linux", "arm64", &[b"b"]);
    write(dir.path(), &content, &[]);
    for (tag, rest) in [("", String::new()), ("v1", tagged("v1"))] {
        let entries = [(&arm64, "arm64"), (&amd64, "amd64")]
            .map(|(digest, name)| entry(&content, digest, &format!("{}{rest}", on(name))));
        list(dir.path(), &entries.join(","));
        let source = open(dir.path(), tag);
        let image = resolve(&*source, None).await.unwrap();
        assert_eq!(image.manifest.get(), &amd64, "{tag}");
        let identity = image.identity.get().clone();
        assert_ne!(identity, amd64);
        let pinned = resolve(&*open(dir.path(), tag), Some(&identity)).await;
        assert_eq!(pinned.unwrap().manifest.get(), &amd64, "{tag}");
        let error = ociget::resolve(&*source, None, &"linux/mips64le".parse().unwrap()).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("it has linux/arm64, linux/amd64"), "{error}");
    }
    // Two tags are two images, whatever their platforms.
    let entries = [(&arm64, "arm64"), (&amd64, "amd64")]
        .map(|(digest, name)| entry(&content, digest, &format!("{}{}", on(name), tagged(name))));
    list(dir.path(), &entries.join(","));
    let error = resolve(&*open(dir.path(), ""), None).await.unwrap_err();
    assert!(error.to_string().contains("several images"), "{error}");
}

/// containers-transports(5); everything that the index lists counts.
#[tokio::test]
async fn images_of_a_layout_have_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let mut content = Content::default();
    let one = content.add_image("linux", "amd64", &[b"1"]);
    let two = content.add_image("linux", "amd64", &[b"2"]);
    write(dir.path(), &content, &[]);
    let signature = r#"{"mediaType":"application/vnd.example","digest":"sha256:x","size":1}"#;
    let entries = [entry(&content, &one, ""), entry(&content, &two, "")];
    list(
        dir.path(),
        &format!("{},{signature},{}", entries[0], entries[1]),
    );
    for (number, digest) in [("@0", &one), ("@2", &two)] {
        let image = resolve(&*open(dir.path(), number), None).await.unwrap();
        assert_eq!(image.identity.get(), digest, "{number}");
    }
    for number in ["@1", "@3", "@", "@-1"] {
        let error = resolve(&*open(dir.path(), number), None).await.unwrap_err();
        assert!(matches!(error, Error::Absent { .. }), "{number}: {error}");
    }
}

/// An index with blobs for one of its platforms alone, as `docker save` has it since 25
/// (socktainer/socktainer#314); and an index on top of the index (superradcompany/microsandbox#1287).
#[tokio::test]
async fn platforms_without_blobs_are_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let mut content = Content::default();
    let amd64 = content.add_image("linux", "amd64", &[b"a"]);
    let arm64 = content.add_image("linux", "arm64", &[b"b"]);
    let index = content.add_index(&[("linux/arm64", &arm64), ("linux/amd64", &amd64)]);
    write(dir.path(), &content, &[]);
    let size = content.manifest(&index.to_string()).len();
    list(
        dir.path(),
        &format!(
            r#"{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{index}","size":{size}}}"#
        ),
    );
    fs::remove_file(dir.path().join("blobs/sha256").join(arm64.hex())).unwrap();
    assert_eq!(pull(&*open(dir.path(), "")).await.unwrap(), [b"a"]);
}

fn named(name: &str, tag: &str) -> String {
    format!(
        r#","annotations":{{"io.containerd.image.name":"{name}","org.opencontainers.image.ref.name":"{tag}"}}"#
    )
}

/// docker/for-win#13903, containers/skopeo#2370
#[tokio::test]
async fn images_that_share_a_tag_are_found_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut content = Content::default();
    let app = content.add_image("linux", "amd64", &[b"app"]);
    let other = content.add_image("linux", "arm64", &[b"other"]);
    write(dir.path(), &content, &[]);
    let (one, two) = ("docker.io/library/app:v1", "docker.io/library/other:v1");
    for platforms in [["", ""], ["amd64", "arm64"]] {
        let entries = [(&app, one), (&other, two)];
        let entries = entries
            .iter()
            .zip(platforms)
            .map(|((digest, name), platform)| {
                let platform = if platform.is_empty() {
                    String::new()
                } else {
                    on(platform)
                };
                entry(
                    &content,
                    digest,
                    &format!("{platform}{}", named(name, "v1")),
                )
            });
        list(dir.path(), &entries.collect::<Vec<_>>().join(","));
        for tag in ["", "v1"] {
            let error = resolve(&*open(dir.path(), tag), None).await.unwrap_err();
            let text = error.to_string();
            let names = format!("several images: {one} ({app}), {two} ({other})");
            assert!(text.contains(&names) && text.contains(":@N"), "{text}");
        }
        for name in ["app:v1", one, "library/app:v1", "@0"] {
            let image = resolve(&*open(dir.path(), name), None).await.unwrap();
            assert_eq!(image.identity.get(), &app, "{name}");
        }
        for name in ["app", "app:v2", "v1:latest"] {
            let error = resolve(&*open(dir.path(), name), None).await.unwrap_err();
            assert!(matches!(error, Error::Absent { .. }), "{name}: {error}");
        }
    }
}

#[tokio::test]
async fn entries_for_the_same_platform_are_several_images() {
    let dir = tempfile::tempdir().unwrap();
    let mut content = Content::default();
    let one = content.add_image("linux", "arm64", &[b"1"]);
    let two = content.add_image("linux", "arm64", &[b"2"]);
    write(dir.path(), &content, &[]);
    let v8 = r#","platform":{"os":"linux","architecture":"arm64","variant":"v8"}"#;
    let entries = [
        entry(&content, &one, &on("arm64")),
        entry(&content, &two, v8),
    ];
    list(dir.path(), &entries.join(","));
    let error = resolve(&*open(dir.path(), ""), None).await.unwrap_err();
    let says = format!("several images: @0 ({one}), @1 ({two})");
    assert!(error.to_string().contains(&says), "{error}");
}

/// podman writes whole names as tags.
#[tokio::test]
async fn whole_name_as_a_tag_is_found_by_its_short_form() {
    let dir = tempfile::tempdir().unwrap();
    let (content, manifest) = Content::image(b"layer");
    write(
        dir.path(),
        &content,
        &[("docker.io/library/app:v1", &manifest)],
    );
    for name in ["app:v1", "docker.io/library/app:v1"] {
        let image = resolve(&*open(dir.path(), name), None).await.unwrap();
        assert_eq!(image.identity.get(), &manifest, "{name}");
    }
}
