//! Redirects, and the credentials that do not follow them.

use ociget::Error;

use crate::auth::{as_user, unauthorized};
use crate::support::{Content, Reply, Server, noise, pull, quick};

#[tokio::test]
async fn no_credential_follows_a_realm_to_a_forbidden_host() {
    for realm in [
        "http://169.254.169.254/t",
        "http://10.0.0.1/t",
        "http://localhost:1/t",
        "file:///t",
    ] {
        let (content, _) = Content::image(b"layer");
        let server = Server::start(&content, move |_| {
            Some(unauthorized(&format!(r#"Bearer realm="{realm}""#)))
        })
        .await;
        let error = pull(&*server.source(as_user("secret"))).await.unwrap_err();
        assert!(
            matches!(error, Error::Forbidden { .. }),
            "{realm}: {error:?}"
        );
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_redirect_to_another_port_gets_no_authorization() {
    let layer = noise(3000);
    let (content, _) = Content::image(&layer);
    let storage = Server::start(&content, |_| None).await;
    let target = format!("http://{}", storage.host);
    let server = Server::start(&content, move |seen| {
        if seen.header("authorization").is_none() {
            return Some(unauthorized("Basic realm=r"));
        }
        let blob = seen.path.contains("/blobs/");
        blob.then(|| Reply::new(307, "").with("location", format!("{target}{}", seen.path)))
    })
    .await;
    assert_eq!(
        pull(&*server.source(as_user("secret"))).await.unwrap(),
        [layer]
    );
    assert_eq!(storage.seen().len(), 2);
    assert!(
        storage
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}

#[tokio::test]
async fn challenge_of_a_redirected_host_is_not_answered() {
    let (content, _) = Content::image(b"layer");
    let thief = Server::start(&content, |_| Some(unauthorized("Basic realm=r"))).await;
    let target = format!("http://{}/x", thief.host);
    let server = Server::start(&content, move |seen| {
        seen.path
            .contains("/blobs/")
            .then(|| Reply::new(302, "").with("location", target.clone()))
    })
    .await;
    let error = pull(&*server.source(as_user("secret"))).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized(_)), "{error:?}");
    assert_eq!(thief.seen().len(), 1);
    assert!(thief.seen()[0].header("authorization").is_none());
}

#[tokio::test]
async fn redirects_end_and_stay_out_of_the_inside() {
    for (location, says) in [
        ("/v2/app/manifests/v1", "redirects more than 5 times"),
        (
            "http://169.254.169.254/latest/meta-data",
            "internal address",
        ),
        ("http://localhost:1/", "internal address"),
        ("ftp://example.com/", "neither https nor http"),
        ("http://u:p@127.0.0.1/", "user name"),
    ] {
        let (content, _) = Content::image(b"layer");
        let server = Server::start(&content, move |_| {
            Some(Reply::new(302, "").with("location", location))
        })
        .await;
        let error = pull(&*server.source(quick()))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{location}: {error}");
        assert!(server.seen().len() <= 6);
    }
}
