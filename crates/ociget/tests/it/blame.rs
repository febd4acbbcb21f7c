//! Whose fault a failure is, in whose words, and how patient the client was before it.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ociget::{Digest, Error, Event, Options, Progress};

use crate::support::{Content, Delivery, Reply, Server, noise, pull, quick};

/// A server that redirects blobs to `location`.
async fn redirecting(location: impl Fn(&str) -> String + Send + Sync + 'static) -> Server {
    let (content, _) = Content::image(b"layer");
    Server::start(&content, move |seen| {
        let digest = seen.path.strip_prefix("/v2/app/blobs/")?;
        Some(Reply::new(307, "").with("location", location(digest)))
    })
    .await
}

// docker/hub-feedback#2376, docker/for-mac#7306, moby/moby#22852, distribution/distribution#925
#[tokio::test]
async fn failure_behind_a_redirect_is_the_storages() {
    let (empty, _) = Content::image(b"");
    for status in [400, 401, 403, 404, 410, 500, 503] {
        let storage = Server::start(&empty, move |_| {
            Some(Reply::new(
                status,
                "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
            ))
        })
        .await;
        let host = storage.host.clone();
        // A second hop, as clouds have it.
        let server =
            redirecting(move |digest| format!("http://{host}/bucket/{digest}?X-Sig=s3cret")).await;
        let error = pull(&*server.source(quick())).await.unwrap_err();
        let refusal = error.refusal().unwrap();
        assert_eq!(refusal.status, status);
        assert!(refusal.url.contains(&storage.host), "{refusal:?}");
        assert!(
            refusal
                .redirected_from
                .as_ref()
                .unwrap()
                .contains(&server.host)
        );
        let text = error.to_string();
        for word in [
            &*storage.host,
            "redirects",
            "AccessDenied: Request has expired",
        ] {
            assert!(text.contains(word), "{text}");
        }
        for word in ["credentials", "log in", "the tag", "s3cret"] {
            assert!(!text.contains(word), "{text}");
        }
    }
    let closed = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap();
    for place in [closed.to_string(), "storage.invalid:8080".to_owned()] {
        let location = place.clone();
        let mut options = quick();
        options
            .allow_private_realms
            .push("storage.invalid".to_owned());
        let server = redirecting(move |digest| format!("http://{location}/{digest}")).await;
        let error = pull(&*server.source(options)).await.unwrap_err();
        let Error::Unreachable {
            url,
            redirected_from,
            ..
        } = &error
        else {
            panic!("{error:?}");
        };
        assert!(
            url.contains(&place) && redirected_from.is_some(),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn damage_and_breaks_behind_a_redirect_are_the_storages() {
    let (empty, _) = Content::image(b"");
    for damage in [
        Reply::new(200, "other"),
        Reply::new(200, "longer than it is"),
        Reply::new(200, "layer").sent(Delivery::Cut(2)),
    ] {
        let storage = Server::start(&empty, move |_| Some(damage.clone())).await;
        let host = storage.host.clone();
        let (content, _) = Content::image(b"layer");
        let layer = Digest::of(b"layer").to_string();
        let server = Server::start(&content, move |seen| {
            seen.path
                .ends_with(&layer)
                .then(|| Reply::new(302, "").with("location", format!("http://{host}/x")))
        })
        .await;
        let text = pull(&*server.source(quick()))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            text.contains(&storage.host) && text.contains("redirect"),
            "{text}"
        );
    }
}

/// The error of a pull whose every answer is `reply`.
async fn answered(reply: Reply) -> Error {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, move |_| Some(reply.clone())).await;
    let mut options = quick();
    options.retries = 0;
    pull(&*server.source(options)).await.unwrap_err()
}

// containerd/containerd#4674, #9854, moby/moby#25166, google/go-containerregistry#1405
#[tokio::test]
async fn refusals_are_reported_in_the_servers_words() {
    let html = |status, body: &str| Reply::new(status, body).with("content-type", "text/html");
    for (reply, says, says_not) in [
        (
            html(403, "<html><title>Blocked by the filter</title>"),
            "Blocked by the filter",
            "these credentials",
        ),
        (
            Reply::new(403, "Access is\u{1b}[31m blocked\r\nmore")
                .with("content-type", "text/plain"),
            "Access is[31m blocked)",
            "more",
        ),
        (
            Reply::new(400, "Client sent an HTTP request to an HTTPS server.\n"),
            "set Options::plain_http_on_loopback = false",
            "credentials",
        ),
        (
            html(
                400,
                "<title>400 The plain HTTP request was sent to HTTPS port</title>",
            ),
            "set Options::plain_http_on_loopback = false",
            "credentials",
        ),
        (
            html(
                400,
                "<title>400 Bad Request</title><p>You're speaking plain HTTP to an SSL-enabled server port.",
            ),
            "set Options::plain_http_on_loopback = false",
            "credentials",
        ),
        (
            Reply::new(429, "{}").with("retry-after", "3600"),
            "asks to wait 1h",
            "credentials",
        ),
        (
            html(200, "<!DOCTYPE html><title>Sign in</title>"),
            "a web page (text/html), \"Sign in\",",
            "line 1",
        ),
        (
            Reply::new(200, "\u{1f}\u{8b}xx").with("content-encoding", "gzip"),
            "Content-Encoding \"gzip\"",
            "line 1",
        ),
    ] {
        let text = answered(reply).await.to_string();
        assert!(text.contains(says) && !text.contains(says_not), "{text}");
    }
}

#[tokio::test]
async fn answer_that_is_not_http_points_to_tls() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let _ = stream.read(&mut [0; 1024]).await;
            // The alert of a TLS server that was sent a request.
            let _ = stream.write_all(&[0x15, 3, 1, 0, 2, 2, 0x46]).await;
        }
    });
    let (content, _) = Content::image(b"layer");
    let mut options = quick();
    options.retries = 0;
    let client = ociget::Client::new(options).unwrap();
    let reference = format!("{host}/app:v1")
        .parse::<ociget::SourceSpec>()
        .unwrap();
    let error = pull(&*reference.open(&client).unwrap())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("does not answer in HTTP")
            && error.contains("set Options::plain_http_on_loopback = false"),
        "{error}"
    );
    drop(content);
}

