//! Spans and events: each says for which host and digest, and none has a secret.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Once};

use ociget::{BoxFuture, Credentials, Digest, Error, Login};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use crate::support::{Content, Delivery, Reply, Server, noise, pull, quick, ranged};

/// Records all spans and events of one thread, at every level, as lines.
#[derive(Clone, Default)]
struct Everything {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
}

thread_local! {
    static LISTENING: RefCell<Option<Everything>> = const { RefCell::new(None) };
}

impl Everything {
    /// Starts to record what this thread logs.
    ///
    /// One subscriber serves the whole process, because `tracing` caches for the whole process whether a call site is of
    /// interest. With a subscriber for this thread alone, the first test that reaches a call site on another thread
    /// disables it for this thread too (tokio-rs/tracing#3611).
    fn listen() -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| tracing::subscriber::set_global_default(Threads).unwrap());
        let everything = Self::default();
        LISTENING.set(Some(everything.clone()));
        everything
    }

    /// Stops recording and returns the lines.
    fn stop(self) -> Vec<String> {
        LISTENING.set(None);
        std::mem::take(&mut *self.lines.lock().unwrap())
    }

    fn push(&self, line: Line) {
        self.lines.lock().unwrap().push(line.0);
    }
}

/// Passes each span and event to the recorder of its thread, if there is one.
struct Threads;

impl Threads {
    fn with<T: Default>(act: impl FnOnce(&Everything) -> T) -> T {
        LISTENING.with_borrow(|listening| listening.as_ref().map(act).unwrap_or_default())
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Threads {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match metadata.target().starts_with("ociget") {
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ociget") && Self::with(|_| true)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(format!("span {}", span.metadata().name()));
        span.record(&mut line);
        let before = Self::with(|everything| {
            everything.push(line);
            everything.spans.fetch_add(1, SeqCst)
        });
        Id::from_u64(before + 1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line("record".to_owned());
        values.record(&mut line);
        Self::with(|everything| everything.push(line));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line("event".to_owned());
        event.record(&mut line);
        Self::with(|everything| everything.push(line));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Debug)]
struct Ada;

impl Credentials for Ada {
    fn login<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Login, Error>> {
        Box::pin(async { Ok(Login::password("ada", "hunter2", "the test")) })
    }
}

/// A pull with everything that has a secret in it: a password, a token, a signed URL; and with a
/// break, a retry and a refusal.
#[tokio::test]
async fn the_log_tells_hosts_and_digests_and_no_secret() {
    let layer = noise(5000);
    let (content, manifest) = Content::image(&layer);
    let whole = layer.clone();
    let cut = Mutex::new(true);
    let server = Server::start(&content, move |seen| {
        let host = seen.header("host").unwrap_or_default();
        if seen.path.starts_with("/token") {
            return Some(Reply::new(200, r#"{"token":"tok3n-secret"}"#));
        }
        if seen.path.starts_with("/signed") {
            let reply = ranged(&whole, seen.header("range"));
            return Some(match std::mem::take(&mut *cut.lock().unwrap()) {
                true => reply.sent(Delivery::Cut(2000)),
                false => reply,
            });
        }
        if seen.header("authorization") != Some("Bearer tok3n-secret") {
            let challenge = format!(r#"Bearer realm="http://{host}/token""#);
            return Some(Reply::new(401, "").with("www-authenticate", challenge));
        }
        let signed = format!("/signed{}?sig=s1gned-secret", seen.path);
        let is_layer = seen.path.ends_with(&Digest::of(&whole).to_string());
        is_layer.then(|| Reply::new(307, "").with("location", signed))
    })
    .await;

    let everything = Everything::listen();
    let mut options = quick();
    options.credentials = Arc::new(Ada);
    pull(&*server.source(options.clone())).await.unwrap();
    let missing = server.named("missing:v1", options.clone());
    pull(&*missing).await.unwrap_err();

    let lines = everything.stop();
    let log = lines.join("\n");
    // ada:hunter2 as it is sent.
    for secret in [
        "hunter2",
        "YWRhOmh1bnRlcjI",
        "tok3n-secret",
        "s1gned-secret",
    ] {
        assert!(!log.contains(secret), "{secret} in\n{log}");
    }
    assert!(!format!("{options:?}").contains("hunter2"));
    let says = |parts: &[&str]| {
        lines
            .iter()
            .any(|line| parts.iter().all(|part| line.contains(part)))
    };
    let (layer, manifest) = (Digest::of(&layer).to_string(), manifest.to_string());
    for parts in [
        &["span pull", &server.host, "repository=\"app\"", &layer][..],
        &["span pull", &server.host, "tag=\"v1\""],
        &["span request", "method=GET", &manifest],
        &[
            "span request",
            "method=HEAD",
            "127.0.0.1",
            "/v2/app/manifests/v1",
        ],
        &["span request", "method=GET", "/signed"],
        &["span token", &server.host],
        &["event", "status=200"],
        &["event", "trying again", &layer],
    ] {
        assert!(says(parts), "nothing says {parts:?}:\n{log}");
    }
}
