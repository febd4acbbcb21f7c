//! Copies in OCI layouts: which contents they have, and which are refused.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::fs;
use std::path::{Path, PathBuf};

use ociget::{
    Client, Copied, CopyOptions, Digest, Error, ErrorKind, LayoutSource, Platform, Source,
    SourceSpec, copy_to_layout, resolve,
};

use crate::support::{Content, Reply, Server, noise, quick};

pub(crate) fn named(name: &str) -> CopyOptions {
    let mut options = CopyOptions::default();
    options.ref_name = Some(name.to_owned());
    options
}

pub(crate) async fn copy(server: &Server, name: &str, dir: &Path) -> Result<Copied, Error> {
    let source = server.named(&format!("app:{name}"), quick());
    copy_to_layout(&*source, None, dir, &named(name)).await
}

pub(crate) fn blob(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs/sha256").join(digest.hex())
}

pub(crate) fn partial(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs/sha256")
        .join(format!(".partial-{}", digest.hex()))
}

fn index(dir: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap()
}

pub(crate) fn ref_names(dir: &Path) -> Vec<String> {
    let index = index(dir);
    let entries = index["manifests"].as_array().unwrap();
    let name = "org.opencontainers.image.ref.name";
    let mut names: Vec<String> = entries
        .iter()
        .map(|entry| {
            entry["annotations"][name]
                .as_str()
                .unwrap_or("-")
                .to_owned()
        })
        .collect();
    names.sort();
    names
}

