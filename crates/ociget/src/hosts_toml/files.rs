//! Certificates in a host's directory, as docker keeps them: `*.crt` are authorities, `*.cert` and
//! `*.key` of the same name are client certificates and their keys.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::background;
use crate::error::Error;
use crate::printable;

/// The files of a directory without a `hosts.toml`.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
    pub(crate) authorities: Vec<PathBuf>,
    /// Certificates and keys.
    pub(crate) clients: Vec<(PathBuf, PathBuf)>,
    /// Files that have no effect.
    pub(crate) warnings: Vec<String>,
}

/// Returns the files of a directory; `None` if it does not exist.
pub(crate) async fn find(dir: &Path) -> Result<Option<Files>, Error> {
    let owned = dir.to_owned();
    let listing = background::run(move || list(owned));
    match listing.await {
        Ok(Ok(found)) => Ok(Some(found)),
        Ok(Err(error))
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Ok(Err(source)) => Err(Error::Io {
            path: dir.to_owned(),
            source,
        }),
        Err(stopped) => Err(Error::Io {
            path: dir.to_owned(),
            source: stopped,
        }),
    }
}

/// Returns the names in a directory that differ from one of `names` in the case of letters alone: in the order of
/// `names`, and those for the same one sorted. None if the directory cannot be listed, because its files can be read
/// by their exact names all the same.
pub(crate) async fn in_other_case(dir: &Path, names: Vec<String>) -> Vec<String> {
    let dir = dir.to_owned();
    let listing = background::run(move || -> std::io::Result<_> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&dir)? {
            let Ok(other) = entry?.file_name().into_string() else {
                continue;
            };
            let rank = names
                .iter()
                .position(|name| name.eq_ignore_ascii_case(&other));
            found.extend(rank.map(|rank| (rank, other)));
        }
        found.sort();
        Ok(found)
    });
    let found = listing.await.and_then(|found| found).unwrap_or_default();
    found.into_iter().map(|(_, name)| name).collect()
}

fn list(dir: PathBuf) -> std::io::Result<Files> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&dir)? {
        names.push(PathBuf::from(entry?.file_name()));
    }
    names.sort();
    let has = |name: &PathBuf, extension: &str| name.extension() == Some(OsStr::new(extension));
    let mut files = Files::default();
    for name in &names {
        if has(name, "crt") {
            files.authorities.push(name.clone());
        }
        for (one, other) in [("cert", "key"), ("key", "cert")] {
            if !has(name, one) {
                continue;
            }
            let partner = name.with_extension(other);
            if !names.contains(&partner) {
                files.warnings.push(printable::text(format!(
                    "{} has no {} beside it and has no effect",
                    dir.join(name).display(),
                    partner.display()
                )));
            } else if one == "cert" {
                files.clients.push((name.clone(), partner));
            }
        }
    }
    files.dir = dir;
    Ok(files)
}
