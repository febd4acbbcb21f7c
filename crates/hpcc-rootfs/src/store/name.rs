//! The only mapping between a digest and the names of its files: the artifact `sha256-<hex>.sqsh`, and files beside it
//! whose names begin with a dot and that never count as finished artifacts: a lock, a lease file, a note, and a
//! quarantined artifact.

use std::ffi::OsStr;
use std::path::Path;

use ociget::Digest;

use crate::staging;

const SUFFIX: &str = ".sqsh";
const LOCK: &str = ".lock-";
const NOTE: &str = ".note-";
const LEASE: &str = ".lease-";
const RECALL: &str = ".recall-";
const BAD: &str = ".bad-";

/// The file that is locked while a note changes.
pub(crate) const NOTES_LOCK: &str = ".lock-notes";

/// Returns the file name of the artifact of an image. A [`Digest`] contains only a known algorithm and lower-case hex
/// digits, so the name cannot contain a path.
pub(crate) fn artifact(digest: &Digest) -> String {
    format!("{}-{}{SUFFIX}", digest.algorithm().as_str(), digest.hex())
}

/// Returns the name of the file that is locked while the artifact is built or removed.
pub(crate) fn lock(digest: &Digest) -> String {
    beside(LOCK, digest)
}

/// Returns the name of the file whose shared lock means that the artifact is in use.
pub(crate) fn lease(digest: &Digest) -> String {
    beside(LEASE, digest)
}

/// Returns the name of the note: a file of local metadata.
pub(crate) fn note(digest: &Digest) -> String {
    beside(NOTE, digest)
}

/// Returns the name of the recall file, which the build of the artifact left for later builds.
pub(crate) fn recall(digest: &Digest) -> String {
    beside(RECALL, digest)
}

/// Returns the name of the artifact after it was found damaged.
pub(crate) fn bad(digest: &Digest) -> String {
    beside(BAD, digest)
}

/// The kind of a file beside an artifact, and the artifact's digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Lock(Digest),
    Lease(Digest),
    Note(Digest),
    Recall(Digest),
    Bad(Digest),
    /// A staged file; only its owner knows the digest.
    Staged,
}

/// Returns the meaning of a file name with a dot, or `None` if this program does not use it.
pub(crate) fn classify(name: &str) -> Option<Beside> {
    let digest = |rest: &str| {
        let (algorithm, hex) = rest.split_once('-')?;
        format!("{algorithm}:{hex}").parse().ok()
    };
    if let Some(rest) = name.strip_prefix(LOCK) {
        digest(rest).map(Beside::Lock)
    } else if let Some(rest) = name.strip_prefix(LEASE) {
        digest(rest).map(Beside::Lease)
    } else if let Some(rest) = name.strip_prefix(NOTE) {
        digest(rest).map(Beside::Note)
    } else if let Some(rest) = name.strip_prefix(RECALL) {
        digest(rest).map(Beside::Recall)
    } else if let Some(rest) = name.strip_prefix(BAD) {
        digest(rest).map(Beside::Bad)
    } else {
        staging::is_staged(name).then_some(Beside::Staged)
    }
}

fn beside(prefix: &str, digest: &Digest) -> String {
    format!("{prefix}{}-{}", digest.algorithm().as_str(), digest.hex())
}

/// Returns whether a directory holds files with names that only a store gives. Staged files are not among them, because
/// builds outside of a store make these too.
pub(crate) fn is_of_store(directory: &Path) -> bool {
    let is_own = |name: &OsStr| {
        let kind = name.to_str().and_then(classify);
        kind.is_some_and(|kind| kind != Beside::Staged)
    };
    std::fs::read_dir(directory)
        .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|e| is_own(&e.file_name()))))
}

/// Returns the digest that a file name represents, or `None` for every other name.
pub(crate) fn digest(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    format!("{algorithm}:{hex}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_reverses() {
        let image = Digest::of(b"image");
        assert_eq!(digest(&artifact(&image)), Some(image));
    }

    #[test]
    fn directory_is_a_store_by_names_that_stores_give() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["other", ".staged-1-7"] {
            std::fs::write(directory.path().join(name), b"").unwrap();
            assert!(!is_of_store(directory.path()), "{name}");
        }
        let lock = lock(&Digest::of(b"image"));
        std::fs::write(directory.path().join(lock), b"").unwrap();
        assert!(is_of_store(directory.path()));
        assert!(!is_of_store(&directory.path().join("missing")));
    }

    #[test]
    fn files_beside_an_artifact_are_classified_by_name() {
        let image = Digest::of(b"image");
        for (name, expected) in [
            (lock(&image), Some(Beside::Lock(image.clone()))),
            (lease(&image), Some(Beside::Lease(image.clone()))),
            (note(&image), Some(Beside::Note(image.clone()))),
            (recall(&image), Some(Beside::Recall(image.clone()))),
            (bad(&image), Some(Beside::Bad(image.clone()))),
            (".staged-1-7".into(), Some(Beside::Staged)),
            (".staged-".into(), None),
            (".staged-1-".into(), None),
            (".staged-1-2-3".into(), None),
            (".staged-x-1".into(), None),
            (".lock-sha256-../x".into(), None),
            (artifact(&image), None),
        ] {
            assert_eq!(classify(&name), expected, "{name}");
        }
    }

    #[test]
    fn strays_are_nobodys_artifact() {
        let hex = Digest::of(b"image").hex().to_owned();
        for name in [
            String::new(),
            ".sqsh".into(),
            hex.clone(),
            format!("sha256-{hex}"),
            format!("sha256:{hex}.sqsh"),
            format!("sha256-{hex}.sqsh.tmp"),
            format!(".sha256-{hex}.sqsh"),
            format!("sha256-{}.sqsh", hex.to_uppercase()),
            format!("sha256-{}.sqsh", &hex[1..]),
            format!("md5-{hex}.sqsh"),
            format!("sha256-../{}.sqsh", &hex[3..]),
        ] {
            assert_eq!(digest(&name), None, "{name}");
        }
    }
}
