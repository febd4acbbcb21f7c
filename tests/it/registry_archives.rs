//! Images in tar files, made by skopeo, and images that no tool should make.

use std::fs;
use std::path::{Path, PathBuf};

use ociget::Error;
use test_support::image::{Compression, Image, Layer, Store};
use test_support::registry::Registry;
use test_support::skopeo::Copy;

use crate::registry_pull::{noise, options, pull, store};

struct Archives {
    directory: tempfile::TempDir,
}

impl Archives {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `kind:FILE:tag`, filled by skopeo from a registry.
    fn made(&self, kind: &str, store: Store, tag: &str) -> String {
        let registry = Registry::serve(store).unwrap();
        let target = format!("{kind}:{}:{tag}", self.path("made.tar").display());
        Copy::new(&format!("docker://{}/app:latest", registry.addr()), &target)
            .run()
            .unwrap();
        target
    }
}

fn three_layers() -> Store {
    let mut store = Store::new();
    let image = Image::new()
        .layer(Layer::new().file("a", noise(300_000)))
        .layer(Layer::new().compressed(Compression::None).file("b", "b"))
        .layer(Layer::new().file("c", noise(10)))
        .add_to(&mut store);
    store.tag("latest", &image);
    store
}

#[test]
fn archives_of_skopeo_are_read_with_and_without_tag() {
    for (kind, tag) in [("oci-archive", "v1"), ("docker-archive", "team/app:v1")] {
        let archives = Archives::new();
        let made = archives.made(kind, three_layers(), tag);
        assert!(pull(&made, options()).unwrap() > 300_000, "{kind}");
        let bare = made.strip_suffix(&format!(":{tag}")).unwrap();
        assert!(pull(bare, options()).unwrap() > 300_000, "{kind}");
        let error = pull(&format!("{bare}:other"), options()).unwrap_err();
        assert!(
            matches!(&error, Error::Absent { available, .. } if available.contains(tag)),
            "{error:?}"
        );
    }
}

#[test]
fn long_name_of_a_docker_archive_equals_the_short_one() {
    let archives = Archives::new();
    let made = archives.made("docker-archive", store(1000), "app:v1");
    let bare = made.strip_suffix(":app:v1").unwrap();
    let long = format!("{bare}:docker.io/library/app:v1");
    pull(&long, options()).unwrap();
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    for (kind, tag) in [("oci-archive", "v1"), ("docker-archive", "app:v1")] {
        let archives = Archives::new();
        let made = archives.made(kind, store(20_000), tag);
        let file = archives.path("made.tar");
        let whole = fs::read(&file).unwrap();
        // Plain in the one, behind a gzip header in the other.
        let layer = whole
            .windows(8)
            .position(|window| window == &noise(8)[..] || window.starts_with(b"\x1f\x8b\x08"))
            .expect("the layer");
        let mut bent = whole.clone();
        bent[layer + 10_000] ^= 1;
        fs::write(&file, &bent).unwrap();
        let error = pull(&made, options()).unwrap_err();
        assert!(matches!(error, Error::Digest { .. }), "{kind}: {error:?}");
    }
}

#[test]
fn archive_cut_anywhere_fails_and_never_shortens_the_image() {
    for (kind, tag) in [("oci-archive", "v1"), ("docker-archive", "app:v1")] {
        let archives = Archives::new();
        let made = archives.made(kind, store(5_000), tag);
        let file = archives.path("made.tar");
        let whole = fs::read(&file).unwrap();
        let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
        let bytes = pull(&made, options()).unwrap();
        let mut errors = 0;
        for part in 0..50 {
            let length = end * part / 50;
            fs::write(&file, &whole[..length]).unwrap();
            // What stands at the end of an archive may be of no use.
            match pull(&made, options()) {
                Ok(found) => assert_eq!(found, bytes, "{kind}: {length}"),
                Err(_) => errors += 1,
            }
        }
        assert!(errors > 40, "{kind}: only {errors}");
    }
}

#[test]
fn errors_name_the_form_of_other_files() {
    let archives = Archives::new();
    let file = archives.path("x");
    for (bytes, says) in [
        (&b"\x1f\x8b\x08 and so on"[..], "gunzip"),
        (
            b"hello, this is a text of some length",
            "it is not a tar file",
        ),
        (&[b'x'; 2000], "no tar header at byte 0"),
    ] {
        fs::write(&file, bytes).unwrap();
        for kind in ["oci-archive", "docker-archive"] {
            let text = format!("{kind}:{}", file.display());
            let error = pull(&text, options()).unwrap_err().to_string();
            assert!(
                error.contains(says) || error.contains("not found"),
                "{error}"
            );
        }
    }
    let directory = format!("oci-archive:{}", Path::display(archives.directory.path()));
    let error = pull(&directory, options()).unwrap_err().to_string();
    assert!(error.contains("a directory without an image"), "{error}");
}