/// Every blob has the digest that its name says, and nothing else is there.
pub(crate) fn check(dir: &Path, count: usize) {
    let files: Vec<_> = fs::read_dir(dir.join("blobs/sha256"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for file in &files {
        let digest = Digest::of(&fs::read(file.path()).unwrap());
        assert_eq!(file.file_name().to_str().unwrap(), digest.hex());
    }
    assert_eq!(files.len(), count);
    let marker = fs::read_to_string(dir.join("oci-layout")).unwrap();
    assert_eq!(marker, r#"{"imageLayoutVersion":"1.0.0"}"#);
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["blobs", "index.json", "oci-layout"]);
}

#[tokio::test]
async fn index_is_copied_whole_and_read_back() {
    let mut content = Content::default();
    let layers = [noise(3 << 20), noise(10), noise(20)];
    let amd = content.add_image("linux", "amd64", &[&layers[0], &layers[1]]);
    let arm = content.add_image("linux", "arm64", &[&layers[0], &layers[2]]);
    let root = content.add_index(&[("linux/amd64", &amd), ("linux/arm64", &arm)]);
    content.tag("v1", &root);
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("new/layout");
    let copied = copy(&server, "v1", &dir).await.unwrap();
    assert_eq!(
        (&copied.root.digest, copied.fetched, copied.kept),
        (&root, 8, 0)
    );
    check(&dir, 8);
    assert_eq!(ref_names(&dir), ["v1"]);
    assert_eq!(
        index(&dir)["manifests"][0]["mediaType"],
        crate::support::OCI_INDEX
    );
    for platform in ["linux/amd64", "linux/arm64"] {
        let platform: Platform = platform.parse().unwrap();
        let source = LayoutSource::new(dir.clone(), Some("v1".to_owned()));
        let image = resolve(&source, None, &platform).await.unwrap();
        assert_eq!(image.identity.get(), &root);
        for layer in &image.layers {
            let blob = source.blob(&layer.descriptor).await.unwrap();
            let _proof = blob.finish().await.unwrap();
        }
    }
    // Everything exists: the tag is resolved, and that is all.
    let before = server.seen().len();
    let again = copy(&server, "v1", &dir).await.unwrap();
    assert_eq!((again.fetched, again.fetched_bytes, again.kept), (0, 0, 8));
    let seen = server.seen().split_off(before);
    assert!(seen.iter().all(|seen| seen.method == "HEAD"), "{seen:?}");
}

#[tokio::test]
async fn one_platform_and_every_other_source_are_copied_as_well() {
    let mut content = Content::default();
    let amd = content.add_image("linux", "amd64", &[&noise(50)]);
    let arm = content.add_image("linux", "arm64", &[&noise(60)]);
    let root = content.add_index(&[("linux/amd64", &amd), ("linux/arm64", &arm)]);
    content.tag("v1", &root);
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let source = server.source(quick());
    let copied = copy_to_layout(&*source, Some(&arm), &one, &CopyOptions::default())
        .await
        .unwrap();
    assert_eq!(copied.root.digest, arm);
    check(&one, 3);
    assert_eq!(ref_names(&one), ["-"]);
    let spec: SourceSpec = format!("oci:{}", one.display()).parse().unwrap();
    let source = spec.open(&Client::new(quick()).unwrap()).unwrap();
    let copied = copy_to_layout(&*source, None, &two, &named("x"))
        .await
        .unwrap();
    assert_eq!((copied.root.digest, copied.fetched), (arm, 3));
    check(&two, 3);
}

#[tokio::test]
async fn artifacts_and_caches_in_an_index_are_copied() {
    let mut content = Content::default();
    let config = content.add_blob("application/vnd.oci.empty.v1+json", b"{}");
    let sbom = content.add_blob("application/spdx+json", b"sbom");
    let artifact = format!(
        r#"{{"schemaVersion":2,"artifactType":"application/spdx+json","config":{config},"layers":[{sbom}]}}"#
    );
    let artifact = content.add_manifest(crate::support::OCI, &artifact);
    // An index of BuildKit's cache lists layers where manifests belong.
    let cached = content.add_blob("application/vnd.oci.image.layer.v1.tar+gzip", b"cached");
    let odd = content.add_manifest("application/vnd.example.manifest.v9+json", r#"{"odd":1}"#);
    let entry = |media_type: &str, digest: &Digest, size: usize| {
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    };
    let size = content.manifest(&artifact.to_string()).len();
    let root = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{cached},{}]}}"#,
        entry(crate::support::OCI, &artifact, size),
        entry("application/vnd.example.manifest.v9+json", &odd, 9),
    );
    let root = content.add_manifest(crate::support::OCI_INDEX, &root);
    content.tag("v1", &root);
    content.tag("sbom", &artifact);
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    copy(&server, "v1", dir.path()).await.unwrap();
    check(dir.path(), 6);
    copy(&server, "sbom", dir.path()).await.unwrap();
    let index = index(dir.path());
    assert_eq!(index["manifests"][0].get("artifactType"), None);
    assert_eq!(
        index["manifests"][1]["artifactType"],
        "application/spdx+json"
    );
}

#[tokio::test]
async fn tag_that_moved_is_replaced_and_its_blobs_stay() {
    let (content, old) = Content::image(b"old");
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    copy(&server, "v1", dir.path()).await.unwrap();
    let (content, new) = Content::image(b"new");
    let server = Server::start(&content, |_| None).await;
    copy(&server, "v1", dir.path()).await.unwrap();
    assert_eq!(ref_names(dir.path()), ["v1"]);
    assert_eq!(index(dir.path())["manifests"][0]["digest"], new.to_string());
    assert!(blob(dir.path(), &old).exists());
}

#[tokio::test]
async fn content_that_is_wrong_or_too_much_is_refused() {
    let layer = noise(5000);
    let (content, _) = Content::image(&layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer));
    let server = Server::start(&content, move |seen| {
        (seen.path == path).then(|| Reply::new(200, vec![0; 5000]))
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let error = copy(&server, "v1", dir.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert_eq!(
        fs::metadata(partial(dir.path(), &Digest::of(&layer)))
            .unwrap()
            .len(),
        0
    );
    assert!(!blob(dir.path(), &Digest::of(&layer)).exists());
    let mut options = named("v1");
    options.max_bytes = 5100;
    let source = server.source(quick());
    let error = copy_to_layout(&*source, None, dir.path(), &options)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("max_bytes"), "{error}");
    for name in ["", "a b", "é", "a\n"] {
        let error = copy_to_layout(&*source, None, dir.path(), &named(name))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error:?}");
    }
}

