//! skopeo: carries images between layouts, archives and registries.

use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::command::{run, run_text};

/// Copies an image, or with [`Copy::all`] an index and everything in it.
///
/// ```no_run
/// use test_support::skopeo::{Copy, Format};
///
/// Copy::new("oci:/tmp/layout:latest", "docker://127.0.0.1:5000/name:tag")
///     .format(Format::Docker)
///     .run()?;
/// # test_support::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct Copy {
    arguments: Vec<String>,
    source: String,
    destination: String,
}

/// Manifest that the destination gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An OCI image manifest.
    Oci,
    /// Docker's schema 2.
    Docker,
}

impl Copy {
    /// Makes a copy between two places as skopeo spells them: `docker://…`, `oci:DIR:TAG`, `docker-archive:FILE:TAG`.
    #[must_use]
    pub fn new(source: &str, destination: &str) -> Self {
        Self {
            arguments: Vec::new(),
            source: source.into(),
            destination: destination.into(),
        }
    }

    /// Converts the manifest.
    #[must_use]
    pub fn format(self, format: Format) -> Self {
        let name = match format {
            Format::Oci => "oci",
            Format::Docker => "v2s2",
        };
        self.argument("--format").argument(name)
    }

    /// Copies the whole index instead of the one image in it that fits this machine.
    #[must_use]
    pub fn all(self) -> Self {
        self.argument("--all")
    }

    /// Sets the login for the source.
    #[must_use]
    pub fn source_user(self, user: &str, password: &str) -> Self {
        self.argument("--src-creds")
            .argument(&format!("{user}:{password}"))
    }

    /// Sets the login for the destination.
    #[must_use]
    pub fn destination_user(self, user: &str, password: &str) -> Self {
        self.argument("--dest-creds")
            .argument(&format!("{user}:{password}"))
    }

    /// Sets a directory with `client.cert` and `client.key`, shown to the destination.
    #[must_use]
    pub fn destination_certificates(self, directory: &Path) -> Self {
        self.argument("--dest-cert-dir")
            .argument(&directory.display().to_string())
    }

    /// Does it.
    pub fn run(&self) -> Result<()> {
        let mut command = skopeo();
        command
            .arg("copy")
            .args(["--quiet", "--src-tls-verify=false"]);
        command.arg("--dest-tls-verify=false");
        command.args(&self.arguments);
        command.args([&self.source, &self.destination]);
        run(&mut command)?;
        Ok(())
    }

    fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }
}

/// Pushes a tag of an image layout, converted to `format`, to `HOST:PORT/name:tag`.
pub fn push_layout(layout: &Path, tag: &str, destination: &str, format: Format) -> Result<()> {
    let source = format!("oci:{}:{tag}", layout.display());
    Copy::new(&source, &format!("docker://{destination}"))
        .format(format)
        .run()
}

/// Returns the digest of the manifest that a registry has under `HOST:PORT/name:tag`.
pub fn digest(reference: &str) -> Result<String> {
    let mut command = skopeo();
    command.args(["inspect", "--tls-verify=false", "--raw"]);
    command.arg(format!("docker://{reference}"));
    Ok(crate::image::sha256(&run(&mut command)?))
}

/// Returns the manifest itself, as text.
pub fn raw_manifest(reference: &str) -> Result<String> {
    let mut command = skopeo();
    command.args(["inspect", "--tls-verify=false", "--raw"]);
    run_text(command.arg(format!("docker://{reference}")))
}

fn skopeo() -> Command {
    let mut command = Command::new("skopeo");
    // No /etc/containers/policy.json is needed, and no one's credentials are read.
    command.arg("--insecure-policy");
    command.env("REGISTRY_AUTH_FILE", "/nonexistent/auth.json");
    command
}
