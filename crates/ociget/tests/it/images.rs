//! From a name to one image: digests, media types, platforms, and documents that lie.

use ociget::{Digest, Error, Image, Source};

use crate::support::{Content, Delivery, OCI, OCI_INDEX, Reply, Server, noise, pull, quick};

async fn resolve(source: &dyn Source, platform: &str) -> Result<Image, Error> {
    ociget::resolve(source, None, &platform.parse()?).await
}

#[tokio::test]
async fn an_index_gives_each_platform_its_own() {
    let mut content = Content::default();
    let amd64 = content.add_image("linux", "amd64", &[b"a"]);
    let arm64 = content.add_image("linux", "arm64", &[b"b", b"c"]);
    let odd = content.add_image("unknown", "unknown", &[]);
    let inner = content.add_index(&[("unknown/unknown", &odd), ("linux/arm64", &arm64)]);
    let index = content.add_index(&[("linux/amd64", &amd64), ("", &inner)]);
    content.tag("v1", &index);
    let server = Server::start(&content, |_| None).await;
    for (platform, manifest, layers) in [("linux/x86_64", &amd64, 1), ("linux/arm64/v8", &arm64, 2)]
    {
        let image = resolve(&*server.source(quick()), platform).await.unwrap();
        assert_eq!(image.identity.get(), &index);
        assert_eq!(image.manifest.get(), manifest);
        assert_eq!(image.layers.len(), layers);
    }
    // Pinned to the index, to one manifest, and to both in two ways.
    let pinned = |digest: &Digest| server.named(&format!("app@{digest}"), quick());
    assert_eq!(
        resolve(&*pinned(&index), "linux/amd64")
            .await
            .unwrap()
            .manifest
            .get(),
        &amd64
    );
    assert_eq!(
        resolve(&*pinned(&amd64), "linux/amd64")
            .await
            .unwrap()
            .identity
            .get(),
        &amd64
    );
    let platform = "linux/amd64".parse().unwrap();
    let source = pinned(&index);
    assert!(
        ociget::resolve(&*source, Some(&index), &platform)
            .await
            .is_ok()
    );
    let error = ociget::resolve(&*source, Some(&amd64), &platform)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Usage(_)), "{error:?}");
    // Expected by digest, the tag is not even looked at.
    let source = server.named("app:no-such-tag", quick());
    assert!(
        ociget::resolve(&*source, Some(&index), &platform)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn no_image_for_a_platform_says_which_there_are() {
    let mut content = Content::default();
    let amd64 = content.add_image("linux", "amd64", &[b"a"]);
    let i386 = content.add_image("linux", "386", &[b"b"]);
    let both = content.add_index(&[("linux/386", &i386), ("linux/amd64", &amd64)]);
    let lone = content.add_index(&[("linux/386", &i386)]);
    let windows = content.add_image("windows", "amd64", &[b"c"]);
    let server = Server::start(&content, |_| None).await;
    for (digest, platform, says) in [
        (
            &both,
            "linux/arm64",
            "has no image for linux/arm64; it has linux/386, linux/amd64",
        ),
        (
            &lone,
            "linux/amd64",
            "has no image for linux/amd64; it has linux/386",
        ),
        (
            &amd64,
            "linux/arm64",
            "has no image for linux/arm64; it has linux/amd64",
        ),
        (
            &windows,
            "linux/amd64",
            "has no image for linux/amd64; it has windows/amd64",
        ),
    ] {
        let source = server.named(&format!("app@{digest}"), quick());
        let error = resolve(&*source, platform).await.unwrap_err();
        assert!(matches!(error, Error::Platform { .. }), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// Such an entry is neither chosen nor taken for one that leaves its platform open.
#[tokio::test]
async fn an_index_entry_with_an_invalid_platform_is_skipped() {
    let mut content = Content::default();
    let amd64 = content.add_image("linux", "amd64", &[b"a"]);
    let other = content.add_image("linux", "amd64", &[b"b"]);
    let bad = ("linux/\\u001b[31marm64\\u202e", &other);
    let both = content.add_index(&[bad, ("linux/amd64", &amd64)]);
    let lone = content.add_index(&[bad]);
    let server = Server::start(&content, |_| None).await;
    let named = |digest: &Digest| server.named(&format!("app@{digest}"), quick());
    let image = resolve(&*named(&both), "linux/amd64").await.unwrap();
    assert_eq!(image.manifest.get(), &amd64);
    for (index, has) in [(&both, "linux/amd64"), (&lone, "none")] {
        let error = resolve(&*named(index), "linux/arm64").await.unwrap_err();
        let text = error.to_string();
        let says =
            "; 1 entry skipped: the platform's architecture is \"\\u{1b}[31marm64\\u{202e}\"";
        assert!(text.contains(says), "{text}");
        assert!(text.contains(&format!("it has {has}")), "{text}");
    }
}

#[tokio::test]
async fn documents_that_contradict_each_other_are_refused() {
    let mut content = Content::default();
    let arm64 = content.add_image("linux", "arm64", &[b"a"]);
    let lying_platform = content.add_index(&[("linux/amd64", &arm64)]);
    let two = content.add_image("linux", "amd64", &[b"a", b"b"]);
    let text = String::from_utf8(content.manifest(&two.to_string()).to_vec()).unwrap();
    let cut = text.replace(r#""layers":[{"#, r#""layers":["#);
    assert_ne!(cut, text);
    let one_layer_less = {
        let start = text.find(r#""layers":["#).unwrap() + 10;
        let end = start + text[start..].find("},").unwrap() + 2;
        content.add_manifest(OCI, &format!("{}{}", &text[..start], &text[end..]))
    };
    let mixed = content.add_manifest(
        OCI,
        &text.replace("\"layers\"", "\"manifests\":[],\"layers\""),
    );
    let wrong_type = content.add_manifest(OCI_INDEX, &text);
    let mut deep = content.add_index(&[("linux/amd64", &two)]);
    for _ in 0..5 {
        deep = content.add_index(&[("", &deep)]);
    }
    let server = Server::start(&content, |_| None).await;
    for (name, digest, says) in [
        (
            "platform",
            &lying_platform,
            "the index says that this image is for linux/amd64, its config says linux/arm64",
        ),
        (
            "layers",
            &one_layer_less,
            "the manifest has 1 layers, the config's rootfs.diff_ids 2",
        ),
        ("mixed", &mixed, "ambiguous"),
        ("type", &wrong_type, "it was sent as"),
        ("deep", &deep, "nested more than"),
    ] {
        let source = server.named(&format!("app@{digest}"), quick());
        let error = resolve(&*source, "linux/amd64")
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_manifest_is_what_its_digest_says_or_an_error() {
    let (content, manifest) = Content::image(b"layer");
    let other = Content::image(b"other").0.manifest("v1").to_vec();
    let forged = other.clone();
    let server = Server::start(&content, move |seen| {
        let by_digest = seen.path.contains("/manifests/sha256:");
        by_digest.then(|| Reply::new(200, forged.clone()).with("content-type", OCI))
    })
    .await;
    let source = server.source(quick());
    let platform = "linux/amd64".parse().unwrap();
    let error = ociget::resolve(&*source, Some(&manifest), &platform)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");

    // By tag, bytes other than the registry itself announces were damaged on the way.
    let server = Server::start(&content, move |_| {
        Some(
            Reply::new(200, other.clone())
                .with("content-type", OCI)
                .with("docker-content-digest", manifest.to_string()),
        )
    })
    .await;
    let error = pull(&*server.source(quick())).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");
}

#[tokio::test]
async fn a_digest_that_is_not_there_is_not_found() {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |_| None).await;
    let wrong = Digest::of(b"never pushed");
    let platform = "linux/amd64".parse().unwrap();
    let error = ociget::resolve(&*server.source(quick()), Some(&wrong), &platform)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(&wrong.to_string()) && text.contains("MANIFEST_UNKNOWN"),
        "{text}"
    );
}

#[tokio::test]
async fn documents_have_a_cap() {
    for reply in [
        Reply::new(200, noise(1 << 20)).sent(Delivery::Endless),
        Reply::new(200, "x").with("content-length", "4194305"),
    ] {
        let (content, _) = Content::image(b"layer");
        let server = Server::start(&content, move |_| Some(reply.clone())).await;
        let error = pull(&*server.source(quick()))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a document of more than 4194304 bytes"),
            "{error}"
        );
    }
}

/// Answers every request with one document, as a source of the caller's own might.
#[derive(Debug)]
struct Stubborn(ociget::Document);

impl Source for Stubborn {
    fn root<'a>(
        &'a self,
        _: Option<&'a Digest>,
    ) -> ociget::BoxFuture<'a, Result<ociget::Document, Error>> {
        Box::pin(async { Ok(self.0.clone()) })
    }

    fn manifest<'a>(
        &'a self,
        _: &'a ociget::Descriptor,
    ) -> ociget::BoxFuture<'a, Result<ociget::Document, Error>> {
        self.root(None)
    }

    fn blob<'a>(
        &'a self,
        _: &'a ociget::Descriptor,
    ) -> ociget::BoxFuture<'a, Result<ociget::BlobStream, Error>> {
        Box::pin(async { Err(Error::Usage("no blobs".to_owned())) })
    }
}

