//! Debian's real `docker-registry`, one process a guard.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::authority::{Authority, Pair};
use crate::command::run_text;
use crate::token_server::TokenServer;
use crate::{Failure, Result};

/// How long the process may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a registry process is to be like; plain and open to everybody unless said otherwise.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    user: Option<(String, String)>,
    /// Lines of the section `http`.
    http: String,
    /// Further sections.
    more: String,
}

impl Setup {
    /// Wants a user's name and password, for everything.
    #[must_use]
    pub fn user(mut self, user: &str, password: &str) -> Self {
        self.user = Some((user.into(), password.into()));
        self
    }

    /// Speaks TLS.
    #[must_use]
    pub fn tls(mut self, server: &Pair) -> Self {
        let (cert, key) = (server.cert.display(), server.key.display());
        self.http += &format!("  tls:\n    certificate: {cert}\n    key: {key}\n");
        self
    }

    /// Lets in only clients with a certificate of this authority; needs [`tls`](Self::tls).
    #[must_use]
    pub fn clients_of(mut self, authority: &Authority) -> Self {
        self.http += &format!("    clientcas: [{}]\n", authority.cert().display());
        self
    }

    /// Fetches what it does not have from the registry at `url`, and keeps it.
    #[must_use]
    pub fn mirror_of(mut self, url: &str) -> Self {
        self.more += &format!("proxy: {{remoteurl: \"{url}\"}}\n");
        self
    }

    /// Takes the tokens of a token server, and nothing else.
    #[must_use]
    pub fn tokens_of(mut self, server: &TokenServer) -> Self {
        self.more += &server.section();
        self
    }

    /// Starts it.
    pub fn start(&self) -> Result<DockerRegistry> {
        DockerRegistry::launch(self)
    }
}

/// A registry process on a free port of 127.0.0.1, with storage of its own. Dropping it kills the
/// process and removes the storage.
#[derive(Debug)]
pub struct DockerRegistry {
    child: Child,
    addr: SocketAddr,
    directory: TempDir,
}

impl DockerRegistry {
    /// Starts one that everybody may read and write.
    pub fn start() -> Result<Self> {
        Setup::default().start()
    }

    /// Starts one that wants a user's name and password, for everything.
    pub fn start_with_user(user: &str, password: &str) -> Result<Self> {
        Setup::default().user(user, password).start()
    }

    /// Returns where it listens; prints as the host part of a reference.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns where it keeps its blobs.
    #[must_use]
    pub fn storage(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the process, for those who measure it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its output so far: one line per request, among others.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("log"))?)
    }

    fn launch(setup: &Setup) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("docker-registry-")
            .tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let mut config = fs::File::create(at("config.yml"))?;
        // Port 0: the kernel chooses, so that parallel tests cannot meet; the log says which.
        write!(
            config,
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n\
             http:\n  addr: \"127.0.0.1:0\"\n{}",
            at("storage").display(),
            setup.http
        )?;
        config.write_all(setup.more.as_bytes())?;
        if let Some((user, password)) = &setup.user {
            let line =
                run_text(Command::new("htpasswd").args(["-nbB", "-C", "4", user, password]))?;
            fs::write(at("htpasswd"), line)?;
            write!(
                config,
                "auth:\n  htpasswd: {{realm: tests, path: {}}}\n",
                at("htpasswd").display()
            )?;
        }
        let log = fs::File::create(at("log"))?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(at("config.yml"))
            // Telemetry that asks the environment would only warn.
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(Failure::when(
                "cannot start docker-registry (is its Debian package installed?)",
            ))?;
        let mut registry = Self {
            child,
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            directory,
        };
        registry.addr = registry.wait_until_listening()?;
        Ok(registry)
    }

    fn wait_until_listening(&mut self) -> Result<SocketAddr> {
        let start = Instant::now();
        loop {
            let log = self.log()?;
            if let Some(addr) = listening_on(&log) {
                return Ok(addr);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(Failure::new(format!(
                    "docker-registry ended at once with {status}:\n{log}"
                )));
            }
            if start.elapsed() > PATIENCE {
                return Err(Failure::new(format!(
                    "docker-registry does not listen after {PATIENCE:?}:\n{log}"
                )));
            }
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // It may be gone already; what matters is that it is reaped before its storage is removed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns the address in the line that says `listening on 127.0.0.1:41234`.
fn listening_on(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("listening on ")?;
    // A line half written has no end yet, and a port cut short would still parse.
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')?;
    rest.get(..end)?.parse().ok()
}
