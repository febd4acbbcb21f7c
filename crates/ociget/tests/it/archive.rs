//! Images in tar files, in the forms that builders give them.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::fs;
use std::path::{Path, PathBuf};

use ociget::{Digest, DockerArchiveSource, Error, LayoutSource, Source as _, TarSource};

use crate::support::{Content, noise, pull};

/// A member of an archive: its type, name, link and body.
pub(crate) type Member<'a> = (u8, &'a str, &'a str, &'a [u8]);

pub(crate) fn file<'a>(name: &'a str, body: &'a [u8]) -> Member<'a> {
    (b'0', name, "", body)
}

pub(crate) fn header(
    kind: u8,
    name: &str,
    link: &str,
    size: usize,
    more: &[(usize, &[u8])],
) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644");
    put(124, format!("{size:011o}").as_bytes());
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    put(148, b"        ");
    for (at, bytes) in more {
        put(*at, bytes);
    }
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

pub(crate) fn padded(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(512), 0);
    body
}

pub(crate) fn tar(members: &[Member<'_>]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (kind, name, link, body) in members {
        tar.extend(header(*kind, name, link, body.len(), &[]));
        tar.extend(padded(body));
    }
    tar.extend([0; 1024]);
    tar
}

/// A place for one archive.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join("archive.tar");
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn docker(&self, members: &[Member<'_>]) -> DockerArchiveSource {
        DockerArchiveSource::new(self.write(&tar(members)), None)
    }
}

pub(crate) fn config(layers: &[&[u8]]) -> Vec<u8> {
    let ids: Vec<String> = layers
        .iter()
        .map(|layer| format!("\"{}\"", Digest::of(layer)))
        .collect();
    let ids = ids.join(",");
    format!(
        r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#
    )
    .into_bytes()
}

