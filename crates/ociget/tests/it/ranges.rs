//! Several ranges of one blob at once: the same bytes, whatever the server makes of it.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use ociget::{Digest, Error, Options};

use crate::support::{Content, Delivery, Reply, STALL, Seen, Server, noise, pull, quick, ranged};

const PIECE: usize = 256 << 10;
const SIZE: usize = 10 * PIECE + 77;

fn in_pieces() -> Options {
    let mut options = quick();
    options.ranges.parallel = 3;
    options.ranges.bytes = PIECE as u64;
    options.ranges.above = 1 << 20;
    options
}

/// A server with a layer; `answer` gets the requests for it, and their number.
async fn server(
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

fn asked_ranges(server: &Server, layer: &[u8]) -> Vec<Option<String>> {
    let seen = server.seen_at(&Digest::of(layer).to_string());
    seen.iter()
        .map(|seen| seen.header("range").map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn a_big_blob_comes_in_ranges_and_in_order() {
    let layer = noise(SIZE);
    let server = server(&layer, |_, _| None).await;
    assert_eq!(
        pull(&*server.source(in_pieces())).await.unwrap(),
        std::slice::from_ref(&layer)
    );
    let mut found = asked_ranges(&server, &layer);
    found.sort();
    let mut expected = vec![None];
    expected.extend((1..11).map(|piece| {
        let end = ((piece + 1) * PIECE).min(SIZE);
        Some(format!("bytes={}-{}", piece * PIECE, end - 1))
    }));
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn more_parallel_ranges_than_pieces_take_no_time() {
    let layer = noise(SIZE);
    let server = server(&layer, |_, _| None).await;
    let mut options = in_pieces();
    options.ranges.parallel = u32::MAX;
    let started = std::time::Instant::now();
    let pulled = pull(&*server.source(options)).await.unwrap();
    assert_eq!(pulled, std::slice::from_ref(&layer));
    // To count so far takes minutes.
    let took = started.elapsed();
    assert!(took < std::time::Duration::from_secs(20), "{took:?}");
    assert_eq!(asked_ranges(&server, &layer).len(), 11);
}

#[tokio::test]
async fn small_blob_and_registry_without_ranges_get_one_request() {
    let small = noise(1 << 19);
    let one = server(&small, |_, _| None).await;
    pull(&*one.source(in_pieces())).await.unwrap();
    assert_eq!(asked_ranges(&one, &small), [None]);

    let layer = noise(SIZE);
    let whole = layer.clone();
    let silent = server(&layer, move |_, _| Some(Reply::new(200, whole.clone()))).await;
    assert_eq!(
        pull(&*silent.source(in_pieces())).await.unwrap(),
        std::slice::from_ref(&layer)
    );
    assert_eq!(asked_ranges(&silent, &layer), [None]);

    let off = server(&layer, |_, _| None).await;
    let mut options = in_pieces();
    options.ranges.parallel = 1;
    pull(&*off.source(options)).await.unwrap();
    assert_eq!(asked_ranges(&off, &layer), [None]);
}

#[tokio::test]
async fn server_that_promised_too_much_is_read_in_one_go() {
    let layer = noise(SIZE);
    for (name, content_range, status) in [
        ("the whole instead", "", 200),
        ("another range", "bytes 0-262143/2621517", 206),
        ("another total", "bytes 262144-524287/9999999", 206),
        ("a longer range", "bytes 262144-2621516/2621517", 206),
        ("nothing", "", 416),
        ("no", "", 403),
    ] {
        let whole = layer.clone();
        let server = server(&layer, move |seen, _| {
            let range = seen.header("range")?;
            // What goes on after a break is served well; a piece is not.
            is_piece(range)
                .then(|| Reply::new(status, &whole[..PIECE]).with("content-range", content_range))
        })
        .await;
        assert_eq!(
            pull(&*server.source(in_pieces())).await.unwrap(),
            std::slice::from_ref(&layer),
            "{name}"
        );
        let mut asked = asked_ranges(&server, &layer).into_iter().flatten();
        assert!(asked.any(|range| !is_piece(&range)), "{name}");
    }
}

/// Whether a range is not longer than the pieces that are fetched concurrently.
fn is_piece(range: &str) -> bool {
    let (first, last) = range
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    last - first < PIECE
}

#[tokio::test]
async fn ranges_that_break_off_cost_no_byte() {
    let layer = noise(SIZE);
    for cut in [0, 1, PIECE / 2, PIECE - 1] {
        let whole = layer.clone();
        let server = server(&layer, move |seen, number| {
            let broken = seen.header("range").is_some() && number % 3 == 0;
            broken.then(|| ranged(&whole, seen.header("range")).sent(Delivery::Cut(cut)))
        })
        .await;
        assert_eq!(
            pull(&*server.source(in_pieces())).await.unwrap(),
            std::slice::from_ref(&layer),
            "{cut}"
        );
    }
}

#[tokio::test]
async fn a_wrong_byte_in_a_range_is_a_digest_error() {
    let layer = noise(SIZE);
    let mut bent = layer.clone();
    bent[5 * PIECE + 3] ^= 1;
    let server = server(&layer, move |seen, _| {
        Some(ranged(&bent, seen.header("range")))
    })
    .await;
    let error = pull(&*server.source(in_pieces())).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");
}

#[tokio::test]
async fn a_reader_that_waits_holds_no_more_than_its_ranges() {
    let layer = noise(SIZE);
    let server = server(&layer, |_, _| None).await;
    let source = server.source(in_pieces());
    let image = ociget::resolve(&*source, None, &"linux/amd64".parse().unwrap())
        .await
        .unwrap();
    let mut blob = source.blob(&image.layers[0].descriptor).await.unwrap();
    assert!(blob.chunk().await.unwrap().is_some());
    tokio::time::sleep(STALL / 2).await;
    assert_eq!(asked_ranges(&server, &layer).len(), 3, "and no more");
    // That it waited is no stall.
    tokio::time::sleep(STALL).await;
    assert_eq!(blob.finish().await.unwrap().get(), &Digest::of(&layer));
}
