//! Manifests and blobs by name and digest alone, whatever they are.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use ociget::{
    ArtifactManifest, Client, Descriptor, Digest, Error, Index, Manifest, MediaType, OtherKind,
    Reference, RegistrySource, Source as _,
};

use crate::support::{Content, Delivery, Reply, Server, noise, quick};

const CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

fn reference(server: &Server, rest: &str) -> Reference {
    format!("{}/app{rest}", server.host).parse().unwrap()
}

async fn read(client: &Client, reference: &Reference, digest: &Digest) -> Result<Vec<u8>, Error> {
    let mut blob = client.raw_blob(reference, digest).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = blob.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(blob.finish().await?.get(), digest);
    Ok(bytes)
}

#[tokio::test]
async fn chart_is_pulled_by_its_tag() {
    let chart = noise(10_000);
    let mut content = Content::default();
    let config = content.add_blob("application/vnd.cncf.helm.config.v1+json", b"{}");
    let layer = content.add_blob(CHART, &chart);
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}],"annotations":{{"name":"web"}}}}"#
    );
    let digest = content.add_manifest(crate::support::OCI, &manifest);
    content.tag("1.0.0", &digest);
    let server = Server::start(&content, |_| None).await;
    let client = Client::new(quick()).unwrap();
    for name in [
        ":1.0.0".to_owned(),
        format!("@{digest}"),
        format!(":gone@{digest}"),
    ] {
        let source = RegistrySource::new(&client, reference(&server, &name)).unwrap();
        let document = source.raw_manifest(None).await.unwrap();
        assert_eq!(document.digest().get(), &digest);
        let found = ArtifactManifest::parse(document.bytes()).unwrap();
        let kind = "application/vnd.cncf.helm.config.v1+json";
        assert_eq!(found.artifact_type(), Some(kind));
        assert_eq!(found.annotations["name"], "web");
        let layer = &found.layers[0];
        assert_eq!(layer.media_type, MediaType::Other);
        assert_eq!(layer.media_type_name(), CHART);
        let blob = source.blob(layer).await.unwrap();
        assert_eq!(blob.finish().await.unwrap().get(), &layer.digest);
        let mine = Descriptor::new(CHART, layer.digest.clone(), layer.size);
        assert_eq!(&mine, layer);
    }
    let bytes = read(&client, &reference(&server, ""), &Digest::of(&chart))
        .await
        .unwrap();
    assert_eq!(bytes, chart);
}

