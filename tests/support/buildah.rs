//! buildah: makes images out of containers, and pushes them in its own way.

use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::command::{run, run_text};
use crate::skopeo::Format;

/// Makes an image of a directory and a command, and pushes it to `HOST:PORT/name:tag`. Its store is
/// a directory of its own, so that nothing of the machine's is touched.
pub fn push(files: &Path, destination: &str, format: Format) -> Result<()> {
    let store = tempfile::Builder::new().prefix("buildah-").tempdir()?;
    let nobody = store.path().join("auth.json");
    std::fs::write(&nobody, "{}")?;
    let buildah = || {
        let mut command = Command::new("buildah");
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(store.path().join("root"))
            .arg("--runroot")
            .arg(store.path().join("run"))
            .env("REGISTRY_AUTH_FILE", &nobody);
        command
    };
    let container = run_text(buildah().args(["from", "--pull-never", "scratch"]))?;
    let container = container.trim();
    run(buildah()
        .args(["copy", "--quiet", container])
        .arg(files)
        .arg("/"))?;
    run(buildah().args(["config", "--cmd", "/hello", container]))?;
    let format = match format {
        Format::Oci => "oci",
        Format::Docker => "docker",
    };
    run(buildah()
        .args([
            "commit",
            "--quiet",
            "--tls-verify=false",
            "--format",
            format,
        ])
        .args([container, &format!("docker://{destination}")]))?;
    Ok(())
}
