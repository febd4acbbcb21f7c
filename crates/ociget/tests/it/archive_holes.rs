//! Layers of archives that are holes, or that one image lists many times.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use ociget::{Digest, DockerArchiveSource, Error};

use crate::archive::{Member, Place, config, file, header, list, padded, tar};
use crate::support::{noise, pull};

/// A member of GNU's format with `stored` bytes and zeros up to `size` after them.
fn sparse(name: &str, stored: &[u8], size: u64) -> Vec<u8> {
    let octal = |number: u64| format!("{number:011o}\0").into_bytes();
    let length = u64::try_from(stored.len()).unwrap();
    let fields = [0, length].map(octal).concat();
    let header = header(
        b'S',
        name,
        "",
        stored.len(),
        &[(257, b"ustar  \0"), (386, &fields), (483, &octal(size))],
    );
    [&header[..], &padded(stored)].concat()
}

/// 60 GiB of a member of 512 bytes would be hashed for each layer. The name may be a promise.
#[tokio::test]
async fn holes_of_compressed_layers_are_limited() {
    let hex = "1".repeat(64);
    for (name, size, count) in [
        ("l.gz".to_owned(), 7 << 30, 1),
        (format!("blobs/sha256/{hex}"), 1 << 29, 3),
    ] {
        let place = Place::new();
        let ids: Vec<Vec<u8>> = (0..count)
            .map(|id: usize| id.to_string().into_bytes())
            .collect();
        let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
        let documents = tar(&[
            file("c.json", &config(&ids)),
            file("manifest.json", &list("c.json", &vec![&*name; count])),
        ]);
        let archive = [sparse(&name, b"\x1f\x8b\x08", size), documents].concat();
        let source = DockerArchiveSource::new(place.write(&archive), None);
        let error = pull(&source).await.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains("bytes of holes"), "{error}");
    }
}

/// Each time with another DiffID, by its name and by links.
#[tokio::test]
async fn compressed_layer_with_many_names_has_one_digest() {
    let layer = [b"\x1f\x8b\x08", &noise(10_000)[..]].concat();
    let plain = tar(&[file("f", b"plain")]);
    let config = config(&[b"one", b"two", b"three", &plain, &plain]);
    let hex = Digest::of(&layer);
    let blob = format!("blobs/sha256/{}", hex.hex());
    let list = list("c.json", &["l.gz", "link", &blob, "plain", "other"]);
    let link = |name, to| -> Member<'_> { (b'1', name, to, b"") };
    let place = Place::new();
    let source = place.docker(&[
        file("l.gz", &layer),
        link("link", "l.gz"),
        link(&blob, "l.gz"),
        file("plain", &plain),
        link("other", "plain"),
        file("c.json", &config),
        file("manifest.json", &list),
    ]);
    let layers = pull(&source).await.unwrap();
    assert!(layers == [&layer, &layer, &layer, &plain, &plain].map(Vec::as_slice));
}