pub(crate) fn list(config: &str, layers: &[&str]) -> Vec<u8> {
    let layers: Vec<String> = layers.iter().map(|name| format!("{name:?}")).collect();
    let layers = layers.join(",");
    format!(r#"[{{"Config":{config:?},"RepoTags":null,"Layers":[{layers}]}}]"#).into_bytes()
}

/// Names of crane, ko, kaniko and apko (google/go-containerregistry#526, chainguard-dev/apko#1546), of jib
/// (GoogleContainerTools/jib#2124), rules_oci and rules_docker. The bytes behind the magic don't matter here.
#[tokio::test]
async fn compressed_layers_may_have_any_name() {
    let layer = [b"\x1f\x8b\x08", &noise(700_000)[..]].concat();
    let config = config(&[b"what is in it"]);
    let (hex, config_hex) = (Digest::of(&layer), Digest::of(&config));
    let (hex, config_hex) = (hex.hex(), config_hex.hex());
    for (config_name, layer_name) in [
        (format!("sha256:{config_hex}"), format!("{hex}.tar.gz")),
        ("config.json".to_owned(), format!("{hex}.tar.gz")),
        (
            format!("blobs/sha256/{config_hex}"),
            format!("blobs/sha256/{hex}.tar.gz"),
        ),
        (format!("{config_hex}.json"), "abc/layer.tar".to_owned()),
        (format!("{config_hex}.json"), format!("blobs/sha256/{hex}")),
    ] {
        let place = Place::new();
        let list = list(&config_name, &[&layer_name]);
        let source = place.docker(&[
            file(&config_name, &config),
            file(&layer_name, &layer),
            file("manifest.json", &list),
        ]);
        let layers = pull(&source).await.unwrap();
        assert_eq!(layers, std::slice::from_ref(&layer), "{layer_name}");
    }
}

#[tokio::test]
async fn config_with_another_digest_in_its_name_is_refused() {
    let (config, other) = (config(&[b"l"]), Digest::of(b"other"));
    for name in [
        format!("sha256:{}", other.hex()),
        format!("{}.json", other.hex()),
    ] {
        let place = Place::new();
        let list = list(&name, &["l.tar"]);
        let members = [
            file(&name, &config),
            file("l.tar", b"l"),
            file("manifest.json", &list),
        ];
        let error = pull(&place.docker(&members)).await.unwrap_err();
        assert!(matches!(error, Error::Digest { .. }), "{name}: {error}");
    }
}

/// An image that has one layer twice: a link (GoogleContainerTools/jib#2829), one name listed twice, or the
/// same member twice (containers/image#503). A second member that differs is refused.
#[tokio::test]
async fn layer_that_occurs_twice_is_read_twice() {
    let layer = noise(70_000);
    let config = config(&[&layer, &layer]);
    let one_name = list("c.json", &["a/layer.tar", "a/layer.tar"]);
    let two_names = list("c.json", &["a/layer.tar", "b/layer.tar"]);
    let other = [&layer[..69_999], b"!"].concat();
    let base = [file("c.json", &config), file("a/layer.tar", &layer)];
    for (more, list, holds) in [
        (
            &[(b'2', "b/layer.tar", "../a/layer.tar", &b""[..])][..],
            &two_names,
            true,
        ),
        (
            &[(b'1', "b/layer.tar", "a/layer.tar", b"")],
            &two_names,
            true,
        ),
        (&[], &one_name, true),
        (&[file("a/layer.tar", &layer)], &one_name, true),
        (&[file("a/layer.tar", &other)], &one_name, false),
        (&[file("a/layer.tar", b"")], &one_name, false),
    ] {
        let place = Place::new();
        let members = [&base[..], more, &[file("manifest.json", list)]].concat();
        match pull(&place.docker(&members)).await {
            Ok(layers) => assert!(holds && layers == [&layer[..], &layer[..]]),
            Err(error) => {
                assert!(!holds, "{error}");
                assert!(
                    error.to_string().contains("a name that was there before"),
                    "{error}"
                );
            }
        }
    }
}

/// Archives that name layers they do not hold (podman-container-tools/podman#8132, moby/moby#18723), and such
/// as docker before 1.10 wrote (moby/moby#6857), which are no root file systems either.
#[tokio::test]
async fn incomplete_archives_are_distinguished() {
    let config = config(&[b"l"]);
    for (layers, says) in [
        (&[""][..], "names \"\", which is not in the archive"),
        (&["gone/layer.tar"], "gone/layer.tar"),
        (&[], "it lists 0 layers, the config's rootfs.diff_ids 1"),
    ] {
        let place = Place::new();
        let list = list("c.json", layers);
        let source = place.docker(&[file("c.json", &config), file("manifest.json", &list)]);
        let error = pull(&source).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let place = Place::new();
    let old = place.write(&tar(&[
        file("abc/VERSION", b"1.0"),
        file("abc/layer.tar", b"l"),
        file("repositories", b"{}"),
    ]));
    for source in [
        pull(&DockerArchiveSource::new(old.clone(), None)).await,
        pull(&TarSource::new(old)).await,
    ] {
        let error = source.unwrap_err().to_string();
        assert!(error.contains("docker before 1.10"), "{error}");
    }
}

/// Layers that are dangling links (containerd/containerd#12890), with files that belong to no image besides
/// (moby/moby#19566).
#[tokio::test]
async fn link_without_target_is_named_with_its_target() {
    let config = config(&[b"l"]);
    let list = list("c.json", &["x/layer.tar"]);
    for (kind, link, target) in [
        (b'2', ".blob.tar", "x/.blob.tar"),
        (b'1', "gone.tar", "gone.tar"),
        (b'2', "/data/A", "/data/A"),
        // Readers differ on where it leads.
        (b'2', "/.blob.tar", "/.blob.tar"),
    ] {
        let place = Place::new();
        let source = place.docker(&[
            (b'5', ".cpt_hardlink_dir/", "", b""),
            file(".blob.tar", b"l"),
            (kind, "x/layer.tar", link, b""),
            file("c.json", &config),
            file("manifest.json", &list),
        ]);
        let error = pull(&source).await.unwrap_err().to_string();
        let says = format!("it is a link to {target}, which is not a file of the archive");
        assert!(
            error.contains("x/layer.tar") && error.contains(&says),
            "{error}"
        );
    }
}

/// podman-save(1) with several images; untagged ones have numbers alone.
#[tokio::test]
async fn images_of_a_docker_archive_have_numbers() {
    let place = Place::new();
    let configs = [config(&[b"0"]), config(&[b"1"])];
    let list = br#"[{"Config":"0.json","RepoTags":["x:1"],"Layers":["0.tar"]},
        {"config":"1.json","repoTags":[],"layers":["1.tar"]}]"#;
    let path = place.write(&tar(&[
        file("0.json", &configs[0]),
        file("1.json", &configs[1]),
        file("0.tar", b"0"),
        file("1.tar", b"1"),
        file("manifest.json", list),
    ]));
    let open = |tag: &str| DockerArchiveSource::new(path.clone(), Some(tag.to_owned()));
    for (tag, layer) in [("x:1", b"0"), ("@0", b"0"), ("@1", b"1")] {
        assert_eq!(pull(&open(tag)).await.unwrap(), [layer], "{tag}");
    }
    for tag in ["@2", "@", "@x", "y"] {
        let error = pull(&open(tag)).await.unwrap_err().to_string();
        assert!(
            error.contains("it holds x:1, @1 (without a tag)"),
            "{error}"
        );
    }
    let error = pull(&DockerArchiveSource::new(path, None))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("docker-archive:FILE:@N"),
        "{error}"
    );
}

