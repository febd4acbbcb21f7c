//! The name of an artifact: a digest, the start of one, the reference that it was pulled by, or a path.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::builder::{OsStringValueParser, TryMapValueParser, TypedValueParser as _};
use hpcc_rootfs::{Record, Store};
use ociget::Digest;
use ociget::printable;

use crate::absence::is_absent;
use crate::failure::Failure;
use crate::global::Global;
use crate::output;

/// An artifact, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A whole digest.
    Digest(Digest),
    /// A path that cannot be anything else.
    File(PathBuf),
    /// Anything else, whose meaning depends on the store and the current directory.
    Name(String),
}

/// The meaning of a [`Subject`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An artifact of the store, which need not exist.
    Digest(Digest),
    /// A file anywhere, which need not exist.
    File(PathBuf),
}

impl clap::builder::ValueParserFactory for Subject {
    type Parser = TryMapValueParser<OsStringValueParser, fn(OsString) -> Result<Self, String>>;

    fn value_parser() -> Self::Parser {
        OsStringValueParser::new().try_map(Self::parse)
    }
}

impl Subject {
    /// Parses an argument. Text that begins like a path is a path, and so is text that is not UTF-8. A file in the
    /// current directory whose name looks like something else is given as `./NAME`.
    fn parse(argument: OsString) -> Result<Self, String> {
        let text = match argument.into_string() {
            Ok(text) => text,
            Err(bytes) => return Ok(Self::File(bytes.into())),
        };
        if text.is_empty() {
            return Err(
                "found an empty name, expected a digest, the start of one, a reference or a path"
                    .to_owned(),
            );
        }
        let starts = ["/", "./", "../"];
        if starts.iter().any(|start| text.starts_with(start)) {
            return Ok(Self::File(text.into()));
        }
        // A mistyped digest must not become a path.
        Store::check_name(&text).map_err(|error| error.to_string())?;
        Ok(match text.parse() {
            Ok(digest) => Self::Digest(digest),
            Err(_) => Self::Name(text),
        })
    }

    /// Returns the artifact or the file of this name, neither of which need exist if the name is a whole
    /// digest or a path.
    fn find(&self, store: &Store) -> anyhow::Result<Found> {
        let name = match self {
            Self::Digest(digest) => return Ok(Found::Digest(digest.clone())),
            Self::File(path) => return Ok(Found::File(path.clone())),
            Self::Name(name) => name,
        };
        let shown = printable::redacted(name);
        let kind = fs::metadata(name).map(|metadata| metadata.file_type());
        let is_file = kind.as_ref().is_ok_and(fs::FileType::is_file);
        match (store.find(name), is_file) {
            (Ok(Some(_)), true) => bail!(Failure {
                kind: "ambiguous",
                message: format!(
                    "{shown} is the name of an artifact in the store and of a file; write ./{shown} for \
                     the file, or a digest for the artifact"
                ),
                hint: Some("write ./ before the name of a file".to_owned()),
                transient: false,
            }),
            (Ok(Some(digest)), false) => Ok(Found::Digest(digest)),
            // A store that cannot be read must not hide a file.
            (_, true) => Ok(Found::File(name.into())),
            (Ok(None), false) => match kind {
                // A directory, for example: the error says so.
                Ok(_) => Ok(Found::File(name.into())),
                Err(error) if is_absent(&error) => Err(missing(&format!(
                    "{shown} is not in the store at {}, and no file has this name",
                    output::path(store.directory())
                ))),
                // A file may have this name all the same.
                Err(error) => Err(error).with_context(|| {
                    let directory = output::path(store.directory());
                    format!("cannot look at {shown}, which is not in the store at {directory}")
                }),
            },
            (Err(error), false) => Err(error.into()),
        }
    }

    /// Returns the artifact or the file of this name.
    ///
    /// # Errors
    /// Returns an error of the kind `not-found` if it does not exist, and of the kind `io` if it is not a regular file.
    pub(crate) fn existing(&self, store: &Store) -> anyhow::Result<Found> {
        let found = self.find(store)?;
        match &found {
            Found::Digest(digest) => check_stored(store, digest)?,
            Found::File(path) => check_file(path)?,
        }
        Ok(found)
    }

