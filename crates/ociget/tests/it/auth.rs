//! Logins and challenges, and which request carries what.

use std::sync::Arc;

use ociget::{Error, Login, Options};

use crate::support::{Content, Reply, Server, pull, quick};

/// Returns the same login for every host.
#[derive(Debug)]
struct Fixed(Login);

impl ociget::Credentials for Fixed {
    fn login<'a>(&'a self, _: &'a str, _: &'a str) -> ociget::BoxFuture<'a, Result<Login, Error>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

pub(crate) fn as_user(password: &str) -> Options {
    let mut options = quick();
    options.credentials = Arc::new(Fixed(Login::password("user", password, "the test")));
    options
}

pub(crate) fn unauthorized(challenge: &str) -> Reply {
    let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    Reply::new(401, body).with("www-authenticate", challenge)
}

#[tokio::test]
async fn basic_is_sent_when_asked_for_and_then_always() {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |seen| {
        // user:secret
        (seen.header("authorization") != Some("Basic dXNlcjpzZWNyZXQ="))
            .then(|| unauthorized(r#"Basic realm="reg""#))
    })
    .await;
    assert_eq!(
        pull(&*server.source(as_user("secret"))).await.unwrap(),
        [b"layer"]
    );
    let sent: Vec<bool> = server
        .seen()
        .iter()
        .map(|seen| seen.header("authorization").is_some())
        .collect();
    assert_eq!(sent, [false, true, true, true, true]);
}

#[tokio::test]
async fn refused_login_is_tried_once_and_named_but_not_shown() {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |_| Some(unauthorized("Basic realm=reg"))).await;
    let error = pull(&*server.source(as_user("hunter2"))).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized(_)), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("UNAUTHORIZED: authentication required"),
        "{text}"
    );
    assert!(text.contains("the credentials from the test"), "{text}");
    assert!(
        !text.contains("hunter2") && !text.contains("dXNlcjpo"),
        "{text}"
    );
    // Asked openly, asked with the login, and once more openly for the registry's words.
    let sent: Vec<bool> = server
        .seen()
        .iter()
        .map(|seen| seen.header("authorization").is_some())
        .collect();
    assert_eq!(sent, [false, true, false]);

    let error = pull(&*server.source(quick()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("an anonymous client (credentials are switched off)"),
        "{error}"
    );
    assert!(error.contains("docker login"), "{error}");
    assert!(!error.contains('\n'));
}

#[tokio::test]
async fn logins_by_token_are_sent_as_what_they_are() {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |seen| {
        let host = seen.header("host").unwrap_or_default();
        if seen.path.starts_with("/token") {
            let is_right = seen.body.contains("refresh_token=s3cret");
            let status = if is_right { 200 } else { 403 };
            return Some(Reply::new(status, r#"{"access_token":"good"}"#));
        }
        (seen.header("authorization") != Some("Bearer good"))
            .then(|| unauthorized(&format!(r#"Bearer realm="http://{host}/token""#)))
    })
    .await;
    for (login, tokens) in [
        (Login::bearer("good", "the test"), 0),
        (Login::identity_token("s3cret", "the test"), 1),
    ] {
        assert_eq!(format!("{login:?} {login}").matches("the test").count(), 2);
        assert!(!format!("{login:?}").contains("s3cret"));
        let mut options = quick();
        options.credentials = Arc::new(Fixed(login));
        let before = server.seen_at("/token").len();
        pull(&*server.source(options)).await.unwrap();
        assert_eq!(server.seen_at("/token").len() - before, tokens);
    }
    let mut options = quick();
    options.credentials = Arc::new(Fixed(Login::bearer("hunter2", "the test")));
    let error = pull(&*server.source(options)).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

// Docker's client and containers/image send both parts or nothing.
#[tokio::test]
async fn token_servers_get_no_half_of_a_login() {
    for (login, lacks) in [
        (Login::password("", "s3cret", "the test"), "a user name"),
        (Login::password("user", "", "the test"), "a password"),
    ] {
        let (content, _) = Content::image(b"layer");
        let server = Server::start(&content, |seen| {
            let host = seen.header("host").unwrap_or_default();
            let authorization = seen.header("authorization");
            if seen.path.starts_with("/token") {
                let status = if authorization.is_none() { 200 } else { 401 };
                return Some(Reply::new(status, r#"{"token":"T"}"#));
            }
            let is_public = !seen.path.contains("/blobs/");
            (authorization != Some("Bearer T") || !is_public)
                .then(|| unauthorized(&format!(r#"Bearer realm="http://{host}/token""#)))
        })
        .await;
        let mut options = quick();
        options.credentials = Arc::new(Fixed(login));
        let error = pull(&*server.source(options)).await.unwrap_err();
        assert!(error.to_string().contains(lacks), "{error}");
        let asked = server.seen_at("/token");
        assert!(!asked.is_empty());
        for request in asked {
            assert_eq!(request.header("authorization"), None);
        }
    }
}

// RFC 9110, 11.6.1: a client chooses among the challenges
#[tokio::test]
async fn first_usable_challenge_of_several_is_answered() {
    const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";
    for (challenges, expected) in [
        (
            &[r#"Bearer error="invalid_token""#, "REALM"][..],
            "Bearer T",
        ),
        (&[r#"Bearer realm="ftp://x/""#, "REALM"], "Bearer T"),
        (
            &[r#"Bearer realm="http://10.0.0.1/", Basic realm="x""#],
            BASIC,
        ),
        (&[r#"Bearer service="x""#, r#"Basic realm="x""#], BASIC),
        (&[r#"Basic realm="x""#, "REALM"], "Bearer T"),
    ] {
        let (content, _) = Content::image(b"layer");
        let server = Server::start(&content, move |seen| {
            let host = seen.header("host").unwrap_or_default();
            if seen.path.starts_with("/token") {
                return Some(Reply::new(201, r#"{"token":"T"}"#));
            }
            (seen.header("authorization") != Some(expected)).then(|| {
                let realm = format!("Bearer realm=\"http://{host}/token\"");
                let headers = challenges.iter().map(|text| text.replace("REALM", &realm));
                headers.fold(Reply::new(401, ""), |reply, text| {
                    reply.with("www-authenticate", text)
                })
            })
        })
        .await;
        let outcome = pull(&*server.source(as_user("secret"))).await;
        assert_eq!(outcome.unwrap(), [b"layer"], "{challenges:?}");
    }
}
