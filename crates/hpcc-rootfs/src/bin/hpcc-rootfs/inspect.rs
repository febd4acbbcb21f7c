//! `hpcc-rootfs inspect`.

use ociget::Digest;
use serde_json::json;

use crate::args::{Global, Inspect};
use crate::{output, render, requires, subject, tree};

pub(crate) fn run(global: &Global, command: &Inspect) -> anyhow::Result<()> {
    let (path, file, record) = subject::open(global, &command.subject)?;
    if command.requires.requires {
        return requires::run(global, &command.requires, &path, &file, &record);
    }
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
    if let Some(verity) = &record.verity {
        let text = [
            ("verity root", verity.root()),
            ("verity salt", verity.salt()),
            ("verity uuid", verity.uuid()),
            ("data blocks", verity.data_blocks.to_string()),
            ("hash offset", verity.hash_offset.to_string()),
        ];
        lines.extend(text.map(|(name, value)| format!("{name:<11} {value}")));
    }
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
