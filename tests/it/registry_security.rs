//! Holes that other clients had, each by its name.

use ociget::{Digest, Error, Manifest};
use test_support::image::{Compression, Image, Layer, Store};
use test_support::registry::{Auth, Fault, Registry};

use crate::registry_pull::{options, pull};

fn refused(text: &str, content_type: Option<&str>) -> String {
    match Manifest::parse(text.as_bytes(), content_type) {
        Err(error) => error.to_string(),
        Ok(manifest) => panic!("{text}: {manifest:?}"),
    }
}

fn served(edit: impl Fn(&mut serde_json::Value) + Send + Sync + 'static) -> Registry {
    let mut store = Store::new();
    let layer = Layer::new().compressed(Compression::None).file("a", "a");
    let image = Image::new()
        .layer(layer)
        .edit_manifest(edit)
        .add_to(&mut store);
    store.tag("latest", &image);
    Registry::serve(store).unwrap()
}

#[test]
fn cve_2020_15157_a_foreign_layers_urls_get_no_credential() {
    let user = Auth::Basic {
        user: "ada".into(),
        password: "hunter2".into(),
    };
    let elsewhere = Registry::serve_with(Store::new(), user).unwrap();
    let url = format!("http://{}/layer", elsewhere.addr());
    let registry = served(move |manifest| {
        let layer = &mut manifest["layers"][0];
        layer["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar".into();
        layer["urls"] = serde_json::json!([url]);
        // The registry does not hold it.
        layer["digest"] = Digest::of(b"elsewhere").to_string().into();
    });
    let error = pull(&format!("{}/app:latest", registry.addr()), options()).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    assert_eq!(elsewhere.requests(), []);
}

#[test]
fn cve_2021_41190_a_manifest_that_is_also_an_index_is_refused() {
    let oci = "application/vnd.oci.image";
    let both = format!(
        r#"{{"schemaVersion":2,"mediaType":"{oci}.index.v1+json","manifests":[],"layers":[]}}"#
    );
    assert!(refused(&both, None).starts_with("ambiguous"));
    let index =
        format!(r#"{{"schemaVersion":2,"mediaType":"{oci}.index.v1+json","manifests":[]}}"#);
    let sent = format!("{oci}.manifest.v1+json");
    assert!(refused(&index, Some(&sent)).starts_with("ambiguous"));
}

#[test]
fn cve_2014_8179_a_key_that_occurs_twice_is_refused() {
    let text = r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
    assert!(refused(text, None).contains("twice"));
}

#[test]
fn cve_2024_3727_a_digest_is_never_a_path() {
    for digest in [
        "sha256:../../../../etc/passwd",
        "../x:y",
        "sha256:",
        "sha256:/",
    ] {
        assert!(digest.parse::<Digest>().is_err(), "{digest}");
        let registry = served(move |manifest| manifest["layers"][0]["digest"] = digest.into());
        let error = pull(&format!("{}/app:latest", registry.addr()), options()).unwrap_err();
        assert!(matches!(error, Error::Document { .. }), "{error:?}");
        assert_eq!(registry.requests().len(), 1);
    }
}

#[test]
fn cve_2020_1702_a_document_beyond_the_cap_is_not_read() {
    let registry = served(|manifest| manifest["annotations"]["x"] = "x".repeat(5 << 20).into());
    let error = pull(&format!("{}/app:latest", registry.addr()), options()).unwrap_err();
    assert!(
        matches!(&error, Error::Protocol { reason, .. } if reason.contains("more than 4194304")),
        "{error:?}"
    );
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    for size in [
        "-1",
        "1.5",
        "9223372036854775808",
        "18446744073709551616",
        "\"1\"",
        "null",
    ] {
        let size: serde_json::Value = serde_json::from_str(size).unwrap();
        let shown = size.to_string();
        let registry = served(move |manifest| manifest["layers"][0]["size"] = size.clone());
        let error = pull(&format!("{}/app:latest", registry.addr()), options()).unwrap_err();
        assert!(
            matches!(error, Error::Document { .. }),
            "{shown}: {error:?}"
        );
    }
}

#[test]
fn a_blob_larger_or_smaller_than_its_descriptor_is_refused_before_a_byte() {
    for size in [1, 1_000_000] {
        let registry = served(move |manifest| manifest["layers"][0]["size"] = size.into());
        let error = pull(&format!("{}/app:latest", registry.addr()), options()).unwrap_err();
        assert!(
            matches!(error, Error::Size { expected, .. } if expected == size),
            "{error:?}"
        );
    }
}

#[test]
fn a_registrys_words_reach_people_without_their_control_characters() {
    let registry = served(|_| {});
    registry.inject(Fault::on(
        "/manifests/",
        test_support::registry::Action::Status {
            status: 403,
            headers: Vec::new(),
            body: r#"{"errors":[{"code":"DENIED","message":"\u001b]0;x\u0007no\n"}]}"#.into(),
        },
    ));
    let error = pull(&format!("{}/app:latest", registry.addr()), options()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("DENIED"), "{text}");
    assert!(!text.contains(|c: char| c.is_control()), "{text}");
}
