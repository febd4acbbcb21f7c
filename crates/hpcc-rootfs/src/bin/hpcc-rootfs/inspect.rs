//! `hpcc-rootfs inspect`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use hpcc_rootfs::tables::{Sizes, Tables};
use hpcc_rootfs::{Artifact, Count, Record, ShortDigest};
use ociget::{Digest, printable};
use serde_json::{Value, json};

use crate::failure::{DAMAGED, Failure};
use crate::global::Global;
use crate::list::SHORT;
use crate::quantity::bytes;
use crate::requires::Requires;
use crate::subject::Subject;
use crate::table::cut_to;
use crate::{columns, output, render, requires, subject, terminal, tree};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hpcc-rootfs inspect debian:12
  hpcc-rootfs inspect ./out.sqsh --tree")]
pub(crate) struct Inspect {
    /// The artifact, by digest, prefix of a digest, reference or path
    #[arg(value_name = "NAME")]
    subject: Subject,
    /// Also list every file in the artifact
    #[arg(long)]
    tree: bool,
    #[command(flatten)]
    requires: Requires,
}

/// Path of the image's description of itself.
const DESCRIPTION: &[u8] = b"/.hpcc/image.json";
/// Largest description in bytes: that of the largest config that a client accepts, escaped, and a margin.
const DESCRIPTION_MAX: usize = 64 << 20;

pub(crate) fn run(global: &Global, command: &Inspect) -> anyhow::Result<()> {
    let (path, file, record) = subject::open(global, &command.subject)?;
    if command.requires.requires {
        return requires::run(global, &command.requires, &path, &file, &record);
    }
    let (artifact, blobs) = stored(global, &path, &record).unzip();
    let image = description(&file);
    let layers = layers(image.as_ref().ok(), blobs.flatten().unwrap_or_default());
    let sizes = Sizes::read(&file, record.image_length);
    let mut lines = vec![line("path", &output::path(&path))];
    lines.extend(of_record(&record));
    let artifact = artifact.as_ref();
    let source = artifact.and_then(|artifact| artifact.source.as_deref());
    lines.push(line("source", source.unwrap_or("-")));
    lines.extend(of_image(&image));
    lines.extend(layers.iter().map(|layer| line("layer", &layer.text())));
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    lines.push(line("size", &bytes(length)));
    match &sizes {
        Ok(sizes) => lines.extend(of_sizes(sizes, &record)),
        Err(error) => lines.push(line("contents", &format!("not known: {error}"))),
    }
    if let Some(width) = output::width() {
        lines = lines.iter().flat_map(|line| fit(line, width)).collect();
    }
    let mut value = json!({
        "path": output::path(&path),
        "record": render::record(&record),
        "source": render::source(source),
        "references": artifact.map(|artifact| &artifact.references),
        "size": length,
        "image": image.as_ref().ok(),
        "layers": layers.iter().map(|layer| json!({
            "layer": layer.number,
            "digest": layer.digest,
            "size": layer.size,
        })).collect::<Vec<_>>(),
        "contents": sizes.as_ref().ok().map(|sizes| json!({
            "parts": sizes.parts.iter().map(|(name, bytes)| json!({
                "part": name,
                "bytes": bytes,
            })).collect::<Vec<_>>(),
            "file_bytes": sizes.contents,
            "files": sizes.files,
            "names": sizes.names,
        })),
    });
    let failed = match (sizes, image) {
        (Err(error), _) => {
            let error = anyhow::Error::from(error);
            Some(error.context(tree::unreadable(&path)))
        }
        (Ok(_), Err(Unknown::Damaged(error))) => Some(error),
        _ => None,
    };
    match (command.tree, global.json) {
        (false, _) => {
            if let Some(error) = &failed {
                value["error"] = terminal::one_line(error).into();
            }
            render::print(global, &value, &lines)?;
        }
        (true, false) => tree::print_text(&path, &file, &lines)?,
        (true, true) => tree::print_json(&path, &file, &value, failed.as_ref())?,
    }
    failed.map_or(Ok(()), Err)
}

/// Column in which values begin, less the space before them.
const NAME: usize = 11;

fn line(name: &str, value: &str) -> String {
    format!("{name:<NAME$} {value}")
}

/// Returns a line in as many lines as it takes in a window of this width. A digest that does not fit is shortened, as
/// in `list`, because it could not be copied from two lines.
fn fit(line: &str, width: usize) -> Vec<String> {
    let line = printable::text(line);
    if columns::width(&line) <= width {
        return vec![line];
    }
    let name: String = line.chars().take(NAME + 1).collect();
    let value = line.get(name.len()..).unwrap_or_default();
    let is_hex = |text: &str| text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (algorithm, hex) = value.split_once(':').unwrap_or(("", value));
    if is_hex(hex) {
        let short = hex.get(..SHORT).unwrap_or(hex);
        let colon = if algorithm.is_empty() { "" } else { ":" };
        return vec![cut_to(&format!("{name}{algorithm}{colon}{short}"), width)];
    }
    if width <= NAME + 1 {
        return columns::fold(&line, width);
    }
    let folded = columns::fold(value, width - NAME - 1);
    let lines = folded.iter().enumerate();
    lines
        .map(|(number, value)| match number {
            0 => format!("{name}{value}"),
            _ => format!("{:1$}{value}", "", NAME + 1),
        })
        .collect()
}

