//! Tokens: requested, renewed and widened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use ociget::Error;

use crate::auth::{as_user, unauthorized};
use crate::support::{Content, Delivery, Reply, Server, noise, pull, quick};

/// A registry that wants tokens of its own `/token`, each good for `uses` requests.
async fn token_registry(uses: u32, challenge_rest: &'static str) -> Server {
    let (content, _) = Content::image(&noise(5000));
    let (issued, used) = (Arc::new(AtomicU32::new(0)), AtomicU32::new(0));
    Server::start(&content, move |seen| {
        if seen.path.starts_with("/token") {
            let number = issued.fetch_add(1, SeqCst) + 1;
            used.store(0, SeqCst);
            return Some(Reply::new(
                200,
                format!(r#"{{"token":"t{number}","expires_in":300}}"#),
            ));
        }
        let current = format!("Bearer t{}", issued.load(SeqCst));
        let good =
            seen.header("authorization") == Some(&current) && used.fetch_add(1, SeqCst) < uses;
        let host = seen.header("host").unwrap_or_default();
        (!good).then(|| {
            unauthorized(&format!(
                r#"Bearer realm="http://{host}/token"{challenge_rest}"#
            ))
        })
    })
    .await
}

#[tokio::test]
async fn one_token_serves_a_whole_pull() {
    let server = token_registry(99, r#",service="reg",scope="repository:app:pull""#).await;
    pull(&*server.source(as_user("secret"))).await.unwrap();
    let tokens = server.seen_at("/token");
    assert_eq!(tokens.len(), 1);
    assert_eq!(
        tokens[0].path,
        "/token?service=reg&scope=repository%3Aapp%3Apull"
    );
    assert_eq!(
        tokens[0].header("authorization"),
        Some("Basic dXNlcjpzZWNyZXQ=")
    );
    // The password went to the token server alone.
    for seen in server.seen_at("/v2/") {
        assert!(
            seen.header("authorization")
                .is_none_or(|value| value.starts_with("Bearer "))
        );
    }
}

#[tokio::test]
async fn a_public_image_needs_an_anonymous_token() {
    let server = token_registry(99, "").await;
    pull(&*server.source(quick())).await.unwrap();
    let tokens = server.seen_at("/token");
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].path, "/token?scope=repository%3Aapp%3Apull");
    assert_eq!(tokens[0].header("authorization"), None);
}

#[tokio::test]
async fn a_401_in_mid_pull_gets_one_fresh_token() {
    let server = token_registry(1, "").await;
    pull(&*server.source(quick())).await.unwrap();
    let tokens = server.seen_at("/token").len();
    assert_eq!(tokens, 4, "tag, manifest, config, layer");
    let never = token_registry(0, "").await;
    let error = pull(&*never.source(quick())).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized(_)), "{error:?}");
    assert_eq!(never.seen_at("/token").len(), 1);
}

