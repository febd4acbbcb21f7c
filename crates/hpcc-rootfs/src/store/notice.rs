//! Records that a program should show its users even if they asked for no log.

use std::io;
use std::path::Path;

use ociget::{Digest, printable};

use super::full_reference;

/// Target of these records.
const TARGET: &str = "hpcc_rootfs::notice";

/// Reports that a tag stands for an older artifact, because no note could be written.
pub(super) fn stale(reference: &str, digest: &Digest, older: &Digest, error: &io::Error) {
    let reference = full_reference::shown(reference);
    tracing::warn!(
        target: TARGET,
        "cannot note that {reference} was pulled to {digest}: {error}; in this store, and offline, it still stands for {older}"
    );
}

/// Reports that a file that a process holds was replaced.
pub(super) fn replaced(path: &Path, effect: &str) {
    let path = printable::path(path);
    tracing::warn!(
        target: TARGET,
        "replaced {path}, which another process holds, because every user could hold it; {effect}"
    );
}
