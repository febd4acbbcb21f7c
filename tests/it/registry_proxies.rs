//! Pulls through a fake proxy that refuses in every way.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use ociget::{Error, Options, Proxies};
use test_support::authority::Authority;
use test_support::proxy::{Answers, Proxy};
use test_support::registry::{Action, Auth, Fault, Registry, Tls};

use crate::cli::Place;
use crate::registry_pull::{options, pull, store};

const SIZE: u64 = 50_000;
const LAYER: usize = 50_000;

fn through(proxy: &str) -> Options {
    let mut options = options();
    options.proxies = Proxies::all(proxy, "").unwrap();
    options.plain_http.push("reg.test".to_owned());
    options
}

fn refusing(refusal: &str) -> Answers {
    Answers {
        refusals: vec![refusal.to_owned()],
        always: true,
        ..Answers::default()
    }
}

fn somewhere() -> SocketAddr {
    ([127, 0, 0, 1], 9).into()
}

#[test]
fn https_registries_are_reached_by_tunnel_at_ipv6_literals_too() {
    let authority = Authority::new().unwrap();
    let server = authority.server("DNS:reg.example,IP:2001:db8::7").unwrap();
    let tls = Tls::new(&server, &authority);
    let registry = Registry::serve_tls(store(LAYER), Auth::Anonymous, &tls).unwrap();
    let proxy = Proxy::http(registry.addr(), Answers::default()).unwrap();
    for (host, connect) in [
        ("reg.example", "CONNECT reg.example:443 "),
        ("reg.example:5000", "CONNECT reg.example:5000 "),
        ("[2001:db8::7]", "CONNECT [2001:db8::7]:443 "),
        ("[2001:db8::7]:5000", "CONNECT [2001:db8::7]:5000 "),
    ] {
        let mut options = through(&format!("http://{}", proxy.addr()));
        options.ca_files.push(authority.cert());
        assert!(pull(&format!("{host}/app:latest"), options).unwrap() > SIZE);
        let seen = proxy.seen();
        assert!(seen.last().unwrap().starts_with(connect), "{seen:?}");
        assert!(!seen.iter().any(|head| head.contains("/v2/")), "{seen:?}");
    }
}

#[test]
fn http_registries_are_reached_by_forwarding_with_proxy_login() {
    let registry = Registry::serve(store(LAYER)).unwrap();
    let answers = Answers {
        // ada:w@rd
        login: Some("YWRhOndAcmQ=".to_owned()),
        ..Answers::default()
    };
    let proxy = Proxy::http(registry.addr(), answers).unwrap();
    let options = through(&format!("http://ada:w%40rd@{}", proxy.addr()));
    assert!(pull("reg.test/app:latest", options).unwrap() > SIZE);
    let seen = proxy.seen();
    assert!(
        seen.iter()
            .all(|head| head.contains(" http://reg.test/v2/app/")),
        "{seen:?}"
    );
    for request in registry.requests() {
        assert_eq!(request.header("proxy-authorization"), None);
    }
}

