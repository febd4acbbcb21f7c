//! Holes that other clients had, each by its name.

use std::sync::Arc;

use ociget::{BoxFuture, Credentials, Digest, Error, Login, Manifest, Options};
use test_support::image::{Compression, Image, Layer, Store};
use test_support::registry::{Action, Auth, Fault, Registry};

use crate::registry_pull::{options, pull};

fn refused(text: &str, content_type: Option<&str>) -> String {
    match Manifest::parse(text.as_bytes(), content_type) {
        Err(error) => error.to_string(),
        Ok(manifest) => panic!("{text}: {manifest:?}"),
    }
}

fn served(edit: impl Fn(&mut serde_json::Value) + Send + Sync + 'static) -> Registry {
    served_with(Auth::Anonymous, edit)
}

fn served_with(
    auth: Auth,
    edit: impl Fn(&mut serde_json::Value) + Send + Sync + 'static,
) -> Registry {
    let mut store = Store::new();
    let layer = Layer::new().compressed(Compression::None).file("a", "a");
    let image = Image::new()
        .layer(layer)
        .edit_manifest(edit)
        .add_to(&mut store);
    store.tag("latest", &image);
    Registry::serve_with(store, auth).unwrap()
}

/// Keeps ada's password for every host there is: whatever is sent, was sent by decision.
#[derive(Debug)]
struct Everywhere;

impl Credentials for Everywhere {
    fn login<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Login, Error>> {
        Box::pin(async { Ok(Login::password("ada", "hunter2", "a test")) })
    }
}

fn ada() -> Options {
    let mut options = options();
    options.credentials = Arc::new(Everywhere);
    options
}

fn of_ada() -> Auth {
    Auth::Basic {
        user: "ada".into(),
        password: "hunter2".into(),
    }
}

