//! The authorities of the system, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name in their stead.

use std::collections::HashSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::error::Error;
use crate::printable;
use crate::regular_file;

const FILE: &str = "SSL_CERT_FILE";
const DIRECTORIES: &str = "SSL_CERT_DIR";

/// Most bytes of a file with certificates; a system's bundle has some 200 KiB.
pub(super) const MAX_CERTIFICATES: u64 = 16 << 20;
/// Most bytes of all files that the two variables name.
const MAX_ALL: u64 = 64 << 20;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct System {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// Why there are not more.
    pub(super) reasons: Vec<String>,
}

/// Reads the authorities. This is disk work.
///
/// # Errors
/// Returns [`Error::Usage`] with the variable that names a file which cannot be read, is not a regular one, or is too
/// long. A file that does not exist is none.
pub(super) fn load() -> Result<System, Error> {
    let (file, dirs) = (env::var_os(FILE), env::var_os(DIRECTORIES));
    match named(file.as_deref(), dirs.as_deref())? {
        Some(found) => Ok(found),
        None => {
            let found = rustls_native_certs::load_native_certs();
            Ok(System {
                certificates: found.certs,
                reasons: found.errors.iter().map(ToString::to_string).collect(),
            })
        }
    }
}

/// The authorities that the values of the variables name, if there are any values.
fn named(file: Option<&OsStr>, dirs: Option<&OsStr>) -> Result<Option<System>, Error> {
    let dirs: Vec<_> = dirs
        .map(|dirs| env::split_paths(dirs).collect())
        .unwrap_or_default();
    let dirs: Vec<_> = dirs
        .iter()
        .filter(|dir| !dir.as_os_str().is_empty())
        .collect();
    if file.is_none() && dirs.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::default();
    if let Some(file) = file {
        reader.read(Path::new(file), FILE)?;
    }
    for dir in dirs {
        reader.read_directory(dir)?;
    }
    Ok(Some(reader.found))
}

/// Reads files, each once.
#[derive(Default)]
struct Reader {
    found: System,
    bytes: u64,
    /// Device and inode of each file: `openssl rehash` makes links.
    seen: HashSet<(u64, u64)>,
}

impl Reader {
    fn read_directory(&mut self, dir: &Path) -> Result<(), Error> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => {
                let dir = printable::path(dir);
                self.found
                    .reasons
                    .push(format!("cannot read {dir}: {error}"));
                return Ok(());
            }
        };
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => {
                    let dir = printable::path(dir);
                    self.found
                        .reasons
                        .push(format!("cannot read {dir}: {error}"));
                    continue;
                }
            };
            // Nothing else is a certificate; a link may lead nowhere.
            if fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
                self.read(&path, DIRECTORIES)?;
            }
        }
        Ok(())
    }

    /// Reads the file at `path`, which `variable` names.
    fn read(&mut self, path: &Path, variable: &str) -> Result<(), Error> {
        let metadata = fs::metadata(path).ok();
        if metadata.is_some_and(|found| !self.seen.insert((found.dev(), found.ino()))) {
            return Ok(());
        }
        let unusable = |reason: &str| {
            let path = printable::path(path);
            Error::Usage(format!(
                "cannot use {path}, which {variable} names: {reason}"
            ))
        };
        let pem = match regular_file::read(path, MAX_CERTIFICATES) {
            Ok(content) => content.bytes,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let path = printable::path(path);
                let reason = format!("{variable} names {path}, which does not exist");
                self.found.reasons.push(reason);
                return Ok(());
            }
            Err(Error::Io { source, .. })
                if variable == DIRECTORIES && source.kind() == io::ErrorKind::PermissionDenied =>
            {
                let path = printable::path(path);
                let reason = format!("{variable} names {path}: {source}");
                self.found.reasons.push(reason);
                return Ok(());
            }
            Err(Error::Io { source, .. }) => return Err(unusable(&source.to_string())),
            Err(error) => return Err(error),
        };
        let length = u64::try_from(pem.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(length);
        if self.bytes > MAX_ALL {
            let reason = format!("with it, the files have more than {MAX_ALL} bytes");
            return Err(unusable(&reason));
        }
        let mut is_damaged = false;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            match certificate {
                Ok(certificate) => self.found.certificates.push(certificate),
                Err(_) => is_damaged = true,
            }
        }
        if is_damaged {
            let path = printable::path(path);
            let reason = format!("{path}, which {variable} names, is damaged");
            self.found.reasons.push(reason);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_variables_name_are_limited_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let big = dir.path().join("big.pem");
        let file = fs::File::create(&big).unwrap();
        file.set_len(MAX_CERTIFICATES + 1).unwrap();
        for (name, outcome) in [
            (FILE, named(Some(big.as_os_str()), None)),
            (DIRECTORIES, named(None, Some(dir.path().as_os_str()))),
            (FILE, named(Some(dir.path().as_os_str()), None)),
        ] {
            let text = outcome.unwrap_err().to_string();
            assert!(text.contains(&format!("which {name} names: it ")), "{text}");
        }
        // Each file is short enough, and all of them are not.
        file.set_len(MAX_CERTIFICATES).unwrap();
        for number in 0..4 {
            let file = fs::File::create(dir.path().join(format!("{number}.0"))).unwrap();
            file.set_len(MAX_CERTIFICATES).unwrap();
        }
        let error = named(None, Some(dir.path().as_os_str())).unwrap_err();
        assert!(error.to_string().contains("67108864 bytes"), "{error}");
    }

    #[test]
    fn links_pipes_and_missing_files_cost_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let body = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        fs::write(at("one.pem"), body).unwrap();
        std::os::unix::fs::symlink("one.pem", at("hash.0")).unwrap();
        std::os::unix::fs::symlink("nothing", at("lost.0")).unwrap();
        let mode = rustix::fs::Mode::RUSR;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), fifo, mode, 0).unwrap();
        let missing = at("missing");
        let dirs = env::join_paths(["".as_ref(), dir.path(), &missing]).unwrap();
        let found = named(Some(missing.as_os_str()), Some(&dirs))
            .unwrap()
            .unwrap();
        assert_eq!(found.certificates.len(), 1);
        assert_eq!(found.reasons.len(), 2, "{:?}", found.reasons);
        assert!(named(None, Some("".as_ref())).unwrap().is_none());
    }
}