#[tokio::test]
async fn a_token_that_is_too_narrow_is_widened_once() {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |seen| {
        let host = seen.header("host").unwrap_or_default();
        let realm = format!(r#"Bearer realm="http://{host}/token""#);
        if seen.path.starts_with("/token") {
            let wide = seen.path.contains("extra");
            return Some(Reply::new(
                200,
                format!(r#"{{"access_token":"wide-{wide}"}}"#),
            ));
        }
        match seen.header("authorization") {
            Some("Bearer wide-true") => None,
            None => Some(unauthorized(&realm)),
            Some(_) => Some(unauthorized(&format!(
                r#"{realm},scope="repository:extra:pull",error="insufficient_scope""#
            ))),
        }
    })
    .await;
    pull(&*server.source(quick())).await.unwrap();
    let paths: Vec<String> = server
        .seen_at("/token")
        .into_iter()
        .map(|seen| seen.path)
        .collect();
    assert_eq!(
        paths,
        [
            "/token?scope=repository%3Aapp%3Apull",
            "/token?scope=repository%3Aapp%3Apull&scope=repository%3Aextra%3Apull",
        ]
    );
}

/// go-gitea/gitea#36907, oras-project/oras-go#650, cloudflare/serverless-registry#149
#[tokio::test]
async fn challenge_with_another_scope_leads_to_a_token_for_both() {
    for scope in ["*", "registry:catalog:*", "repository:user/image:pull"] {
        let (content, _) = Content::image(b"layer");
        let server = Server::start(&content, move |seen| {
            if seen.path.starts_with("/token") {
                let is_enough = seen.path.contains("repository%3Aapp%3Apull");
                let token = if is_enough { "good" } else { "weak" };
                return Some(Reply::new(200, format!(r#"{{"token":"{token}"}}"#)));
            }
            let host = seen.header("host").unwrap_or_default();
            let challenge = format!(r#"Bearer realm="http://{host}/token",scope="{scope}""#);
            (seen.header("authorization") != Some("Bearer good")).then(|| unauthorized(&challenge))
        })
        .await;
        assert_eq!(pull(&*server.source(quick())).await.unwrap(), [b"layer"]);
        assert_eq!(server.seen_at("/token").len(), 2, "{scope}");
    }
}

/// containerd/containerd#9648: a further scope makes the token server refuse. A token that was revoked early is renewed.
#[tokio::test]
async fn token_server_may_refuse_a_further_scope() {
    let (content, _) = Content::image(b"layer");
    let (issued, used) = (AtomicU32::new(0), AtomicU32::new(0));
    let server = Server::start(&content, move |seen| {
        if seen.path.starts_with("/token") {
            if seen.path.contains("repository%3Aapp%3Apull") {
                return Some(Reply::new(403, r#"{"errors":[{"code":"DENIED"}]}"#));
            }
            let number = issued.fetch_add(1, SeqCst) + 1;
            used.store(0, SeqCst);
            return Some(Reply::new(200, format!(r#"{{"token":"t{number}"}}"#)));
        }
        let host = seen.header("host").unwrap_or_default();
        let challenge = format!(r#"Bearer realm="http://{host}/token",scope="repository:x:pull""#);
        let current = format!("Bearer t{}", issued.load(SeqCst));
        let is_good =
            seen.header("authorization") == Some(&current) && used.fetch_add(1, SeqCst) < 2;
        (!is_good).then(|| unauthorized(&challenge))
    })
    .await;
    assert_eq!(pull(&*server.source(quick())).await.unwrap(), [b"layer"]);
    let tokens = server.seen_at("/token");
    let refused = tokens.iter().filter(|seen| seen.path.contains("app"));
    assert_eq!((refused.count(), tokens.len()), (1, 3));
}

#[tokio::test]
async fn identity_token_is_exchanged_by_post_or_else_by_get() {
    let directory = tempfile::tempdir().unwrap();
    // containerd/containerd#4982, containerd/containerd#2148
    for status in [200, 400, 401, 404, 405, 403] {
        let (content, _) = Content::image(b"layer");
        let server = Server::start(&content, move |seen| {
            let host = seen.header("host").unwrap_or_default();
            if seen.path.starts_with("/token") {
                let posted = seen.method == "POST";
                let status = if posted { status } else { 200 };
                return Some(Reply::new(status, r#"{"access_token":"good"}"#));
            }
            (seen.header("authorization") != Some("Bearer good")).then(|| {
                unauthorized(&format!(
                    r#"Bearer realm="http://{host}/token",service="reg""#
                ))
            })
        })
        .await;
        let file = directory.path().join("config.json");
        let config = format!(
            r#"{{"auths":{{"{}":{{"identitytoken":"s3cret"}}}}}}"#,
            server.host
        );
        std::fs::write(&file, config).unwrap();
        let mut options = quick();
        options.credentials = Arc::new(ociget::Keychain::from_file(file));
        let outcome = pull(&*server.source(options)).await;
        let tokens = server.seen_at("/token");
        let methods: Vec<&str> = tokens.iter().map(|seen| &*seen.method).collect();
        assert_eq!(
            tokens[0].body,
            "grant_type=refresh_token&service=reg&client_id=ociget\
             &scope=repository%3Aapp%3Apull&refresh_token=s3cret"
        );
        assert!(tokens.iter().all(|seen| !seen.path.contains("s3cret")));
        match status {
            200 => assert_eq!(methods, ["POST"]),
            403 => {
                let error = outcome.unwrap_err();
                assert!(matches!(error, Error::Denied(_)), "{error:?}");
                assert_eq!(methods, ["POST"]);
                continue;
            }
            _ => {
                assert_eq!(methods, ["POST", "GET"]);
                // <token>:s3cret
                let sent = tokens[1].header("authorization");
                assert_eq!(sent, Some("Basic PHRva2VuPjpzM2NyZXQ="));
            }
        }
        assert_eq!(outcome.unwrap(), [b"layer"]);
    }
}

#[tokio::test]
async fn a_token_server_that_says_no_is_heard() {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |seen| {
        let host = seen.header("host").unwrap_or_default();
        Some(if seen.path.starts_with("/token") {
            Reply::new(401, r#"{"details":"incorrect username or password"}"#)
        } else {
            unauthorized(&format!(r#"Bearer realm="http://{host}/token""#))
        })
    })
    .await;
    let error = pull(&*server.source(as_user("secret")))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("incorrect username or password"), "{error}");
    assert!(error.contains("/token answered 401"), "{error}");
    assert!(error.contains("the credentials from the test"), "{error}");
}

// RFC 9110, 5.4: a server may refuse headers that are longer than it wants to process
#[tokio::test]
async fn token_that_fits_no_header_is_refused() {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |seen| {
        let host = seen.header("host").unwrap_or_default();
        Some(if seen.path.starts_with("/token") {
            let token = "t".repeat((64 << 10) + 1);
            Reply::new(200, format!(r#"{{"token":"{token}"}}"#))
        } else {
            unauthorized(&format!(r#"Bearer realm="http://{host}/token""#))
        })
    })
    .await;
    let error = pull(&*server.source(quick()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a token of 65537 bytes; 65536 are the most"),
        "{error}"
    );
    let requests = server.seen_at("/v2/");
    assert!(
        requests
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}

#[tokio::test]
async fn list_with_another_scope_gets_a_token_for_both() {
    // renovatebot/renovate#14708
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |seen| {
        let host = seen.header("host").unwrap_or_default();
        let lists = seen.path.contains("/tags/list");
        if seen.path.starts_with("/token") {
            let both = seen.path.contains("metadata_read");
            return Some(Reply::new(
                200,
                format!(r#"{{"access_token":"both-{both}"}}"#),
            ));
        }
        let action = if lists { "metadata_read" } else { "pull" };
        let realm =
            format!(r#"Bearer realm="http://{host}/token",scope="repository:app:{action}""#);
        match seen.header("authorization") {
            Some("Bearer both-true") if lists => {
                Some(Reply::new(200, r#"{"name":"app","tags":["v1"]}"#))
            }
            Some(_) if !lists => None,
            _ => Some(unauthorized(&realm)),
        }
    })
    .await;
    let client = ociget::Client::new(quick()).unwrap();
    let reference = format!("{}/app:v1", server.host).parse().unwrap();
    let source = ociget::RegistrySource::new(&client, reference).unwrap();
    source.raw_manifest(None).await.unwrap();
    assert_eq!(source.tags().all().await.unwrap(), ["v1"]);
    let tokens = server.seen_at("/token");
    let scope = "scope=repository%3Aapp%3Ametadata_read%2Cpull";
    assert!(tokens[1].path.contains(scope), "{}", tokens[1].path);
}

// RFC 6750, 3.1
#[tokio::test]
async fn insufficient_scope_with_403_gets_a_token_for_both_scopes() {
    // The second form names no token server.
    for realm in [true, false] {
        let (content, _) = Content::image(b"layer");
        let server = Server::start(&content, move |seen| {
            let host = seen.header("host").unwrap_or_default();
            let server = format!("Bearer realm=\"http://{host}/token\"");
            if seen.path.starts_with("/token") {
                let wide = seen.path.contains("base");
                return Some(Reply::new(200, format!(r#"{{"token":"wide-{wide}"}}"#)));
            }
            match seen.header("authorization") {
                None => Some(unauthorized(&server)),
                Some("Bearer wide-false") if seen.path.contains("/blobs/") => {
                    let start = if realm {
                        &*server
                    } else {
                        "Bearer realm=\"x\""
                    };
                    let rest = r#"scope="repository:base/x:pull",error="insufficient_scope""#;
                    let challenge = format!("{start},{rest}");
                    Some(Reply::new(403, "").with("www-authenticate", challenge))
                }
                Some(_) => None,
            }
        })
        .await;
        assert_eq!(pull(&*server.source(quick())).await.unwrap(), [b"layer"]);
        assert_eq!(server.seen_at("/token").len(), 2);
    }
}

#[tokio::test]
async fn resting_request_holds_no_other_up() {
    let (content, manifest) = Content::image(&noise(5000));
    let issued = AtomicU32::new(0);
    let server = Server::start(&content, move |seen| {
        if seen.path.starts_with("/token") {
            let reply = Reply::new(200, r#"{"token":"good"}"#);
            return Some(match issued.fetch_add(1, SeqCst) {
                0 => reply.sent(Delivery::Stall(0)),
                _ => reply,
            });
        }
        let host = seen.header("host").unwrap_or_default();
        (seen.header("authorization") != Some("Bearer good"))
            .then(|| unauthorized(&format!(r#"Bearer realm="http://{host}/token""#)))
    })
    .await;
    let client = ociget::Client::new(quick()).unwrap();
    let reference = format!("{}/app:v1", server.host).parse().unwrap();
    let source = ociget::RegistrySource::new(&client, reference).unwrap();
    let mut first = Box::pin(source.raw_manifest(None));
    while server.seen_at("/token").is_empty() {
        let a_while = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(a_while, &mut first).await.is_err());
    }
    // The first one is alive, and not polled from here on.
    source.raw_manifest(Some(&manifest)).await.unwrap();
    drop(first);
}

/// Asks the registry for an image before it knows a login for it.
#[derive(Debug, Default)]
struct Curious(std::sync::OnceLock<ociget::RegistrySource>);

impl ociget::Credentials for Curious {
    fn login<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> ociget::BoxFuture<'a, Result<ociget::Login, Error>> {
        Box::pin(async {
            if let Some(source) = self.0.get() {
                source.raw_manifest(None).await?;
            }
            Ok(ociget::Login::anonymous("the test"))
        })
    }
}

#[tokio::test]
async fn credentials_that_ask_their_own_source_are_refused() {
    let server = token_registry(99, "").await;
    let curious = Arc::new(Curious::default());
    let mut options = quick();
    options.credentials = Arc::<Curious>::clone(&curious);
    let client = ociget::Client::new(options).unwrap();
    let reference = format!("{}/app:v1", server.host).parse().unwrap();
    let source = ociget::RegistrySource::new(&client, reference).unwrap();
    curious.0.set(source.clone()).unwrap();
    let error = source.raw_manifest(None).await.unwrap_err();
    let expected = "are looked up by a request that needs them";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn client_of_two_runtimes_uses_no_connection_of_an_idle_one() {
    let new = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    // The server has a runtime that runs.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        new().block_on(async {
            let (content, _) = Content::image(b"layer");
            let server = Server::start(&content, |_| None).await;
            sender.send(server.host.clone()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    let mut options = quick();
    options.retries = 0;
    let client = ociget::Client::new(options).unwrap();
    let host = receiver.recv().unwrap();
    let reference = format!("{host}/app:v1").parse().unwrap();
    let (one, other) = (new(), new());
    for runtime in [&one, &other, &one, &other] {
        let got = client.raw_manifest(&reference);
        runtime
            .block_on(async { tokio::time::timeout(std::time::Duration::from_secs(20), got).await })
            .unwrap()
            .unwrap();
    }
}
