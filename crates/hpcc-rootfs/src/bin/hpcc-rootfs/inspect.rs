//! `hpcc-rootfs inspect`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use hpcc_rootfs::Record;
use ociget::Digest;
use serde_json::json;

use crate::args::{Global, Inspect};
use crate::subject::Subject;
use crate::{output, render, tree};

pub(crate) fn run(global: &Global, command: &Inspect) -> anyhow::Result<()> {
    let (path, file, record) = find(global, &command.subject)?;
    let key = &record.key;
    let agent = key
        .agent
        .as_ref()
        .map_or_else(|| "none".into(), Digest::to_string);
    let text = [
        ("path", output::path(&path)),
        ("identity", key.identity.to_string()),
        ("manifest", key.manifest.to_string()),
        ("platform", key.platform.clone()),
        ("agent", agent),
        ("compressor", key.compressor.clone()),
        ("block size", key.block_size.to_string()),
        ("tails", if key.tails { "yes" } else { "no" }.into()),
        ("time", key.time.to_string()),
        ("format", key.format.to_string()),
        ("length", record.image_length.to_string()),
        ("root", format!("blake3:{}", record.root())),
    ]
    .map(|(name, value)| format!("{name:<11} {value}"));
    let mut lines = Vec::from(text);
    for file in &key.injected {
        let line = format!(
            "injected    /.hpcc/{} {:o} {}",
            file.path, file.mode, file.digest
        );
        lines.push(line);
    }
    let value = json!({
        "path": output::path(&path),
        "record": render::record(&record),
    });
    match (command.tree, global.json) {
        (false, _) => render::print(global, &value, &lines),
        (true, false) => tree::print_text(&path, &file, &lines),
        (true, true) => tree::print_json(&path, &file, &value),
    }
}

/// A digest names an artifact in the store; anything else is a path.
fn find(global: &Global, subject: &Subject) -> anyhow::Result<(PathBuf, File, Record)> {
    let open = |path: &Path| {
        let file = hpcc_rootfs::open_artifact(path);
        file.with_context(|| format!("cannot read {}", output::path(path)))
    };
    let digest = match subject {
        Subject::Digest(digest) => digest,
        Subject::File(path) => {
            let record = hpcc_rootfs::read_record(path)?;
            return Ok((std::path::absolute(path)?, open(path)?, record));
        }
    };
    let store = global.store()?;
    match store.record(digest)? {
        Some(record) => {
            let path = store.path_for(digest);
            let file = open(&path)?;
            Ok((path, file, record))
        }
        None => bail!(
            "{digest} is not in the store at {}; pull it first",
            output::path(store.directory())
        ),
    }
}
