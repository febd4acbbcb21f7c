//! Own authorities, client certificates and proxies, against a registry process with TLS.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use ociget::{ClientCertificate, Error, Options};
use test_support::authority::Authority;
use test_support::docker_registry::{DockerRegistry, Setup};
use test_support::registry::{Action, Auth, Fault, Registry, Tls};
use test_support::skopeo::Copy;

use crate::cli::Place;
use crate::registry_pull::{options, pull, store};

const NAMES: &str = "IP:127.0.0.1,DNS:registry.test";

/// Returns a registry with an image `app:v1`, put there by skopeo.
fn filled(registry: &DockerRegistry) -> String {
    let seed = Registry::serve(store(100_000)).unwrap();
    let reference = format!("{}/app:v1", registry.addr());
    Copy::new(
        &format!("docker://{}/seed:latest", seed.addr()),
        &format!("docker://{reference}"),
    )
    .run()
    .unwrap();
    reference
}

fn tls() -> Options {
    let mut options = options();
    options.plain_http_on_loopback = false;
    options
}

#[test]
fn own_authority_is_trusted_when_named_and_refused_when_not() {
    let authority = Authority::new().unwrap();
    let server = authority.server(NAMES).unwrap();
    let registry = Setup::default().tls(&server).start().unwrap();
    let reference = filled(&registry);

    let error = pull(&reference, tls()).unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { attempts: 1, reason, .. } if reason.contains("not trusted here")),
        "{error:?}"
    );

    let mut trusting = tls();
    trusting.ca_files.push(authority.cert());
    assert!(pull(&reference, trusting.clone()).unwrap() > 100_000);

    // The right authority, and a server under a name that its certificate does not have.
    let port = registry.addr().port();
    trusting.ca_files = vec![Authority::new().unwrap().cert()];
    let error = pull(&reference, trusting.clone()).unwrap_err();
    assert!(
        matches!(error, Error::Io { .. }),
        "its file is gone: {error:?}"
    );
    trusting.ca_files = vec![authority.cert()];
    let other_name = format!("localhost:{port}/app:v1");
    let error = pull(&other_name, trusting).unwrap_err().to_string();
    assert!(error.contains("not for localhost, but for"), "{error}");
}

// rustls/webpki#205, seanmonstar/reqwest#2041
#[test]
fn self_signed_certificate_as_authority_is_trusted_for_its_names() {
    let authority = Authority::new().unwrap();
    let own = authority.own_issuer("DNS:localhost").unwrap();
    let registry = Setup::default().tls(&own).start().unwrap();
    filled(&registry);
    let reference = format!("localhost:{}/app:v1", registry.addr().port());

    let error = pull(&reference, tls()).unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { attempts: 1, advice, .. } if advice.contains("Options::ca_files")),
        "{error:?}"
    );
    let mut trusting = tls();
    trusting.ca_files = vec![own.cert.clone()];
    assert!(pull(&reference, trusting.clone()).unwrap() > 100_000);

    // Another certificate of the same subject.
    let another = Authority::new().unwrap();
    let other = another.own_issuer("DNS:localhost").unwrap();
    let mut trusting_another = tls();
    trusting_another.ca_files = vec![other.cert];
    let error = pull(&reference, trusting_another).unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { attempts: 1, .. }),
        "{error:?}"
    );
    let error = pull(&registry_at_its_address(&registry), trusting)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("not for 127.0.0.1, but for localhost"),
        "{error}"
    );
}

// rustls/rustls#127
#[test]
fn certificate_without_alternative_names_is_reported() {
    let authority = Authority::new().unwrap();
    let own = authority.own_issuer("").unwrap();
    let registry = Setup::default().tls(&own).start().unwrap();
    let mut trusting = tls();
    trusting.ca_files = vec![own.cert.clone()];
    let error = pull(&registry_at_its_address(&registry), trusting)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no subject alternative name"), "{error}");
}

// moby/moby#30798
#[test]
fn http_to_a_tls_port_names_the_option() {
    let authority = Authority::new().unwrap();
    let server = authority.server(NAMES).unwrap();
    let registry = Setup::default().tls(&server).start().unwrap();
    let error = pull(&registry_at_its_address(&registry), options())
        .unwrap_err()
        .to_string();
    let option = "Options::plain_http_on_loopback = false";
    assert!(error.contains(option), "{error}");
}