/// Answers with the blob of another digest, which is sound.
#[derive(Debug)]
struct Swapping(ociget::Document);

struct Once(Option<&'static [u8]>);

impl ociget::BlobBody for Once {
    fn chunk(&mut self) -> ociget::BoxFuture<'_, Result<Option<bytes::Bytes>, Error>> {
        let bytes = self.0.take().map(bytes::Bytes::from_static);
        Box::pin(async { Ok(bytes) })
    }
}

impl Source for Swapping {
    fn root<'a>(
        &'a self,
        _: Option<&'a Digest>,
    ) -> ociget::BoxFuture<'a, Result<ociget::Document, Error>> {
        Box::pin(async { Ok(self.0.clone()) })
    }

    fn manifest<'a>(
        &'a self,
        _: &'a ociget::Descriptor,
    ) -> ociget::BoxFuture<'a, Result<ociget::Document, Error>> {
        self.root(None)
    }

    fn blob<'a>(
        &'a self,
        _: &'a ociget::Descriptor,
    ) -> ociget::BoxFuture<'a, Result<ociget::BlobStream, Error>> {
        Box::pin(async {
            let other = ociget::Descriptor::new("x", Digest::of(b"other"), 5);
            let body = Box::new(Once(Some(b"other")));
            Ok(ociget::BlobStream::new(&other, "here", body))
        })
    }
}