#[tokio::test]
async fn manifest_of_any_type_is_fetched_and_verified() {
    let text = r#"{"schemaVersion":1,"fsLayers":[]}"#;
    let mut content = Content::default();
    let old = content.add_manifest(
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        text,
    );
    content.tag("old", &old);
    let server = Server::start(&content, |seen| {
        // As registries do that convert or refuse what is not accepted.
        let accepts = seen.header("accept").unwrap_or_default().contains("*/*");
        (!accepts).then(|| Reply::new(404, ""))
    })
    .await;
    let client = Client::new(quick()).unwrap();
    let document = client
        .raw_manifest(&reference(&server, ":old"))
        .await
        .unwrap();
    assert_eq!(document.bytes(), text.as_bytes());
    assert!(document.content_type().unwrap().ends_with("prettyjws"));
    let lying = Server::start(&content, |_| Some(Reply::new(200, "{}"))).await;
    let error = client
        .raw_manifest(&reference(&lying, &format!("@{old}")))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");
    let long = Server::start(&content, |_| {
        Some(Reply::new(200, vec![b' '; 1 << 20]).sent(Delivery::Endless))
    })
    .await;
    let error = client
        .raw_manifest(&reference(&long, ":x"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn blob_size_is_found_where_head_lacks_it() {
    let bytes = noise(5000);
    let mut content = Content::default();
    content.add_blob("x", &bytes);
    let digest = Digest::of(&bytes);
    let encoded = Reply::new(200, "")
        .with("content-length", "7")
        .with("content-encoding", "gzip");
    for head in [
        None,
        Some(Reply::new(404, "")),
        Some(Reply::new(405, "")),
        Some(Reply::new(403, "")),
        Some(Reply::new(200, "").with("content-length", "0")),
        Some(Reply::new(200, "").with("content-length", "many")),
        Some(encoded),
    ] {
        let server = Server::start(&content, move |seen| match seen.method.as_str() {
            "HEAD" => head.clone(),
            _ => None,
        })
        .await;
        let client = Client::new(quick()).unwrap();
        let found = read(&client, &reference(&server, ""), &digest)
            .await
            .unwrap();
        assert_eq!(found, bytes);
    }
}

#[tokio::test]
async fn blob_without_any_length_is_counted_first() {
    let bytes = noise(5000);
    let digest = Digest::of(&bytes);
    let body = bytes.clone();
    let server = Server::start(&Content::default(), move |_| {
        Some(Reply::new(200, body.clone()).sent(Delivery::Chunked))
    })
    .await;
    let client = Client::new(quick()).unwrap();
    let found = read(&client, &reference(&server, ""), &digest)
        .await
        .unwrap();
    assert_eq!(found, bytes);
}

#[tokio::test]
async fn size_that_is_a_lie_is_a_size_error() {
    let bytes = noise(5000);
    let mut content = Content::default();
    content.add_blob("x", &bytes);
    let digest = Digest::of(&bytes);
    for claimed in ["4999", "5001", "18446744073709551615"] {
        let server = Server::start(&content, move |seen| {
            let lie = Reply::new(200, "").with("content-length", claimed);
            (seen.method == "HEAD").then_some(lie)
        })
        .await;
        let client = Client::new(quick()).unwrap();
        let error = read(&client, &reference(&server, ""), &digest)
            .await
            .unwrap_err();
        assert_eq!(
            error.kind(),
            ociget::ErrorKind::Corrupt,
            "{claimed}: {error:?}"
        );
    }
}

#[tokio::test]
async fn missing_and_refused_blobs_are_distinguished() {
    for (status, kind) in [
        (404, ociget::ErrorKind::NotFound),
        (401, ociget::ErrorKind::Unauthorized),
        (403, ociget::ErrorKind::Denied),
    ] {
        let server =
            Server::start(&Content::default(), move |_| Some(Reply::new(status, ""))).await;
        let client = Client::new(quick()).unwrap();
        let digest = Digest::of(b"x");
        let error = read(&client, &reference(&server, ""), &digest)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
    }
}

#[tokio::test]
async fn refusal_says_how_long_to_wait() {
    let server = Server::start(&Content::default(), |_| {
        Some(Reply::new(429, "").with("retry-after", "3600"))
    })
    .await;
    let client = Client::new(quick()).unwrap();
    let error = client
        .raw_manifest(&reference(&server, ":x"))
        .await
        .unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!(
        refusal.retry_after,
        Some(std::time::Duration::from_secs(3600))
    );
    assert_eq!(error.kind(), ociget::ErrorKind::Throttled);
}

#[test]
fn index_entries_that_are_no_images_are_kept_and_marked() {
    let digest = Digest::of(b"x");
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let entry = |media_type: &str, more: &str| {
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":1{more}}}"#)
    };
    let attestation = format!(
        r#","annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"{digest}"}},"platform":{{"os":"unknown","architecture":"unknown"}}"#
    );
    let entries = [
        entry(
            manifest,
            r#","annotations":{"a":"b","n":null},"platform":{"os":"linux","architecture":"amd64"}"#,
        ),
        entry(manifest, &attestation),
        entry(
            manifest,
            r#","annotations":{"vnd.docker.reference.type":"x"}"#,
        ),
        entry(manifest, r#","artifactType":"application/spdx+json""#),
        entry(
            manifest,
            r#","platform":{"os":"unknown","architecture":"unknown"}"#,
        ),
        entry(
            "application/xml",
            r#","annotations":{"org.freedesktop.specifications.metainfo.type":"AppData"}"#,
        ),
        // What was passed over before must not cost the images their index now.
        entry("application/xml", "").replace(digest.hex(), "00"),
    ];
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{}],"annotations":{{"x":"y","odd":1}}}}"#,
        entries.join(",")
    );
    let Manifest::Index(index) = Manifest::parse(text.as_bytes(), None).unwrap() else {
        panic!("not an index");
    };
    let Index {
        entries,
        others,
        annotations,
        ..
    } = index;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].descriptor.annotations.len(), 1);
    assert_eq!(annotations["x"], "y");
    let kinds: Vec<_> = others.iter().map(|other| other.kind.clone()).collect();
    assert_eq!(
        kinds,
        [
            OtherKind::Attestation {
                subject: Some(digest)
            },
            OtherKind::Attestation { subject: None },
            OtherKind::Artifact,
            OtherKind::UnknownPlatform,
            OtherKind::NotManifest,
        ]
    );
    let artifact = &others[2].descriptor;
    assert_eq!(
        artifact.artifact_type.as_deref(),
        Some("application/spdx+json")
    );
    assert_eq!(others[4].descriptor.media_type_name(), "application/xml");
}

#[test]
fn futures_of_every_call_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    let client = Client::new(quick()).unwrap();
    let reference: Reference = "127.0.0.1:1/app".parse().unwrap();
    let digest = Digest::of(b"x");
    let source = RegistrySource::new(&client, reference.clone()).unwrap();
    is_send(&client.raw_manifest(&reference));
    is_send(&client.raw_blob(&reference, &digest));
    is_send(&source.describe_blob(&digest));
    is_send(&source.tags().page());
    is_send(&source.tags().all());
    is_send(&source.referrers(&digest, None).page());
    is_send(&source.referrers(&digest, None).all());
    let options = ociget::CopyOptions::default();
    is_send(&ociget::copy_to_layout(
        &source,
        None,
        "x".as_ref(),
        &options,
    ));
}
