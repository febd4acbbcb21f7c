//! `hpcc-rootfs pull`.

use serde_json::json;

use crate::args::{Global, Pull};
use crate::{output, render, terminal};

pub(crate) fn run(global: &Global, command: &Pull) -> anyhow::Result<()> {
    command.check_pin()?;
    let mut options = command.options()?;
    options.progress = terminal::progress(global);
    options.network.progress = terminal::network(global);
    for seed in options.store.seeds.iter().filter(|seed| !seed.is_dir()) {
        let seed = output::path(seed);
        terminal::say(&format!(
            "the seed {seed} is passed over: there is no such directory"
        ));
    }
    let store = command.store(global, options)?;
    let pulled = terminal::block_on(async {
        let pull = || store.pull_image(&command.image, command.digest.as_ref());
        let pulled = pull().await?;
        // What was just built was just written.
        if !command.verify || pulled.built.is_some() {
            return Ok(pulled);
        }
        match store.verify(&pulled.digest)? {
            Some(damage) if damage.is_empty() => Ok(pulled),
            Some(damage) => {
                let damage: Vec<_> = damage.iter().map(ToString::to_string).collect();
                terminal::say(&format!(
                    "rebuilding {}: damaged in {}",
                    pulled.digest,
                    damage.join("; ")
                ));
                pull().await
            }
            // Removed meanwhile.
            None => pull().await,
        }
    })?;
    if let Some(summary) = &pulled.built {
        terminal::summary(global, summary, command.timings());
    } else if global.verbose || command.timings() {
        terminal::say("already there");
    }
    let path = output::path(&pulled.path);
    render::print(
        global,
        &json!({
            "digest": pulled.digest.to_string(),
            "path": path,
            "record": render::record(&pulled.record),
            "built": pulled.built.as_ref().map(render::summary),
        }),
        std::slice::from_ref(&path),
    )
}
