//! Pulls from a real registry through the proxies of Debian.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ociget::{Error, Options, Proxies};
use tempfile::TempDir;
use test_support::authority::Authority;
use test_support::docker_registry::{DockerRegistry, Setup};
use test_support::registry::Registry;

use crate::registry_pull::{options, pull, store};

const SIZE: u64 = 50_000;
const LAYER: usize = 50_000;

/// A program of Debian's that listens, which is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) addr: SocketAddr,
    _directory: TempDir,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program on a port that was free a moment ago. Another process may take the port first,
/// so this tries several.
pub(crate) fn start(command: impl Fn(SocketAddr, &TempDir) -> Command) -> Program {
    for _ in 0..5 {
        let addr = TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let directory = tempfile::Builder::new().prefix("proxy-").tempdir().unwrap();
        let mut child = command(addr, &directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let since = Instant::now();
        while child.try_wait().unwrap().is_none() && since.elapsed() < Duration::from_secs(20) {
            if TcpStream::connect(addr).is_ok() {
                return Program {
                    child,
                    addr,
                    _directory: directory,
                };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        let mut said = String::new();
        let _ = child.stderr.take().unwrap().read_to_string(&mut said);
        eprintln!("the program did not start: {said}");
    }
    panic!("the program does not start");
}

fn tinyproxy(rules: &str) -> Program {
    start(|addr, directory| {
        let file = directory.path().join("conf");
        let rules = format!(
            "Port {}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\n{rules}\n",
            addr.port()
        );
        fs::write(&file, rules).unwrap();
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(file);
        command
    })
}

fn squid(rules: &str) -> Program {
    start(|addr, directory| {
        let file = directory.path().join("conf");
        let at = directory.path().display();
        // It gives up root's rights, so its files must be others' to write.
        let rules = format!(
            "http_port 127.0.0.1:{}\npid_filename none\ncache_log /dev/null\naccess_log none\ncache deny all\n\
             coredump_dir {at}\nshutdown_lifetime 0 seconds\npinger_enable off\nnetdb_filename none\n{rules}\n",
            addr.port()
        );
        fs::write(&file, rules).unwrap();
        let mut command = Command::new("squid");
        command.arg("-N").arg("-f").arg(file);
        command
    })
}

/// Returns a real registry behind TLS at `localhost`, and options that trust it and use a proxy.
fn real(authority: &Authority) -> (DockerRegistry, String, Options) {
    let server = authority.server("DNS:localhost,IP:127.0.0.1").unwrap();
    let registry = Setup::default().tls(&server).start().unwrap();
    let mut options = options();
    options.plain_http_on_loopback = false;
    options.ca_files.push(authority.cert());
    let seed = Registry::serve(store(LAYER)).unwrap();
    let reference = format!("{}/app:latest", registry.addr());
    test_support::skopeo::Copy::new(
        &format!("docker://{}/seed:latest", seed.addr()),
        &format!("docker://{reference}"),
    )
    .run()
    .unwrap();
    (registry, reference, options)
}

#[test]
fn tinyproxy_reaches_a_real_registry_and_refusals_are_reported() {
    let authority = Authority::new().unwrap();
    let (_registry, reference, mut options) = real(&authority);
    let open = tinyproxy("Allow 127.0.0.1");
    options.proxies = Proxies::all(&open.addr.to_string(), "").unwrap();
    assert!(pull(&reference, options.clone()).unwrap() > SIZE);

    let locked = tinyproxy("BasicAuth ada word");
    for (login, right) in [("ada:word@", true), ("ada:wrong@", false), ("", false)] {
        options.proxies = Proxies::all(&format!("http://{login}{}", locked.addr), "").unwrap();
        match pull(&reference, options.clone()) {
            Ok(bytes) => assert!(right && bytes > SIZE),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    !right
                        && matches!(
                            error,
                            Error::Proxy {
                                status: Some(401 | 407),
                                ..
                            }
                        ),
                    "{text}"
                );
                assert!(text.contains(&locked.addr.to_string()), "{text}");
            }
        }
    }
    let narrow = tinyproxy("ConnectPort 443");
    options.proxies = Proxies::all(&narrow.addr.to_string(), "").unwrap();
    let error = pull(&reference, options).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Proxy {
                status: Some(403),
                attempts: 1,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn squid_reaches_a_real_registry_and_refusals_are_reported() {
    let authority = Authority::new().unwrap();
    let (_registry, reference, mut options) = real(&authority);
    let open = squid("http_access allow all");
    options.proxies = Proxies::all(&open.addr.to_string(), "").unwrap();
    assert!(pull(&reference, options.clone()).unwrap() > SIZE);
    let closed = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let error = pull(&format!("{closed}/app:v1"), options.clone()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Proxy {
                status: Some(503),
                ..
            }
        ),
        "{error:?}"
    );

    let shut = squid("http_access deny all");
    options.proxies = Proxies::all(&shut.addr.to_string(), "").unwrap();
    let error = pull(&reference, options).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Proxy {
                status: Some(403),
                attempts: 1,
                ..
            }
        ),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.contains(&shut.addr.to_string()), "{text}");
}
