//! The name of an artifact: a digest, the start of one, the reference that it was pulled by, or a path.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use hpcc_rootfs::{Record, Store};
use ociget::Digest;
use ociget::printable;

use crate::args::{Global, UsageError};
use crate::failure::Failure;
use crate::output;

/// An artifact, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A whole digest.
    Digest(Digest),
    /// A path that cannot be anything else.
    File(PathBuf),
    /// Anything else: only the store and the current directory tell what it is.
    Name(String),
}

/// What a [`Subject`] turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An artifact of the store, which need not exist.
    Digest(Digest),
    /// A file anywhere.
    File(PathBuf),
}

/// What begins like a path is one. A file in the current directory whose name looks like something else is
/// given as `./NAME`.
impl FromStr for Subject {
    type Err = hpcc_rootfs::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let starts = ["/", "./", "../"];
        if text.is_empty() || starts.iter().any(|start| text.starts_with(start)) {
            return Ok(Self::File(text.into()));
        }
        // A mistyped digest must not become a path.
        Store::check_name(text)?;
        Ok(match text.parse() {
            Ok(digest) => Self::Digest(digest),
            Err(_) => Self::Name(text.to_owned()),
        })
    }
}

impl Subject {
    /// Finds out what the name stands for.
    pub(crate) fn find(&self, store: &Store) -> anyhow::Result<Found> {
        let name = match self {
            Self::Digest(digest) => return Ok(Found::Digest(digest.clone())),
            Self::File(path) => return Ok(Found::File(path.clone())),
            Self::Name(name) => name,
        };
        let is_file = Path::new(name).is_file();
        match (store.find(name), is_file) {
            (Ok(Some(_)), true) => bail!(
                "{} is the name of an artifact in the store and of a file; write ./{} for the file, \
                 or a digest for the artifact",
                printable::redacted(name),
                printable::redacted(name)
            ),
            (Ok(Some(digest)), false) => Ok(Found::Digest(digest)),
            // A store that cannot be read is no reason not to look at a file.
            (_, true) => Ok(Found::File(name.into())),
            (Ok(None), false) => Err(missing(format!(
                "{} is not in the store at {}, and no file has this name; hpcc-rootfs list shows the \
                 artifacts, and hpcc-rootfs pull gets an image",
                printable::redacted(name),
                output::path(store.directory())
            ))),
            (Err(error), false) => Err(error.into()),
        }
    }

    /// Finds out which artifact of the store the name stands for; a path has to lead into the store.
    pub(crate) fn find_stored(&self, store: &Store) -> anyhow::Result<Digest> {
        let path = match self.find(store)? {
            Found::Digest(digest) => return Ok(digest),
            Found::File(path) => path,
        };
        let digest = stored(store, &path);
        digest.ok_or_else(|| {
            let (path, directory) = (output::path(&path), output::path(store.directory()));
            UsageError(format!(
                "{path} is not an artifact in the store at {directory}"
            ))
            .into()
        })
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Digest(digest) => write!(f, "{digest}"),
            Self::File(path) => f.write_str(&output::path(path)),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Digest(digest) => write!(f, "{digest}"),
            Self::File(path) => f.write_str(&output::path(path)),
        }
    }
}

/// Returns the digest of the artifact that a path into the store names.
fn stored(store: &Store, path: &Path) -> Option<Digest> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".sqsh")?;
    let digest: Digest = stem.replacen('-', ":", 1).parse().ok()?;
    let directory = |path: &Path| {
        std::path::absolute(path)
            .ok()?
            .parent()?
            .canonicalize()
            .ok()
    };
    let own = store.path_for(&digest);
    (directory(path)? == directory(&own)?).then_some(digest)
}

/// Opens an artifact for reading, and reads its record.
pub(crate) fn open(global: &Global, subject: &Subject) -> anyhow::Result<(PathBuf, File, Record)> {
    let open = |path: &Path| {
        let file = hpcc_rootfs::open_artifact(path);
        file.with_context(|| format!("cannot read {}", output::path(path)))
    };
    let store = match subject {
        // Without a look at the store, which may be nowhere.
        Subject::File(_) => None,
        _ => Some(global.store()?),
    };
    let found = match (&store, subject) {
        (Some(store), subject) => subject.find(store)?,
        (None, subject) => Found::File(subject.to_path()),
    };
    let digest = match found {
        Found::Digest(digest) => digest,
        Found::File(path) => {
            let record = hpcc_rootfs::read_record(&path)?;
            return Ok((std::path::absolute(&path)?, open(&path)?, record));
        }
    };
    let store = store.map_or_else(|| global.store(), Ok)?;
    match store.record(&digest)? {
        Some(record) => {
            let path = store.path_for(&digest);
            let file = open(&path)?;
            Ok((path, file, record))
        }
        None => Err(missing(format!(
            "{digest} is not in the store at {}; pull it first",
            output::path(store.directory())
        ))),
    }
}

fn missing(message: String) -> anyhow::Error {
    let failure = Failure {
        kind: "not-found",
        message,
        hint: Some("see `hpcc-rootfs list`, or pull the image".to_owned()),
    };
    failure.into()
}

impl Subject {
    fn to_path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Digest(_) | Self::Name(_) => PathBuf::from(self.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> Subject {
        text.parse().unwrap()
    }

    #[test]
    fn paths_digests_and_names_are_told_apart() {
        let digest = Digest::of(b"image").to_string();
        assert!(matches!(subject(&digest), Subject::Digest(_)));
        for path in ["./sha256:x", "/x/sha256:y", "../out.sqsh", ""] {
            assert_eq!(subject(path), Subject::File(path.into()), "{path}");
        }
        for name in [
            "a",
            "debian:12",
            "sha256:abcdef",
            &digest[..70],
            "dir/out.sqsh",
        ] {
            assert_eq!(subject(name), Subject::Name(name.into()), "{name}");
        }
        for mistyped in [
            "sha256:x",
            "sha256:../../etc/passwd",
            "md5:d41d8cd98f00b204",
            "SHA256:abcdef",
        ] {
            assert!(mistyped.parse::<Subject>().is_err(), "{mistyped}");
        }
    }

    #[test]
    fn path_into_the_store_names_its_artifact() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), hpcc_rootfs::Options::default()).unwrap();
        let digest = Digest::of(b"image");
        let path = store.path_for(&digest);
        assert_eq!(stored(&store, &path), Some(digest));
        let elsewhere = Path::new("/").join(path.file_name().unwrap());
        assert_eq!(stored(&store, &elsewhere), None);
        assert_eq!(stored(&store, &directory.path().join("x.sqsh")), None);
    }
}