    /// Returns the artifact of the store that has this name, which need not exist if the name is a whole
    /// digest or a path into the store.
    ///
    /// # Errors
    /// Returns an error of the kind `not-found` if the name is that of another file.
    pub(crate) fn stored(&self, store: &Store) -> anyhow::Result<Digest> {
        let path = match self.find(store)? {
            Found::Digest(digest) => return Ok(digest),
            Found::File(path) => path,
        };
        stored(store, &path).ok_or_else(|| not_in_the_store(store, &output::path(&path)))
    }

    /// Returns the artifact of the store that has this name.
    ///
    /// # Errors
    /// Returns an error of the kind `not-found` if it does not exist.
    pub(crate) fn existing_stored(&self, store: &Store) -> anyhow::Result<Digest> {
        let digest = self.stored(store)?;
        check_stored(store, &digest)?;
        Ok(digest)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// Refuses a digest that names no file of the store.
fn check_stored(store: &Store, digest: &Digest) -> anyhow::Result<()> {
    match fs::symlink_metadata(store.path_for(digest)) {
        Err(error) if is_absent(&error) => Err(not_in_the_store(store, &digest.to_string())),
        // An artifact whose metadata cannot be read exists; the command reports the error.
        _ => Ok(()),
    }
}

/// Refuses a path that leads to nothing, or to something other than a regular file.
fn check_file(path: &Path) -> anyhow::Result<()> {
    let shown = output::path(path);
    match fs::metadata(path) {
        Err(error) if is_absent(&error) => Err(missing(&format!("{shown} does not exist"))),
        Ok(found) if !found.is_file() => {
            let error = hpcc_rootfs::open_artifact(path).err();
            let found = error.map_or_else(|| "not a regular file".to_owned(), |e| e.to_string());
            Err(Failure {
                kind: "io",
                message: format!("cannot read {shown}: {found}"),
                hint: Some("name a squashfs file that this program wrote".to_owned()),
                transient: false,
            }
            .into())
        }
        // Opening the file reports the error that keeps it from being read.
        _ => Ok(()),
    }
}

/// Returns the error of every command for an artifact that the store does not have.
pub(crate) fn not_in_the_store(store: &Store, name: &str) -> anyhow::Error {
    let directory = output::path(store.directory());
    missing(&format!("{name} is not in the store at {directory}"))
}

/// Returns the error of every command for an artifact that does not exist.
fn missing(what: &str) -> anyhow::Error {
    const ADVICE: &str = "hpcc-rootfs list shows the artifacts, and hpcc-rootfs pull gets an image";
    let failure = Failure {
        kind: "not-found",
        message: format!("{what}; {ADVICE}"),
        hint: Some(ADVICE.to_owned()),
        transient: false,
    };
    failure.into()
}

/// Opens an artifact for reading, and reads its record.
pub(crate) fn open(global: &Global, subject: &Subject) -> anyhow::Result<(PathBuf, File, Record)> {
    let open = |path: &Path| {
        let file = hpcc_rootfs::open_artifact(path);
        file.with_context(|| format!("cannot read {}", output::path(path)))
    };
    let of_file = |path: &Path| {
        check_file(path)?;
        let record = hpcc_rootfs::read_record(path)?;
        Ok((std::path::absolute(path)?, open(path)?, record))
    };
    // Without reading the store, whose directory may be unknown.
    if let Subject::File(path) = subject {
        return of_file(path);
    }
    let store = global.store()?;
    let digest = match subject.find(&store)? {
        Found::Digest(digest) => digest,
        Found::File(path) => return of_file(&path),
    };
    let record = store.record(&digest)?;
    let record = record.ok_or_else(|| not_in_the_store(&store, &digest.to_string()))?;
    let path = store.path_for(&digest);
    let file = open(&path)?;
    Ok((path, file, record))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> Subject {
        Subject::parse(text.into()).unwrap()
    }

    #[test]
    fn paths_digests_and_names_are_distinguished() {
        let digest = Digest::of(b"image").to_string();
        assert!(matches!(subject(&digest), Subject::Digest(_)));
        for path in ["./sha256:x", "/x/sha256:y", "../out.sqsh"] {
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
            "",
        ] {
            assert!(Subject::parse(mistyped.into()).is_err(), "{mistyped}");
        }
        let bytes = std::os::unix::ffi::OsStringExt::from_vec(b"\xff.sqsh".to_vec());
        let bytes: OsString = bytes;
        assert_eq!(
            Subject::parse(bytes.clone()),
            Ok(Subject::File(bytes.into()))
        );
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
