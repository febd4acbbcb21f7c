//! What a tag stands for: a `HEAD` first, and what is done where that says nothing.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use ociget::{Digest, Error};

use crate::support::{Content, Reply, Seen, Server, noise, pull, quick};

/// Method and last part of the path of each request.
fn asked(server: &Server) -> Vec<(String, String)> {
    let short = |seen: Seen| {
        let name = seen.path.rsplit('/').next().unwrap_or_default().to_owned();
        (seen.method, name)
    };
    server.seen().into_iter().map(short).collect()
}

fn pair(method: &str, name: &str) -> (String, String) {
    (method.to_owned(), name.to_owned())
}

#[tokio::test]
async fn identity_of_a_tag_costs_one_head_and_is_kept() {
    let (content, manifest) = Content::image(b"layer");
    let server = Server::start(&content, |_| None).await;
    let source = server.source(quick());
    assert_eq!(source.identity().await.unwrap().as_ref(), Some(&manifest));
    assert_eq!(asked(&server), [pair("HEAD", "v1")]);
    pull(&*source).await.unwrap();
    let names = asked(&server);
    assert_eq!(names[1], pair("GET", &manifest.to_string()));
    assert_eq!(names.iter().filter(|(_, name)| name == "v1").count(), 1);
}

#[tokio::test]
async fn a_digest_needs_no_request_to_be_known() {
    let (content, manifest) = Content::image(b"layer");
    let server = Server::start(&content, |_| None).await;
    let source = server.named(&format!("app@{manifest}"), quick());
    assert_eq!(source.identity().await.unwrap(), Some(manifest));
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn missing_head_or_digest_falls_back_to_get() {
    let (content, manifest) = Content::image(b"layer");
    for (status, digest) in [
        (404, ""),
        (405, ""),
        (400, ""),
        (200, ""),
        (200, "sha256:short"),
        (500, ""),
        // RFC 9110, 15.6.2: not a failure that may pass
        (501, ""),
        // Without a challenge nothing was refused.
        (401, ""),
    ] {
        let server = Server::start(&content, move |seen| {
            let head = Reply::new(status, "").with("docker-content-digest", digest);
            (seen.method == "HEAD").then_some(head)
        })
        .await;
        let source = server.source(quick());
        assert_eq!(source.identity().await.unwrap(), None, "{status}");
        let root = source.root(None).await.unwrap();
        assert_eq!(root.digest().get(), &manifest);
        let names = asked(&server);
        assert_eq!(names.last().unwrap(), &pair("GET", "v1"), "{names:?}");
    }
}

// RFC 9110, 15.6.2
#[tokio::test]
async fn head_that_the_server_does_not_know_is_not_repeated() {
    let (content, _) = Content::image(b"layer");
    for reply in [
        Reply::new(501, ""),
        Reply::new(401, ""),
        // No status line, so no answer.
        Reply::new(0, ""),
    ] {
        let server = Server::start(&content, move |seen| {
            (seen.method == "HEAD").then(|| reply.clone())
        })
        .await;
        let mut options = quick();
        options.retries = 10;
        assert_eq!(pull(&*server.source(options)).await.unwrap(), [b"layer"]);
        let heads = server
            .seen()
            .iter()
            .filter(|seen| seen.method == "HEAD")
            .count();
        assert_eq!(heads, 1);
    }
}

#[tokio::test]
async fn a_tag_that_moves_between_two_requests_shows_one_image() {
    let (first, second) = (noise(2000), noise(3000));
    let (mut content, old) = Content::image(&first);
    let new = content.add_image("linux", "amd64", &[&second]);
    let moved = (content.manifest(&new.to_string()).to_vec(), new);
    let heads = AtomicU32::new(0);
    // After the first HEAD, the tag is another image.
    let server = Server::start(&content, move |seen| {
        if !seen.path.ends_with("/v1") || heads.fetch_add(1, SeqCst) == 0 {
            return None;
        }
        let (bytes, digest) = &moved;
        Some(Reply::new(200, bytes.clone()).with("docker-content-digest", digest.to_string()))
    })
    .await;
    let source = server.source(quick());
    assert_eq!(pull(&*source).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(source.identity().await.unwrap(), Some(old));
    assert_eq!(pull(&*source).await.unwrap(), [first]);
}

#[tokio::test]
async fn manifest_gone_since_the_head_is_requested_by_tag() {
    let (content, manifest) = Content::image(b"layer");
    let gone = Digest::of(b"gone").to_string();
    let server = Server::start(&content, move |seen| {
        let head = Reply::new(200, "").with("docker-content-digest", gone.clone());
        (seen.method == "HEAD").then_some(head)
    })
    .await;
    let root = server.source(quick()).root(None).await.unwrap();
    assert_eq!(root.digest().get(), &manifest);
}

#[tokio::test]
async fn a_head_that_lies_is_found_out() {
    let (content, _) = Content::image(b"layer");
    let bytes = content.manifest("v1").to_vec();
    let claimed = Digest::of(b"something else").to_string();
    let server = Server::start(&content, move |seen| {
        let lie = Reply::new(200, bytes.clone()).with("docker-content-digest", claimed.clone());
        seen.path.contains("/manifests/").then_some(lie)
    })
    .await;
    let error = pull(&*server.source(quick())).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");
}
