//! Directories that copies go to: unfinished, damaged, hostile, or shared with other copies.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use ociget::{Digest, ErrorKind, copy_to_layout};

use crate::copy::{blob, check, copy, named, partial, ref_names};
use crate::support::{Content, Delivery, Reply, Server, noise, quick, ranged};

#[tokio::test]
async fn download_that_broke_off_is_resumed_with_a_range() {
    let layer = noise(4 << 20);
    let (content, _) = Content::image(&layer);
    let digest = Digest::of(&layer);
    let cuts = AtomicU32::new(0);
    let body = layer.clone();
    let path = format!("/v2/app/blobs/{digest}");
    let server = Server::start(&content, move |seen| {
        // The registry is gone after some MiB, also for the retries.
        if seen.path != path || cuts.fetch_add(1, SeqCst) > 2 {
            return None;
        }
        let reply = match seen.header("range") {
            None => Reply::new(200, body.clone()),
            range => ranged(&body, range),
        };
        Some(reply.sent(Delivery::Cut(1 << 19)))
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let error = copy(&server, "v1", dir.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error:?}");
    let left = fs::metadata(partial(dir.path(), &digest)).unwrap().len();
    assert!(left >= 1 << 20, "{left}");
    assert!(!dir.path().join("index.json").exists());
    let before = server.seen().len();
    let copied = copy(&server, "v1", dir.path()).await.unwrap();
    check(dir.path(), 3);
    let seen: Vec<_> = server.seen().split_off(before);
    let ranges: Vec<_> = seen
        .iter()
        .filter_map(|seen| seen.header("range"))
        .collect();
    assert!(
        ranges[0].starts_with(&format!("bytes={left}-")),
        "{ranges:?}"
    );
    assert!(copied.fetched_bytes < 4 << 20);
}

#[tokio::test]
async fn unfinished_file_of_any_kind_leads_to_the_right_blob() {
    let layer = noise(1 << 20);
    let (content, _) = Content::image(&layer);
    let digest = Digest::of(&layer);
    let mut wrong = layer.clone();
    wrong[100] ^= 1;
    let longer = [&layer[..], b"more"].concat();
    for left in [
        &layer[..],
        &layer[..1000],
        &wrong[..1000],
        &wrong,
        &longer,
        b"",
    ] {
        for refuses in [None, Some(400), Some(416), Some(200)] {
            let body = layer.clone();
            let server = Server::start(&content, move |seen| {
                let _range = seen.header("range")?;
                match refuses {
                    Some(200) => Some(Reply::new(200, body.clone())),
                    Some(status) => Some(Reply::new(status, "")),
                    None => None,
                }
            })
            .await;
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
            fs::write(
                dir.path().join("oci-layout"),
                r#"{"imageLayoutVersion":"1.0.0"}"#,
            )
            .unwrap();
            fs::write(partial(dir.path(), &digest), left).unwrap();
            copy(&server, "v1", dir.path()).await.unwrap();
            check(dir.path(), 3);
        }
    }
}

#[tokio::test]
async fn damaged_blob_is_replaced_and_intact_one_kept() {
    let layer = noise(100_000);
    let (content, manifest) = Content::image(&layer);
    let digest = Digest::of(&layer);
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    copy(&server, "v1", dir.path()).await.unwrap();
    let mut wrong = layer.clone();
    wrong[5] ^= 1;
    let outside = dir.path().with_extension("outside");
    fs::write(&outside, &layer).unwrap();
    // google/go-containerregistry#2124: empty files with the names of blobs.
    for damage in [&wrong[..], b"", &layer[..7]] {
        fs::write(blob(dir.path(), &digest), damage).unwrap();
        let copied = copy(&server, "v1", dir.path()).await.unwrap();
        assert_eq!((copied.fetched, copied.kept), (1, 2));
        check(dir.path(), 3);
    }
    fs::write(blob(dir.path(), &manifest), "{}").unwrap();
    assert_eq!(copy(&server, "v1", dir.path()).await.unwrap().fetched, 1);
    // A symlink is not a blob, whatever it leads to.
    fs::remove_file(blob(dir.path(), &digest)).unwrap();
    std::os::unix::fs::symlink(&outside, blob(dir.path(), &digest)).unwrap();
    copy(&server, "v1", dir.path()).await.unwrap();
    assert!(
        fs::symlink_metadata(blob(dir.path(), &digest))
            .unwrap()
            .is_file()
    );
    fs::remove_file(outside).unwrap();
}

#[tokio::test]
async fn nothing_is_written_through_a_symlink() {
    let (content, _) = Content::image(&noise(1000));
    let server = Server::start(&content, |_| None).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("victim");
    let layer = Digest::of(&noise(1000));
    for link in [
        "blobs".to_owned(),
        "blobs/sha256".to_owned(),
        format!("blobs/sha256/.partial-{}", layer.hex()),
        "index.json".to_owned(),
        "oci-layout".to_owned(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        if link != "oci-layout" {
            fs::write(
                dir.path().join("oci-layout"),
                r#"{"imageLayoutVersion":"1.0.0"}"#,
            )
            .unwrap();
        }
        fs::create_dir_all(dir.path().join(&link).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join(&link)).unwrap();
        let error = copy(&server, "v1", dir.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{link}: {error:?}");
        assert!(
            error.to_string().contains(&*dir.path().to_string_lossy()),
            "{error}"
        );
        assert!(!target.exists(), "{link}");
    }
}

#[tokio::test]
async fn directory_that_is_no_layout_is_left_alone() {
    let (content, _) = Content::image(b"layer");
    let server = Server::start(&content, |_| None).await;
    for (file, text, kind) in [
        ("notes.txt", "mine", ErrorKind::Usage),
        (
            "oci-layout",
            r#"{"imageLayoutVersion":"9"}"#,
            ErrorKind::Unsupported,
        ),
        ("oci-layout", "", ErrorKind::Unsupported),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(file), text).unwrap();
        let error = copy(&server, "v1", dir.path()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = copy(&server, "v1", file.path()).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    fs::write(dir.path().join("index.json"), r#"{"manifests":[{"#).unwrap();
    let error = copy(&server, "v1", dir.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert_eq!(
        fs::read(dir.path().join("index.json")).unwrap(),
        br#"{"manifests":[{"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_copies_share_blobs_and_lose_no_name() {
    // containers/image#1028
    let mut content = Content::default();
    let shared = noise(2 << 20);
    let mut tags = Vec::new();
    for number in 0..8_usize {
        let own = noise(1000 + number);
        let digest = content.add_image("linux", "amd64", &[&shared, &own]);
        content.tag(&format!("v{number}"), &digest);
        tags.push(format!("v{number}"));
    }
    let server = std::sync::Arc::new(Server::start(&content, |_| None).await);
    let dir = tempfile::tempdir().unwrap();
    // Each tag twice: two copies of one image meet as well.
    let copies: Vec<_> = tags
        .iter()
        .chain(&tags)
        .map(|tag| {
            let (server, tag, dir) = (server.clone(), tag.clone(), dir.path().to_owned());
            tokio::spawn(async move { copy(&server, &tag, &dir).await.map(|_| ()) })
        })
        .collect();
    for copy in copies {
        copy.await.unwrap().unwrap();
    }
    assert_eq!(ref_names(dir.path()), tags);
    // The shared layer, and of each image a layer, a config and a manifest.
    check(dir.path(), 1 + 8 * 3);
    assert_eq!(server.seen_at(Digest::of(&shared).hex()).len(), 1);
}

#[tokio::test]
async fn copy_that_is_dropped_leaves_a_layout_that_another_completes() {
    let layer = noise(3 << 20);
    let (content, _) = Content::image(&layer);
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer));
    let body = layer.clone();
    let stalls = AtomicU32::new(0);
    let server = Server::start(&content, move |seen| {
        let stalling = Reply::new(200, body.clone()).sent(Delivery::Stall(2 << 20));
        (seen.path == path && stalls.fetch_add(1, SeqCst) == 0).then_some(stalling)
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let mut options = quick();
    options.stall_timeout = std::time::Duration::from_secs(60);
    let source = server.named("app:v1", options);
    let options = named("v1");
    let copying = copy_to_layout(&*source, None, dir.path(), &options);
    let partial = partial(dir.path(), &Digest::of(&layer));
    let written = async {
        while fs::metadata(&partial).map_or(0, |found| found.len()) < 1 << 20 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        outcome = copying => panic!("{outcome:?}"),
        () = written => {}
    }
    let copied = copy(&server, "v1", dir.path()).await.unwrap();
    assert!(copied.fetched_bytes < 3 << 20, "{copied:?}");
    check(dir.path(), 3);
}
