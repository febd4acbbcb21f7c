//! `hpcc-rootfs inspect`.

use std::path::PathBuf;

use anyhow::bail;
use hpcc_rootfs::Record;
use ociget::Digest;
use serde_json::{Value, json};

use crate::args::{Global, Inspect};
use crate::subject::Subject;
use crate::tree::Tree;
use crate::{output, render};

pub(crate) fn run(global: &Global, command: &Inspect) -> anyhow::Result<()> {
    let (path, record) = find(global, &command.subject)?;
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
    let mut value = json!({
        "path": output::path(&path),
        "record": render::record(&record),
    });
    if command.tree {
        let tree = Tree::read(&path, global.json)?;
        lines.extend(tree.lines);
        if let Value::Object(map) = &mut value {
            map.insert("tree".to_owned(), tree.values.into());
        }
    }
    render::print(global, &value, &lines)
}

/// A digest names an artifact in the store; anything else is a path.
fn find(global: &Global, subject: &Subject) -> anyhow::Result<(PathBuf, Record)> {
    let digest = match subject {
        Subject::Digest(digest) => digest,
        Subject::File(path) => {
            return Ok((std::path::absolute(path)?, hpcc_rootfs::read_record(path)?));
        }
    };
    let store = global.store()?;
    match store.record(digest)? {
        Some(record) => Ok((store.path_for(digest), record)),
        None => bail!(
            "{digest} is not in the store at {}; pull it first",
            output::path(store.directory())
        ),
    }
}
