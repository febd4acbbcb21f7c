//! Pulls from a real registry behind nginx, which ends TLS there as it does for many registries.

use std::fs;
use std::process::Command;

use ociget::{Error, Options};
use test_support::authority::{Authority, Pair};
use test_support::docker_registry::DockerRegistry;
use test_support::registry::Registry;
use test_support::skopeo::Copy;

use crate::registry_proxies_real::{Program, start};
use crate::registry_pull::{options, pull, store};

const LAYER: usize = 50_000;

/// Returns a registry with an image `app:latest`.
fn registry() -> DockerRegistry {
    let registry = DockerRegistry::start().unwrap();
    let seed = Registry::serve(store(LAYER)).unwrap();
    Copy::new(
        &format!("docker://{}/seed:latest", seed.addr()),
        &format!("docker://{}/app:latest", registry.addr()),
    )
    .run()
    .unwrap();
    registry
}

/// nginx with TLS, and what a location is to do.
fn nginx(server: &Pair, location: &str) -> Program {
    start(|addr, directory| {
        let at = directory.path();
        // It is not told of any path but these, and every file of its own is in the directory.
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let paths = paths.map(|name| format!("{name}_temp_path {}/{name};", at.display()));
        let rules = format!(
            "daemon off; master_process off; pid {at}/pid; error_log stderr;\n\
             events {{}}\n\
             http {{ access_log off; {paths}\n\
               server {{ listen {addr} ssl http2; ssl_certificate {cert}; ssl_certificate_key {key};\n\
                 location / {{ {location} }} }} }}\n",
            at = at.display(),
            paths = paths.join(" "),
            cert = server.cert.display(),
            key = server.key.display(),
        );
        let file = at.join("conf");
        fs::write(&file, rules).unwrap();
        let mut command = Command::new("nginx");
        command
            .arg("-e")
            .arg("stderr")
            .arg("-p")
            .arg(at)
            .arg("-c")
            .arg(file);
        command
    })
}

fn trusting(authority: &Authority) -> Options {
    let mut options = options();
    options.plain_http_on_loopback = false;
    options.ca_files.push(authority.cert());
    options
}

#[test]
fn registry_behind_nginx_is_pulled_from_by_its_name() {
    let authority = Authority::new().unwrap();
    let server = authority.server("DNS:localhost,IP:127.0.0.1").unwrap();
    let registry = registry();
    let pass = format!(
        "proxy_pass http://{}; proxy_set_header Host $http_host;",
        registry.addr()
    );
    let front = nginx(&server, &pass);
    for host in ["localhost", "127.0.0.1"] {
        let reference = format!("{host}:{}/app:latest", front.addr.port());
        assert!(pull(&reference, trusting(&authority)).unwrap() > LAYER as u64);
    }
}

// moby/moby#25166, goharbor/harbor#19983
#[test]
fn page_of_nginx_is_reported_by_its_title() {
    let authority = Authority::new().unwrap();
    let server = authority.server("IP:127.0.0.1").unwrap();
    for (location, status, title) in [
        ("return 413;", 413, "413 Request Entity Too Large"),
        ("return 403;", 403, "403 Forbidden"),
    ] {
        let front = nginx(&server, location);
        let error = pull(&format!("{}/app:latest", front.addr), trusting(&authority)).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.refusal().map(|refusal| refusal.status), Some(status));
        assert!(text.contains(title), "{text}");
        assert!(text.contains(&front.addr.to_string()), "{text}");
        assert!(!text.contains('<'), "{text}");
    }
}

// rustls/rustls#2536
#[test]
fn certificate_on_p521_is_refused_with_the_algorithms_that_work() {
    let authority = Authority::new().unwrap();
    let server = authority.server_on("secp521r1", "IP:127.0.0.1").unwrap();
    let front = nginx(&server, "return 200;");
    let error = pull(&format!("{}/app:latest", front.addr), trusting(&authority)).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, Error::Unreachable { attempts: 1, .. }),
        "{text}"
    );
    assert!(text.contains("P-521"), "{text}");
}
