//! Copies of content that a manifest or index names twice: as a blob, and as a manifest.

use ociget::Digest;

use crate::copy::{check, copy};
use crate::support::{Content, OCI, OCI_INDEX, Server, noise};

const THING: &str = "application/vnd.example.thing";

fn entry(content: &Content, media_type: &str, digest: &Digest) -> String {
    let size = content.manifest(&digest.to_string()).len();
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

fn index(content: &mut Content, entries: &[String]) -> Digest {
    let entries = entries.join(",");
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
    content.add_manifest(OCI_INDEX, &text)
}

#[tokio::test]
async fn manifest_that_is_listed_as_blob_first_is_copied_whole() {
    for is_first in [false, true] {
        let mut content = Content::default();
        let image = content.add_image("linux", "amd64", &[&noise(50)]);
        let mut entries = [THING, OCI].map(|kind| entry(&content, kind, &image));
        if !is_first {
            entries.reverse();
        }
        let root = index(&mut content, &entries);
        content.tag("v1", &root);
        let server = Server::start(&content, |_| None).await;
        let dir = tempfile::tempdir().unwrap();
        let copied = copy(&server, "v1", dir.path()).await.unwrap();
        assert_eq!((copied.fetched, copied.kept), (4, 0));
        check(dir.path(), 4);
    }
}

#[tokio::test]
async fn image_that_is_also_a_layer_is_copied_whole() {
    let mut content = Content::default();
    let image = content.add_image("linux", "amd64", &[&noise(50)]);
    let config = content.add_blob("application/vnd.oci.empty.v1+json", b"{}");
    let layer = entry(&content, OCI, &image);
    let text = format!(
        r#"{{"schemaVersion":2,"artifactType":"application/x","config":{config},"layers":[{layer}]}}"#
    );
    let artifact = content.add_manifest(OCI, &text);
    let nested = content.add_index(&[("linux/amd64", &image)]);
    let entries = [
        entry(&content, OCI, &artifact),
        entry(&content, OCI_INDEX, &nested),
    ];
    let root = index(&mut content, &entries);
    content.tag("v1", &root);
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    copy(&server, "v1", dir.path()).await.unwrap();
    // Two indexes, the artifact and its config, the image with its config and its layer.
    check(dir.path(), 7);
}

#[tokio::test]
async fn blob_may_be_a_manifest_if_any_entry_says_so() {
    let mut content = Content::default();
    let odd = content.add_manifest(THING, r#"{"odd":1}"#);
    let config = content.add_blob("application/vnd.oci.empty.v1+json", b"{}");
    let layer = entry(&content, THING, &odd);
    let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
    let artifact = content.add_manifest(OCI, &text);
    let inner = index(&mut content, &[layer]);
    let entries = [
        entry(&content, OCI, &artifact),
        entry(&content, OCI_INDEX, &inner),
    ];
    let root = index(&mut content, &entries);
    content.tag("v1", &root);
    let server = Server::start(&content, |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    copy(&server, "v1", dir.path()).await.unwrap();
    check(dir.path(), 5);
}
