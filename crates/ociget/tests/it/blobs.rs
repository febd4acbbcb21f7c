//! Bodies that break off, lie, stall or do not end; refusals and what is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use ociget::{Digest, Error};

use crate::support::{Content, Delivery, Reply, STALL, Seen, Server, noise, pull, quick, ranged};

/// An image whose layer is answered by `answer`, given the number of the request for it.
async fn layer_server(
    layer: &[u8],
    answer: impl Fn(&Seen, u32) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    let (content, _) = Content::image(layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(layer));
    let count = AtomicU32::new(0);
    Server::start(&content, move |seen| {
        (seen.path == path)
            .then(|| answer(seen, count.fetch_add(1, SeqCst)))
            .flatten()
    })
    .await
}

#[tokio::test]
async fn a_plain_pull_asks_for_each_thing_once() {
    let layer = noise(300_000);
    let (content, manifest) = Content::image(&layer);
    let server = Server::start(&content, |_| None).await;
    let source = server.source(quick());
    let image = ociget::resolve(&*source, None, &"linux/amd64".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(image.identity.get(), &manifest);
    assert_eq!(image.manifest.get(), &manifest);
    let blob = source.blob(&image.layers[0].descriptor).await.unwrap();
    assert_eq!(blob.finish().await.unwrap().get(), &Digest::of(&layer));
    let seen = server.seen();
    let methods: Vec<&str> = seen.iter().map(|seen| &*seen.method).collect();
    assert_eq!(methods, ["HEAD", "GET", "GET", "GET"]);
    assert!(
        seen.iter()
            .all(|seen| seen.header("authorization").is_none())
    );
    assert!(
        seen.iter()
            .all(|seen| seen.header("accept-encoding") == Some("identity"))
    );
    assert!(seen.iter().all(|seen| seen.header("range").is_none()));
    for seen in &seen[..2] {
        let accept = seen.header("accept").unwrap();
        for media_type in [
            "oci.image.index",
            "oci.image.manifest",
            "manifest.list.v2",
            "manifest.v2",
        ] {
            assert!(accept.contains(media_type), "{accept}");
        }
    }
}

#[tokio::test]
async fn a_body_cut_anywhere_is_resumed_there() {
    let layer = noise(4096);
    for cut in [0, 1, 2000, 4095] {
        let whole = layer.clone();
        let server = layer_server(&layer, move |_, number| {
            (number == 0).then(|| Reply::new(200, whole.clone()).sent(Delivery::Cut(cut)))
        })
        .await;
        assert_eq!(
            pull(&*server.source(quick())).await.unwrap(),
            std::slice::from_ref(&layer),
            "{cut}"
        );
        let asked = server.seen_at(&Digest::of(&layer).to_string());
        assert_eq!(asked.len(), 2);
        let range = (cut > 0).then(|| format!("bytes={cut}-4095"));
        assert_eq!(asked[1].header("range"), range.as_deref());
    }
}

#[tokio::test]
async fn server_without_ranges_starts_over_and_the_head_is_skipped() {
    let layer = noise(4096);
    let whole = layer.clone();
    let server = layer_server(&layer, move |_, number| {
        let reply = Reply::new(200, whole.clone());
        Some(if number == 0 {
            reply.sent(Delivery::Cut(1000))
        } else {
            reply
        })
    })
    .await;
    assert_eq!(pull(&*server.source(quick())).await.unwrap(), [layer]);
}

#[tokio::test]
async fn server_without_ranges_cannot_make_a_blob_come_again_forever() {
    let layer = noise(12 << 20);
    let whole = layer.clone();
    // Each connection brings a MiB more, which restores patience.
    let server = layer_server(&layer, move |_, number| {
        let cut = usize::try_from(number + 1).unwrap() * ((1 << 20) + 5000);
        Some(Reply::new(200, whole.clone()).sent(Delivery::Cut(cut)))
    })
    .await;
    let error = pull(&*server.source(quick())).await.unwrap_err();
    let Error::Interrupted { reason, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(reason, "the server cannot resume");
    let asked = server.seen_at(&Digest::of(&layer).to_string());
    // 1 + 2 + … + 10 MiB are thrown away; 11 more would be too many.
    assert_eq!(asked.len(), 12);
}

#[tokio::test]
async fn a_wrong_range_is_not_spliced_in() {
    let layer = noise(4096);
    for (content_range, status, from) in [
        ("bytes 999-4095/4096", 206, 999),
        ("bytes 1000-4095/5000", 206, 1000),
        ("", 206, 1000),
        ("bytes 1000-4095/4096", 206, 999),
    ] {
        let whole = layer.clone();
        let server = layer_server(&layer, move |_, number| {
            Some(match number {
                0 => Reply::new(200, whole.clone()).sent(Delivery::Cut(1000)),
                _ => Reply::new(status, &whole[from..]).with("content-range", content_range),
            })
        })
        .await;
        let error = pull(&*server.source(quick())).await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::Protocol { .. } | Error::Size { .. } | Error::Digest { .. }
            ),
            "{content_range}: {error:?}"
        );
    }
}

