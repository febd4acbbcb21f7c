//! Copies in OCI layouts: whole, resumed, concurrent, and into directories that are not what they seem.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use ociget::{
    Client, Copied, CopyOptions, Digest, Error, ErrorKind, LayoutSource, Platform, Source,
    SourceSpec, copy_to_layout, resolve,
};

use crate::support::{Content, Delivery, Reply, Server, noise, quick, ranged};

fn named(name: &str) -> CopyOptions {
    let mut options = CopyOptions::default();
    options.ref_name = Some(name.to_owned());
    options
}

async fn copy(server: &Server, name: &str, dir: &Path) -> Result<Copied, Error> {
    let source = server.named(&format!("app:{name}"), quick());
    copy_to_layout(&*source, None, dir, &named(name)).await
}

fn blob(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs/sha256").join(digest.hex())
}

fn partial(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs/sha256")
        .join(format!(".partial-{}", digest.hex()))
}

fn index(dir: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap()
}

fn ref_names(dir: &Path) -> Vec<String> {
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
fn check(dir: &Path, count: usize) {
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
async fn download_that_broke_off_is_resumed_with_a_range() {
    let layer = noise(4 << 20);
    let (content, _) = Content::image(&layer);
    let digest = Digest::of(&layer);
    let cuts = AtomicU32::new(0);
    let body = layer.clone();
    let path = format!("/v2/app/blobs/{digest}");
    let server = Server::start(&content, move |seen| {
        // The registry is gone after some MiB, also for the retries.
        if seen.path != path || cuts.fetch_add(1, SeqCst) > 2 {
            return None;
        }
        let reply = match seen.header("range") {
            None => Reply::new(200, body.clone()),
            range => ranged(&body, range),
        };
        Some(reply.sent(Delivery::Cut(1 << 19)))
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let error = copy(&server, "v1", dir.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error:?}");
    let left = fs::metadata(partial(dir.path(), &digest)).unwrap().len();
    assert!(left >= 1 << 20, "{left}");
    assert!(!dir.path().join("index.json").exists());
    let before = server.seen().len();
    let copied = copy(&server, "v1", dir.path()).await.unwrap();
    check(dir.path(), 3);
    let seen: Vec<_> = server.seen().split_off(before);
    let ranges: Vec<_> = seen
        .iter()
        .filter_map(|seen| seen.header("range"))
        .collect();
    assert!(
        ranges[0].starts_with(&format!("bytes={left}-")),
        "{ranges:?}"
    );
    assert!(copied.fetched_bytes < 4 << 20);
}

#[tokio::test]
async fn unfinished_file_of_any_kind_leads_to_the_right_blob() {
    let layer = noise(1 << 20);
    let (content, _) = Content::image(&layer);
    let digest = Digest::of(&layer);
    let mut wrong = layer.clone();
    wrong[100] ^= 1;
    let longer = [&layer[..], b"more"].concat();
    for left in [
        &layer[..],
        &layer[..1000],
        &wrong[..1000],
        &wrong,
        &longer,
        b"",
    ] {
        for refuses in [None, Some(400), Some(416), Some(200)] {
            let body = layer.clone();
            let server = Server::start(&content, move |seen| {
                let _range = seen.header("range")?;
                match refuses {
                    Some(200) => Some(Reply::new(200, body.clone())),
                    Some(status) => Some(Reply::new(status, "")),
                    None => None,
                }
            })
            .await;
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
            fs::write(
                dir.path().join("oci-layout"),
                r#"{"imageLayoutVersion":"1.0.0"}"#,
            )
            .unwrap();
            fs::write(partial(dir.path(), &digest), left).unwrap();
            copy(&server, "v1", dir.path()).await.unwrap();
            check(dir.path(), 3);
        }
    }
}

#[tokio::test]
async fn damaged_blob_is_replaced_and_intact_one_kept() {
    let layer = noise(100_000);
    let (content, manifest) = Content::image(&layer);
    let digest = Digest::of(&layer);
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    copy(&server, "v1", dir.path()).await.unwrap();
    let mut wrong = layer.clone();
    wrong[5] ^= 1;
    let outside = dir.path().with_extension("outside");
    fs::write(&outside, &layer).unwrap();
    // google/go-containerregistry#2124: empty files with the names of blobs.
    for damage in [&wrong[..], b"", &layer[..7]] {
        fs::write(blob(dir.path(), &digest), damage).unwrap();
        let copied = copy(&server, "v1", dir.path()).await.unwrap();
        assert_eq!((copied.fetched, copied.kept), (1, 2));
        check(dir.path(), 3);
    }
    fs::write(blob(dir.path(), &manifest), "{}").unwrap();
    assert_eq!(copy(&server, "v1", dir.path()).await.unwrap().fetched, 1);
    // A symlink is not a blob, whatever it leads to.
    fs::remove_file(blob(dir.path(), &digest)).unwrap();
    std::os::unix::fs::symlink(&outside, blob(dir.path(), &digest)).unwrap();
    copy(&server, "v1", dir.path()).await.unwrap();
    assert!(
        fs::symlink_metadata(blob(dir.path(), &digest))
            .unwrap()
            .is_file()
    );
    fs::remove_file(outside).unwrap();
}

#[tokio::test]
async fn nothing_is_written_through_a_symlink() {
    let (content, _) = Content::image(&noise(1000));
    let server = Server::start(&content, |_| None).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("victim");
    let layer = Digest::of(&noise(1000));
    for link in [
        "blobs".to_owned(),
        "blobs/sha256".to_owned(),
        format!("blobs/sha256/.partial-{}", layer.hex()),
        "index.json".to_owned(),
        "oci-layout".to_owned(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        if link != "oci-layout" {
            fs::write(
                dir.path().join("oci-layout"),
                r#"{"imageLayoutVersion":"1.0.0"}"#,
            )
            .unwrap();
        }
        fs::create_dir_all(dir.path().join(&link).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join(&link)).unwrap();
        let error = copy(&server, "v1", dir.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{link}: {error:?}");
        assert!(
            error.to_string().contains(&*dir.path().to_string_lossy()),
            "{error}"
        );
        assert!(!target.exists(), "{link}");
    }
}

#[tokio::test]
async fn directory_that_is_no_layout_is_left_alone() {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |_| None).await;
    for (file, text, kind) in [
        ("notes.txt", "mine", ErrorKind::Usage),
        (
            "oci-layout",
            r#"{"imageLayoutVersion":"9"}"#,
            ErrorKind::Unsupported,
        ),
        ("oci-layout", "", ErrorKind::Unsupported),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(file), text).unwrap();
        let error = copy(&server, "v1", dir.path()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = copy(&server, "v1", file.path()).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    fs::write(dir.path().join("index.json"), r#"{"manifests":[{"#).unwrap();
    let error = copy(&server, "v1", dir.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert_eq!(
        fs::read(dir.path().join("index.json")).unwrap(),
        br#"{"manifests":[{"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_copies_share_blobs_and_lose_no_name() {
    // containers/image#1028
    let mut content = Content::default();
    let shared = noise(2 << 20);
    let mut tags = Vec::new();
    for number in 0..8_usize {
        let own = noise(1000 + number);
        let digest = content.add_image("linux", "amd64", &[&shared, &own]);
        content.tag(&format!("v{number}"), &digest);
        tags.push(format!("v{number}"));
    }
    let server = std::sync::Arc::new(Server::start(&content, |_| None).await);
    let dir = tempfile::tempdir().unwrap();
    // Each tag twice: two copies of one image meet as well.
    let copies: Vec<_> = tags
        .iter()
        .chain(&tags)
        .map(|tag| {
            let (server, tag, dir) = (server.clone(), tag.clone(), dir.path().to_owned());
            tokio::spawn(async move { copy(&server, &tag, &dir).await.map(|_| ()) })
        })
        .collect();
    for copy in copies {
        copy.await.unwrap().unwrap();
    }
    assert_eq!(ref_names(dir.path()), tags);
    // The shared layer, and of each image a layer, a config and a manifest.
    check(dir.path(), 1 + 8 * 3);
    assert_eq!(server.seen_at(Digest::of(&shared).hex()).len(), 1);
}

#[tokio::test]
async fn copy_that_is_dropped_leaves_a_layout_that_another_completes() {
    let layer = noise(3 << 20);
    let (content, _) = Content::image(&layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer));
    let body = layer.clone();
    let stalls = AtomicU32::new(0);
    let server = Server::start(&content, move |seen| {
        let stalling = Reply::new(200, body.clone()).sent(Delivery::Stall(2 << 20));
        (seen.path == path && stalls.fetch_add(1, SeqCst) == 0).then_some(stalling)
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let mut options = quick();
    options.stall_timeout = std::time::Duration::from_secs(60);
    let source = server.named("app:v1", options);
    let options = named("v1");
    let copying = copy_to_layout(&*source, None, dir.path(), &options);
    let partial = partial(dir.path(), &Digest::of(&layer));
    let written = async {
        while fs::metadata(&partial).map_or(0, |found| found.len()) < 1 << 20 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        outcome = copying => panic!("{outcome:?}"),
        () = written => {}
    }
    let copied = copy(&server, "v1", dir.path()).await.unwrap();
    assert!(copied.fetched_bytes < 3 << 20, "{copied:?}");
    check(dir.path(), 3);
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
