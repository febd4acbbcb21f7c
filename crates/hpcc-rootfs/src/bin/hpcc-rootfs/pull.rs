//! `hpcc-rootfs pull`.

use serde_json::json;

use crate::args::{Global, Pull};
use crate::{render, terminal};

pub(crate) fn run(global: &Global, command: &Pull) -> anyhow::Result<()> {
    let mut options = command.options()?;
    options.progress = terminal::progress(global);
    let store = command.store(global, options)?;
    let pulled = terminal::block_on(store.pull_image(&command.image, command.digest.as_ref()))?;
    if let Some(summary) = &pulled.built {
        terminal::summary(global, summary);
    } else if global.verbose {
        terminal::say("already there");
    }
    render::print(
        global,
        &json!({
            "digest": pulled.digest.to_string(),
            "path": pulled.path.display().to_string(),
            "record": render::record(&pulled.record),
            "built": pulled.built.as_ref().map(render::summary),
        }),
        &pulled.path.display().to_string(),
    )
}
