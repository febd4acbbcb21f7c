//! Several platforms under one digest.

use serde_json::{Value, json};

use super::{Descriptor, Flavour, Image, Layer, Store};

/// An image index (OCI) or manifest list (Docker) to be.
#[derive(Clone)]
pub struct Index {
    flavour: Flavour,
    members: Vec<Member>,
}

#[derive(Clone)]
enum Member {
    Image(Box<Image>),
    Attestation,
    Descriptor(Descriptor),
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl Index {
    /// Returns an empty OCI index.
    #[must_use]
    pub fn new() -> Self {
        Self {
            flavour: Flavour::Oci,
            members: Vec::new(),
        }
    }

    /// Names the index itself; the images in it keep their own.
    #[must_use]
    pub fn flavour(mut self, flavour: Flavour) -> Self {
        self.flavour = flavour;
        self
    }

    /// Adds an image under the platform its config names.
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.members.push(Member::Image(Box::new(image)));
        self
    }

    /// Adds what BuildKit adds: a manifest for `unknown/unknown` that holds a statement about the
    /// image before it, and no file system.
    #[must_use]
    pub fn attestation(mut self) -> Self {
        self.members.push(Member::Attestation);
        self
    }

    /// Adds anything else that is in the store already: another index, or a platform that lies.
    #[must_use]
    pub fn member(mut self, descriptor: Descriptor) -> Self {
        self.members.push(Member::Descriptor(descriptor));
        self
    }

    /// Puts the members and the index into `store`.
    pub fn add_to(&self, store: &mut Store) -> Descriptor {
        let mut manifests: Vec<Value> = Vec::new();
        let mut previous = String::new();
        for member in &self.members {
            let descriptor = match member {
                Member::Image(image) => image.add_to(store),
                Member::Attestation => attestation(store, &previous),
                Member::Descriptor(descriptor) => descriptor.clone(),
            };
            manifests.push(descriptor.to_json());
            previous = descriptor.digest;
        }
        let media_type = match self.flavour {
            Flavour::Oci => "application/vnd.oci.image.index.v1+json",
            Flavour::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        };
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        store.add(media_type, index.to_string())
    }
}

fn attestation(store: &mut Store, subject: &str) -> Descriptor {
    let statement = json!({"_type": "https://in-toto.io/Statement/v0.1", "subject": []});
    Image::new()
        .platform("unknown/unknown")
        .layer(Layer::of_blob(
            "application/vnd.in-toto+json",
            statement.to_string(),
        ))
        .add_to(store)
        .with_annotation("vnd.docker.reference.type", "attestation-manifest")
        .with_annotation("vnd.docker.reference.digest", subject)
}
