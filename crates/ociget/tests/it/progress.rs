//! What the callback hears: every byte once, every retry, every change of host.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::sync::{Arc, Mutex};

use ociget::{Digest, Event, Options, Progress};

use crate::support::{Content, Delivery, Reply, Server, noise, pull, quick};

#[derive(Debug, Default)]
struct Heard {
    bytes: Vec<(Digest, u64)>,
    retries: Vec<(String, u32, String)>,
}

fn listening() -> (Options, Arc<Mutex<Heard>>) {
    let heard = Arc::<Mutex<Heard>>::default();
    let log = Arc::clone(&heard);
    let mut options = quick();
    options.progress = Progress::new(move |event| {
        let mut heard = log.lock().unwrap();
        match event {
            Event::Bytes { digest, bytes } => heard.bytes.push(((*digest).clone(), *bytes)),
            Event::Retry {
                url,
                attempt,
                reason,
                ..
            } => heard
                .retries
                .push(((*url).to_owned(), *attempt, (*reason).to_owned())),
            _ => {}
        }
    });
    (options, heard)
}

#[tokio::test]
async fn bytes_are_reported_once_and_retries_with_reasons() {
    let layer = noise(50_000);
    let (content, _) = Content::image(&layer);
    let digest = Digest::of(&layer);
    let path = format!("/v2/app/blobs/{digest}");
    let (whole, broken) = (layer.clone(), Mutex::new(false));
    // It breaks off once, and then starts from the beginning.
    let server = Server::start(&content, move |seen| {
        let mut broken = broken.lock().unwrap();
        (seen.path == path).then(|| {
            let reply = Reply::new(200, whole.clone());
            match std::mem::replace(&mut *broken, true) {
                false => reply.sent(Delivery::Cut(20_000)),
                true => reply,
            }
        })
    })
    .await;
    let (options, heard) = listening();
    pull(&*server.source(options)).await.unwrap();
    let heard = heard.lock().unwrap();
    let of_layer = heard.bytes.iter().filter(|(found, _)| *found == digest);
    assert_eq!(of_layer.map(|(_, bytes)| bytes).sum::<u64>(), 50_000);
    assert_eq!(heard.retries.len(), 1, "{heard:?}");
    let (url, attempt, reason) = &heard.retries[0];
    assert_eq!(
        (url.as_str(), *attempt),
        (&*format!("http://{}/v2/app/blobs/{digest}", server.host), 1)
    );
    assert!(!reason.is_empty());
}

#[tokio::test]
async fn transient_status_is_reported() {
    let (content, _) = Content::image(b"layer");
    let first = Mutex::new(true);
    let server = Server::start(&content, move |_| {
        let first = std::mem::take(&mut *first.lock().unwrap());
        first.then(|| Reply::new(503, "").with("retry-after", "0"))
    })
    .await;
    let (options, heard) = listening();
    pull(&*server.source(options)).await.unwrap();
    let heard = heard.lock().unwrap();
    assert_eq!(heard.retries[0].2, "it answered 503");
}
