//! `hpcc-rootfs gc`.

use hpcc_rootfs::Bounds;
use serde_json::json;

use crate::args::{Gc, Global};
use crate::render;

pub(crate) fn run(global: &Global, command: &Gc) -> anyhow::Result<()> {
    let mut bounds = Bounds::default();
    bounds.max_size = command.max_size;
    bounds.max_age = command.max_age;
    let collected = global.store()?.gc(&bounds)?;
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
    let value = json!({
        "removed": collected.removed.iter().map(|a| json!({
            "digest": a.digest.to_string(),
            "size": a.size,
        })).collect::<Vec<_>>(),
        "pinned": collected.pinned.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "remaining_bytes": collected.remaining_bytes,
        "leftovers": collected.leftovers,
    });
    render::print(global, &value, &lines)
}