/// Pulls from a server that answers each request with `answer`, again and again with a pause in between.
async fn answered_without_end(answer: &'static [u8], pause: Duration) -> Error {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1024]).await;
                while stream.write_all(answer).await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
            });
        }
    });
    let mut options = quick();
    options.retries = 0;
    options.stall_timeout = Duration::from_millis(700);
    let client = ociget::Client::new(options).unwrap();
    let spec = format!("{host}/app:v1").parse::<ociget::SourceSpec>();
    let source = spec.unwrap().open(&client).unwrap();
    pull(&*source).await.unwrap_err()
}

#[tokio::test]
async fn flood_of_informational_answers_is_named_and_ends() {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    for (answer, pause, says) in [
        (CONTINUE, Duration::ZERO, "more than 100 informational"),
        (HINTS, Duration::ZERO, "more than 100 informational"),
        (
            HINTS,
            Duration::from_millis(200),
            " informational answers (1xx) and no other",
        ),
    ] {
        let error = answered_without_end(answer, pause).await.to_string();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("nothing came"), "{error}");
    }
}

#[tokio::test]
async fn server_that_accepts_and_says_nothing_is_named() {
    let error = answered_without_end(b"", Duration::from_secs(5)).await;
    let text = error.to_string();
    assert!(error.is_transient(), "{text}");
    assert!(text.contains("nothing came for 0.70s"), "{text}");
}

