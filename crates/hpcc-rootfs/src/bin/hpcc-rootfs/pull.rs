//! `hpcc-rootfs pull`.

use hpcc_rootfs::{Pulled, Store};
use serde_json::{Value, json};

use crate::args::Pull;
use crate::global::Global;
use crate::{failure, output, render, terminal, work};

pub(crate) fn run(global: &Global, command: &Pull) -> anyhow::Result<()> {
    command.options.check_images(&command.images)?;
    let mut options = command.options.options(&command.images)?;
    options.progress = work::progress(global);
    options.network.progress = work::network(global);
    for seed in options.store.seeds.iter().filter(|seed| !seed.is_dir()) {
        let seed = output::path(seed);
        terminal::warn(&format!(
            "the seed {seed} is passed over: there is no such directory"
        ));
    }
    let store = global.store_with(options)?;
    if let [image] = command.images.as_slice() {
        let pulled = work::block_on(pull(&store, command, image))?;
        let (value, path) = report(global, command, &pulled);
        return render::print(global, &value, &[path]);
    }
    several(global, command, &store)
}

/// Pulls one image after the other, so that each takes what it has in common with the ones before from
/// the store. One that fails does not keep the others from being pulled.
fn several(global: &Global, command: &Pull, store: &Store) -> anyhow::Result<()> {
    let all = command.images.len();
    let (mut values, mut failed) = (Vec::new(), Vec::new());
    let mut printed = Ok(());
    let ended = work::block_on(async {
        for image in &command.images {
            let pulled = pull(store, command, image).await;
            let image = ociget::printable::redacted(image);
            match pulled {
                Ok(pulled) => {
                    let (value, path) = report(global, command, &pulled);
                    values.push(value);
                    // At once: what comes later may take long, or be interrupted.
                    if !global.json && printed.is_ok() {
                        printed = render::print(global, &Value::Null, &[path]);
                    }
                }
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    let line = terminal::one_line(&error);
                    terminal::warn_of_failure(&format!("{image}: {line}"));
                    values.push(json!({ "image": image.to_string(), "error": line }));
                    failed.push((image, error));
                }
            }
        }
        Ok(())
    });
    let tried = values.len();
    if global.json {
        render::print(global, &Value::from(values), &[])?;
    }
    printed?;
    let count = failed.len();
    if let Err(stopped) = ended {
        let what = format!("{} of {all} images were pulled before", tried - count);
        return Err(stopped.context(what));
    }
    // One that fails again whenever it is tried decides about the exit code.
    failed.sort_by_key(|(_, error)| failure::exit_code(error) == failure::TRANSIENT);
    match failed.into_iter().next() {
        None => Ok(()),
        Some((image, error)) => {
            let what = format!("{count} of {all} images could not be pulled, {image} first");
            Err(error.context(what))
        }
    }
}

async fn pull(store: &Store, command: &Pull, image: &str) -> Result<Pulled, hpcc_rootfs::Error> {
    let pull = || store.pull_image(image, command.options.digest.as_ref());
    let pulled = pull().await?;
    // What was just built was just written.
    if !command.options.verify || pulled.built.is_some() {
        return Ok(pulled);
    }
    match store.verify(&pulled.digest)? {
        Some(damage) if damage.is_empty() => Ok(pulled),
        Some(damage) => {
            let damage: Vec<_> = damage.iter().map(ToString::to_string).collect();
            terminal::warn(&format!(
                "rebuilding {}: damaged in {}",
                pulled.digest,
                damage.join("; ")
            ));
            pull().await
        }
        // Removed meanwhile.
        None => pull().await,
    }
}

/// Says what was done, and returns the JSON and the path of an artifact.
fn report(global: &Global, command: &Pull, pulled: &Pulled) -> (Value, String) {
    if let Some(summary) = &pulled.built {
        work::summary(global, summary, command.options.timings());
    } else if global.verbose || command.options.timings() {
        terminal::say("already there");
    }
    let path = output::path(&pulled.path);
    let value = json!({
        "digest": pulled.digest.to_string(),
        "path": path,
        "record": render::record(&pulled.record),
        "built": pulled.built.as_ref().map(render::summary),
    });
    (value, path)
}
