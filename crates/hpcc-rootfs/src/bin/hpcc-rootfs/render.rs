//! stdout: results as text for people and scripts, or as one JSON document.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use hpcc_rootfs::{Record, Summary};
use ociget::{Digest, printable};
use serde_json::{Value, json};

use crate::columns;
use crate::global::Global;
use crate::output::{self, Notation};

/// Prints JSON or lines, as configured.
pub(crate) fn print(global: &Global, json: &Value, lines: &[String]) -> anyhow::Result<()> {
    if global.json {
        return pretty(json);
    }
    let mut stdout = output::stdout(Notation::Text);
    lines
        .iter()
        .try_for_each(|line| output::write_line(&mut stdout, line))
        .and_then(|()| stdout.flush())
        .context("cannot write to stdout")
}

/// Prints JSON or lines, as configured. A window shows all of a longer line, in further ones that are indented so far.
pub(crate) fn print_folded(
    global: &Global,
    json: &Value,
    lines: &[String],
    indent: usize,
) -> anyhow::Result<()> {
    let Some(width) = output::width().filter(|_| !global.json) else {
        return print(global, json, lines);
    };
    let folded = lines
        .iter()
        .flat_map(|line| columns::fold_indented(&printable::text(line), width, indent));
    print(global, json, &folded.collect::<Vec<_>>())
}

/// Prints JSON for people and programs.
pub(crate) fn pretty(json: &Value) -> anyhow::Result<()> {
    let mut stdout = output::stdout(Notation::Json);
    serde_json::to_writer_pretty(&mut stdout, json)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(stdout))
        .and_then(|()| stdout.flush())
        .context("cannot write to stdout")
}

/// Prints a JSON document as it is, in one line.
pub(crate) fn document(json: &str) -> anyhow::Result<()> {
    let mut stdout = output::stdout(Notation::Json);
    writeln!(stdout, "{json}")
        .and_then(|()| stdout.flush())
        .context("cannot write to stdout")
}

/// Returns the source of an artifact for JSON, without the secrets of a URL in its tag.
pub(crate) fn source(source: Option<&str>) -> Option<String> {
    source.map(|source| match source.contains("://") {
        true => printable::text(source),
        false => source.to_owned(),
    })
}

pub(crate) fn path(global: &Global, path: &Path) -> anyhow::Result<()> {
    result(global, &json!({ "path": output::path(path) }), path)
}

/// Prints JSON or the path of a file, as configured.
pub(crate) fn result(global: &Global, json: &Value, path: &Path) -> anyhow::Result<()> {
    match global.json {
        true => print(global, json, &[]),
        false => output::print_path(path).context("cannot write to stdout"),
    }
}

pub(crate) fn untagged(global: &Global, digest: &Digest, removed: bool) -> anyhow::Result<()> {
    print(
        global,
        &json!({ "digest": digest.to_string(), "removed": removed }),
        &[],
    )
}

/// Returns a record as JSON.
pub(crate) fn record(record: &Record) -> Value {
    json!({
        "key": record.key,
        "image_length": record.image_length,
        "chunk_size": hpcc_rootfs::CHUNK,
        "root": record.root(),
        "verity": record.verity,
    })
}

/// Returns the summary of a build as JSON. Times are in seconds, sizes in bytes.
pub(crate) fn summary(summary: &Summary) -> Value {
    let layers = &summary.flattened;
    let image = &summary.image;
    let stages = summary.timings.stages().into_iter().map(|(name, stage)| {
        let stage = json!({
            "bytes": stage.bytes,
            "busy_seconds": stage.busy.as_secs_f64(),
            "waits_for_input_seconds": stage.starved.as_secs_f64(),
            "waits_for_room_seconds": stage.blocked.as_secs_f64(),
        });
        (name.to_owned(), stage)
    });
    json!({
        "layers": {
            "entries": layers.entries,
            "logical_bytes": layers.logical_bytes,
            "metadata_bytes": layers.metadata_bytes,
            "whiteouts": layers.whiteouts,
            "skipped_bytes": layers.skipped_bytes,
            "dropped_reserved": layers.reserved,
            "dropped_hidden": layers.hidden,
            "dropped_acls": layers.acls,
            "dropped_overlay_xattrs": layers.overlay_xattrs,
            "clamped_times": layers.clamped_times,
            // Layers are numbered from 1 in all output.
            "read_again": layers.layers_read_again.iter().map(|layer| layer + 1).collect::<Vec<_>>(),
        },
        "image": {
            "bytes": image.image_bytes,
            "inodes": image.inodes,
            "blocks": image.blocks,
            "fragments": image.fragments,
            "raw_blocks": image.raw_blocks,
            "body_bytes": image.body_bytes,
            "data_bytes": image.data_bytes,
            "hole_bytes": image.hole_bytes,
            "dead_bytes": image.dead_bytes,
            "dropped_xattrs": summary.dropped_xattrs(),
        },
        "reuse": {
            "layers": summary.reuse.layers,
            "bytes": summary.reuse.bytes,
            "sources": summary.reuse.sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "replaced_mount_points": summary.replaced_mount_points,
        "made_mount_points": summary.made_mount_points,
        "mistyped_members": summary.mistyped_members,
        "agent_problem": summary.agent_problem,
        "seconds": {
            "reading": summary.reading.as_secs_f64(),
            "sealing": summary.sealing.as_secs_f64(),
            "publishing": summary.timings.publish.busy.as_secs_f64(),
            "total": summary.timings.total.as_secs_f64(),
        },
        "timings": stages.collect::<serde_json::Map<_, _>>(),
    })
}
