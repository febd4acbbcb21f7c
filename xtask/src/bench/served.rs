//! The image that real pulls are measured with, in a real registry.

use anyhow::{Context, Error, Result};
use test_support::docker_registry::DockerRegistry;
use test_support::real_image::{self, RealImage};
use test_support::skopeo::{self, Format};

/// The image of compilers, served on loopback.
pub(super) struct Served {
    pub(super) image: RealImage,
    pub(super) registry: DockerRegistry,
    /// Of the manifest.
    pub(super) digest: String,
}

impl Served {
    /// Its name in the registry.
    pub(super) const NAME: &str = "bench/image";

    /// Builds the image if it is not there, and starts a registry with it.
    pub(super) fn start() -> Result<Self> {
        let image = real_image::compilers()
            .map_err(Error::msg)?
            .context("the image is built as root")?;
        let registry = DockerRegistry::start().map_err(Error::msg)?;
        let reference = format!("{}/{}:latest", registry.addr(), Self::NAME);
        skopeo::push_layout(image.layout(), RealImage::TAG, &reference, Format::Oci)
            .map_err(Error::msg)?;
        Ok(Self {
            digest: skopeo::digest(&reference).map_err(Error::msg)?,
            image,
            registry,
        })
    }
}
