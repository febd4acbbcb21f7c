//! Failures of a disk, as opposed to those of a call.

use std::io;

use rustix::io::Errno;

/// What Linux returns for a medium, a link to it, or a file system that fails (`block/blk-core.c`, `blk_errors`). The last two
/// are what ext4 and XFS return for bad checksums and structures.
pub(crate) const DISK_ERRORS: [Errno; 6] = [
    Errno::IO,
    Errno::NODATA,
    Errno::REMOTEIO,
    Errno::NOLINK,
    Errno::BADMSG,
    Errno::UCLEAN,
];

/// Returns whether an error is one of a disk.
pub(crate) fn is_of_disk(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|code| DISK_ERRORS.contains(&code))
}