#[tokio::test]
async fn damage_is_reported_by_its_kind() {
    let layer = noise(4096);
    let mut flipped = layer.clone();
    flipped[77] ^= 1;
    let whole = layer.clone();
    let cases: Vec<(&str, Reply, &str)> = vec![
        (
            "a flipped bit",
            Reply::new(200, flipped.clone()),
            "digest mismatch: expected sha256:",
        ),
        (
            "a short copy",
            Reply::new(200, &layer[..4000]),
            "has 4000 bytes, its descriptor says 4096",
        ),
        (
            "a long copy",
            Reply::new(200, [&layer[..], b"x"].concat()),
            "has 4097 bytes, its descriptor says 4096",
        ),
        (
            "an endless body",
            Reply::new(200, noise(1500)).sent(Delivery::Endless),
            "more than 4096",
        ),
        (
            "an encoding",
            Reply::new(200, flipped.clone()).with("content-encoding", "gzip"),
            "(sent with Content-Encoding \"gzip\")",
        ),
        (
            "part of it",
            Reply::new(206, whole.clone()).with("content-range", "bytes 0-4095/4096"),
            "a part",
        ),
        (
            "always cut",
            Reply::new(200, whole).sent(Delivery::Cut(0)),
            "broke off after 0 of 4096 bytes",
        ),
    ];
    for (name, reply, says) in cases {
        let server = layer_server(&layer, move |_, _| Some(reply.clone())).await;
        let error = pull(&*server.source(quick()))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{name}: {error}");
        assert!(error.contains(&server.host), "{name}: {error}");
        assert!(!error.contains('\n'), "{name}: {error}");
    }
}

#[tokio::test]
async fn stalled_body_is_resumed_but_slow_reader_is_no_stall() {
    let layer = noise(4096);
    let whole = layer.clone();
    let server = layer_server(&layer, move |_, number| {
        (number == 0).then(|| Reply::new(200, whole.clone()).sent(Delivery::Stall(100)))
    })
    .await;
    let source = server.source(quick());
    let image = ociget::resolve(&*source, None, &"linux/amd64".parse().unwrap())
        .await
        .unwrap();
    let mut blob = source.blob(&image.layers[0].descriptor).await.unwrap();
    let mut bytes = blob.chunk().await.unwrap().unwrap().to_vec();
    tokio::time::sleep(STALL * 3 / 2).await;
    while let Some(chunk) = blob.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(bytes, layer);
    assert_eq!(server.seen_at(&Digest::of(&layer).to_string()).len(), 2);
}

#[tokio::test]
async fn a_break_behind_a_redirect_asks_the_registry_again() {
    // Signed URLs expire: what a redirect gave before is not used again.
    let layer = noise(4096);
    let whole = layer.clone();
    let count = AtomicU32::new(0);
    let (content, _) = Content::image(&layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer));
    let server = Server::start(&content, move |seen| {
        if let Some(signed) = seen.path.strip_prefix("/storage/") {
            let reply = ranged(&whole, seen.header("range"));
            return Some(match signed {
                "1" => reply.sent(Delivery::Cut(1000)),
                _ => reply,
            });
        }
        (seen.path == path).then(|| {
            let number = count.fetch_add(1, SeqCst) + 1;
            Reply::new(307, "").with("location", format!("/storage/{number}"))
        })
    })
    .await;
    assert_eq!(pull(&*server.source(quick())).await.unwrap(), [layer]);
    let asked = server.seen_at("/storage/");
    let paths: Vec<&str> = asked.iter().map(|seen| &*seen.path).collect();
    assert_eq!(paths, ["/storage/1", "/storage/2"]);
    assert_eq!(asked[1].header("range"), Some("bytes=1000-4095"));
}

#[tokio::test]
async fn connection_closed_while_unread_costs_no_retry() {
    let layer = noise(4096);
    let whole = layer.clone();
    let server = layer_server(&layer, move |seen, number| {
        (number < 3).then(|| ranged(&whole, seen.header("range")).sent(Delivery::Cut(1000)))
    })
    .await;
    let mut options = quick();
    options.retries = 0;
    let source = server.source(options);
    let image = ociget::resolve(&*source, None, &"linux/amd64".parse().unwrap())
        .await
        .unwrap();
    let mut blob = source.blob(&image.layers[0].descriptor).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = blob.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
        if bytes.len() < 3500 {
            tokio::time::sleep(Duration::from_millis(1050)).await;
        }
    }
    assert_eq!(bytes, layer);
}

#[tokio::test]
async fn unawaited_chunk_is_not_lost() {
    let layer = noise(300_000);
    let whole = layer.clone();
    // Breaks, so that reading, pausing and connecting are all given up at some time.
    let server = layer_server(&layer, move |seen, number| {
        (number % 2 == 0).then(|| ranged(&whole, seen.header("range")).sent(Delivery::Cut(50_000)))
    })
    .await;
    let mut options = quick();
    options.retries = 50;
    let source = server.source(options);
    let image = ociget::resolve(&*source, None, &"linux/amd64".parse().unwrap())
        .await
        .unwrap();
    let mut blob = source.blob(&image.layers[0].descriptor).await.unwrap();
    let (mut bytes, mut given_up) = (Vec::new(), 0);
    loop {
        match tokio::time::timeout(Duration::from_millis(20), blob.chunk()).await {
            Ok(chunk) => match chunk.unwrap() {
                Some(chunk) => bytes.extend_from_slice(&chunk),
                None => break,
            },
            Err(_) => given_up += 1,
        }
    }
    assert_eq!(bytes, layer);
    assert!(given_up > 0, "nothing was given up");
    assert_eq!(blob.finish().await.unwrap().get(), &Digest::of(&layer));
}

