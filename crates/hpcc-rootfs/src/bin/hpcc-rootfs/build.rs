//! `hpcc-rootfs build`.

use serde_json::json;

use crate::args::Build;
use crate::global::Global;
use crate::{output, render, work};

pub(crate) fn run(global: &Global, command: &Build) -> anyhow::Result<()> {
    let mut options = command.options()?;
    options.progress = work::progress(global);
    options.network.progress = work::network(global);
    let built = work::block_on(hpcc_rootfs::build(
        &command.source,
        command.digest.as_ref(),
        &command.output,
        &options,
    ))?;
    work::summary(global, &built.summary, command.timings());
    render::print(
        global,
        &json!({
            "digest": built.digest.to_string(),
            "path": output::path(&built.path),
            "record": render::record(&built.record),
            "built": render::summary(&built.summary),
        }),
        &[],
    )
}
