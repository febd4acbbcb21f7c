//! Records that a program should show its users even if they asked for no log.

use std::path::Path;

use ociget::printable;

/// Target of these records.
const TARGET: &str = "hpcc_rootfs::notice";

/// Reports that a file that a process holds was replaced.
pub(super) fn replaced(path: &Path, effect: &str) {
    let path = printable::path(path);
    tracing::warn!(
        target: TARGET,
        "replaced {path}, which another process holds, because every user could hold it; {effect}"
    );
}