#[tokio::test]
async fn index_that_nests_too_deep_or_contradicts_itself_is_refused() {
    let mut content = Content::default();
    let mut root = content.add_image("linux", "amd64", &[b"layer"]);
    for _ in 0..5 {
        root = content.add_index(&[("", &root)]);
    }
    content.tag("deep", &root);
    let digest = Digest::of(b"x");
    let two = format!(
        r#"{{"schemaVersion":2,"layers":[{{"mediaType":"a","digest":"{digest}","size":1}},{{"mediaType":"a","digest":"{digest}","size":2}}]}}"#
    );
    let two = content.add_manifest(crate::support::OCI, &two);
    content.tag("two", &two);
    let both = content.add_manifest(crate::support::OCI, r#"{"manifests":[],"layers":[]}"#);
    content.tag("both", &both);
    let server = Server::start(&content, |_| None).await;
    for (tag, says) in [
        ("deep", "nested more than 4"),
        ("two", "in another"),
        ("both", "ambiguous"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let error = copy(&server, tag, dir.path())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error}");
        assert!(!dir.path().join("index.json").exists());
    }
}

#[tokio::test]
async fn fields_in_another_case_are_copied_with_their_blobs() {
    for (field, spelling) in [
        ("layers", "Layers"),
        ("config", "Config"),
        ("manifests", "Manifests"),
        ("digest", "Digest"),
    ] {
        let mut content = Content::default();
        let respelled = |content: &Content, digest: &Digest| {
            let text = String::from_utf8(content.manifest(&digest.to_string()).to_vec()).unwrap();
            text.replace(&format!("{field:?}:"), &format!("{spelling:?}:"))
        };
        let image = content.add_image("linux", "amd64", &[&noise(50)]);
        let image = respelled(&content, &image);
        let image = content.add_manifest(crate::support::OCI, &image);
        let index = content.add_index(&[("linux/amd64", &image)]);
        let index = respelled(&content, &index);
        let index = content.add_manifest(crate::support::OCI_INDEX, &index);
        content.tag("v1", &index);
        let server = Server::start(&content, |_| None).await;
        let dir = tempfile::tempdir().unwrap();
        copy(&server, "v1", dir.path()).await.unwrap();
        check(dir.path(), 4);
    }
}

#[tokio::test]
async fn entry_of_wrong_size_or_type_is_corrected_by_another_copy() {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    copy(&server, "v1", dir.path()).await.unwrap();
    let right = index(dir.path());
    for (field, wrong) in [("size", "1"), ("mediaType", "\"a/b\"")] {
        let mut damaged = right.clone();
        damaged["manifests"][0][field] = serde_json::from_str(wrong).unwrap();
        fs::write(dir.path().join("index.json"), damaged.to_string()).unwrap();
        copy(&server, "v1", dir.path()).await.unwrap();
        assert_eq!(index(dir.path()), right);
    }
}

#[tokio::test]
async fn type_that_only_the_registry_names_stays_in_a_second_copy() {
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let mut content = Content::default();
    let image = content.add_image("linux", "amd64", &[b"layer"]);
    let text = String::from_utf8(content.manifest(&image.to_string()).to_vec()).unwrap();
    let said = format!(r#""mediaType":"{}","#, crate::support::OCI);
    let image = content.add_manifest(docker, &text.replacen(&said, "", 1));
    content.tag("v1", &image);
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let copied = copy(&server, "v1", dir.path()).await.unwrap();
        assert_eq!(copied.root.digest, image);
        assert_eq!(index(dir.path())["manifests"][0]["mediaType"], docker);
    }
}
