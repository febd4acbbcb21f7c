//! Redirects, and the credentials that do not follow them.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

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
        ("/v2/app/manifests/v1", "redirects more than 10 times"),
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
        assert!(server.seen().len() <= 11);
    }
}

// moby/moby#48736
#[tokio::test]
async fn redirects_to_many_ports_keep_few_connections() {
    const HOPS: usize = 4;
    let layers: Vec<Vec<u8>> = (0..50).map(|n| noise(10 + n)).collect();
    let mut content = Content::default();
    let borrowed: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let manifest = content.add_image("linux", "amd64", &borrowed);
    content.tag("v1", &manifest);
    let mut servers = Vec::new();
    let mut starts = Vec::new();
    for layer in &layers {
        let path = format!("/v2/app/blobs/{}", ociget::Digest::of(layer));
        let mut next: Option<String> = None;
        for _ in 0..HOPS {
            let to = next.take();
            let server = Server::start(&content, move |_| {
                let to = to.clone()?;
                Some(Reply::new(307, "").with("location", to))
            })
            .await;
            next = Some(format!("http://{}{path}", server.host));
            servers.push(server);
        }
        starts.push((path, next.unwrap()));
    }
    let main = Server::start(&content, move |seen| {
        let (_, to) = starts.iter().find(|(path, _)| *path == seen.path)?;
        Some(Reply::new(307, "").with("location", to))
    })
    .await;
    let source = main.source(quick());
    assert_eq!(pull(&*source).await.unwrap(), layers);
    assert!(servers.iter().all(|server| server.seen().len() == 1));
    // A server sees a little later that a connection was closed.
    let open = || -> usize { servers.iter().map(|server| server.open.load(SeqCst)).sum() };
    for _ in 0..100 {
        if open() <= 64 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(open() <= 64, "{}", open());
}