#[tokio::test]
async fn image_of_a_docker_archive_is_an_object() {
    let place = Place::new();
    let config = config(&[b"l"]);
    for list in [
        &br#"[["c.json",["x:1"],["l.tar"]]]"#[..],
        br#"{"Config":"c.json","Layers":["l.tar"]}"#,
    ] {
        let members = [
            file("c.json", &config),
            file("l.tar", b"l"),
            file("manifest.json", list),
        ];
        let error = pull(&place.docker(&members)).await.unwrap_err().to_string();
        assert!(
            error.contains("manifest.json: ") && error.contains("invalid type"),
            "{error}"
        );
    }
}

/// What `tar -S` writes: GNU's header, and POSIX records in three versions (GNU tar's manual, "Sparse Formats").
#[tokio::test]
async fn sparse_members_are_read_with_their_holes() {
    let layer = [&noise(1000)[..], &[0; 3096], &noise(500), &[0; 1404]].concat();
    let stored = padded(&[&layer[..1000], &layer[4096..4596]].concat());
    let stored_size = 1500;
    let config = config(&[&layer]);
    let list = list("c.json", &["layer.tar"]);
    let head = tar(&[file("c.json", &config), file("manifest.json", &list)]);
    let head = &head[..head.len() - 1024];
    let pax = |records: &[String], size: usize, data: &[u8]| {
        let records: String = records
            .iter()
            .map(|record| {
                // The length counts itself, here always as two digits.
                let length = record.len() + 4;
                assert!((10..100).contains(&length));
                format!("{length} {record}\n")
            })
            .collect();
        let records = records.as_bytes();
        let extended = header(b'x', "PaxHeaders/x", "", records.len(), &[]);
        let member = header(b'0', "layer.tar", "", size, &[]);
        [&extended[..], &padded(records), &member, data].concat()
    };
    let record = |key: &str, value: &str| format!("GNU.sparse.{key}={value}");
    let map = padded(b"3\n0\n1000\n4096\n500\n6000\n0\n");
    let with_map = [&map[..], &stored].concat();
    let octal = |number: u64| format!("{number:011o}\0").into_bytes();
    let fields = [0, 1000, 4096, 500].map(octal).concat();
    let gnu = header(
        b'S',
        "layer.tar",
        "",
        stored_size,
        &[(257, b"ustar  \0"), (386, &fields), (483, &octal(6000))],
    );
    // The same with the second run in a block of its own.
    let first = header(
        b'S',
        "layer.tar",
        "",
        stored_size,
        &[
            (257, b"ustar  \0"),
            (386, &fields[..24]),
            (482, b"\x01"),
            (483, &octal(6000)),
        ],
    );
    let forms: [(&str, Vec<u8>); 5] = [
        ("gnu", [&gnu[..], &stored].concat()),
        (
            "gnu, extended",
            [&first[..], &padded(&fields[24..]), &stored].concat(),
        ),
        (
            "0.0",
            pax(
                &[
                    record("size", "6000"),
                    record("numblocks", "2"),
                    record("offset", "0"),
                    record("numbytes", "1000"),
                    record("offset", "4096"),
                    record("numbytes", "500"),
                ],
                stored_size,
                &stored,
            ),
        ),
        (
            "0.1",
            pax(
                &[
                    record("size", "6000"),
                    record("numblocks", "2"),
                    record("map", "0,1000,4096,500"),
                ],
                stored_size,
                &stored,
            ),
        ),
        (
            "1.0",
            pax(
                &[
                    record("major", "1"),
                    record("minor", "0"),
                    record("name", "layer.tar"),
                    record("realsize", "6000"),
                ],
                stored_size + map.len(),
                &with_map,
            ),
        ),
    ];
    for (name, member) in forms {
        let place = Place::new();
        let archive = [head, &member, &[0; 1024]].concat();
        let source = DockerArchiveSource::new(place.write(&archive), None);
        let layers = pull(&source).await.unwrap();
        assert!(layers == [&layer[..]], "{name}");
    }
    for (what, records) in [
        ("overlap", ["map=0,1000,500,500", "size=6000"]),
        ("beyond the end", ["map=0,1000,4096,500", "size=4500"]),
        ("more than is stored", ["map=0,1000,4096,501", "size=6000"]),
        ("less than is stored", ["map=0,1000,4096,499", "size=6000"]),
        ("half a pair", ["map=0,1000,4096,500,6000", "size=6000"]),
        ("no number", ["map=0,1000,x,500", "size=6000"]),
        ("too long", ["map=0,1000,4096,500", "size=99999999999999"]),
    ] {
        let place = Place::new();
        let [map, size] = records.map(|record| format!("GNU.sparse.{record}"));
        let records = [record("numblocks", "2"), map, size];
        let archive = [head, &pax(&records, stored_size, &stored), &[0; 1024]].concat();
        let source = DockerArchiveSource::new(place.write(&archive), None);
        let error = pull(&source).await.unwrap_err().to_string();
        assert!(
            error.contains("whose map makes no sense"),
            "{what}: {error}"
        );
    }
}

