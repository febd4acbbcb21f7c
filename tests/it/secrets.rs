//! A password sent down every path that a reference or a URL takes: it is in no output.

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};
use test_support::image::{Image, Layer, Store};
use test_support::registry::{Action, Auth, Fault, Registry};

use crate::cli::{Outcome, Place, outcome, program};

const SECRET: &str = "s3cretpw";
const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Runs with and without `-v` and `--json`, and returns what the first run left.
#[track_caller]
fn run(place: &Place, arguments: &[&str]) -> Outcome {
    let mut runs = [&[][..], &["-v"], &["--json"]].map(|more| {
        let mut command = place.command(program());
        command.env("RUST_LOG", "trace");
        command.args(arguments);
        if arguments[0] == "pull" {
            command.args(["--agent", "agent"]);
        }
        let outcome = outcome(command.args(more));
        for stream in [&outcome.stdout, &outcome.stderr] {
            assert!(!stream.contains(SECRET), "{arguments:?}: {stream}");
            assert!(!stream.contains("tpw"), "{arguments:?}: {stream}");
        }
        Some(outcome)
    });
    runs[0].take().unwrap()
}

fn serve(image: &Image) -> (Registry, String) {
    let mut store = Store::new();
    let manifest = image.add_to(&mut store);
    store.tag("latest", &manifest);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/team/image:latest", registry.addr());
    (registry, reference)
}

fn image() -> Image {
    Image::new().layer(Layer::new().file("a", "a"))
}

fn with_user(address: SocketAddr) -> String {
    format!("http://bob:{SECRET}@{address}")
}

#[test]
fn references_with_credentials_are_not_repeated() {
    let place = Place::new();
    for userinfo in [
        format!("bob:{SECRET}"),
        format!(":{SECRET}"),
        SECRET.to_owned(),
        format!("bob%3A{SECRET}"),
        format!("bob:a/{SECRET}"),
        format!("bob:a@{SECRET}"),
        format!("bob:{SECRET}%40"),
        format!("bob:?{SECRET}"),
        format!("bob:a {SECRET}\n"),
    ] {
        for scheme in [
            "",
            "docker://",
            "https://",
            "//",
            "oci://",
            "docker-daemon:",
        ] {
            for rest in ["127.0.0.1:1/x", "reg.example/x:v1"] {
                for pin in [String::new(), format!("@{DIGEST}")] {
                    let reference = format!("{scheme}{userinfo}@{rest}{pin}");
                    let built = run(&place, &["build", &reference, "-o", "out"]);
                    assert_eq!(built.status, Some(2), "{reference}: {built:?}");
                }
            }
        }
    }
    let reference = format!("docker://bob:{SECRET}@127.0.0.1:1/x");
    let bare = format!("bob:{SECRET}@127.0.0.1:1/x");
    let pulled = run(&place, &["pull", &reference]);
    for words in ["credentials are not part of a reference", "--authfile"] {
        assert!(pulled.stderr.contains(words), "{pulled:?}");
    }
    for text in [&reference, &bare] {
        for arguments in [
            &["pull", "a", text][..],
            &["pull", "a", "--digest", text],
            &["pull", "a", "--platform", text],
            &["pull", "a", "--plain-http", text],
            &["pull", "a", "--plain-http", &format!("{text}/")],
            &["pull", "a", "--allow-private-realm", text],
            &["pull", "a", "--level", text],
            &["inspect", text],
            &["verify", text],
            &["path", text],
            &["untag", text],
            &[text],
        ] {
            let refused = run(&place, arguments);
            assert_ne!(refused.status, Some(0), "{refused:?}");
        }
    }
}

#[test]
fn credentials_of_mirrors_and_proxies_are_not_repeated() {
    let (registry, reference) = serve(&image());
    let place = Place::new();
    let hosts = place.path("hosts").join(registry.addr().to_string());
    fs::create_dir_all(&hosts).unwrap();
    for text in [
        format!("[host.'{}']", with_user(registry.addr())),
        format!("[host.'bob:{SECRET}@mirror.example']"),
        format!("server = '{}'", with_user(registry.addr())),
    ] {
        fs::write(hosts.join("hosts.toml"), text).unwrap();
        let refused = run(&place, &["pull", &reference, "--hosts-dir", "hosts"]);
        let says = "holds credentials; put them into the authfile";
        assert!(refused.stderr.contains(says), "{refused:?}");
    }
    // Each run uses up its retries, so one way of running has to do.
    for proxy in ["http://bob:s3cretpw@127.0.0.1:1", "bob:s3cretpw@[::"] {
        let mut command = place.command(program());
        command.args(["-v", "pull", "reg.invalid/x", "--agent", "agent"]);
        command.args(["--plain-http", "reg.invalid"]);
        let refused = outcome(command.env("HTTP_PROXY", proxy));
        assert!(
            matches!(refused.status, Some(1 | 75)),
            "{proxy}: {refused:?}"
        );
        assert!(!refused.stderr.contains(SECRET), "{refused:?}");
    }
}

