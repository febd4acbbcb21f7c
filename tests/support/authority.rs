//! A certificate authority of one's own, made by openssl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Result;
use crate::command::run;

/// The curve of all keys, unless a test says otherwise.
const CURVE: &str = "prime256v1";

/// A certificate authority that only clients configured with it trust. Its files vanish with it.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
}

/// A certificate and its key, as PEM files in the authority's directory.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Authority {
    /// Returns a new one.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("authority-").tempdir()?;
        let authority = Self { directory };
        let mut command = authority.request(CURVE, "ca", "tests");
        command
            .args(["-x509", "-days", "2"])
            .args(["-addext", "basicConstraints=critical,CA:TRUE"])
            .args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
        command.arg("-out").arg(authority.cert());
        run(&mut command)?;
        Ok(authority)
    }

    /// Returns the authority's own certificate.
    #[must_use]
    pub fn cert(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Returns a certificate for a server: `IP:127.0.0.1,DNS:registry.test`.
    pub fn server(&self, names: &str) -> Result<Pair> {
        self.server_on(CURVE, names)
    }

    /// Returns the same with a key on another curve, as openssl names it.
    pub fn server_on(&self, curve: &str, names: &str) -> Result<Pair> {
        let extensions = format!("subjectAltName={names}\nextendedKeyUsage=serverAuth\n");
        self.sign(curve, "server", &extensions)
    }

    /// Returns a certificate that is its own issuer and an authority's, as `openssl req -x509` makes it.
    pub fn own_issuer(&self, names: &str) -> Result<Pair> {
        let mut command = self.request(CURVE, "own", "own");
        command.args(["-x509", "-days", "2"]);
        if !names.is_empty() {
            command.args(["-addext", &format!("subjectAltName={names}")]);
        }
        let pair = Pair {
            cert: self.directory.path().join("own.pem"),
            key: self.directory.path().join("own.key"),
        };
        command.arg("-out").arg(&pair.cert);
        run(&mut command)?;
        Ok(pair)
    }

    /// Returns a certificate for a client.
    pub fn client(&self) -> Result<Pair> {
        self.sign(CURVE, "client", "extendedKeyUsage=clientAuth\n")
    }

    fn sign(&self, curve: &str, name: &str, extensions: &str) -> Result<Pair> {
        let at = |suffix: &str| self.directory.path().join(format!("{name}{suffix}"));
        let pair = Pair {
            cert: at(".pem"),
            key: at(".key"),
        };
        let mut command = self.request(curve, name, name);
        run(command.arg("-out").arg(at(".csr")))?;
        fs::write(
            at(".ext"),
            format!("basicConstraints=CA:FALSE\n{extensions}"),
        )?;
        let mut command = Command::new("openssl");
        command.args(["x509", "-req", "-days", "2", "-CAcreateserial", "-in"]);
        command.arg(at(".csr")).arg("-CA").arg(self.cert());
        command.arg("-CAkey").arg(self.key());
        command.arg("-extfile").arg(at(".ext"));
        run(command.arg("-out").arg(&pair.cert))?;
        Ok(pair)
    }

    fn request(&self, curve: &str, name: &str, subject: &str) -> Command {
        let mut command = Command::new("openssl");
        command.args(["req", "-nodes", "-newkey", "ec", "-pkeyopt"]);
        command
            .arg(format!("ec_paramgen_curve:{curve}"))
            .arg("-subj");
        command.arg(format!("/CN={subject}"));
        command
            .arg("-keyout")
            .arg(self.path(&format!("{name}.key")));
        command
    }

    fn key(&self) -> PathBuf {
        self.path("ca.key")
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(self.directory.path(), name)
    }
}
