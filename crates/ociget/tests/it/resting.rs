//! Callers that poll a future once and keep it: no other caller waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Waker};
use std::time::Duration;

use ociget::{DockerArchiveSource, LayoutSource, Source, TarSource};

use crate::archive::{Place, file, tar};
use crate::auth::unauthorized;
use crate::support::{Content, Server, noise, quick};

/// Polls a future once, keeps it, and waits for another one. Returns `None` if that waits for the first one.
async fn second_is_done<'a, T>(new: impl Fn() -> ociget::BoxFuture<'a, T>) -> Option<T> {
    let mut resting = new();
    let mut context = Context::from_waker(Waker::noop());
    // A thread may have been quick enough.
    if resting.as_mut().poll(&mut context).is_ready() {
        return Some(new().await);
    }
    let limit = Duration::from_secs(20);
    let second = tokio::time::timeout(limit, new()).await;
    drop(resting);
    second.ok()
}

#[tokio::test]
async fn resting_look_at_a_tag_keeps_no_other_waiting() {
    let (content, manifest) = Content::image(&noise(5000));
    let server = Server::start(&content, |_| None).await;
    let source = server.source(quick());
    let identity = second_is_done(|| source.identity()).await.unwrap();
    assert_eq!(identity.unwrap(), Some(manifest));
    assert_eq!(server.seen_at("/manifests/").len(), 1);
}

#[tokio::test]
async fn resting_reader_of_an_archive_keeps_no_other_waiting() {
    let place = Place::new();
    let path = place.write(&tar(&[file("etc/passwd", b"root")]));
    let rootfs = TarSource::new(path.clone());
    second_is_done(|| rootfs.root(None)).await.unwrap().unwrap();
    // Of another kind, so that it is an error; no caller waits for it either.
    let docker = DockerArchiveSource::new(path.clone(), None);
    let refused = second_is_done(|| docker.root(None)).await.unwrap();
    assert!(refused.is_err());
    let layout = LayoutSource::archive(path, None);
    let refused = second_is_done(|| layout.root(None)).await.unwrap();
    assert!(refused.is_err());
}

/// A login that takes longer than a request waits for its turn.
#[derive(Debug, Default)]
struct Slow(AtomicU32);

impl ociget::Credentials for Slow {
    fn login<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> ociget::BoxFuture<'a, Result<ociget::Login, ociget::Error>> {
        Box::pin(async {
            self.0.fetch_add(1, SeqCst);
            tokio::time::sleep(Duration::from_secs(7)).await;
            Ok(ociget::Login::password("user", "pass", "the test"))
        })
    }
}

#[tokio::test]
async fn requests_ask_for_a_slow_login_once() {
    let (content, manifest) = Content::image(&noise(5000));
    let server = Server::start(&content, move |seen| {
        (seen.header("authorization") != Some("Basic dXNlcjpwYXNz"))
            .then(|| unauthorized(r#"Basic realm="registry""#))
    })
    .await;
    let slow = Arc::new(Slow::default());
    let mut options = quick();
    options.credentials = Arc::<Slow>::clone(&slow);
    let client = ociget::Client::new(options).unwrap();
    let reference = format!("{}/app:v1", server.host).parse().unwrap();
    let source = ociget::RegistrySource::new(&client, reference).unwrap();
    let requests: Vec<_> = (0..8)
        .map(|_| {
            let (source, manifest) = (source.clone(), manifest.clone());
            tokio::spawn(async move { source.raw_manifest(Some(&manifest)).await })
        })
        .collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
    assert_eq!(slow.0.load(SeqCst), 1);
}
