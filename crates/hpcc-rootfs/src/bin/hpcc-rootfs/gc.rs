//! `hpcc-rootfs gc`.

use anyhow::bail;
use hpcc_rootfs::{Artifact, Bounds};
use serde_json::json;

use crate::args::{Gc, Global};
use crate::{render, terminal};

pub(crate) fn run(global: &Global, command: &Gc) -> anyhow::Result<()> {
    let mut bounds = Bounds::default();
    bounds.max_size = command.max_size;
    bounds.max_age = command.max_age;
    let collected = global.store()?.gc(&bounds)?;
    let failed: Vec<_> = collected
        .failed
        .iter()
        .map(|error| terminal::one_line(&error.clone().into()))
        .collect();
    let mut lines: Vec<_> = collected
        .removed
        .iter()
        .map(|artifact| {
            format!(
                "removed {} ({})",
                artifact.digest,
                indicatif::HumanBytes(artifact.size)
            )
        })
        .collect();
    lines.extend(
        collected
            .pinned
            .iter()
            .map(|digest| format!("kept {digest}: in use")),
    );
    lines.extend(collected.unusable.iter().map(|artifact| {
        let digest = &artifact.digest;
        format!("kept {digest}: unusable: {}", problem(artifact))
    }));
    let value = json!({
        "removed": collected.removed.iter().map(|a| json!({
            "digest": a.digest.to_string(),
            "size": a.size,
        })).collect::<Vec<_>>(),
        "pinned": collected.pinned.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unusable": collected.unusable.iter().map(|artifact| json!({
            "digest": artifact.digest.to_string(),
            "error": problem(artifact),
        })).collect::<Vec<_>>(),
        "failed": failed,
        "remaining_bytes": collected.remaining_bytes,
        "leftovers": collected.leftovers,
    });
    render::print(global, &value, &lines)?;
    for line in &failed {
        terminal::say(&format!("kept: {line}"));
    }
    if !failed.is_empty() {
        bail!(
            "the store keeps files that could not be removed: {}",
            failed.len()
        );
    }
    Ok(())
}

/// What is wrong with the record of an artifact.
fn problem(artifact: &Artifact) -> String {
    let error = artifact.record.as_ref().err().cloned();
    error.map_or_else(String::new, |error| terminal::one_line(&error.into()))
}
