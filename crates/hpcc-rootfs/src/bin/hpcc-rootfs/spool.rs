//! The options for archives that are compressed as a whole or come from a pipe.

use std::path::PathBuf;

use clap::Args;
use hpcc_rootfs::SpoolOptions;

use crate::quantity::size;

#[derive(Debug, Args)]
pub(crate) struct SpoolArgs {
    /// Directory for an archive that is compressed as a whole or piped, while it is read [default: where
    /// the artifact is made]
    #[arg(long, value_name = "DIR")]
    spool_dir: Option<PathBuf>,
    /// Size of such an archive, decompressed, in bytes with K, M, G or T [default: 16G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_spool: Option<u64>,
}

impl SpoolArgs {
    /// Sets the given options.
    pub(crate) fn apply(&self, options: &mut SpoolOptions) {
        options.directory.clone_from(&self.spool_dir);
        if let Some(bytes) = self.max_spool {
            options.bytes = bytes;
        }
    }
}
