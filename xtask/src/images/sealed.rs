//! A sealed image: the kernel of its guest mounts it through dm-verity, and refuses it when one bit has changed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use hpcc_rootfs::{Progress, Store};
use test_support::oracle::umoci;
use test_support::real_image::RealImage;
use tree_listing::Listing;

use super::{PATIENCE, special};
use crate::verify::{Failure, VerifyOptions, verify as boot};
use crate::{guest, pull};

/// What the kernel says of a block whose digest is not in the tree (drivers/md/dm-verity-target.c).
const REFUSAL: &str = "is corrupted";

/// Returns a summary for people.
pub(super) fn verify(directory: &Path) -> Result<String> {
    drop(special(directory)?);
    let layout = directory.join("layout");
    let mut options = pull::options(guest::build()?.probe, Progress::default())?;
    options.image.verity = true;
    let store = Store::open(directory.join("store"), options)?;
    let source = format!("oci:{}:{}", layout.display(), RealImage::TAG);
    let pulled = pull::pull_into(&store, &source, None)?;
    let unpacked = umoci::unpack(&layout, RealImage::TAG)
        .map_err(Error::msg)?
        .context("umoci needs root to unpack owners and devices")?;
    let expected = Listing::walk(&unpacked.root())?;
    let options = VerifyOptions {
        timeout: PATIENCE,
        ..VerifyOptions::default()
    };
    let whole = boot(&pulled.path, &expected, &options)?;

    let changed = flipped(&pulled.path, &directory.join("changed.sqsh"))?;
    let failure = match boot(&changed, &expected, &options) {
        Ok(_) => bail!("a guest took no notice of a changed bit"),
        Err(error) => error,
    };
    match failure.downcast_ref::<Failure>() {
        Some(failure) if failure.log.contains(REFUSAL) => Ok(format!(
            "{} entries equal, {:.1} s; one flipped bit refused",
            whole.report.listing.entries.len(),
            whole.took.as_secs_f32()
        )),
        _ => Err(failure.context("a changed bit was not refused by dm-verity")),
    }
}

/// Writes a copy of a sealed artifact with one bit of its image flipped, in the middle.
pub(crate) fn flipped(artifact: &Path, copy: &Path) -> Result<PathBuf> {
    let record = hpcc_rootfs::read_record(artifact)?;
    let verity = record.verity.context("the artifact is not sealed")?;
    let mut bytes = fs::read(artifact)?;
    let at = usize::try_from(verity.data_blocks / 2 * 4096 + 1000)?;
    *bytes.get_mut(at).context("the artifact is too short")? ^= 1;
    fs::write(copy, bytes)?;
    Ok(copy.to_owned())
}
