//! Images described in Rust: layers, one image manifest over them, an index over several.
//!
//! Everything ends up in a [`Store`]: bytes under their digest, which a
//! [`Registry`](crate::registry::Registry) serves or which is written out as an OCI image layout.
//! What is built is right unless a test asks for wrong: [`Image::edit_config`],
//! [`Image::edit_manifest`], [`Entry::patch`] and [`Layer::raw`] are the ways to lie.

mod entry;
mod incompressible;
mod index;
mod large;
mod layer;
mod pieces;
mod program;
mod store;

use std::sync::Arc;

use serde_json::{Value, json};

pub use entry::Entry;
pub use index::Index;
pub use large::{LargeLayer, Member};
pub use layer::{Compression, Layer};
pub use pieces::Pieces;
pub use program::static_program;
pub use store::{Content, Descriptor, Store, sha256};

/// Whose names a manifest uses for itself and for what it points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// `application/vnd.oci.image.*`.
    Oci,
    /// `application/vnd.docker.*`: Docker's schema 2. It has no name for zstd layers; the OCI name
    /// stands in for it, as BuildKit does.
    Docker,
}

type Edit = Arc<dyn Fn(&mut Value) + Send + Sync>;

/// An image to be: linux/amd64 and OCI unless said otherwise.
#[derive(Clone)]
pub struct Image {
    flavour: Flavour,
    layers: Vec<Layer>,
    config: Value,
    edit_manifest: Option<Edit>,
}

impl Default for Image {
    fn default() -> Self {
        Self::new()
    }
}

impl Image {
    /// Returns an image with no layers, an empty config, linux/amd64.
    #[must_use]
    pub fn new() -> Self {
        Self {
            flavour: Flavour::Oci,
            layers: Vec::new(),
            config: json!({"architecture": "amd64", "os": "linux", "config": {}}),
            edit_manifest: None,
        }
    }

    /// Adds a layer on top of those there.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Sets the media types of manifest, config and layers: those of OCI or of Docker's schema 2.
    #[must_use]
    pub fn flavour(mut self, flavour: Flavour) -> Self {
        self.flavour = flavour;
        self
    }

    /// Sets the platform: `linux/arm64` or `linux/arm/v7`.
    #[must_use]
    pub fn platform(mut self, platform: &str) -> Self {
        let mut parts = platform.splitn(3, '/');
        for field in ["os", "architecture", "variant"] {
            if let Some(part) = parts.next() {
                self.config[field] = part.into();
            }
        }
        self
    }

    /// Adds `NAME=value`.
    #[must_use]
    pub fn env(mut self, variable: &str) -> Self {
        match &mut self.config["config"]["Env"] {
            Value::Array(list) => list.push(variable.into()),
            other => *other = json!([variable]),
        }
        self
    }

    /// Sets the program that the image starts.
    #[must_use]
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.config["config"]["Entrypoint"] = json!(words);
        self
    }

    /// Arguments to the entrypoint.
    #[must_use]
    pub fn cmd(mut self, words: &[&str]) -> Self {
        self.config["config"]["Cmd"] = json!(words);
        self
    }

    /// Changes the config document. `rootfs` is filled in afterwards, unless the edit sets it.
    #[must_use]
    pub fn edit_config(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.config);
        self
    }

    /// Changes the finished manifest just before it is written and digested.
    #[must_use]
    pub fn edit_manifest(mut self, edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        self.edit_manifest = Some(Arc::new(edit));
        self
    }

    /// Puts layers, config and manifest into `store`, and gives the manifest's descriptor, with the
    /// platform that an index needs.
    pub fn add_to(&self, store: &mut Store) -> Descriptor {
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for layer in &self.layers {
            diff_ids.push(Value::from(layer.diff_id()));
            layers.push(layer.add_to(store, self.flavour).to_json());
        }
        let mut config = self.config.clone();
        if config.get("rootfs").is_none() {
            config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        }
        let (manifest_type, config_type) = match self.flavour {
            Flavour::Oci => (
                "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.oci.image.config.v1+json",
            ),
            Flavour::Docker => (
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.container.image.v1+json",
            ),
        };
        let config_blob = store.add(config_type, config.to_string());
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": config_blob.to_json(),
            "layers": layers,
        });
        if let Some(edit) = &self.edit_manifest {
            edit(&mut manifest);
        }
        let mut platform = json!({"os": config["os"], "architecture": config["architecture"]});
        if let Some(variant) = config.get("variant") {
            platform["variant"] = variant.clone();
        }
        store
            .add(manifest_type, manifest.to_string())
            .with_platform(platform)
    }
}
