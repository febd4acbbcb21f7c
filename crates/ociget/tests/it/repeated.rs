//! Secrets that servers repeat, budgets that they stretch, and blobs that they send in other ways than expected.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ociget::{Digest, Error, Options};

use crate::blame::listening;
use crate::support::{Content, Delivery, Reply, Seen, Server, noise, pull, quick};

/// A registry whose token server, at `/token`, answers `reply`.
async fn with_token_server(
    reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    registry: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    let (content, _) = Content::image(b"layer");
    Server::start(&content, move |seen| {
        if seen.path.starts_with("/token") {
            return Some(reply(seen));
        }
        let host = seen.header("host").unwrap_or_default();
        match seen.header("authorization") {
            Some(sent) => registry(sent),
            None => Some(Reply::new(401, "").with(
                "www-authenticate",
                format!("Bearer realm=\"http://{host}/token\""),
            )),
        }
    })
    .await
}

// RFC 6749, 5.1; SECURITY.md: secrets are in no error
#[tokio::test]
async fn token_in_an_unreadable_answer_is_not_quoted() {
    for body in [
        r#"{"token":"Secret.Token","expires_in":300"#,
        "\u{feff}{\"token\":\"Secret.Token\"}",
        "Secret.Token",
        "\"Secret.Token\"",
        "[\"Secret.Token\"]",
        "access_token=Secret.Token&expires_in=3",
        r#"{"token":"Secret.Token"}{}"#,
        r#"{"data":{"token":"Secret.Token"},"message":"here is Secret.Token"}"#,
        "<token>Secret.Token</token><message>Secret.Token</message>",
    ] {
        for status in [200, 201, 204, 206, 304] {
            let server = with_token_server(move |_| Reply::new(status, body), |_| None).await;
            let error = pull(&*server.source(quick())).await.unwrap_err();
            let text = format!("{error} {error:?} {:?}", error.hint());
            assert!(!text.contains("Secret.Token"), "{status} {body}: {text}");
        }
    }
}

/// Options of a client with this login.
fn with(login: ociget::Login) -> (Options, Arc<Mutex<Vec<String>>>) {
    #[derive(Debug)]
    struct Fixed(ociget::Login);
    impl ociget::Credentials for Fixed {
        fn login<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
        ) -> ociget::BoxFuture<'a, Result<ociget::Login, Error>> {
            Box::pin(async { Ok(self.0.clone()) })
        }
    }
    let (mut options, heard) = listening(quick());
    options.retries = 0;
    options.credentials = Arc::new(Fixed(login));
    (options, heard)
}