#[tokio::test]
async fn blob_of_another_digest_is_neither_resolved_nor_copied() {
    let (content, manifest) = Content::image(b"layer");
    let bytes = content.manifest("v1").to_vec().into();
    let document = ociget::Document::verified("here", manifest, bytes, None).unwrap();
    let source = Swapping(document);
    let platform = "linux/amd64".parse().unwrap();
    let error = ociget::resolve(&source, None, &platform).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");
    let dir = tempfile::tempdir().unwrap();
    let options = ociget::CopyOptions::default();
    let copied = ociget::copy_to_layout(&source, None, dir.path(), &options).await;
    let error = copied.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");
    let blobs = std::fs::read_dir(dir.path().join("blobs/sha256")).unwrap();
    for blob in blobs.map(|blob| blob.unwrap()) {
        let name = blob.file_name().into_string().unwrap();
        assert!(
            name.starts_with(".partial-") && blob.metadata().unwrap().len() == 0,
            "{name}"
        );
    }
}

#[tokio::test]
async fn source_that_ignores_the_expected_digest_is_refused() {
    let (content, manifest) = Content::image(b"layer");
    let bytes = content.manifest("v1").to_vec().into();
    let document = ociget::Document::verified("here", manifest.clone(), bytes, None).unwrap();
    let source = Stubborn(document);
    let platform = "linux/amd64".parse().unwrap();
    let other = Digest::of(b"other");
    let error = ociget::resolve(&source, Some(&other), &platform)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");
    let error = ociget::resolve(&source, Some(&manifest), &platform)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Usage(_)), "{error:?}");
}
