//! Copies whose digest the caller knows: the source must agree, whatever the layout already has.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::fs;
use std::path::Path;

use ociget::{Client, Copied, Digest, Error, Request, Source, copy_to_layout};

use crate::archive;
use crate::copy::{named, ref_names};
use crate::support::{Content, Server, noise, quick};

async fn copy(source: &dyn Source, expected: Option<&Digest>, dir: &Path) -> Result<Copied, Error> {
    copy_to_layout(source, expected, dir, &named("x")).await
}

fn open(spec: &str, pin: Option<&Digest>) -> Box<dyn Source> {
    let request = Request::parse(spec, pin).unwrap();
    request.open(&Client::new(quick()).unwrap()).unwrap()
}

/// Two images of one repository.
fn two() -> (Content, Digest, Digest) {
    let mut content = Content::default();
    let a = content.add_image("linux", "amd64", &[&noise(50)]);
    let b = content.add_image("linux", "amd64", &[&noise(60)]);
    content.tag("a", &a);
    (content, a, b)
}

#[tokio::test]
async fn digest_other_than_the_pin_is_refused_despite_its_copy() {
    let (content, a, b) = two();
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let pinned = |digest: &Digest| server.named(&format!("app@{digest}"), quick());
    copy(&*pinned(&a), None, &from).await.unwrap();
    for is_copied in [false, true] {
        if is_copied {
            copy(&*pinned(&b), None, &to).await.unwrap();
        }
        let before = server.seen().len();
        let layout = open(&format!("oci:{}", from.display()), Some(&a));
        for source in [&*pinned(&a), &*layout] {
            let error = copy(source, Some(&b), &to).await.unwrap_err();
            assert!(matches!(error, Error::Usage(_)), "{error:?}");
        }
        assert_eq!(server.seen().len(), before);
        assert_eq!(to.join("index.json").exists(), is_copied);
    }
    let index = fs::read_to_string(to.join("index.json")).unwrap();
    assert!(index.contains(b.hex()) && !index.contains(a.hex()));
    assert_eq!(ref_names(&to), ["x"]);
}

#[tokio::test]
async fn known_digest_is_copied_again_without_a_request() {
    let (mut content, a, b) = two();
    let index = content.add_index(&[("linux/amd64", &a), ("linux/arm64", &b)]);
    content.tag("all", &index);
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    // The digest of one platform is not the one that the tag resolves to.
    let names = ["app:all".to_owned(), format!("app@{b}")];
    let source = server.named(&names[0], quick());
    copy(&*source, Some(&b), dir.path()).await.unwrap();
    let before = server.seen().len();
    for name in names {
        let source = server.named(&name, quick());
        let copied = copy(&*source, Some(&b), dir.path()).await.unwrap();
        assert_eq!((copied.root.digest, copied.fetched), (b.clone(), 0));
    }
    assert_eq!(server.seen().len(), before);
}

#[tokio::test]
async fn image_that_a_file_lacks_is_refused_despite_its_copy() {
    let (content, a, b) = two();
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    copy(&*server.named("app:a", quick()), None, &from)
        .await
        .unwrap();
    let pinned = server.named(&format!("app@{b}"), quick());
    copy(&*pinned, None, &to).await.unwrap();
    let skopeo = dir.path().join("dir");
    fs::create_dir(&skopeo).unwrap();
    fs::write(skopeo.join("manifest.json"), content.manifest("a")).unwrap();
    let (layer, place) = (noise(50), archive::Place::new());
    let config = archive::config(&[&layer]);
    let list = archive::list("c.json", &["l.tar"]);
    let saved = place.docker(&[
        archive::file("manifest.json", &list),
        archive::file("c.json", &config),
        archive::file("l.tar", &layer),
    ]);
    let layout = open(&format!("oci:{}", from.display()), None);
    let skopeo = open(&format!("dir:{}", skopeo.display()), None);
    for source in [&*layout, &*skopeo, &saved] {
        let error = copy(source, Some(&b), &to).await.unwrap_err();
        assert!(matches!(error, Error::Absent { .. }), "{error:?}");
    }
    let (from, missing) = (
        format!("oci:{}", from.display()),
        dir.path().join("missing"),
    );
    for (spec, is_there) in [(from, true), (format!("oci:{}", missing.display()), false)] {
        let error = copy(&*open(&spec, Some(&b)), None, &to).await.unwrap_err();
        let is_absent = matches!(error, Error::Absent { .. });
        assert_eq!(is_absent, is_there, "{error:?}");
    }
    let copied = copy(&*layout, Some(&a), &to).await.unwrap();
    assert_eq!((copied.root.digest, copied.fetched), (a, 3));
}

#[tokio::test]
async fn root_file_system_with_known_digest_is_copied_again() {
    let (dir, place) = (tempfile::tempdir().unwrap(), archive::Place::new());
    let tar = archive::tar(&[archive::file("etc/hostname", b"x\n")]);
    let spec = format!("tar:{}", place.write(&tar).display());
    let digest = Digest::of(&tar);
    for pin in [None, Some(&digest)] {
        for expected in [None, Some(&digest)] {
            let copied = copy(&*open(&spec, pin), expected, dir.path()).await;
            let copied = copied.unwrap();
            assert_eq!(copied.fetched + copied.kept, 3);
            assert_ne!(copied.root.digest, digest);
        }
    }
    let other = Digest::of(b"other");
    let error = copy(&*open(&spec, None), Some(&other), dir.path()).await;
    assert!(matches!(error, Err(Error::Absent { .. })), "{error:?}");
}

#[tokio::test]
async fn wrong_size_is_refused_although_the_layout_has_the_content() {
    let (mut content, a, _) = two();
    let size = content.manifest("a").len();
    let entry = |size: usize| {
        let kind = crate::support::OCI;
        format!(r#"{{"mediaType":"{kind}","digest":"{a}","size":{size}}}"#)
    };
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entry(size + 1));
    let index = content.add_manifest(crate::support::OCI_INDEX, &index);
    content.tag("index", &index);
    let image = String::from_utf8(content.manifest("a").to_vec()).unwrap();
    let image = image.replace("\"size\":50", "\"size\":51");
    let image = content.add_manifest(crate::support::OCI, &image);
    content.tag("layer", &image);
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    copy(&*server.named("app:a", quick()), None, dir.path())
        .await
        .unwrap();
    let before = fs::read(dir.path().join("index.json")).unwrap();
    for name in ["app:index", "app:layer"] {
        let error = copy(&*server.named(name, quick()), None, dir.path()).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("bytes"), "{name}: {error}");
        assert_eq!(fs::read(dir.path().join("index.json")).unwrap(), before);
    }
}
