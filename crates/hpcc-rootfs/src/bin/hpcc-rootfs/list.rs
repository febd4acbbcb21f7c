//! `hpcc-rootfs list`.

use serde_json::{Value, json};

use hpcc_rootfs::Store;
use ociget::Digest;

use crate::args::Global;
use crate::render;

pub(crate) fn run(global: &Global) -> anyhow::Result<()> {
    let store = global.store()?;
    let rows = store
        .existing_images()?
        .into_iter()
        .map(|digest| row(&store, &digest))
        .collect::<Vec<_>>();
    let lines: Vec<_> = rows.iter().map(|(text, _)| text.as_str()).collect();
    let values: Vec<_> = rows.iter().map(|(_, value)| value).collect();
    render::print(global, &json!(values), &lines.join("\n"))
}

/// One artifact: digest, size, platform, agent. A damaged one is listed as what it is.
fn row(store: &Store, digest: &Digest) -> (String, Value) {
    let path = store.path_for(digest);
    let common = json!({
        "digest": digest.to_string(),
        "path": path.display().to_string(),
    });
    match store.record(digest) {
        Ok(Some(record)) => {
            let agent = record
                .key
                .agent
                .as_ref()
                .map_or("-", |agent| agent.hex().get(..12).unwrap_or_default());
            let size = indicatif::HumanBytes(record.image_length);
            let text = format!(
                "{digest}  {size:>10}  {}  agent {agent}",
                record.key.platform
            );
            (text, merge(common, "record", render::record(&record)))
        }
        Ok(None) => (
            format!("{digest}  removed meanwhile"),
            merge(common, "error", "removed meanwhile".into()),
        ),
        Err(error) => (
            format!("{digest}  unusable: {error}"),
            merge(common, "error", error.to_string().into()),
        ),
    }
}

fn merge(mut object: Value, name: &str, value: Value) -> Value {
    if let Value::Object(map) = &mut object {
        map.insert(name.to_owned(), value);
    }
    object
}
