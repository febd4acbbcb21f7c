//! Bodies that trickle: a byte now and then is no stall by the clock, and never ends either.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use ociget::{Digest, Error, Options};

use crate::support::{Content, Delivery, Reply, Seen, Server, noise, pull, quick, ranged};

const PAUSE: Duration = Duration::from_millis(20);

/// Far more than a trickle brings, far less than loopback does.
fn impatient() -> Options {
    let mut options = quick();
    options.min_rate = 1024;
    options.min_rate_window = Duration::from_secs(1);
    options
}

/// A server whose answers to requests for `path` are those of `answer`, which gets their number.
async fn server(
    content: &Content,
    path: String,
    answer: impl Fn(&Seen, u32) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    let count = AtomicU32::new(0);
    Server::start(content, move |seen| {
        (seen.path == path)
            .then(|| answer(seen, count.fetch_add(1, SeqCst)))
            .flatten()
    })
    .await
}

#[tokio::test]
async fn a_blob_that_trickles_is_resumed_where_it_was() {
    let layer = noise(100_000);
    let (content, _) = Content::image(&layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer));
    let whole = layer.clone();
    let server = server(&content, path.clone(), move |seen, number| {
        let reply = ranged(&whole, seen.header("range"));
        (number == 0).then(|| reply.sent(Delivery::Trickle(500, PAUSE)))
    })
    .await;
    assert_eq!(pull(&*server.source(impatient())).await.unwrap(), [layer]);
    let asked = server.seen_at(&path);
    assert_eq!(asked.len(), 2);
    assert!(asked[1].header("range").is_some());
}

#[tokio::test]
async fn a_blob_that_only_trickles_is_given_up() {
    let layer = noise(100_000);
    let (content, _) = Content::image(&layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer));
    for ranges in [true, false] {
        let whole = layer.clone();
        let server = server(&content, path.clone(), move |seen, number| {
            // Without ranges what came is sent again, and thrown away here: that is no progress.
            let range = seen.header("range").filter(|_| ranges);
            let reply = ranged(&whole, range);
            Some(match number {
                0 => reply.sent(Delivery::Cut(500)),
                _ => reply.sent(Delivery::Trickle(0, PAUSE)),
            })
        })
        .await;
        let mut options = impatient();
        options.retries = 2;
        let error = pull(&*server.source(options)).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        let Error::Interrupted { reason, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(reason.contains("the minimum rate"), "{error}");
        assert_eq!(server.seen_at(&path).len(), 3);
    }
}

#[tokio::test]
async fn a_byte_per_connection_ends_with_the_time_of_retries() {
    let layer = noise(100_000);
    let (content, _) = Content::image(&layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer));
    for delivery in [
        Delivery::Cut(1),
        Delivery::Cut(1000),
        Delivery::Trickle(0, PAUSE),
    ] {
        let whole = layer.clone();
        let sent = delivery.clone();
        let server = server(&content, path.clone(), move |seen, _| {
            Some(ranged(&whole, seen.header("range")).sent(sent.clone()))
        })
        .await;
        let mut options = impatient();
        if let Delivery::Cut(_) = delivery {
            // Far above the pauses.
            options.min_rate_window = Duration::from_secs(60);
        }
        options.retries = u32::MAX;
        options.retry_for = Duration::from_secs(2);
        let pulling = tokio::time::timeout(Duration::from_secs(20), async {
            pull(&*server.source(options)).await
        });
        let error = pulling.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Interrupted { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn ranges_that_trickle_go_on_in_one_connection() {
    let layer = noise(400_000);
    let (content, _) = Content::image(&layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer));
    let whole = layer.clone();
    let server = server(&content, path, move |seen, _| {
        let range = seen.header("range")?;
        // The range of a resumed connection is longer than a piece.
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let length = last.parse::<usize>().ok()? + 1 - first.parse::<usize>().ok()?;
        (length <= 100_000).then(|| ranged(&whole, Some(range)).sent(Delivery::Trickle(0, PAUSE)))
    })
    .await;
    let mut options = impatient();
    options.ranges.parallel = 2;
    options.ranges.bytes = 100_000;
    options.ranges.above = 200_000;
    assert_eq!(pull(&*server.source(options)).await.unwrap(), [layer]);
}

#[tokio::test]
async fn slow_manifest_or_token_is_requested_again() {
    let (content, manifest) = Content::image(b"layer");
    let text = content.manifest(&manifest.to_string()).to_vec();
    let path = format!("/v2/app/manifests/{manifest}");
    let slow = server(&content, path.clone(), move |_, number| {
        let reply = Reply::new(200, text.clone()).with("content-type", crate::support::OCI);
        (number == 0).then(|| reply.sent(Delivery::Trickle(0, PAUSE)))
    })
    .await;
    pull(&*slow.source(impatient())).await.unwrap();
    assert_eq!(slow.seen_at(&path).len(), 2);

    let count = AtomicU32::new(0);
    let slow = Server::start(&content, move |seen| {
        if seen.path.starts_with("/token") {
            let reply = Reply::new(200, format!(r#"{{"token":"t"{}}}"#, " ".repeat(5000)));
            return Some(match count.fetch_add(1, SeqCst) {
                0 => reply.sent(Delivery::Trickle(0, PAUSE)),
                _ => reply,
            });
        }
        let realm = format!("Bearer realm=\"http://{}/token\"", seen.header("host")?);
        let open = seen.header("authorization").is_some();
        (!open).then(|| Reply::new(401, "").with("www-authenticate", realm))
    })
    .await;
    pull(&*slow.source(impatient())).await.unwrap();
    assert_eq!(slow.seen_at("/token").len(), 2);
}

#[tokio::test]
async fn a_minimum_rate_of_zero_waits_for_a_trickle() {
    let layer = noise(150);
    let (content, _) = Content::image(&layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer));
    let whole = layer.clone();
    let server = server(&content, path.clone(), move |_, _| {
        Some(Reply::new(200, whole.clone()).sent(Delivery::Trickle(0, PAUSE)))
    })
    .await;
    let mut options = impatient();
    options.min_rate = 0;
    assert_eq!(pull(&*server.source(options)).await.unwrap(), [layer]);
    assert_eq!(server.seen_at(&path).len(), 1);
}
