//! Failures of a disk, which say nothing about the bytes on it.

use std::error::Error;
use std::io;

use rustix::io::Errno;

/// What Linux returns for a medium, a link to it, or a file system that fails (`block/blk-core.c`, `blk_errors`). The last two
/// are what ext4 and XFS return for bad checksums and structures.
const CODES: [Errno; 6] = [
    Errno::IO,
    Errno::NODATA,
    Errno::REMOTEIO,
    Errno::NOLINK,
    Errno::BADMSG,
    Errno::UCLEAN,
];

/// Returns the text of an error, or of the cause of it, that is one of a disk.
pub(crate) fn disk_error(error: &io::Error) -> Option<String> {
    let is_code = |error: &&io::Error| {
        let code = error.raw_os_error();
        code.is_some_and(|code| CODES.iter().any(|known| known.raw_os_error() == code))
    };
    // `source` of an I/O error passes over the error that it wraps.
    let inner = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    let causes = std::iter::successors(inner, |&error| error.source());
    let causes = causes.filter_map(|cause| cause.downcast_ref());
    let mut all = std::iter::once(error).chain(causes);
    all.find(is_code).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::RecordError;

    #[test]
    fn disk_errors_are_found_below_other_errors() {
        for code in CODES {
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
