//! Mirrors by `hosts.toml`: which requests each host receives, and what happens when one fails.

use std::fs;

use ociget::{Error, Options};
use test_support::authority::Authority;
use test_support::docker_registry::{DockerRegistry, Setup};
use test_support::registry::{Action, Auth, Fault, Registry, Tls};
use test_support::skopeo::Copy;

use crate::registry_pull::{options, pull, store};

struct Hosts(tempfile::TempDir);

impl Hosts {
    /// `hosts.toml` for a registry, with the given lines.
    fn of(registry: &str, lines: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let host = directory.path().join(registry);
        fs::create_dir(&host).unwrap();
        fs::write(host.join("hosts.toml"), lines).unwrap();
        Self(directory)
    }

    fn options(&self) -> Options {
        let mut options = options();
        options.hosts_dir = Some(self.0.path().to_owned());
        options
    }
}

fn host(registry: &Registry, more: &str) -> String {
    format!("[host.\"http://{}\"]\n{more}\n", registry.addr())
}

fn paths(registry: &Registry) -> Vec<String> {
    let requests = registry.requests();
    requests.into_iter().map(|request| request.path).collect()
}

#[test]
fn mirror_is_tried_first_and_learns_the_origin() {
    let (mirror, origin) = (
        Registry::serve(store(1000)).unwrap(),
        Registry::serve(store(1000)).unwrap(),
    );
    let name = origin.addr().to_string();
    let hosts = Hosts::of(&name, &host(&mirror, ""));
    pull(&format!("{name}/app:latest"), hosts.options()).unwrap();
    assert_eq!(paths(&origin), Vec::<String>::new());
    for path in paths(&mirror) {
        let registry = name.replace(':', "%3A");
        assert!(path.ends_with(&format!("?ns={registry}")), "{path}");
    }
}

#[test]
fn a_mirror_that_does_not_resolve_sees_digests_alone() {
    let (mirror, origin) = (
        Registry::serve(store(1000)).unwrap(),
        Registry::serve(store(1000)).unwrap(),
    );
    let name = origin.addr().to_string();
    let lines = host(&mirror, "capabilities = [\"pull\"]");
    // containerd's other spelling of a port.
    let hosts = Hosts::of(&format!("{}_", name.replace(':', "_")), &lines);
    pull(&format!("{name}/app:latest"), hosts.options()).unwrap();
    assert_eq!(paths(&origin), ["/v2/app/manifests/latest"]);
    assert!(!paths(&mirror).is_empty());
    for path in paths(&mirror) {
        assert!(path.contains("sha256:"), "{path}");
    }
}

#[test]
fn mirror_failing_in_any_way_is_followed_by_the_next() {
    for action in [
        Action::Status {
            status: 404,
            headers: Vec::new(),
            body: String::new(),
        },
        Action::Status {
            status: 403,
            headers: Vec::new(),
            body: String::new(),
        },
        Action::Status {
            status: 500,
            headers: Vec::new(),
            body: String::new(),
        },
        Action::Status {
            status: 200,
            headers: Vec::new(),
            body: "<html>login</html>".into(),
        },
        Action::ContentLength(7),
        Action::Redirect("http://10.1.2.3".into()),
    ] {
        let (mirror, origin) = (
            Registry::serve(store(1000)).unwrap(),
            Registry::serve(store(1000)).unwrap(),
        );
        mirror.inject(Fault::on("/blobs/", action.clone()));
        mirror.inject(Fault::on("/manifests/", action.clone()));
        let name = origin.addr().to_string();
        let hosts = Hosts::of(&name, &host(&mirror, "capabilities = [\"pull\"]"));
        let outcome = pull(&format!("{name}/app:latest"), hosts.options());
        // A page of the right length cannot be told from a blob before its end.
        assert!(outcome.is_ok(), "{action:?}: {outcome:?}");
    }
}

#[test]
fn next_host_continues_after_a_mirror_dies() {
    let (first, second, origin) = (
        Registry::serve(store(900_000)).unwrap(),
        Registry::serve(store(900_000)).unwrap(),
        Registry::serve(store(900_000)).unwrap(),
    );
    // Blobs in the order in which they are requested: the config, then the layer.
    for (mirror, at) in [(&first, 200_000), (&second, 500_000)] {
        mirror.inject(Fault::on("/blobs/", Action::Truncate(at)));
    }
    let name = origin.addr().to_string();
    let hosts = Hosts::of(&name, &(host(&first, "") + &host(&second, "")));
    assert!(pull(&format!("{name}/app:latest"), hosts.options()).unwrap() > 900_000);
    let ranges: Vec<_> = [&second, &origin]
        .iter()
        .flat_map(|registry| registry.requests())
        .filter_map(|request| request.header("range").map(str::to_owned))
        .collect();
    for start in ["bytes=200000-", "bytes=500000-"] {
        assert!(
            ranges.iter().any(|range| range.starts_with(start)),
            "{ranges:?}"
        );
    }
    assert!(paths(&origin).iter().all(|path| path.contains("/blobs/")));
}

