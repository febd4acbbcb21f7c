//! Foreign layers, which the registry may not store: they are fetched anonymously from the URLs of the manifest.

use std::sync::Arc;

use ociget::{BoxFuture, Credentials, Digest, Error, Login};

use crate::support::{Content, OCI, Reply, Server, noise, pull, quick};

const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";

/// The image `app:v1` with one foreign layer that is to be had at `urls`.
fn content(layer: &[u8], urls: &[String]) -> Content {
    let mut content = Content::default();
    let digest = Digest::of(layer);
    let config = content.add_blob(
        "application/vnd.oci.image.config.v1+json",
        format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#
        )
        .as_bytes(),
    );
    let manifest = content.add_manifest(
        OCI,
        &format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI}","config":{config},"layers":[
                {{"mediaType":"{FOREIGN}","digest":"{digest}","size":{},"urls":{urls:?}}}]}}"#,
            layer.len()
        ),
    );
    content.tag("v1", &manifest);
    content
}

/// Knows everybody's password.
#[derive(Debug)]
struct Generous;

impl Credentials for Generous {
    fn login<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Login, Error>> {
        Box::pin(async { Ok(Login::password("user", "secret", "the test")) })
    }
}

#[tokio::test]
async fn first_working_url_is_taken_and_gets_no_credentials() {
    let layer = noise(5000);
    let body = layer.clone();
    let there = Server::start(&Content::default(), move |seen| {
        Some(match seen.path.as_str() {
            "/layer" => Reply::new(200, body.clone()),
            _ => Reply::new(401, "").with("www-authenticate", "Basic realm=trap"),
        })
    })
    .await;
    let urls = [
        format!("http://{}/trap", there.host),
        format!("http://{}/layer", there.host),
    ];
    let server = Server::start(&content(&layer, &urls), |seen| {
        let open = seen.header("authorization").is_some();
        (!open).then(|| Reply::new(401, "").with("www-authenticate", "Basic realm=r"))
    })
    .await;
    let mut options = quick();
    options.credentials = Arc::new(Generous);
    assert_eq!(pull(&*server.source(options)).await.unwrap(), [layer]);
    assert_eq!(there.seen().len(), 2);
    for seen in there.seen() {
        assert_eq!(seen.header("authorization"), None, "{}", seen.path);
    }
}

#[tokio::test]
async fn what_the_registry_has_is_not_looked_for_elsewhere() {
    let layer = noise(5000);
    let there = Server::start(&Content::default(), |_| None).await;
    let mut content = content(&layer, &[format!("http://{}/layer", there.host)]);
    content.add_blob(FOREIGN, &layer);
    let server = Server::start(&content, |_| None).await;
    assert_eq!(pull(&*server.source(quick())).await.unwrap(), [layer]);
    assert_eq!(there.seen().len(), 0);
}

#[tokio::test]
async fn urls_lead_only_to_allowed_hosts_and_right_bytes() {
    let layer = noise(5000);
    let there = Server::start(&Content::default(), |_| Some(Reply::new(200, noise(4999)))).await;
    for (urls, says) in [
        (vec![], "no URL"),
        (
            vec!["http://169.254.169.254/x".to_owned()],
            "internal address",
        ),
        (vec!["http://localhost:1/x".to_owned()], "internal address"),
        (
            vec!["file:///etc/passwd".to_owned()],
            "neither https nor http",
        ),
        (vec!["http://u:p@example.com/x".to_owned()], "user name"),
        (vec!["not a url".to_owned()], "is none"),
        (vec![format!("http://{}/x", there.host)], "wrong size"),
    ] {
        let server = Server::start(&content(&layer, &urls), |_| None).await;
        let error = pull(&*server.source(quick()))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{urls:?}: {error}");
    }
}