/// Returns the facts of the store about the artifact, if it is in the store, and the sizes of its layers' blobs.
fn stored(global: &Global, path: &Path, record: &Record) -> Option<(Artifact, Option<Blobs>)> {
    let store = global.store().ok()?;
    let identity = &record.key.identity;
    if store.path_for(identity) != path {
        return None;
    }
    let artifact = store.artifact(identity).ok()??;
    Some((artifact, store.layer_sizes(identity)))
}

/// Sizes of blobs by their digests.
type Blobs = BTreeMap<String, u64>;

/// A layer, as errors and progress name it.
struct Layer {
    /// From 1, the oldest.
    number: usize,
    of: usize,
    digest: String,
    /// Bytes of the blob, if the build left that in the store.
    size: Option<u64>,
}

impl Layer {
    fn text(&self) -> String {
        let Self { number, of, .. } = self;
        let digest = self.digest.parse::<Digest>();
        let digest = digest.map_or_else(|_| self.digest.clone(), |d| ShortDigest(&d).to_string());
        let size = self.size.map(bytes).unwrap_or_else(|| "-".to_owned());
        format!("{number} of {of} {digest} {size}")
    }
}

fn layers(image: Option<&Value>, blobs: Blobs) -> Vec<Layer> {
    let layers = image.and_then(|image| image["layers"].as_array());
    let layers = layers.map(Vec::as_slice).unwrap_or_default();
    let numbered = layers.iter().enumerate();
    numbered
        .map(|(index, layer)| {
            let digest = layer["digest"].as_str().unwrap_or_default();
            Layer {
                number: index + 1,
                of: layers.len(),
                digest: digest.to_owned(),
                size: blobs.get(digest).copied(),
            }
        })
        .collect()
}

/// Why the image's description of itself is not known.
#[derive(Debug)]
enum Unknown {
    /// Another program may have made the artifact.
    Missing,
    Damaged(anyhow::Error),
}

/// Returns the image's description of itself.
fn description(file: &File) -> Result<Value, Unknown> {
    let read =
        Tables::open(file).and_then(|mut tables| tables.contents(DESCRIPTION, DESCRIPTION_MAX));
    let text = read.map_err(|error| Unknown::Damaged(error.into()))?;
    let text = text.ok_or(Unknown::Missing)?;
    let damaged = |_| {
        Unknown::Damaged(
            Failure {
                kind: "corrupt",
                message: "/.hpcc/image.json in the image is damaged".to_owned(),
                hint: Some(DAMAGED.to_owned()),
                transient: false,
            }
            .into(),
        )
    };
    serde_json::from_slice(&text).map_err(damaged)
}

fn of_record(record: &Record) -> Vec<String> {
    let key = &record.key;
    let agent = key
        .agent
        .as_ref()
        .map_or_else(|| "none".into(), Digest::to_string);
    let mut lines = Vec::from(
        [
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
        .map(|(name, value)| line(name, &value)),
    );
    match &record.verity {
        Some(verity) => lines.extend(
            [
                ("verity root", verity.root()),
                ("verity salt", verity.salt()),
                ("verity uuid", verity.uuid()),
                ("data blocks", verity.data_blocks.to_string()),
                ("hash offset", verity.hash_offset.to_string()),
            ]
            .map(|(name, value)| line(name, &value)),
        ),
        None => lines.push(line("verity", "none")),
    }
    for file in &key.injected {
        let value = format!("/.hpcc/{} {:o} {}", file.path, file.mode, file.digest);
        lines.push(line("injected", &value));
    }
    let points = key.mount_points.iter();
    lines.extend(points.map(|point| line("mount point", point)));
    lines
}

/// Returns the lines about what a guest runs.
fn of_image(image: &Result<Value, Unknown>) -> Vec<String> {
    let problem = match image {
        Ok(_) => String::new(),
        Err(Unknown::Missing) => "the image has no /.hpcc/image.json".to_owned(),
        Err(Unknown::Damaged(error)) => terminal::one_line(error),
    };
    let Ok(image) = image else {
        return vec![line("image", &format!("not known: {problem}"))];
    };
    let config = &image["config"];
    let words = |name: &str| {
        let words = config[name].as_array().filter(|words| !words.is_empty());
        // As JSON, so that an empty word and one with spaces can be distinguished.
        words.map_or_else(
            || "-".to_owned(),
            |words| Value::from(words.clone()).to_string(),
        )
    };
    let text = |name: &str| {
        let text = config[name].as_str().filter(|text| !text.is_empty());
        text.unwrap_or("-").to_owned()
    };
    let mut lines = Vec::from(
        [
            ("entrypoint", words("entrypoint")),
            ("cmd", words("cmd")),
            ("user", text("user")),
            ("working dir", text("working_dir")),
        ]
        .map(|(name, value)| line(name, &value)),
    );
    // Artifacts of older versions have no ports.
    if config.get("exposed_ports").is_some() {
        lines.push(line("ports", &words("exposed_ports")));
    }
    let env = config["env"].as_array().map(Vec::as_slice);
    let env = env.unwrap_or_default().iter();
    lines.extend(env.map(|value| line("env", value.as_str().unwrap_or_default())));
    lines
}

/// Returns the lines about sizes, compressed and not.
fn of_sizes(sizes: &Sizes, record: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, stored) in &sizes.parts {
        let mut value = bytes(*stored);
        if *name == "data" {
            value.push_str(&format!(
                " for {} of {} ({})",
                bytes(sizes.contents),
                Count(sizes.files, "file"),
                record.key.compressor
            ));
        }
        lines.push(format!("{name:<15} {value}"));
    }
    lines
}
