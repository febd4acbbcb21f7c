//! Heads and bodies in forms that other clients read.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::time::{Duration, Instant};

use ociget::{Digest, Error};

use crate::support::{Content, Delivery, OCI, Reply, Server, noise, pull, quick};

/// The outcome of a pull in which each answer to a `GET` has one more header, and the number of requests.
async fn with_header(
    name: &'static str,
    value: &'static str,
) -> (Result<Vec<Vec<u8>>, Error>, usize) {
    let (content, digest) = Content::image(b"layer");
    let bodies: Vec<(String, Vec<u8>)> = content
        .by_digest()
        .map(|(digest, bytes)| (digest.to_owned(), bytes.to_vec()))
        .collect();
    let manifest = content.manifest(&digest.to_string()).to_vec();
    let server = Server::start(&content, move |seen| {
        let name_of = seen.path.rsplit('/').next().unwrap();
        let body = match name_of {
            "v1" => &manifest,
            name => &bodies.iter().find(|(digest, _)| digest == name)?.1,
        };
        let reply = Reply::new(200, body.clone()).with(name, value);
        (seen.method == "GET").then(|| match seen.path.contains("/manifests/") {
            true => reply.with("content-type", OCI),
            false => reply,
        })
    })
    .await;
    let outcome = pull(&*server.source(quick())).await;
    (outcome, server.seen().len())
}

/// ceph/ceph#64440, noobaa/noobaa-core#9138, moby/moby#17595
#[tokio::test]
async fn encoding_that_changed_nothing_is_ignored() {
    for encoding in [
        "aws-chunked",
        "utf-8",
        "none",
        "binary",
        "x-gzip",
        "gzip",
        "",
    ] {
        let (outcome, _) = with_header("content-encoding", encoding).await;
        assert_eq!(outcome.unwrap(), [b"layer"], "{encoding}");
    }
}

/// RFC 9112, 5.2
#[tokio::test]
async fn odd_header_lines_do_not_end_a_pull() {
    for (name, value) in [
        ("x-a", "b\r\n  c"),
        ("x-a", "b\r\nno header"),
        ("x-a ", "b"),
        ("x a", "b"),
    ] {
        let (outcome, _) = with_header(name, value).await;
        assert_eq!(outcome.unwrap(), [b"layer"], "{name:?} {value:?}");
    }
}

#[tokio::test]
async fn malformed_head_is_an_error_at_once() {
    for (name, value, says) in [
        (
            "content-length",
            "five",
            "the head of its answer is malformed",
        ),
        ("transfer-encoding", "gzip", "Transfer-Encoding \"gzip\""),
        (
            "transfer-encoding",
            "gzip, chunked",
            "Transfer-Encoding \"gzip, chunked\"",
        ),
    ] {
        let (outcome, requests) = with_header(name, value).await;
        let text = outcome.unwrap_err().to_string();
        assert!(text.contains(says) && !text.contains("tls"), "{text}");
        assert_eq!(requests, 2, "a HEAD and a GET");
    }
}

#[tokio::test]
async fn identity_as_a_transfer_encoding_changes_nothing() {
    let start = Instant::now();
    let (outcome, _) = with_header("transfer-encoding", "identity").await;
    assert_eq!(outcome.unwrap(), [b"layer"]);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "it waits for the end"
    );
}

/// A pull from a server that sends at most `most` bytes of a range, and the number of requests for the layer.
async fn in_parts_of(most: usize) -> (Result<Vec<Vec<u8>>, Error>, Vec<u8>, usize) {
    let layer = noise(700_000);
    let (content, _) = Content::image(&layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer));
    let (whole, at) = (layer.clone(), path.clone());
    let server = Server::start(&content, move |seen| {
        if seen.path != at {
            return None;
        }
        let Some(range) = seen.header("range") else {
            return Some(Reply::new(200, whole.clone()).sent(Delivery::Cut(1000)));
        };
        let from = range.strip_prefix("bytes=")?.split('-').next()?;
        let from: usize = from.parse().unwrap();
        let end = whole.len().min(from + most);
        let range = format!("bytes {from}-{}/{}", end - 1, whole.len());
        Some(Reply::new(206, &whole[from..end]).with("content-range", range))
    })
    .await;
    let outcome = pull(&*server.source(quick())).await;
    (outcome, layer, server.seen_at(&path).len())
}

/// RFC 9110, 15.3.7
#[tokio::test]
async fn shorter_range_than_requested_costs_no_retry() {
    let (outcome, layer, requests) = in_parts_of(64 << 10).await;
    assert_eq!(outcome.unwrap(), [layer]);
    assert_eq!(requests, 12);
    let (outcome, _, requests) = in_parts_of(1000).await;
    let text = outcome.unwrap_err().to_string();
    assert!(
        text.contains("sends ranges of fewer bytes than requested"),
        "{text}"
    );
    assert!(requests < 10, "{requests}");
}

#[tokio::test]
async fn layer_that_is_all_there_waits_for_no_end() {
    let layer = noise(3000);
    let (content, _) = Content::image(&layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer));
    for delivery in [Delivery::OpenChunk, Delivery::Open] {
        let (whole, path, sent) = (layer.clone(), path.clone(), delivery.clone());
        let server = Server::start(&content, move |seen| {
            (seen.path == path).then(|| Reply::new(200, whole.clone()).sent(sent.clone()))
        })
        .await;
        let mut options = quick();
        options.stall_timeout = Duration::from_secs(60);
        let start = Instant::now();
        let layers = pull(&*server.source(options)).await.unwrap();
        assert_eq!(layers, std::slice::from_ref(&layer), "{delivery:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "{delivery:?}");
    }
}

// hyperium/hyper#640, curl/curl#987
#[tokio::test]
async fn body_after_a_head_request_ends_its_connection_alone() {
    let (content, manifest) = Content::image(b"layer");
    let text = content.manifest("v1").to_vec();
    for pause in [0, 10] {
        let (text, digest) = (text.clone(), manifest.to_string());
        let server = Server::start(&content, move |seen| {
            let reply = Reply::new(200, text.clone())
                .with("content-type", OCI)
                .with("docker-content-digest", digest.clone());
            let pause = Duration::from_millis(pause);
            (seen.method == "HEAD").then(|| reply.sent(Delivery::AfterHead(pause)))
        })
        .await;
        let layers = pull(&*server.source(quick())).await.unwrap();
        assert_eq!(layers, [b"layer"], "{pause} ms");
    }
}
