//! The form in which references are compared.

use std::path::{Path, PathBuf};

use ociget::{Digest, SourceSpec};

/// A reference in the form in which references are compared.
pub(super) struct FullReference {
    /// The full form, with an absolute path.
    pub(super) text: String,
    /// The digest in it.
    pub(super) digest: Option<Digest>,
}

/// Returns the full form of a reference, or `None` if `text` is not a reference or means standard input.
pub(super) fn full_reference(text: &str) -> Option<FullReference> {
    let mut spec: SourceSpec = text.parse().ok()?;
    let digest = match &mut spec {
        SourceSpec::Registry(reference) => reference.digest().cloned(),
        SourceSpec::Layout { dir: path, .. }
        | SourceSpec::Directory { dir: path }
        | SourceSpec::OciArchive { file: path, .. }
        | SourceSpec::DockerArchive { file: path, .. }
        | SourceSpec::Tar { file: path } => {
            if path == Path::new("-") {
                return None;
            }
            *path = absolute(path)?;
            None
        }
        _ => return None,
    };
    let text = spec.to_string();
    Some(FullReference { text, digest })
}

fn absolute(path: &Path) -> Option<PathBuf> {
    std::path::absolute(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_compared_in_their_full_form() {
        let full = |text: &str| full_reference(text).map(|found| found.text);
        let debian = full("debian");
        assert!(debian.is_some());
        for same in ["docker.io/library/debian:latest", "docker://debian"] {
            assert_eq!(full(same), debian, "{same}");
        }
        assert_ne!(full("debian:12"), debian);
        let here = std::env::current_dir().unwrap().join("dir");
        assert_eq!(
            full("oci:dir:v1"),
            full(&format!("oci:{}:v1", here.display()))
        );
        assert_eq!(full("tar:-"), None);
        assert_eq!(full("a b"), None);
    }
}
