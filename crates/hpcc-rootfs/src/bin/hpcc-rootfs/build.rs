//! `hpcc-rootfs build`.

use serde_json::json;

use crate::args::{Build, Global};
use crate::{output, render, terminal};

pub(crate) fn run(global: &Global, command: &Build) -> anyhow::Result<()> {
    let mut options = command.options()?;
    options.progress = terminal::progress(global);
    options.network.progress = terminal::network(global);
    let built = terminal::block_on(hpcc_rootfs::build(
        &command.source,
        command.digest.as_ref(),
        &command.output,
        &options,
    ))?;
    terminal::summary(global, &built.summary, command.timings());
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
