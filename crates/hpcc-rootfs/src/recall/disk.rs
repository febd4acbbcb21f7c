//! Failures of a disk, which say nothing about the bytes on it.

use std::error::Error;
use std::io;

use crate::staging::is_of_disk;

/// Returns the text of an error, or of the cause of it, that is one of a disk.
pub(crate) fn disk_error(error: &io::Error) -> Option<String> {
    // `source` of an I/O error passes over the error that it wraps.
    let inner = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    let causes = std::iter::successors(inner, |&error| error.source());
    let causes = causes.filter_map(|cause| cause.downcast_ref());
    let mut all = std::iter::once(error).chain(causes);
    all.find(|error| is_of_disk(error)).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::artifact::RecordError;
    use crate::staging::DISK_ERRORS;

    #[test]
    fn disk_errors_are_found_below_other_errors() {
        for code in DISK_ERRORS {
            let text = io::Error::from(code).to_string();
            assert_eq!(disk_error(&code.into()).as_ref(), Some(&text));
            let record = RecordError::Io(code.into());
            assert_eq!(disk_error(&io::Error::other(record)), Some(text));
        }
        for code in [Errno::NOENT, Errno::ACCESS, Errno::MFILE] {
            assert_eq!(disk_error(&io::Error::other(io::Error::from(code))), None);
        }
        assert_eq!(disk_error(&io::ErrorKind::InvalidData.into()), None);
    }
}
