//! The form in which references are compared.
//!
//! It loses nothing, so two sources never have one name. It is the text that names the source, with an absolute path. What
//! that text cannot say of the path follows a NUL, which no path has, as two hex digits: a byte that is not UTF-8, and a
//! colon where a tag may follow the path. Messages get the form that [`shown`] returns.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use ociget::{Digest, SourceSpec, printable};

/// Mark of a byte that two hex digits stand for.
const MARK: char = '\0';

/// A reference in the form in which references are compared.
pub(super) struct FullReference {
    /// The full form, with an absolute path.
    pub(super) text: String,
    /// The digest in it.
    pub(super) digest: Option<Digest>,
}

/// Returns the full form of a reference, or `None` if `text` is not a reference or means standard input.
pub(super) fn full_reference(text: &str) -> Option<FullReference> {
    let spec = resolved(text)?;
    let text = exact(&spec)?;
    let digest = match spec {
        SourceSpec::Registry(reference) => reference.digest().cloned(),
        _ => None,
    };
    Some(FullReference { text, digest })
}

/// Returns the text of a reference that names the same source in every working directory, or `text` if there is none.
pub(super) fn lasting(text: &str) -> String {
    let lasting = || {
        let spec = resolved(text).filter(|spec| !matches!(spec, SourceSpec::Registry(_)))?;
        let full = exact(&spec)?;
        let is_same = full.parse().is_ok_and(|parsed: SourceSpec| parsed == spec);
        is_same.then_some(full)
    };
    lasting().unwrap_or_else(|| text.to_owned())
}

/// Returns whether a reference depends on the working directory.
pub(super) fn is_relative(text: &str) -> bool {
    match text.parse() {
        Ok(mut spec) => path_of(&mut spec).is_some_and(|path| path.is_relative()),
        Err(_) => false,
    }
}

/// Returns a full form if it is the text of a source as well.
pub(super) fn plain(full: String) -> Option<String> {
    Some(full).filter(|full| !full.contains(MARK))
}

/// Returns a full form as messages have it: safe for a terminal, without the secrets of URLs.
pub(super) fn shown(full: &str) -> String {
    let split = full.split_once(':').filter(|(kind, _)| *kind != "docker");
    let Some((kind, rest)) = split else {
        return printable::text(full);
    };
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) if !matches!(kind, "dir" | "tar") => (path, Some(tag)),
        _ => (rest, None),
    };
    let tag = tag.map_or(String::new(), |tag| format!(":{}", printable::text(tag)));
    format!("{kind}:{}{tag}", printable::bytes(&unmarked(path)))
}

/// Parses a reference and makes its path absolute.
fn resolved(text: &str) -> Option<SourceSpec> {
    let mut spec: SourceSpec = text.parse().ok()?;
    if let Some(path) = path_of(&mut spec) {
        *path = absolute(path)?;
        return Some(spec);
    }
    matches!(spec, SourceSpec::Registry(_)).then_some(spec)
}

/// Returns the path of a source, unless it is in a registry or standard input.
fn path_of(spec: &mut SourceSpec) -> Option<&mut PathBuf> {
    match spec {
        SourceSpec::Layout { dir: path, .. } | SourceSpec::Directory { dir: path } => Some(path),
        SourceSpec::OciArchive { file: path, .. }
        | SourceSpec::DockerArchive { file: path, .. }
        | SourceSpec::Tar { file: path } => Some(path).filter(|path| **path != Path::new("-")),
        _ => None,
    }
}

/// Returns the text of a source from which it can be recovered.
fn exact(spec: &SourceSpec) -> Option<String> {
    let (kind, path, may_have_tag, tag) = match spec {
        SourceSpec::Registry(reference) => return Some(format!("docker://{reference}")),
        SourceSpec::Layout { dir, tag } => ("oci", dir, true, tag.as_ref()),
        SourceSpec::OciArchive { file, tag } => ("oci-archive", file, true, tag.as_ref()),
        SourceSpec::DockerArchive { file, tag } => ("docker-archive", file, true, tag.as_ref()),
        SourceSpec::Directory { dir } => ("dir", dir, false, None),
        SourceSpec::Tar { file } => ("tar", file, false, None),
        _ => return None,
    };
    let mut text = format!("{kind}:");
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                MARK => write!(text, "{MARK}00").ok()?,
                ':' if may_have_tag => write!(text, "{MARK}3a").ok()?,
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            write!(text, "{MARK}{byte:02x}").ok()?;
        }
    }
    if let Some(tag) = tag {
        write!(text, ":{tag}").ok()?;
    }
    Some(text)
}

/// Returns the bytes of a path in an [`exact`] text.
fn unmarked(path: &str) -> Vec<u8> {
    let mut pieces = path.split(MARK);
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).unwrap_or((piece, ""));
        bytes.extend(u8::from_str_radix(digits, 16));
        bytes.extend(rest.as_bytes());
    }
    bytes
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

    /// Two sources are never one name (containers/image#294, opencontainers/umoci#265).
    #[test]
    fn different_sources_have_different_full_forms() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;

        let paths: [&[u8]; 9] = [
            b"/a\nz",
            b"/a\\nz",
            b"/a\x1bz",
            b"/a\\u{1b}z",
            b"/a\xffz",
            b"/a\\xffz",
            b"/a:z",
            b"/a",
            b"/a\x003az",
        ];
        let tags = [
            "",
            "z",
            "z:v1",
            "v?1",
            "v?2",
            "https://h/a?v=1",
            "https://h/a?v=2",
        ];
        let mut specs = Vec::new();
        for path in paths.map(|path| PathBuf::from(OsStr::from_bytes(path))) {
            for tag in tags {
                let tag = Some(tag.to_owned()).filter(|tag| !tag.is_empty());
                specs.push(SourceSpec::Layout {
                    dir: path.clone(),
                    tag,
                });
            }
            specs.push(SourceSpec::Tar { file: path.clone() });
            specs.push(SourceSpec::Directory { dir: path });
        }
        let all: std::collections::BTreeSet<_> =
            specs.iter().map(|spec| exact(spec).unwrap()).collect();
        assert_eq!(all.len(), specs.len());
        for spec in &specs {
            assert_eq!(shown(&exact(spec).unwrap()), spec.to_string());
        }
    }

    #[test]
    fn lasting_reference_is_the_same_in_every_directory() {
        let here = std::env::current_dir().unwrap();
        let here = here.display();
        for (text, expected) in [
            ("oci:dir:v1", format!("oci:{here}/dir:v1")),
            ("oci:-", format!("oci:{here}/-")),
            ("tar:./a\nb.tar", format!("tar:{here}/a\nb.tar")),
            ("tar:-", "tar:-".to_owned()),
            ("oci-archive:-:v1", "oci-archive:-:v1".to_owned()),
            ("debian:12", "debian:12".to_owned()),
        ] {
            assert_eq!(lasting(text), expected);
            assert!(!is_relative(&lasting(text)), "{text}");
        }
        assert!(is_relative("oci:dir:v1") && is_relative("tar:a"));
    }
}
