//! `hpcc-rootfs df`.

use std::cmp::Reverse;

use anyhow::bail;
use hpcc_rootfs::{Count, Size};
use serde_json::json;

use crate::global::Global;
use crate::list::{digest, distinct};
use crate::quantity::bytes;
use crate::table::{self, Column};
use crate::{output, render, terminal};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hpcc-rootfs df
  hpcc-rootfs df --json")]
pub(crate) struct Df {
    /// Print full digests and full lines, as in a pipe
    #[arg(long)]
    no_trunc: bool,
}

const COLUMNS: [Column; 6] = [
    Column::text("DIGEST", 0),
    Column::number("SIZE", 3),
    Column::number("ON DISK", 0),
    Column::number("LAYERS", 2),
    Column::number("SHARED", 1),
    Column::cut("SOURCE"),
];

pub(crate) fn run(global: &Global, command: &Df) -> anyhow::Result<()> {
    let store = global.store()?;
    let mut usage = store.usage()?;
    usage
        .artifacts
        .sort_by_key(|artifact| Reverse(artifact.disk));
    let width = output::width().filter(|_| !command.no_trunc);
    let digests: Vec<_> = usage
        .artifacts
        .iter()
        .map(|artifact| &artifact.digest)
        .collect();
    let digits = width.map(|_| distinct(&digests));
    let unknown = || "-".to_owned();
    let rows: Vec<_> = usage
        .artifacts
        .iter()
        .map(|artifact| {
            let layers = artifact.layers;
            vec![
                digest(&artifact.digest, digits),
                bytes(artifact.size),
                bytes(artifact.disk),
                layers.map_or_else(unknown, |layers| bytes(layers.total)),
                layers.map_or_else(unknown, |layers| bytes(layers.shared)),
                artifact.source.clone().unwrap_or_else(unknown),
            ]
        })
        .collect();
    let mut lines = match rows.is_empty() {
        true => Vec::new(),
        false => table::lines(&COLUMNS, &rows, width, true),
    };
    let disks = usage.artifacts.iter().map(|artifact| artifact.disk);
    let disk = disks.sum::<Size>().0;
    let totals = [
        ("artifacts", disk),
        ("beside them", usage.beside),
        ("leftovers", usage.leftovers),
    ];
    if !rows.is_empty() || usage.beside > 0 || usage.leftovers > 0 {
        // Each on a line of its own, because windows may be narrow.
        let total = |(name, size)| format!("total {name:<11} {:>10}", bytes(size));
        lines.extend(totals.map(total));
    }
    let failed: Vec<_> = usage
        .failed
        .iter()
        .map(|error| terminal::one_line(&error.clone().into()))
        .collect();
    let artifacts: Vec<_> = usage
        .artifacts
        .iter()
        .map(|artifact| {
            json!({
                "digest": artifact.digest.to_string(),
                "source": render::source(artifact.source.as_deref()),
                "size": artifact.size,
                "disk": artifact.disk,
                "links": artifact.links,
                "layers": artifact.layers.map(|layers| json!({
                    "total": layers.total,
                    "shared": layers.shared,
                })),
            })
        })
        .collect();
    let value = json!({
        "artifacts": artifacts,
        "disk": disk,
        "beside": usage.beside,
        "leftovers": usage.leftovers,
        "failed": failed,
    });
    render::print(global, &value, &lines)?;
    for line in &failed {
        terminal::warn_of_failure(&format!("left out: {line}"));
    }
    if !failed.is_empty() {
        let failed = Count::of(failed.len(), "artifact");
        bail!("{failed} could not be measured");
    }
    if rows.is_empty() && !global.quiet && !global.json {
        let directory = output::path(store.directory());
        terminal::say(&format!("the store at {directory} is empty"));
    }
    Ok(())
}