fn registry_at_its_address(registry: &DockerRegistry) -> String {
    format!("{}/app:v1", registry.addr())
}

#[test]
fn a_client_certificate_opens_a_registry_that_wants_one() {
    let authority = Authority::new().unwrap();
    let server = authority.server(NAMES).unwrap();
    let client = authority.client().unwrap();
    let open = Setup::default().tls(&server).start().unwrap();
    filled(&open);

    // skopeo fills it, with the certificate that it wants.
    let closed = Setup::default()
        .tls(&server)
        .clients_of(&authority)
        .start()
        .unwrap();
    let reference = format!("{}/app:v1", closed.addr());
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(&client.cert, directory.path().join("client.cert")).unwrap();
    std::fs::copy(&client.key, directory.path().join("client.key")).unwrap();
    Copy::new(
        &format!("docker://{}/app:v1", open.addr()),
        &format!("docker://{reference}"),
    )
    .destination_certificates(directory.path())
    .run()
    .unwrap();

    let mut options = tls();
    options.ca_files.push(authority.cert());
    let error = pull(&reference, options.clone()).unwrap_err().to_string();
    assert!(
        error.contains("it may want a client certificate"),
        "{error}"
    );
    assert!(!error.contains("attempts"), "{error}");
    options.client_certificate = Some(ClientCertificate::new(&client.cert, &client.key));
    assert!(pull(&reference, options.clone()).unwrap() > 100_000);

    // Certificate and key of different pairs.
    options.client_certificate = Some(ClientCertificate::new(&client.cert, &server.key));
    let error = pull(&reference, options).unwrap_err();
    let Error::Usage(problem) = &error else {
        panic!("{error:?}");
    };
    assert!(problem.contains("does not fit the key"), "{problem}");
}

#[test]
fn the_program_takes_authorities_and_certificates() {
    let authority = Authority::new().unwrap();
    let server = authority.server(NAMES).unwrap();
    let registry = Setup::default().tls(&server).start().unwrap();
    let reference = filled(&registry);
    let ca = authority.cert();
    let ca = ca.to_str().unwrap();
    let place = Place::new();
    let target = ["--platform", "linux/amd64", "--tls-on-loopback"];
    let refused = place.pull(&reference, &target);
    assert_ne!(refused.status, Some(0));
    assert!(refused.stderr.contains("--ca-file"), "{refused:#?}");
    let pulled = place.pull(&reference, &[&target[..], &["--ca-file", ca]].concat());
    assert!(pulled.line().contains("sha256"), "{pulled:#?}");
    let usage = place.pull(&reference, &["--key", ca]);
    assert_eq!(usage.status, Some(2), "{usage:#?}");
}

#[test]
fn redirect_may_lead_to_tls_and_never_away_from_it() {
    let authority = Authority::new().unwrap();
    let server = authority.server(NAMES).unwrap();
    let tls_of = Tls::new(&server, &authority);
    let user = || Auth::Basic {
        user: "ada".into(),
        password: "hunter2".into(),
    };
    let directory = tempfile::tempdir().unwrap();
    let ada = |registry: &Registry, mut options: Options| {
        crate::registry_faults::login(&directory, registry, &mut options);
        options.ca_files.push(authority.cert());
        options
    };

    // From http to https, on another port: no credential follows.
    let storage = Registry::serve_tls(store(50_000), Auth::Anonymous, &tls_of).unwrap();
    let registry = Registry::serve_with(store(50_000), user()).unwrap();
    let origin = format!("https://{}", storage.addr());
    registry.inject(Fault::on("/blobs/", Action::Redirect(origin)));
    let reference = format!("{}/app:latest", registry.addr());
    assert!(pull(&reference, ada(&registry, options())).unwrap() > 50_000);
    assert_eq!(storage.requests().len(), 2, "config and layer");

    // From https to http: nothing is sent there at all.
    let clear = Registry::serve(store(50_000)).unwrap();
    let registry = Registry::serve_tls(store(50_000), user(), &tls_of).unwrap();
    let origin = format!("http://{}", clear.addr());
    registry.inject(Fault::on("/blobs/", Action::Redirect(origin)));
    let reference = format!("{}/app:latest", registry.addr());
    let error = pull(&reference, ada(&registry, tls())).unwrap_err();
    assert!(
        matches!(&error, Error::Forbidden { reason, .. } if reason.contains("https to http")),
        "{error:?}"
    );
    assert_eq!(clear.requests(), []);
}