// SECURITY.md: a server that quotes the request does not get its secrets printed
#[tokio::test]
async fn secrets_that_a_server_quotes_back_are_hidden() {
    use ociget::Login;
    let closed = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    // Of a registry, to whatever it was sent.
    let echo = move |status: u16, sent: &str| {
        let text = format!("you sent {sent}");
        Some(match status {
            307 => Reply::new(307, "").with("location", format!("http://127.0.0.1:1/{sent}")),
            308 => Reply::new(308, "").with("location", format!("http://{}/{sent}", closed())),
            200 => Reply::new(200, format!("<html><title>{text}</title>"))
                .with("content-type", "text/html"),
            299 => Reply::new(200, "x").with("content-encoding", sent),
            _ => Reply::new(status, text.clone()).with("warning", format!("299 - \"{text}\"")),
        })
    };
    for status in [403, 500, 307, 308, 200, 299] {
        let (content, _) = Content::image(b"layer");
        let server = Server::start(&content, move |seen| match seen.header("authorization") {
            Some(sent) if seen.method == "GET" => echo(status, sent),
            Some(_) => Some(Reply::new(404, "")),
            None => Some(Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\"")),
        })
        .await;
        let (options, heard) = with(Login::password("ada", "SuperSecretPw", "a file"));
        let error = pull(&*server.source(options)).await.unwrap_err();
        let text = format!("{error} {error:?} {:?}", heard.lock().unwrap());
        assert!(!text.contains("YWRhOl"), "{status}: {text}");
        assert!(status == 307 || text.contains("***"), "{status}: {text}");

        let token = |_: &Seen| Reply::new(200, r#"{"token":"Secret.Token"}"#);
        let server = with_token_server(token, move |sent| echo(status, sent)).await;
        let (options, heard) = with(Login::anonymous("a test"));
        let error = pull(&*server.source(options)).await.unwrap_err();
        let text = format!("{error} {error:?} {:?}", heard.lock().unwrap());
        assert!(!text.contains("Secret.Token"), "{status}: {text}");
    }
    // Of a token server, to a form, and to the password of the login.
    for (login, body) in [
        (Login::identity_token("re/fresh.token", "a file"), None),
        (
            Login::password("ada", "re/fresh.token", "a file"),
            Some("no login for ada:re/fresh.token"),
        ),
    ] {
        let answer = move |seen: &Seen| {
            Reply::new(500, format!("cannot handle {}", body.unwrap_or(&seen.body)))
        };
        let server = with_token_server(answer, |_| None).await;
        let (options, _) = with(login);
        let error = pull(&*server.source(options)).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("***"), "{text}");
        assert!(!text.contains("fresh.token"), "{text}");
    }
    // Of a storage, to a signed URL: deepnote/deepnote-toolkit#125, flyteorg/flyte-sdk#1339, aws/aws-sdk-java-v2#7388
    for (kind, body) in [
        (
            "application/xml",
            "<Error><Code>SignatureDoesNotMatch</Code><Message>AbCd/0123456789+SIGN of /b?X-Amz-Signature=\
             AbCd%2F0123456789%2BSIGN for AWS4-HMAC-SHA256</Message></Error>",
        ),
        (
            "text/html",
            "<html><title>403 /b?X-Amz-Signature=AbCd%2f0123456789%2bSIGN for AWS4-HMAC-SHA256</title></html>",
        ),
        (
            "text/plain",
            "no http://s3/b?X-Amz-Signature=AbCd/0123456789+SIGN for AWS4-HMAC-SHA256",
        ),
    ] {
        let (content, _) = Content::image(b"layer");
        let server = Server::start(&content, move |seen| {
            let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=AbCd%2F0123456789%2BSIGN";
            let to = format!("/b?{query}");
            match seen.path.starts_with("/b?") {
                true => Some(Reply::new(403, body).with("content-type", kind)),
                false if seen.path.contains("/blobs/") => {
                    Some(Reply::new(307, "").with("location", to))
                }
                false => None,
            }
        })
        .await;
        let (options, _) = with(Login::anonymous("a test"));
        let error = pull(&*server.source(options)).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("***") && text.contains("for AWS4-HMAC-SHA256"),
            "{text}"
        );
        assert!(!text.contains("0123456789"), "{text}");
    }
}

#[tokio::test]
async fn redirect_that_leads_on_to_nothing_repeats_no_secret() {
    for next in ["http://[", "ftp://h/x", "/v2/app/other"] {
        let (content, _) = Content::image(b"layer");
        let server = Server::start(&content, move |seen| {
            let sent = seen.header("authorization").unwrap_or_default();
            Some(match sent {
                "" => Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
                _ if seen.path.starts_with("/hop/") && next.starts_with('/') => {
                    Reply::new(200, "x").with("transfer-encoding", "gzip")
                }
                _ if seen.path.starts_with("/hop/") => Reply::new(307, "").with("location", next),
                _ => Reply::new(307, "").with("location", format!("/hop/{sent}")),
            })
        })
        .await;
        let (options, _) = with(ociget::Login::password("ada", "SuperSecretPw", "a file"));
        let error = pull(&*server.source(options)).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("/hop/Basic%20***"), "{next}: {text}");
        assert!(!text.contains("YWRhOl"), "{next}: {text}");
    }
}