// docker/roadmap#685
#[test]
fn wrong_login_is_sent_to_a_proxy_once() {
    for (reference, login) in [
        ("reg.example/app:v1", "ada:wrong@"),
        ("reg.test/app:v1", "ada:wrong@"),
        ("reg.example/app:v1", ""),
    ] {
        let answers = Answers {
            login: Some("right".to_owned()),
            ..Answers::default()
        };
        let proxy = Proxy::http(somewhere(), answers).unwrap();
        let mut options = through(&format!("http://{login}{}", proxy.addr()));
        options.retries = 5;
        // Mirrors are further hosts for the same proxy.
        let hosts = tempfile::tempdir().unwrap();
        let name = reference.split('/').next().unwrap();
        fs::create_dir(hosts.path().join(name)).unwrap();
        fs::write(
            hosts.path().join(name).join("hosts.toml"),
            "[host.'https://mirror.example']",
        )
        .unwrap();
        if !login.is_empty() {
            options.hosts_dir = Some(hosts.path().to_owned());
        }
        let error = pull(reference, options).unwrap_err();
        let Error::Proxy {
            status, attempts, ..
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!((*status, *attempts), (Some(407), 1));
        let text = error.to_string();
        assert!(
            text.contains(&proxy.addr().to_string()) && text.contains("407"),
            "{text}"
        );
        assert!(!text.contains("wrong"), "{text}");
        assert_eq!(proxy.seen().len(), 1, "{:?}", proxy.seen());
    }
}

// docker/hub-feedback#826
#[test]
fn refused_tunnel_is_final_with_the_proxys_words() {
    let answers = refusing(
        "HTTP/1.0 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html><title>Blocked \u{7}by\npolicy</title>",
    );
    let proxy = Proxy::http(somewhere(), answers).unwrap();
    let mut options = through(&proxy.addr().to_string());
    options.retries = 5;
    let error = pull("reg.example/app:v1", options).unwrap_err();
    assert!(!error.is_transient());
    let text = error.to_string();
    for words in [
        &*proxy.addr().to_string(),
        "answered 403 to CONNECT reg.example:443 (Blocked by policy)",
        "NO_PROXY",
    ] {
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(proxy.seen().len(), 1);
}

// docker/hub-feedback#2437
#[test]
fn proxy_whose_upstream_is_down_is_tried_again() {
    let authority = Authority::new().unwrap();
    let server = authority.server("DNS:reg.example").unwrap();
    let tls = Tls::new(&server, &authority);
    let registry = Registry::serve_tls(store(LAYER), Auth::Anonymous, &tls).unwrap();
    let down = "HTTP/1.1 503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\nContent-Length: 0\r\n\r\n";
    let answers = Answers {
        refusals: vec![down.to_owned(); 2],
        ..Answers::default()
    };
    let proxy = Proxy::http(registry.addr(), answers).unwrap();
    let mut options = through(&proxy.addr().to_string());
    options.ca_files.push(authority.cert());
    options.retries = 3;
    assert!(pull("reg.example/app:latest", options.clone()).unwrap() > SIZE);

    let proxy = Proxy::http(registry.addr(), refusing(down)).unwrap();
    options.proxies = Proxies::all(&proxy.addr().to_string(), "").unwrap();
    options.retries = 1;
    let error = pull("reg.example/app:latest", options).unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("503") && text.contains("ERR_CONNECT_FAIL") && text.contains("tried 2 times"),
        "{text}"
    );
}

// docker/for-mac#6306
#[test]
fn proxy_that_is_not_there_is_named() {
    let closed = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap();
    for (scheme, kind) in [
        ("http", "no connection to it"),
        ("socks5h", "no connection to this SOCKS proxy"),
    ] {
        let mut options = through(&format!("{scheme}://{closed}"));
        options.retries = 5;
        let error = pull("reg.example/app:v1", options).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(
                error,
                Error::Proxy {
                    attempts: 1,
                    status: None,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(
            text.contains(&closed.to_string()) && text.contains(kind),
            "{text}"
        );
    }
}

#[test]
fn silent_proxy_is_named_and_not_the_registry() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = silent.local_addr().unwrap();
    for (proxy, image) in [
        (format!("http://{addr}"), "reg.example/app:v1"),
        (format!("https://{addr}"), "reg.example/app:v1"),
        (format!("socks5h://{addr}"), "reg.example/app:v1"),
        // Requests that are sent on.
        (format!("http://{addr}"), "reg.test/app:v1"),
    ] {
        let mut options = through(&proxy);
        options.connect_timeout = std::time::Duration::from_millis(150);
        options.stall_timeout = std::time::Duration::from_millis(200);
        options.retries = 0;
        let error = pull(image, options).unwrap_err();
        assert!(matches!(error, Error::Proxy { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("the proxy {addr}")), "{text}");
        assert!(
            text.contains("0.15s") || text.contains("is silent"),
            "{text}"
        );
    }
}

#[test]
fn answers_that_are_not_a_proxys_are_errors() {
    for answer in [
        "",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nsurprise",
        "HTTP/1.1 999 x\r\n\r\n",
    ] {
        let proxy = Proxy::http(somewhere(), refusing(answer)).unwrap();
        let error = pull("reg.example/app:v1", through(&proxy.addr().to_string())).unwrap_err();
        assert!(
            matches!(error, Error::Proxy { .. }),
            "{answer:?}: {error:?}"
        );
    }
}

#[test]
fn socks_proxies_resolve_names_and_check_logins() {
    let registry = Registry::serve(store(LAYER)).unwrap();
    let answers = Answers {
        login: Some("ada:w@rd".to_owned()),
        ..Answers::default()
    };
    let proxy = Proxy::socks(registry.addr(), answers).unwrap();
    let options = through(&format!("socks5h://ada:w%40rd@{}", proxy.addr()));
    assert!(pull("reg.test/app:latest", options).unwrap() > SIZE);
    assert!(
        proxy.seen().iter().all(|host| host == "reg.test"),
        "{:?}",
        proxy.seen()
    );

    let before = proxy.seen().len();
    for (login, words) in [
        ("ada:wrong@", "refused the user and the password"),
        ("", "requires a login"),
    ] {
        let options = through(&format!("socks5h://{login}{}", proxy.addr()));
        let error = pull("reg.test/app:latest", options)
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(proxy.seen().len(), before + 1);

    // The name is resolved here, and the proxy gets its address.
    let proxy = Proxy::socks(registry.addr(), Answers::default()).unwrap();
    let port = registry.addr().port();
    let options = through(&format!("socks5://{}", proxy.addr()));
    assert!(pull(&format!("localhost:{port}/app:latest"), options).unwrap() > SIZE);
    assert!(
        proxy.seen().iter().all(|host| host.starts_with('[')),
        "{:?}",
        proxy.seen()
    );

    let proxy = Proxy::socks(registry.addr(), refusing("2")).unwrap();
    let error = pull(
        "reg.test/app:latest",
        through(&format!("socks5h://{}", proxy.addr())),
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("not allowed by its rules"), "{error}");
    assert_eq!(proxy.seen().len(), 1);
}

#[test]
fn redirect_to_internal_name_does_not_use_a_proxy() {
    let registry = Registry::serve(store(LAYER)).unwrap();
    for target in [
        "http://localhost:8080",
        "http://metadata.google.internal",
        "http://169.254.169.254",
    ] {
        registry.clear_faults();
        registry.inject(Fault::on("/blobs/", Action::Redirect(target.to_owned())));
        for scheme in ["http", "socks5h"] {
            let proxy = match scheme {
                "http" => Proxy::http(registry.addr(), Answers::default()),
                _ => Proxy::socks(registry.addr(), Answers::default()),
            }
            .unwrap();
            let error = pull(
                "reg.test/app:latest",
                through(&format!("{scheme}://{}", proxy.addr())),
            );
            assert!(
                matches!(error, Err(Error::Forbidden { .. })),
                "{target}: {error:?}"
            );
            let seen = proxy.seen().join("\n");
            assert!(
                !seen.contains("localhost") && !seen.contains("internal") && !seen.contains("169"),
                "{seen}"
            );
        }
    }
}

#[test]
fn proxies_of_hosts_toml_and_options_override_the_environment() {
    let registry = Registry::serve(store(LAYER)).unwrap();
    let name = registry.addr().to_string();
    let place = Place::new();
    let proxy = Proxy::http(registry.addr(), Answers::default()).unwrap();
    let hosts = place.path("hosts").join(&name);
    fs::create_dir_all(&hosts).unwrap();
    fs::write(
        hosts.join("hosts.toml"),
        format!("proxy = 'http://{}'", proxy.addr()),
    )
    .unwrap();
    let reference = format!("{name}/app:latest");
    let run = |more: &[&str], variable: (&str, &str)| {
        let mut command = place.command(crate::cli::program());
        command
            .args(["build", &reference, "-o"])
            .arg(place.path("out"));
        command.args(["--platform", "linux/amd64"]).args(more);
        crate::cli::outcome(command.env(variable.0, variable.1))
    };
    let none = ("NO_PROXY", "*");
    let hosts = place.path("hosts");
    let built = run(&["--hosts-dir", hosts.to_str().unwrap()], none);
    assert_eq!(built.status, Some(0), "{built:?}");
    let after_file = proxy.seen().len();
    assert!(after_file > 0);
    let address = proxy.addr().to_string();
    let built = run(&["--proxy", &address], none);
    assert_eq!(built.status, Some(0), "{built:?}");
    let after_option = proxy.seen().len();
    assert!(after_option > after_file);
    for more in [
        &["--proxy", "none"][..],
        &["--proxy", &address, "--no-proxy", "127.0.0.0/8"],
    ] {
        let built = run(more, ("HTTP_PROXY", &address));
        assert_eq!(built.status, Some(0), "{built:?}");
    }
    assert_eq!(proxy.seen().len(), after_option);
    let refused = run(&["--proxy", "htp://bob:s3cret@h"], none);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(!refused.stderr.contains("s3cret"), "{refused:?}");
    let refused = run(&[], ("HTTPS_PROXY", "htp://bob:s3cret@h"));
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("HTTPS_PROXY") && !refused.stderr.contains("s3cret"),
        "{refused:?}"
    );
}
