//! The images that follow another one.

use std::collections::HashMap;

use anyhow::{Context, Error, Result};
use serde_json::{Value, json};
use test_support::image::{Image, Layer, Store};
use test_support::real_image::{self, RealImage};
use test_support::text::text;

/// Files that one of the layers replaces.
const REPLACED: usize = 400;
/// Bytes of an agent.
const AGENT: usize = 10 << 20;
/// Bytes of an application.
const APP: usize = 2 << 20;

/// All images, in one registry.
pub(super) struct Images {
    /// Digest of the one that the store holds.
    pub(super) first: String,
    pub(super) seconds: Vec<Second>,
    /// Of everything, by digest.
    sizes: HashMap<String, u64>,
    /// The registry reads the layers of a generated image from this layout.
    _layout: tempfile::TempDir,
}

/// An image that is pulled when the first one is in the store.
pub(super) struct Second {
    /// As it stands in the table.
    pub(super) name: &'static str,
    pub(super) digest: String,
    /// Which of the agents it gets.
    pub(super) agent: usize,
}

/// A layer, as manifest and config name it.
#[derive(Clone)]
struct Named {
    descriptor: Value,
    diff_id: String,
}

impl Images {
    /// Makes the images. `tree` lists the names of an image in a layout, as `inspect --tree` does.
    pub(super) fn prepare(
        tiny: bool,
        tree: impl FnOnce(&str) -> Result<String>,
    ) -> Result<(Self, Store)> {
        let scratch = tempfile::tempdir()?;
        let layout = match tiny {
            true => {
                let mut store = Store::new();
                let image = tiny_image().add_to(&mut store);
                store.tag(RealImage::TAG, &image);
                store.write_layout(scratch.path()).map_err(Error::msg)?;
                scratch.path().to_owned()
            }
            false => real_image::compilers()
                .map_err(Error::msg)?
                .context("the image is built as root")?
                .layout()
                .to_owned(),
        };
        let tree = tree(&format!("oci:{}:{}", layout.display(), RealImage::TAG))?;
        let mut store = Store::open_layout(&layout).map_err(Error::msg)?;
        let document = |store: &Store, digest: &str| -> Result<Value> {
            let (_, content) = store.get(digest).context("a document is missing")?;
            Ok(serde_json::from_slice(&content.bytes()?)?)
        };
        let manifest = store
            .tagged(RealImage::TAG)
            .context("no image")?
            .digest
            .clone();
        let manifest = document(&store, &manifest)?;
        let config = manifest["config"]["digest"].as_str().context("no config")?;
        let config = document(&store, config)?;
        let layers = manifest["layers"].as_array().context("no layers")?;
        let diff_ids = config["rootfs"]["diff_ids"]
            .as_array()
            .context("no DiffIDs")?;
        let mut base = Vec::new();
        for (descriptor, diff_id) in layers.iter().zip(diff_ids) {
            base.push(Named {
                descriptor: descriptor.clone(),
                diff_id: diff_id.as_str().context("a DiffID is no text")?.to_owned(),
            });
        }
        let text = text(16 << 20);
        let add = |store: &mut Store, layer: &Layer| -> Named {
            let blob = store.add("application/vnd.oci.image.layer.v1.tar+gzip", layer.blob());
            Named {
                descriptor: blob.to_json(),
                diff_id: layer.diff_id(),
            }
        };
        let app = |at: usize| {
            let body = text.get(at..at + APP).unwrap_or_default();
            Layer::new().dir("app").file("app/program", body)
        };
        let (one, two) = (add(&mut store, &app(0)), add(&mut store, &app(APP)));
        let scattered = add(&mut store, &scattered(&tree, &text)?);
        let (_, rest) = base.split_last().context("no layers")?;
        let (oldest, others) = base.split_first().context("no layers")?;
        let stacks: Vec<(&'static str, Vec<Named>, usize)> = vec![
            ("first", [&base[..], std::slice::from_ref(&one)].concat(), 0),
            ("another application layer", [&base[..], &[two]].concat(), 0),
            ("400 files replaced", [&base[..], &[scattered]].concat(), 0),
            (
                "another agent",
                [&base[..], std::slice::from_ref(&one)].concat(),
                1,
            ),
            (
                "a layer less",
                [rest, std::slice::from_ref(&one)].concat(),
                0,
            ),
            (
                "layers in another order",
                [&[oldest.clone(), one], others].concat(),
                0,
            ),
        ];
        let mut images = Vec::new();
        for (name, layers, agent) in stacks {
            let mut config = config.clone();
            let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
            config["rootfs"]["diff_ids"] = json!(diff_ids);
            if let Some(config) = config.as_object_mut() {
                config.remove("history");
            }
            let config = store.add(
                "application/vnd.oci.image.config.v1+json",
                config.to_string().into_bytes(),
            );
            let media_type = "application/vnd.oci.image.manifest.v1+json";
            let descriptors: Vec<_> = layers.into_iter().map(|layer| layer.descriptor).collect();
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": media_type,
                "config": config.to_json(),
                "layers": descriptors,
            });
            let manifest = store.add(media_type, manifest.to_string().into_bytes());
            images.push(Second {
                name,
                digest: manifest.digest,
                agent,
            });
        }
        let first = images.remove(0).digest;
        let sizes = store
            .sizes()
            .map(|(digest, size)| (digest.to_owned(), size))
            .collect();
        let images = Self {
            first,
            seconds: images,
            sizes,
            _layout: scratch,
        };
        Ok((images, store))
    }

    /// Returns the size of what a path of the registry names.
    pub(super) fn size(&self, path: &str) -> u64 {
        let digest = path.rsplit('/').next().unwrap_or_default();
        self.sizes.get(digest).copied().unwrap_or(0)
    }
}

/// Returns an agent that is none, of a size that programs have.
pub(super) fn agent(number: usize) -> Vec<u8> {
    let mut agent = format!("#!/agent {number}\n").into_bytes();
    agent.extend(
        text(AGENT)
            .iter()
            .map(|byte| byte ^ number.to_le_bytes()[0]),
    );
    agent
}

/// Returns a layer that replaces files all over an image.
fn scattered(tree: &str, text: &[u8]) -> Result<Layer> {
    let names: Vec<&str> = tree
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            match fields[..] {
                [mode, _, size, _, path] => {
                    let plain = mode.starts_with('-') && !path.contains('\\');
                    (plain && size != "0" && !path.starts_with("/.hpcc")).then_some(path)
                }
                _ => None,
            }
        })
        .collect();
    anyhow::ensure!(names.len() >= REPLACED, "only {} files", names.len());
    let step = names.len() / REPLACED;
    let chosen = names.iter().step_by(step).take(REPLACED);
    Ok(chosen.enumerate().fold(Layer::new(), |layer, (n, name)| {
        let start = n * 8191;
        let body = text.get(start..start + 500 + n * 37 % 20_000);
        layer.file(name.trim_start_matches('/'), body.unwrap_or_default())
    }))
}

/// Three layers of some hundred files.
fn tiny_image() -> Image {
    let text = text(16 << 20);
    (0..3).fold(Image::new(), |image, layer| {
        let mut files = Layer::new().dir(format!("d{layer}"));
        for n in 0..200_usize {
            let start = (layer * 200 + n) * 12_345;
            let body = text.get(start..start + 100 + n * 97).unwrap_or_default();
            files = files.file(format!("d{layer}/{n}"), body);
        }
        image.layer(files)
    })
}