#[test]
fn cve_2020_15157_a_foreign_layers_urls_get_no_credential() {
    // The server requires a password, in both ways, and the client has one for it.
    for challenge in [
        "Basic realm=\"x\"",
        "Bearer realm=\"http://127.0.0.1:1/token\"",
    ] {
        let elsewhere = Registry::serve_with(Store::new(), of_ada()).unwrap();
        let headers = vec![("www-authenticate".to_owned(), challenge.to_owned())];
        elsewhere.inject(Fault::on(
            "/layer",
            Action::Status {
                status: 401,
                headers,
                body: String::new(),
            },
        ));
        let url = format!("http://{}/layer", elsewhere.addr());
        let registry = served_with(of_ada(), move |manifest| {
            let layer = &mut manifest["layers"][0];
            layer["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar".into();
            layer["urls"] = serde_json::json!([url]);
            // The registry does not hold it.
            layer["digest"] = Digest::of(b"elsewhere").to_string().into();
        });
        let error = pull(&format!("{}/app:latest", registry.addr()), ada()).unwrap_err();
        assert!(matches!(error, Error::Unauthorized(_)), "{error:?}");
        let asked = elsewhere.requests();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!(asked[0].header("authorization"), None);
    }
}

/// Internal hosts, to which a registry must not redirect.
const INSIDE: [&str; 21] = [
    "http://169.254.169.254/latest/meta-data",
    "http://168.63.129.16/machine",
    "http://192.0.0.192/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[64:ff9b:1::a9fe:a9fe]/",
    "http://[2001::80ff:fefe]/",
    "http://[2002:7f00:1::]/",
    "http://[fec0::1]/",
    // The registry's own host, at a port of the operating system's.
    "http://127.0.0.1:22/",
    "http://[fe80::1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://localhost:1/",
    "http://127.0.0.2:1/",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://2130706433/x",
    "file:///etc/passwd",
];

#[test]
fn ssrf_by_the_realm_of_a_token_server() {
    for place in INSIDE {
        let registry = served(|_| {});
        let challenge = format!("Bearer realm=\"{place}\",service=\"x\"");
        let action = Action::Status {
            status: 401,
            headers: vec![("www-authenticate".to_owned(), challenge)],
            body: String::new(),
        };
        registry.inject(Fault::on("/manifests/", action));
        let error = pull(&format!("{}/app:latest", registry.addr()), ada()).unwrap_err();
        // 127.0.0.1 in another notation is the registry's own host, on a port where nothing listens.
        let is_home = place.contains("2130706433");
        assert_eq!(
            matches!(error, Error::Forbidden { .. }),
            !is_home,
            "{place}: {error:?}"
        );
        assert_eq!(registry.requests().len(), 1, "{place}");
    }
}

#[test]
fn ssrf_by_a_redirect() {
    for place in INSIDE {
        let registry = served(|_| {});
        registry.inject(Fault::on("/blobs/", Action::Redirect(place.to_owned())));
        let error = pull(&format!("{}/app:latest", registry.addr()), ada()).unwrap_err();
        let is_home = place.contains("2130706433");
        assert_eq!(
            matches!(error, Error::Forbidden { .. }),
            !is_home,
            "{place}: {error:?}"
        );
    }
}

#[test]
fn ssrf_by_the_urls_of_a_foreign_layer() {
    for place in INSIDE {
        let registry = served(move |manifest| {
            let layer = &mut manifest["layers"][0];
            layer["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar".into();
            layer["urls"] = serde_json::json!([place]);
            layer["digest"] = Digest::of(b"elsewhere").to_string().into();
        });
        let error = pull(&format!("{}/app:latest", registry.addr()), ada()).unwrap_err();
        let is_home = place.contains("2130706433");
        assert_eq!(
            matches!(error, Error::Forbidden { .. }),
            !is_home,
            "{place}: {error:?}"
        );
    }
}

#[test]
fn ssrf_by_a_redirect_of_the_token_server() {
    // The password would go along with the request that is redirected.
    let registry = Registry::serve_with(
        Store::new(),
        Auth::Bearer {
            user: Some(("ada".into(), "hunter2".into())),
        },
    )
    .unwrap();
    registry.inject(Fault::on(
        "/token",
        Action::Redirect("http://169.254.169.254".into()),
    ));
    let error = pull(&format!("{}/app:latest", registry.addr()), ada()).unwrap_err();
    assert!(matches!(error, Error::Forbidden { .. }), "{error:?}");

    let thief = Registry::serve(Store::new()).unwrap();
    let origin = format!("http://{}", thief.addr());
    registry.clear_faults();
    registry.inject(Fault::on("/token", Action::Redirect(origin)));
    pull(&format!("{}/app:latest", registry.addr()), ada()).unwrap_err();
    assert_eq!(thief.requests()[0].header("authorization"), None);
    // What the thief hands out in its stead is worth nothing at the registry.
    let strays = registry.take_strays();
    assert!(
        strays.iter().all(|stray| stray.contains("Bearer token/1")),
        "{strays:?}"
    );
}

#[test]
fn cve_2021_41190_manifest_that_is_an_index_is_refused() {
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
        assert_eq!(registry.requests().len(), 2, "HEAD and GET of the manifest");
    }
}

#[test]
fn cve_2020_1702_document_beyond_the_cap_is_not_read() {
    let registry = served(|manifest| manifest["annotations"]["x"] = "x".repeat(5 << 20).into());
    let error = pull(&format!("{}/app:latest", registry.addr()), options()).unwrap_err();
    assert!(
        matches!(&error, Error::Protocol { reason, .. } if reason.contains("more than 4194304")),
        "{error:?}"
    );
}

#[test]
fn cve_2020_1702_tokens_and_refusals_are_limited() {
    let huge = "x".repeat(2 << 20);
    let registry = Registry::serve_with(Store::new(), Auth::Bearer { user: None }).unwrap();
    let body = format!("{{\"token\":\"{huge}\"}}");
    registry.inject(Fault::on(
        "/token",
        Action::Status {
            status: 200,
            headers: Vec::new(),
            body,
        },
    ));
    let error = pull(&format!("{}/app:latest", registry.addr()), options()).unwrap_err();
    assert!(
        matches!(&error, Error::Protocol { reason, .. } if reason.contains("more than 1048576")),
        "{error:?}"
    );
    // The words of a refusal are a courtesy; the refusal stands without them.
    let registry = served(|_| {});
    let body = format!("{{\"errors\":[{{\"code\":\"{huge}\"}}]}}");
    registry.inject(Fault::on(
        "/blobs/",
        Action::Status {
            status: 403,
            headers: Vec::new(),
            body,
        },
    ));
    let error = pull(&format!("{}/app:latest", registry.addr()), options()).unwrap_err();
    assert!(
        matches!(&error, Error::Denied(refusal) if refusal.code.is_none()),
        "{error:?}"
    );
}

#[test]
fn negative_and_huge_sizes_are_refused() {
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
fn size_beyond_the_descriptor_is_refused_before_a_byte() {
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
        Action::Status {
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
