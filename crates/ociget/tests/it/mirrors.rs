//! Mirrors that are busy, and the host that comes after them.

use std::sync::{Arc, Mutex};

use ociget::{Digest, Error, Options};
use tempfile::TempDir;

use crate::support::{Content, Delivery, Reply, Seen, Server, noise, pull, quick, ranged};

/// Options with a `hosts.toml` of `origin`. The directory has to outlive them.
pub(crate) fn with_hosts(origin: &Server, lines: &str) -> std::io::Result<(Options, TempDir)> {
    let dir = tempfile::tempdir()?;
    let of_host = dir.path().join(&origin.host);
    std::fs::create_dir(&of_host)?;
    std::fs::write(of_host.join("hosts.toml"), lines)?;
    let mut options = quick();
    options.hosts_dir = Some(dir.path().to_owned());
    Ok((options, dir))
}

fn three_layers() -> (Content, Vec<Vec<u8>>) {
    let layers: Vec<Vec<u8>> = (0..3).map(|number| noise(1000 + number)).collect();
    let mut content = Content::default();
    let borrowed: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let manifest = content.add_image("linux", "amd64", &borrowed);
    content.tag("v1", &manifest);
    (content, layers)
}

// containerd/containerd#4531, bottlerocket-os/bottlerocket#4564
#[tokio::test]
async fn mirror_that_asks_for_a_pause_is_left_alone() {
    let (content, layers) = three_layers();
    for (status, path) in [(429, "/"), (503, "/"), (429, "/blobs/"), (503, "/blobs/")] {
        let origin = Server::start(&content, |_| None).await;
        let mirror = Server::start(&content, move |seen: &Seen| {
            let is_busy = seen.path.contains(path);
            is_busy.then(|| Reply::new(status, "busy").with("retry-after", "30"))
        })
        .await;
        let lines = format!("[host.\"http://{}\"]\n", mirror.host);
        let (options, _dir) = with_hosts(&origin, &lines).unwrap();
        assert_eq!(pull(&*origin.source(options)).await.unwrap(), layers);
        let asked = mirror.seen();
        let asked = asked.iter().filter(|seen| seen.path.contains(path));
        assert!((1..=2).contains(&asked.count()), "{status} to {path}");
    }
}

#[tokio::test]
async fn mirror_that_alone_resolves_tags_is_waited_for() {
    let (content, layers) = three_layers();
    let origin = Server::start(&content, |_| None).await;
    let first = Mutex::new(true);
    let mirror = Server::start(&content, move |_| {
        let is_first = std::mem::replace(&mut *first.lock().unwrap(), false);
        is_first.then(|| Reply::new(429, "").with("retry-after", "2"))
    })
    .await;
    let lines = format!(
        "server = \"http://{}\"\ncapabilities = [\"pull\"]\n[host.\"http://{}\"]\n",
        origin.host, mirror.host
    );
    let (options, _dir) = with_hosts(&origin, &lines).unwrap();
    assert_eq!(pull(&*origin.source(options)).await.unwrap(), layers);
}

// The digest does not say which half is wrong, so that a message with the first host alone blames it for the other one.
#[tokio::test]
async fn wrong_blob_of_two_hosts_is_blamed_on_both() {
    let layer = noise(100_000);
    let (content, _) = Content::image(&layer);
    let name = Digest::of(&layer).to_string();
    let mut bent = layer.clone();
    bent[70_000] ^= 1;
    let of_blob = name.clone();
    let origin = Server::start(&content, move |seen: &Seen| {
        let is_blob = seen.path.ends_with(&of_blob);
        is_blob.then(|| ranged(&bent, seen.header("range")))
    })
    .await;
    let first = Mutex::new(true);
    let mirror = Server::start(&content, move |seen: &Seen| {
        if !seen.path.contains(&name) {
            return None;
        }
        let is_first = std::mem::replace(&mut *first.lock().unwrap(), false);
        Some(match is_first {
            true => Reply::new(200, layer.clone()).sent(Delivery::Cut(50_000)),
            false => Reply::new(404, ""),
        })
    })
    .await;
    let lines = format!("[host.\"http://{}\"]\n", mirror.host);
    let (options, _dir) = with_hosts(&origin, &lines).unwrap();
    let error = pull(&*origin.source(options)).await.map(drop).unwrap_err();
    let Error::Digest { at, .. } = &error else {
        panic!("{error:?}");
    };
    let (one, other) = at.split_once("; from byte 50000 on, ").unwrap();
    assert!(one.contains(&mirror.host), "{at}");
    assert!(other.contains(&origin.host), "{at}");
}

/// Keeps the names for which a login is wanted, and has none.
#[derive(Debug, Default)]
struct Wanted(Mutex<Vec<String>>);

impl ociget::Credentials for Wanted {
    fn login<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
    ) -> ociget::BoxFuture<'a, Result<ociget::Login, Error>> {
        if let Ok(mut names) = self.0.lock() {
            names.push(format!("{registry}/{repository}"));
        }
        Box::pin(async { Ok(ociget::Login::anonymous("the test")) })
    }
}

// containerd/containerd#9648, #8415, #4358, #1465
#[tokio::test]
async fn login_and_scope_of_a_mirror_have_its_path() {
    let (content, layers) = three_layers();
    let origin = Server::start(&content, |_| None).await;
    let mirror = Server::start(&content, |seen: &Seen| {
        let realm = format!("http://{}/token", seen.header("host").unwrap_or_default());
        let challenge = format!("Bearer realm=\"{realm}\"");
        Some(match &*seen.path {
            path if path.starts_with("/token") => Reply::new(200, r#"{"token":"t"}"#),
            _ if seen.header("authorization").is_some() => Reply::new(404, ""),
            _ => Reply::new(401, "").with("www-authenticate", challenge),
        })
    })
    .await;
    let lines = format!(
        "[host.\"http://{}/v2/proj/hub\"]\noverride_path = true\n",
        mirror.host
    );
    let (mut options, _dir) = with_hosts(&origin, &lines).unwrap();
    let wanted = Arc::new(Wanted::default());
    options.credentials = Arc::clone(&wanted) as Arc<dyn ociget::Credentials>;
    assert_eq!(pull(&*origin.source(options)).await.unwrap(), layers);
    let names = wanted.0.lock().unwrap().clone();
    assert_eq!(names, [format!("{}/proj/hub/app", mirror.host)]);
    let scope = "scope=repository%3Aproj%2Fhub%2Fapp%3Apull";
    let tokens = mirror.seen_at("/token");
    assert!(tokens[0].path.contains(scope), "{tokens:?}");
}
