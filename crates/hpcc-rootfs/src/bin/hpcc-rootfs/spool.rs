//! The options for archives that are compressed as a whole or come from a pipe.

use std::path::PathBuf;

use clap::Args;
use hpcc_rootfs::SpoolOptions;

use crate::quantity::size;

#[derive(Debug, Args)]
pub(crate) struct SpoolArgs {
    /// Directory for a temporary copy of an archive that is piped or compressed as a whole [default: the
    /// directory of the artifact]
    #[arg(long, value_name = "DIR")]
    spool_dir: Option<PathBuf>,
    /// Largest size of that copy, decompressed, with K, M, G or T for powers of 1024 [default: 16G]
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