#[test]
fn credentials_in_answers_of_a_registry_are_not_repeated() {
    let (registry, reference) = serve(&image());
    let place = Place::new();
    let url = with_user(registry.addr());
    let answer = |status, headers: &[(&str, String)], body: Value| {
        let owned = |(name, value): &(&str, String)| ((*name).to_owned(), value.clone());
        registry.clear_faults();
        registry.inject(Fault::on(
            "/v2/",
            Action::Status {
                status,
                headers: headers.iter().map(owned).collect(),
                body: body.to_string(),
            },
        ));
        let refused = run(&place, &["pull", &reference]);
        assert_eq!(refused.status, Some(1), "{refused:?}");
        refused.stderr
    };
    let stderr = answer(307, &[("Location", format!("{url}/x"))], json!(null));
    assert!(stderr.contains("it carries a user name"), "{stderr}");
    answer(
        307,
        &[("Location", format!("http://bob:{SECRET}@:x"))],
        json!(null),
    );
    let bearer = format!("Bearer realm=\"{url}/token\"");
    answer(401, &[("WWW-Authenticate", bearer)], json!(null));
    let long = "x".repeat(180);
    let words = format!("{long} {url}/a?sig={SECRET}");
    answer(
        403,
        &[],
        json!({"errors": [{"code": "DENIED", "message": words}]}),
    );
}

#[test]
fn credentials_of_environment_stdin_helpers_and_options_never_show() {
    // A registry that takes another password, so that every way ends in an error.
    let mut store = Store::new();
    let manifest = image().add_to(&mut store);
    store.tag("latest", &manifest);
    let auth = Auth::Basic {
        user: "ada".into(),
        password: "another".into(),
    };
    let registry = Registry::serve_with(store, auth).unwrap();
    let reference = format!("{}/team/image:latest", registry.addr());
    let place = Place::new();
    let bin = place.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let helper = format!(
        "#!/bin/sh\necho 'got {SECRET} for ada' >&2\necho '{{\"Username\":\"ada\",\"Secret\":\"{SECRET}\"}}'\n"
    );
    let program_of_helper = bin.join("docker-credential-chatty");
    fs::write(&program_of_helper, helper).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&program_of_helper, mode).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let host = registry.addr();
    let proxy = format!("socks5://bob:{SECRET}@127.0.0.1:1");
    for (variable, value, arguments, stdin) in [
        (
            "DOCKER_AUTH_CONFIG",
            format!("{{\"auths\":{{\"{host}\":\"{SECRET}\"}}}}"),
            &[][..],
            "",
        ),
        ("DOCKER_AUTH_CONFIG", SECRET.to_owned(), &[], ""),
        (
            "DOCKER_AUTH_CONFIG",
            format!(
                "{{\"auths\":{{\"{host}\":{{\"username\":\"ada\",\"password\":\"{SECRET}\"}}}}}}"
            ),
            &[],
            "",
        ),
        (
            "DOCKER_AUTH_CONFIG",
            r#"{"credsStore":"chatty"}"#.to_owned(),
            &[],
            "",
        ),
        ("HTTPS_PROXY", format!("htp://bob:{SECRET}@h"), &[], ""),
        ("HTTP_PROXY", format!("bob:{SECRET}@[bad"), &[], ""),
        ("UNUSED", String::new(), &["--proxy", &proxy], ""),
        (
            "UNUSED",
            String::new(),
            &["--creds-stdin"],
            "ada:s3cretpw\n",
        ),
        ("UNUSED", String::new(), &["--creds-stdin"], "s3cretpw"),
        (
            "UNUSED",
            String::new(),
            &["--creds-stdin"],
            "ada:s3cretpw\nmore",
        ),
    ] {
        for more in [&[][..], &["-v"], &["--json"]] {
            let mut command = place.command(program());
            command.args(["pull", &reference, "--agent", "agent"]);
            command.args(arguments).args(more);
            command.env("RUST_LOG", "trace").env("PATH", &path);
            let input = place.path("input");
            fs::write(&input, stdin).unwrap();
            command.stdin(fs::File::open(&input).unwrap());
            let refused = outcome(command.env(variable, &value));
            assert_ne!(
                refused.status,
                Some(0),
                "{variable} {arguments:?}: {refused:?}"
            );
            for stream in [&refused.stdout, &refused.stderr] {
                assert!(
                    !stream.contains("s3cret"),
                    "{variable}={value} {arguments:?}: {stream}"
                );
                assert!(
                    !stream.contains("tpw"),
                    "{variable}={value} {arguments:?}: {stream}"
                );
            }
        }
    }
}

#[test]
fn credentials_in_urls_of_foreign_layers_are_not_repeated() {
    const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let place = Place::new();
    for url in [
        format!("http://bob:{SECRET}@127.0.0.1:1/x"),
        format!("https://127.0.0.1:1/x?sig={SECRET}"),
        format!("bob:{SECRET}@127.0.0.1"),
    ] {
        let urls = json!([url]);
        let image = image().edit_manifest(move |manifest| {
            manifest["layers"][0]["mediaType"] = json!(FOREIGN);
            manifest["layers"][0]["urls"] = urls.clone();
            // Another layer's digest, so that the registry does not have it.
            manifest["layers"][0]["digest"] = json!(DIGEST);
        });
        let (_registry, reference) = serve(&image);
        let refused = run(&place, &["pull", &reference]);
        assert_eq!(refused.status, Some(1), "{refused:?}");
    }
}