#[test]
fn credentials_and_headers_go_only_to_their_host() {
    let user = Auth::Basic {
        user: "ada".into(),
        password: "hunter2".into(),
    };
    let mirror = Registry::serve_with(store(1000), user.clone()).unwrap();
    let origin = Registry::serve_with(store(1000), user).unwrap();
    let name = origin.addr().to_string();
    let header = format!(
        "[host.\"http://{}\".header]\nx-fleet = \"blue\"",
        mirror.addr()
    );
    let hosts = Hosts::of(&name, &host(&mirror, &header));
    let file = hosts.0.path().join("auth.json");
    // ada:hunter2, for the origin alone.
    let config = format!("{{\"auths\":{{\"{name}\":{{\"auth\":\"YWRhOmh1bnRlcjI=\"}}}}}}");
    fs::write(&file, config).unwrap();
    let mut options = hosts.options();
    options.credentials = std::sync::Arc::new(ociget::Keychain::from_file(file));
    pull(&format!("{name}/app:latest"), options).unwrap();
    assert!(!mirror.requests().is_empty());
    for request in mirror.requests() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
        assert_eq!(request.header("x-fleet"), Some("blue"), "{request:?}");
    }
    for request in origin.requests() {
        assert_eq!(request.header("x-fleet"), None, "{request:?}");
    }
}

#[test]
fn mirror_has_authority_and_client_certificate_of_its_own() {
    let authority = Authority::new().unwrap();
    let server = authority.server("IP:127.0.0.1").unwrap();
    let client = authority.client().unwrap();
    let tls = Tls::new(&server, &authority);
    let origin = Registry::serve(store(1000)).unwrap();
    let name = origin.addr().to_string();
    let shown = |path: &std::path::Path| format!("{:?}", path.display().to_string());
    let client = format!("[[{}, {}]]", shown(&client.cert), shown(&client.key));
    for (lines, trusted, certificate) in [
        (String::new(), false, false),
        (format!("ca = {}", shown(&authority.cert())), true, false),
        (
            format!("ca = {}\nclient = {client}", shown(&authority.cert())),
            true,
            true,
        ),
        ("skip_verify = true".to_owned(), true, false),
        (format!("skip_verify = true\nclient = {client}"), true, true),
    ] {
        let mirror = Registry::serve_tls(store(1000), Auth::Anonymous, &tls).unwrap();
        let table = format!("[host.\"https://{}\"]\n{lines}\n", mirror.addr());
        let hosts = Hosts::of(&name, &table);
        origin.clear_requests();
        pull(&format!("{name}/app:latest"), hosts.options()).unwrap();
        assert_eq!(origin.requests().is_empty(), trusted, "{lines}");
        let requests = mirror.requests();
        assert_eq!(requests.is_empty(), !trusted, "{lines}");
        assert!(
            requests
                .iter()
                .all(|seen| seen.client_certificate == certificate),
            "{lines}"
        );
    }
}

#[test]
fn certificates_of_a_mirror_are_for_it_alone() {
    let authority = Authority::new().unwrap();
    let server = authority.server("IP:127.0.0.1").unwrap();
    let client = authority.client().unwrap();
    let tls = Tls::new(&server, &authority);
    let shown = |path: &std::path::Path| format!("{:?}", path.display().to_string());
    let lines = format!(
        "skip_verify = true\nclient = [[{}, {}]]",
        shown(&client.cert),
        shown(&client.key)
    );
    // The mirror redirects to a host whose certificate is not trusted.
    let storage = Registry::serve_tls(store(1000), Auth::Anonymous, &tls).unwrap();
    let mirror = Registry::serve_tls(store(1000), Auth::Anonymous, &tls).unwrap();
    let target = format!("https://{}", storage.addr());
    mirror.inject(Fault::on("/blobs/", Action::Redirect(target)));
    let origin = Registry::serve(store(1000)).unwrap();
    let name = origin.addr().to_string();
    let table = format!("[host.\"https://{}\"]\n{lines}\n", mirror.addr());
    let hosts = Hosts::of(&name, &table);
    pull(&format!("{name}/app:latest"), hosts.options()).unwrap();
    assert_eq!(storage.requests(), [], "it was not believed");
    assert!(paths(&origin).iter().all(|path| path.contains("/blobs/")));
    assert!(!origin.requests().is_empty());
}

#[test]
fn without_any_host_the_origin_has_the_last_word() {
    let mirror = Registry::serve(store(1000)).unwrap();
    let origin = Registry::serve(store(1000)).unwrap();
    let name = origin.addr().to_string();
    let hosts = Hosts::of("_default", &host(&mirror, ""));
    let error = pull(&format!("{name}/app:missing"), hosts.options()).unwrap_err();
    assert!(
        matches!(&error, Error::NotFound(refusal) if refusal.url.contains(&name)),
        "{error:?}"
    );
}

#[test]
fn origin_completes_real_pull_when_mirror_is_killed() {
    let origin = DockerRegistry::start().unwrap();
    let seed = Registry::serve(store(3_000_000)).unwrap();
    let reference = format!("{}/app:v1", origin.addr());
    Copy::new(
        &format!("docker://{}/seed:latest", seed.addr()),
        &format!("docker://{reference}"),
    )
    .run()
    .unwrap();
    let mirror = Setup::default()
        .mirror_of(&format!("http://{}", origin.addr()))
        .start()
        .unwrap();
    let lines = format!("[host.\"http://{}\"]\n", mirror.addr());
    let hosts = Hosts::of(&origin.addr().to_string(), &lines);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let source = crate::registry_pull::open(&reference, hosts.options());
        let platform = "linux/amd64".parse().unwrap();
        let image = ociget::resolve(&*source, None, &platform).await.unwrap();
        let layer = &image.layers[0].descriptor;
        let mut blob = source.blob(layer).await.unwrap();
        assert!(
            blob.at().contains(&mirror.addr().to_string()),
            "{}",
            blob.at()
        );
        assert!(blob.chunk().await.unwrap().is_some());
        assert!(mirror.log().unwrap().contains("/v2/app/blobs/"));
        drop(mirror);
        assert_eq!(blob.finish().await.unwrap().get(), &layer.digest);
    });
}