/// `docker export`, of which nothing but the digest of the tar is known.
#[tokio::test]
async fn root_file_system_is_named_by_digest_of_its_tar() {
    let place = Place::new();
    let rootfs = tar(&[
        file("etc/hosts", b"localhost"),
        file("x", &noise(3_000_000)),
    ]);
    let path = place.write(&rootfs);
    let source = TarSource::new(path.clone());
    let platform = "linux/arm64".parse().unwrap();
    let image = ociget::resolve(&source, None, &platform).await.unwrap();
    assert_eq!(image.identity.get(), &Digest::of(&rootfs));
    assert_ne!(image.manifest.get(), image.identity.get());
    assert_eq!((image.platform, image.layers.len()), (platform, 1));
    assert_eq!(pull(&source).await.unwrap(), std::slice::from_ref(&rootfs));
    let pinned = source.root(Some(&Digest::of(&rootfs))).await;
    assert!(pinned.is_ok());
    let error = source.root(Some(&Digest::of(b"x"))).await.unwrap_err();
    assert!(matches!(error, Error::Absent { .. }), "{error}");
    // It changes after its digest was computed.
    let source = TarSource::new(path.clone());
    source.root(None).await.unwrap();
    let mut changed = rootfs;
    changed[600] ^= 1;
    fs::write(path, changed).unwrap();
    let error = pull(&source).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
}

/// `tar -C LAYOUT -cf FILE .` (orbstack/orbstack#2059), and without an end (old writers).
#[tokio::test]
async fn layout_in_tar_file_may_have_dots_before_names() {
    let (content, manifest) = Content::image(b"layer");
    let size = content.manifest(&manifest.to_string()).len();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{manifest}","size":{size}}}]}}"#,
        crate::support::OCI
    );
    let blobs: Vec<(String, &[u8])> = content
        .by_digest()
        .map(|(digest, bytes)| (format!("./blobs/{}", digest.replace(':', "/")), bytes))
        .collect();
    let mut members = vec![
        (b'5', "./", "", &b""[..]),
        (b'5', "./blobs/", "", b""),
        file("./index.json", index.as_bytes()),
        file("./oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
    ];
    members.extend(blobs.iter().map(|(name, bytes)| file(name, bytes)));
    let place = Place::new();
    let mut archive = tar(&members);
    archive.truncate(archive.len() - 1024);
    let path = place.write(&archive);
    let source = LayoutSource::archive(Path::new(&path).to_owned(), None);
    assert_eq!(pull(&source).await.unwrap(), [b"layer"]);
}
