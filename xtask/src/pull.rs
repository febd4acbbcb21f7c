//! The product as a worker uses it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use hpcc_rootfs::{Agents, Options, Progress, Pulled, Store};
use ociget::{Digest, Platform};

use crate::guest;

/// Options for images for amd64, the architecture of the guest.
pub(crate) fn options(agent: PathBuf, progress: Progress) -> Result<Options> {
    let mut options = Options::default();
    options.platform = "linux/amd64".parse::<Platform>()?;
    options.agents = Agents::default().with("amd64", agent);
    options.progress = progress;
    // The checkout may belong to another user than the one that runs this, as in a container.
    options.store.trusted = true;
    Ok(options)
}

/// Pulls into a new store at `directory`, with the probe as the agent.
pub(crate) fn pull(reference: &str, pinned: Option<&Digest>, directory: &Path) -> Result<Pulled> {
    let options = options(guest::build()?.probe, Progress::default())?;
    pull_into(&Store::open(directory, options)?, reference, pinned)
}

/// Pulls, on a runtime of its own.
pub(crate) fn pull_into(store: &Store, reference: &str, pinned: Option<&Digest>) -> Result<Pulled> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(store.pull_image(reference, pinned))?)
}
