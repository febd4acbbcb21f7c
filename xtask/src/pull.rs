//! The product as a worker uses it, with the probe as the agent.

use std::path::Path;

use anyhow::Result;
use hpcc_rootfs::{Agents, Options, Progress, Pulled, Store};
use ociget::{Digest, Platform};

use crate::guest;

/// A store of images for amd64, the architecture of the guest.
pub(crate) fn store(directory: &Path, progress: Progress) -> Result<Store> {
    let mut options = Options::default();
    options.platform = "linux/amd64".parse::<Platform>()?;
    options.agents = Agents::default().with("amd64", guest::build()?.probe);
    options.progress = progress;
    // The checkout may belong to another user than the one that runs this, as in a container.
    options.store.trusted = true;
    Ok(Store::open(directory, options)?)
}

/// Pulls into a new store at `directory`.
pub(crate) fn pull(reference: &str, pinned: Option<&Digest>, directory: &Path) -> Result<Pulled> {
    pull_into(&store(directory, Progress::default())?, reference, pinned)
}

/// Pulls, on a runtime of its own.
pub(crate) fn pull_into(store: &Store, reference: &str, pinned: Option<&Digest>) -> Result<Pulled> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(store.pull_image(reference, pinned))?)
}
