//! A part of an archive that was not kept.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A part of an archive could not be kept, for which the directory is responsible and not the archive.
#[derive(Debug)]
pub(crate) struct Unspooled {
    pub(crate) directory: PathBuf,
    pub(crate) source: io::Error,
}

impl Unspooled {
    /// Returns the cause of an archive that could not be read, if that is it.
    pub(crate) fn of(error: &ociget::Error) -> Option<&Self> {
        let ociget::Error::Io { source, .. } = error else {
            return None;
        };
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(source);
        while let Some(error) = cause {
            if let Some(unspooled) = error.downcast_ref() {
                return Some(unspooled);
            }
            cause = match error.downcast_ref::<io::Error>() {
                Some(error) => error.get_ref().map(|inner| inner as _),
                None => error.source(),
            };
        }
        None
    }

    /// Returns the error of the system, and what to do.
    pub(crate) fn advice(&self) -> String {
        format!(
            "{}; name another directory with SpoolOptions::directory",
            self.source
        )
    }
}

impl fmt::Display for Unspooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = ociget::printable::path(&self.directory);
        write!(
            f,
            "cannot spool the archive in {directory}: {}",
            self.advice()
        )
    }
}

impl std::error::Error for Unspooled {}
