//! Archives of one kind under the transport of another.

use ociget::{DockerArchiveSource, Error, LayoutSource, TarSource};

use crate::archive::{Member, Place, file, tar};
use crate::support::pull;

#[tokio::test]
async fn archives_of_another_kind_name_their_transport() {
    let oci = tar(&[
        file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        file("index.json", br#"{"schemaVersion":2,"manifests":[]}"#),
    ]);
    let docker = tar(&[file("manifest.json", b"[]")]);
    let rootfs = tar(&[file("etc/passwd", b""), file("manifest.json", b"{}")]);
    let packed = tar(&[
        (b'5', "img/", "", b""),
        file("img/index.json", br#"{"schemaVersion":2,"manifests":[]}"#),
        file("img/oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
    ]);
    let packed_docker = tar(&[file("img/manifest.json", br#"[{"Config":"c.json"}]"#)]);
    // docker/buildx#1672
    let without_marker = tar(&[
        file("blobs/sha256/1", b"x"),
        file("index.json", br#"{"schemaVersion":2,"manifests":[]}"#),
    ]);
    for (bytes, transport, says) in [
        (&oci, "docker-archive", "write oci-archive:"),
        (&oci, "tar", "write oci-archive:"),
        (&docker, "oci-archive", "write docker-archive:"),
        (&docker, "tar", "write docker-archive:"),
        (&rootfs, "oci-archive", "write tar:"),
        // A directory with an image in it, packed with its name.
        (
            &packed,
            "oci-archive",
            "files of an image below a directory",
        ),
        (&packed_docker, "docker-archive", "tar -C DIR -cf FILE ."),
        (&without_marker, "oci-archive", "lacks the file oci-layout"),
        (&without_marker, "docker-archive", "write oci-archive:"),
        (&vec![0; 10_240], "docker-archive", "it is not a tar file"),
    ] {
        let place = Place::new();
        let path = place.write(bytes);
        let outcome = match transport {
            "docker-archive" => pull(&DockerArchiveSource::new(path, None)).await,
            "oci-archive" => pull(&LayoutSource::archive(path, None)).await,
            _ => pull(&TarSource::new(path)).await,
        };
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// A disk of data may hold a layout, or be packed as one directory.
#[tokio::test]
async fn tar_takes_what_only_resembles_an_image_archive() {
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    for members in [
        &[
            file("images/oci-layout", layout),
            file("images/index.json", index),
        ][..],
        &[file("app/manifest.json", b"[]")],
        &[file("index.json", index), file("blobs/sha256/1", b"x")],
    ] {
        let place = Place::new();
        let outcome = pull(&TarSource::new(place.write(&tar(members)))).await;
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}

/// An image that holds nothing but an application may have its files at the top.
#[tokio::test]
async fn root_file_system_may_have_names_of_image_archives() {
    let many: Vec<String> = (0..70).map(|id| format!("{id}/layer.tar")).collect();
    let mut saved: Vec<Member<'_>> = many.iter().map(|name| file(name, b"l")).collect();
    saved.push(file(
        "manifest.json",
        br#"[{"config":"c.json","layers":[]}]"#,
    ));
    for (member, is_image) in [
        (
            &[file("manifest.json", br#"{"name":"My web app"}"#)][..],
            false,
        ),
        (
            &[file("manifest.json", br#"[{"name":"My web app"}]"#)],
            false,
        ),
        (&[file("./manifest.json", b"")], false),
        (&[(b'5', "manifest.json/", "", &b""[..])], false),
        (&[file("oci-layout", b"notes")], false),
        (&[file("oci-layout", br#"{"version":1}"#)], false),
        (&[file("jars/layer.tar", b"")], false),
        (
            &[file("web/manifest.json", br#"[{"Config":"c.json"}]"#)],
            false,
        ),
        (&[file("manifest.json", br#"[{"Config":"c.json"}]"#)], true),
        (
            &[file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)],
            true,
        ),
        // jib's, after the layers.
        (&saved, true),
    ] {
        let place = Place::new();
        let members = [&[file("app", b"#!")][..], member].concat();
        let outcome = pull(&TarSource::new(place.write(&tar(&members)))).await;
        assert_eq!(outcome.is_err(), is_image, "{member:?}");
        if let Err(error) = outcome {
            assert!(matches!(error, Error::Usage(_)), "{error:?}");
        }
    }
}