// google/go-containerregistry#280
#[tokio::test]
async fn token_server_that_answers_without_a_token_is_quoted() {
    for (reply, says) in [
        (
            Reply::new(200, r#"{"details":"incorrect username or password"}"#),
            "no token: incorrect username or password",
        ),
        (
            Reply::new(200, "<html><title>Log on</title>").with("content-type", "text/html"),
            "a web page (text/html) where a token was expected: Log on",
        ),
        (
            Reply::new(200, "x").with("content-encoding", "br"),
            "Content-Encoding \"br\"",
        ),
        (
            Reply::new(429, "").with("retry-after", "7200"),
            "asks to wait 2h",
        ),
    ] {
        let (content, _) = Content::image(b"layer");
        let server = Server::start(&content, move |seen| {
            let host = seen.header("host").unwrap_or_default();
            Some(match seen.path.starts_with("/token") {
                true => reply.clone(),
                false => Reply::new(401, "").with(
                    "www-authenticate",
                    format!("Bearer realm=\"http://{host}/token\""),
                ),
            })
        })
        .await;
        let mut options = quick();
        options.retries = 0;
        let text = pull(&*server.source(options))
            .await
            .unwrap_err()
            .to_string();
        assert!(text.contains(says), "{text}");
    }
}

pub(crate) fn listening(mut options: Options) -> (Options, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    options.progress = Progress::new(move |event| {
        if let Event::Warning { text } = event {
            sink.lock().unwrap().push((*text).to_owned());
        }
    });
    (options, heard)
}

// oras-project/oras#898
#[tokio::test]
async fn warning_of_a_registry_is_reported_once() {
    let (content, _) = Content::image(b"layer");
    let tag = content.manifest("v1").to_vec();
    let server = Server::start(&content, move |seen| {
        seen.path.ends_with("/v1").then(|| {
            Reply::new(200, tag.clone())
                .with("content-type", "application/vnd.oci.image.manifest.v1+json")
                .with("warning", "299 - \"this is the last week\"")
        })
    })
    .await;
    let (options, heard) = listening(quick());
    pull(&*server.source(options)).await.unwrap();
    assert!(server.seen_at("/v1").len() > 1);
    let heard = heard.lock().unwrap().clone();
    assert_eq!(
        heard,
        [format!("{} says: this is the last week", server.host)]
    );
}

// anchore/stereoscope#695
#[tokio::test]
async fn range_that_is_refused_leads_to_reading_from_the_start() {
    for status in [400, 403, 404, 405, 406, 412, 416, 501] {
        refuse_range_with(status).await;
    }
}

async fn refuse_range_with(status: u16) {
    let layer = noise(5000);
    let (content, _) = Content::image(&layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer));
    let (whole, at) = (layer.clone(), path.clone());
    let first = Mutex::new(true);
    let server = Server::start(&content, move |seen| {
        if seen.path != at {
            return None;
        }
        if seen.header("range").is_some() {
            return Some(Reply::new(status, "We don't understand your Range"));
        }
        let reply = Reply::new(200, whole.clone());
        Some(
            match std::mem::replace(&mut *first.lock().unwrap(), false) {
                true => reply.sent(Delivery::Cut(1234)),
                false => reply,
            },
        )
    })
    .await;
    assert_eq!(pull(&*server.source(quick())).await.unwrap(), [layer]);
    let ranges: Vec<_> = server
        .seen_at(&path)
        .iter()
        .map(|seen| seen.header("range").map(str::to_owned))
        .collect();
    let expected = [None, Some("bytes=1234-4999".to_owned()), None];
    assert_eq!(ranges, expected, "{status}");
}

// containers/common#2299, containers/skopeo#2841
#[tokio::test]
async fn outage_is_waited_for_as_long_as_the_options_say() {
    let (content, _) = Content::image(b"layer");
    let outage = Duration::from_millis(1500);
    let start = Mutex::new(None);
    let server = Server::start(&content, move |_| {
        let since = *start.lock().unwrap().get_or_insert_with(Instant::now);
        // 0 and a date that has passed are no advice.
        (since.elapsed() < outage).then(|| Reply::new(502, "").with("retry-after", "0"))
    })
    .await;
    let mut options = quick();
    options.retries = u32::MAX;
    options.retry_for = Duration::from_secs(20);
    pull(&*server.source(options)).await.unwrap();
    assert!(
        server.seen().len() < 20,
        "it hammers: {}",
        server.seen().len()
    );

    let mut options = quick();
    options.retries = u32::MAX;
    options.retry_for = Duration::from_millis(400);
    let server = Server::start(&content, |_| Some(Reply::new(503, ""))).await;
    let error = pull(&*server.source(options)).await.unwrap_err();
    assert!(error.refusal().unwrap().attempts >= 2, "{error:?}");
}

#[tokio::test]
async fn many_headers_are_read_and_too_many_are_named() {
    for (count, holds) in [(120, true), (2000, true), (3000, false)] {
        let (content, digest) = Content::image(b"layer");
        let manifest = content.manifest(&digest.to_string()).to_vec();
        let server = Server::start(&content, move |seen| {
            let is_manifest = seen.method == "GET" && seen.path.contains("/manifests/");
            is_manifest.then(|| {
                let reply = Reply::new(200, manifest.clone());
                (0..count).fold(reply, |reply, n| reply.with(&format!("x-{n}"), "a"))
            })
        })
        .await;
        let outcome = pull(&*server.source(quick())).await;
        assert_eq!(outcome.is_ok(), holds, "{count}");
        if let Err(error) = outcome {
            let text = error.to_string();
            assert!(text.contains("more than 2048"), "{text}");
            assert!(!text.contains("TLS"), "{text}");
        }
    }
}