// docs/registry.md: 35 s of `--retry-for` are 35 s of several ranges as well
#[tokio::test]
async fn refused_ranges_spend_one_budget_of_time() {
    let layer = noise(6 << 20);
    let (content, _) = Content::image(&layer);
    let server = Server::start(&content, |seen| {
        let range = seen.header("range")?;
        Some(Reply::new(429, range).with("retry-after", "1"))
    })
    .await;
    let (mut options, _) = listening(quick());
    options.ranges.parallel = 4;
    options.ranges.bytes = 1 << 20;
    options.ranges.above = 2 << 20;
    options.retries = u32::MAX;
    options.retry_for = Duration::from_millis(1200);
    let error = pull(&*server.source(options)).await.unwrap_err();
    assert!(matches!(error, Error::Throttled(_)), "{error:?}");
    // Three ranges ask a few times, and then the one connection once more.
    let asked = server
        .seen()
        .iter()
        .filter(|seen| seen.header("range").is_some())
        .count();
    assert!((4..=20).contains(&asked), "{asked}");
}

/// The outcome of a pull whose layer is answered `replies` in turn.
async fn with_layer(replies: Vec<Reply>) -> Result<Vec<Vec<u8>>, Error> {
    let (content, _) = Content::image(b"layer");
    let path = format!("/v2/app/blobs/{}", Digest::of(b"layer"));
    let replies = Mutex::new(replies.into_iter());
    let server = Server::start(&content, move |seen| {
        (seen.path == path).then(|| replies.lock().unwrap().next())?
    })
    .await;
    pull(&*server.source(quick())).await
}

// RFC 9110, 15 and 15.3.4
#[tokio::test]
async fn blob_with_another_success_is_proved_by_its_digest() {
    for status in [201, 203, 299] {
        let layers = with_layer(vec![Reply::new(status, "layer")]).await;
        assert_eq!(layers.unwrap(), [b"layer"], "{status}");
    }
    for status in [202, 204] {
        let error = with_layer(vec![Reply::new(status, "")]).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().status, status);
    }
}

#[tokio::test]
async fn encoded_blob_is_blamed_on_its_encoding() {
    for encoding in ["gzip", "identity, br"] {
        let reply = Reply::new(200, "squeezed").with("content-encoding", encoding);
        let text = with_layer(vec![reply]).await.unwrap_err().to_string();
        assert!(text.contains("Content-Encoding"), "{text}");
        assert!(!text.contains("damaged"), "{text}");
    }
}

#[tokio::test]
async fn refusal_after_a_break_counts_its_own_answers() {
    let cut = Reply::new(200, "layer").sent(Delivery::Cut(2));
    let refused = || Reply::new(404, "");
    let error = with_layer(vec![cut, refused(), refused()])
        .await
        .unwrap_err();
    assert_eq!(error.refusal().unwrap().attempts, 1);
    let text = error.to_string();
    assert!(
        !text.contains("times") && !text.contains("the tag"),
        "{text}"
    );
    let again = vec![Reply::new(503, ""), Reply::new(503, "")];
    let error = with_layer(again).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().attempts, 2);
}

// docs/registry.md: the target of a redirect got no credentials
#[tokio::test]
async fn refusal_behind_a_token_servers_redirect_is_of_no_credentials() {
    let (empty, _) = Content::image(b"");
    let other = Server::start(&empty, |_| Some(Reply::new(403, "no"))).await;
    let target = format!("http://{}/t", other.host);
    let server = with_token_server(
        move |_| Reply::new(302, "").with("location", target.clone()),
        |_| None,
    )
    .await;
    let (options, _) = with(ociget::Login::password("ada", "secret", "a file"));
    let text = pull(&*server.source(options))
        .await
        .unwrap_err()
        .to_string();
    assert!(!text.contains("credentials"), "{text}");
    assert!(other.seen()[0].header("authorization").is_none());

    let server = with_token_server(|_| Reply::new(404, ""), |_| None).await;
    let error = pull(&*server.source(quick())).await.unwrap_err();
    assert_eq!(error.kind(), ociget::ErrorKind::Registry);
    let text = error.to_string();
    assert!(
        !text.contains("tag") && text.contains("token server"),
        "{text}"
    );
}