#[test]
fn client_certificate_is_shown_to_the_registry_alone() {
    let authority = Authority::new().unwrap();
    let server = authority.server(NAMES).unwrap();
    let client = authority.client().unwrap();
    let tls_of = Tls::new(&server, &authority);
    let storage = Registry::serve_tls(store(50_000), Auth::Anonymous, &tls_of).unwrap();
    let registry = Registry::serve_tls(store(50_000), Auth::Anonymous, &tls_of).unwrap();
    let origin = format!("https://{}", storage.addr());
    registry.inject(Fault::on("/blobs/", Action::Redirect(origin)));
    let mut options = tls();
    options.ca_files.push(authority.cert());
    options.client_certificate = Some(ClientCertificate::new(&client.cert, &client.key));
    pull(&format!("{}/app:latest", registry.addr()), options).unwrap();
    assert!(
        registry
            .requests()
            .iter()
            .all(|seen| seen.client_certificate)
    );
    assert!(!storage.requests().is_empty());
    assert!(
        !storage
            .requests()
            .iter()
            .any(|seen| seen.client_certificate)
    );
}

/// A proxy that leads every request to one address, and keeps their first lines.
struct Proxy {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&seen);
        // Ends with the test's process; it holds nothing.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                thread::spawn(move || relay(stream, target, &log));
            }
        });
        Self { addr, seen }
    }
}

fn relay(client: TcpStream, target: SocketAddr, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    log.lock().unwrap().push(head.clone());
    let mut server = TcpStream::connect(target)?;
    if head.starts_with("CONNECT ") {
        (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    } else {
        server.write_all(head.as_bytes())?;
    }
    let (mut back, mut out) = (server.try_clone()?, client.try_clone()?);
    let down = thread::spawn(move || {
        drop(std::io::copy(&mut back, &mut out));
        out.shutdown(Shutdown::Both)
    });
    drop(std::io::copy(&mut reader, &mut server));
    drop(server.shutdown(Shutdown::Both));
    drop(down.join());
    Ok(())
}

#[test]
fn proxies_of_the_environment_are_used_for_https_and_http() {
    let authority = Authority::new().unwrap();
    let server = authority.server(NAMES).unwrap();
    let registry = Setup::default().tls(&server).start().unwrap();
    filled(&registry);
    let place = Place::new();
    let agent = place.agent();
    let ca = authority.cert();
    let pull = |variable: &str, proxy: &Proxy, reference: &str, more: &[&str]| {
        let mut command = place.command(crate::cli::program());
        command
            .env(variable, format!("http://user:hunter2@{}", proxy.addr))
            .args(["pull", reference, "--platform", "linux/amd64", "-v"])
            .arg("--agent")
            .arg(&agent)
            .args(more);
        let outcome = crate::cli::outcome(&mut command);
        assert_eq!(outcome.status, Some(0), "{outcome:#?}");
        assert!(!outcome.stderr.contains("hunter2"), "{outcome:#?}");
    };

    let proxy = Proxy::to(registry.addr());
    let authorities = ["--ca-file", ca.to_str().unwrap()];
    pull("HTTPS_PROXY", &proxy, "registry.test/app:v1", &authorities);
    let seen = proxy.seen.lock().unwrap().clone();
    assert!(!seen.is_empty());
    for head in seen {
        assert!(head.starts_with("CONNECT registry.test:443 "), "{head}");
        assert!(head.to_lowercase().contains("proxy-authorization: basic "));
    }

    let plain = Registry::serve(store(50_000)).unwrap();
    let proxy = Proxy::to(plain.addr());
    let named = ["--plain-http", "registry.test"];
    pull("http_proxy", &proxy, "registry.test/other:latest", &named);
    assert!(!plain.requests().is_empty());
    let first = proxy.seen.lock().unwrap()[0].clone();
    assert!(
        first.starts_with("HEAD http://registry.test/v2/other/manifests/latest"),
        "{first}"
    );
}
