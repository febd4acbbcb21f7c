//! The form in which references are compared.

use std::path::{Component, Path, PathBuf};

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

/// Returns the absolute path in one spelling: without a slash at its end, double slashes, `.` and `..`.
///
/// Symlinks stay, because a reference means what it was last pulled to, even if a symlink in it leads elsewhere since. A
/// `..` after a symlink stays as well, because it leads to the parent of the link's target.
fn absolute(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let mut plain = PathBuf::new();
    for component in path.components() {
        let is_up = component == Component::ParentDir;
        if !is_up || plain.is_symlink() || plain.ends_with("..") {
            plain.push(component);
        } else {
            plain.pop();
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_above_a_symlink_is_that_of_its_target() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| format!("oci:{}/{name}", directory.path().display());
        std::os::unix::fs::symlink("/", directory.path().join("link")).unwrap();
        let full = |name: &str| full_reference(&at(name)).unwrap().text;
        assert_ne!(full("link/../x"), full("x"));
        assert_ne!(full("link/x"), full("x"));
        assert_eq!(full("link//x/./y/.."), full("link/x"));
    }

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
        for same in [
            "oci:dir/:v1",
            "oci:./dir:v1",
            "oci:.//dir//:v1",
            "oci:dir/.:v1",
            "oci:none/../dir:v1",
        ] {
            assert_eq!(full(same), full("oci:dir:v1"), "{same}");
        }
        assert_eq!(full("tar:/../a/b/../x.tar"), full("tar:/a/x.tar"));
        assert_eq!(full("tar:-"), None);
        assert_eq!(full("a b"), None);
    }
}