#[tokio::test]
async fn progress_restores_patience() {
    // Ten breaks in 12 MiB with a budget of one retry: each comes after more than 1 MiB.
    let layer = noise(12 << 20);
    let whole = layer.clone();
    let server = layer_server(&layer, move |seen, _| {
        Some(ranged(&whole, seen.header("range")).sent(Delivery::Cut(1_300_000)))
    })
    .await;
    assert_eq!(pull(&*server.source(quick())).await.unwrap(), [layer]);
}

#[tokio::test]
async fn dropping_a_stream_ends_its_request() {
    let layer = noise(64 << 20);
    let server = layer_server(&layer, |_, _| None).await;
    let source = server.source(quick());
    let image = ociget::resolve(&*source, None, &"linux/amd64".parse().unwrap())
        .await
        .unwrap();
    let mut blob = source.blob(&image.layers[0].descriptor).await.unwrap();
    assert!(blob.chunk().await.unwrap().is_some());
    assert_eq!(*server.aborted.lock().unwrap(), 0);
    drop(blob);
    // Long, because a busy machine runs the server's task late.
    for _ in 0..1500 {
        if *server.aborted.lock().unwrap() == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the server is still sending");
}

#[tokio::test]
async fn refusals_are_distinguished_and_say_what_to_do() {
    let body =
        |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"words of it"}}]}}"#);
    for (status, code, requests, says) in [
        (401, "UNAUTHORIZED", 2, "not authorized: "),
        (403, "DENIED", 2, "denied: "),
        (
            404,
            "MANIFEST_UNKNOWN",
            2,
            "check the name and the tag or digest",
        ),
        (429, "TOOMANYREQUESTS", 3, "try again later"),
        (500, "UNKNOWN", 3, "the registry failed: "),
        (418, "TEAPOT", 2, "the registry failed: "),
    ] {
        let (content, _) = Content::image(b"layer");
        let text = body(code);
        let server = Server::start(&content, move |_| Some(Reply::new(status, text.clone()))).await;
        let error = pull(&*server.source(quick())).await.unwrap_err();
        let text = error.to_string();
        let expected = format!(
            "http://{}/v2/app/manifests/v1 answered {status} ({code}: words of it)",
            server.host
        );
        assert!(text.contains(&expected) && text.contains(says), "{text}");
        assert_eq!(error.is_transient(), matches!(status, 429 | 500), "{text}");
        assert_eq!(error.refusal().unwrap().code.as_deref(), Some(code));
        assert_eq!(server.seen().len(), requests, "{status}");
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_when_the_server_says() {
    let (content, _) = Content::image(b"layer");
    let count = Arc::new(AtomicU32::new(0));
    let server = Server::start(&content, move |_| {
        (count.fetch_add(1, SeqCst) == 0).then(|| Reply::new(503, "").with("retry-after", "1"))
    })
    .await;
    let start = Instant::now();
    pull(&*server.source(quick())).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));

    let server = Server::start(&content, |_| {
        Some(Reply::new(429, "").with("retry-after", "86400"))
    })
    .await;
    let start = Instant::now();
    let error = pull(&*server.source(quick())).await.unwrap_err();
    assert!(matches!(error, Error::Throttled(_)), "{error:?}");
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "a day is not waited for"
    );
    assert_eq!(server.seen().len(), 2, "and once for the words");
}

#[tokio::test]
async fn unreachable_host_is_reported_plainly() {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |_| None).await;
    let host = server.host.clone();
    let source = server.source(quick());
    drop(server);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = pull(&*source).await.unwrap_err();
    assert!(error.is_transient());
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("cannot reach http://{host}/v2/app/manifests/v1: ")),
        "{text}"
    );
    assert!(
        text.contains("Connection refused")
            && text.ends_with("(2 attempts); check the address and the network"),
        "{text}"
    );
}

#[tokio::test]
async fn registry_without_tls_is_tried_once_and_reported() {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |_| None).await;
    let mut options = quick();
    options.plain_http_on_loopback = false;
    let error = pull(&*server.source(options))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not speak TLS"), "{error}");
    assert!(!error.contains("attempts"), "{error}");
}

#[tokio::test]
async fn a_registry_that_never_answers_is_given_up() {
    let (content, _) = Content::image(b"layer");
    let stall = Reply::new(200, "x")
        .with("content-length", "9")
        .sent(Delivery::Stall(0));
    let server = Server::start(&content, move |_| Some(stall.clone())).await;
    let error = pull(&*server.source(quick()))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("nothing came for 2s"), "{error}");
}
