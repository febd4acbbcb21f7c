//! `hpcc-rootfs gc`.

use std::time::Duration;

use anyhow::bail;
use hpcc_rootfs::{Artifact, Bounds, Collected, Count, Size};
use serde_json::json;

use crate::global::Global;
use crate::quantity::{bytes, duration, size};
use crate::{render, terminal};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hpcc-rootfs gc
  hpcc-rootfs gc --max-size 20G --max-age 4w --dry-run")]
pub(crate) struct Gc {
    /// Largest total size of all artifacts and the files beside them, with K, M, G or T for powers of 1024,
    /// such as 1.5G [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Longest time since an artifact was last used, with w, d, h, m or s, such as 1w or 1h30m [default: no
    /// limit]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_age: Option<Duration>,
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(global: &Global, command: &Gc) -> anyhow::Result<()> {
    let mut bounds = Bounds::default();
    bounds.max_size = command.max_size;
    bounds.max_age = command.max_age;
    bounds.dry_run = command.dry_run;
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
            let verb = if command.dry_run {
                "would remove"
            } else {
                "removed"
            };
            let source = artifact.source.as_ref();
            let source = source.map_or(String::new(), |source| format!(", {source}"));
            let linked = match artifact.links {
                0 | 1 => "",
                _ => ", whose file another link keeps",
            };
            format!(
                "{verb} {} ({}{source}){linked}",
                artifact.digest,
                bytes(artifact.size.saturating_add(artifact.beside))
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
    lines.push(summary(&collected, command.dry_run));
    let value = json!({
        "dry_run": command.dry_run,
        "freed_bytes": freed(&collected),
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
    render::print_folded(global, &value, &lines, 2)?;
    for line in &failed {
        terminal::warn_of_failure(&format!("kept: {line}"));
    }
    if !failed.is_empty() {
        bail!("{} could not be removed", Count::of(failed.len(), "file"));
    }
    Ok(())
}

/// Returns the bytes that the removals free. A file with another link, such as in a jail, stays on the disk.
fn freed(collected: &Collected) -> u64 {
    let removed = collected.removed.iter();
    let freed = removed.flat_map(|gone| match gone.links {
        0 | 1 => [gone.size, gone.beside],
        _ => [0, gone.beside],
    });
    freed.sum::<Size>().0
}

/// Returns the last line: what was removed, and what remains.
fn summary(collected: &Collected, is_dry: bool) -> String {
    let (removed, leftovers) = (collected.removed.len() as u64, collected.leftovers);
    let artifacts = || {
        let freed = bytes(freed(collected));
        format!("{}, {freed}", Count(removed, "artifact"))
    };
    let files = Count(leftovers, "leftover file");
    let what = match (removed, leftovers) {
        (0, 0) => "nothing".to_owned(),
        (_, 0) => artifacts(),
        (0, _) => files.to_string(),
        _ => format!("{} and {files}", artifacts()),
    };
    let (verb, rest) = match is_dry {
        true => ("would remove", "would remain"),
        false => ("removed", "remain"),
    };
    let mut line = format!("{verb} {what}; {} {rest}", bytes(collected.remaining_bytes));
    if !collected.pinned.is_empty() {
        let pinned = Count::of(collected.pinned.len(), "artifact");
        line.push_str(&format!(", {pinned} in use"));
    }
    line
}

/// Returns the problem of an artifact's record.
fn problem(artifact: &Artifact) -> String {
    let error = artifact.record.as_ref().err().cloned();
    error.map_or_else(String::new, |error| terminal::one_line(&error.into()))
}
