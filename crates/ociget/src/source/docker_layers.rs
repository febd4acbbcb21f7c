//! Layers of a `docker-archive:`: how each is compressed, and the digest that vouches for it.
//!
//! An image may list one member any number of times, by its name or by links to it, each time with
//! another DiffID. What is found out of a member by reading it holds for all of them.

use std::collections::HashMap;

use crate::digest::{Algorithm, Digest};
use crate::error::Error;
use crate::source::archive::Archive;
use crate::source::made::MadeLayer;
use crate::source::section::Section;
use crate::tar_fields::{BLOCK, is_header};

const PLAIN: &str = "application/vnd.docker.image.rootfs.diff.tar";
const GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// Most zeros that an archive need not store and that compressed layers have, all together. Other
/// limits count what comes out of a compressed layer, and none counts these.
const MAX_HOLES: u64 = 1 << 30;

/// What is known of the layers so far, by the names of members that are no links.
#[derive(Default)]
pub(crate) struct Layers {
    media_types: HashMap<String, &'static str>,
    hashes: HashMap<String, Digest>,
    holes: u64,
}

impl Layers {
    /// The layer in the member `name`.
    ///
    /// # Errors
    /// Returns [`Error::Unsupported`] if it is compressed with something else than gzip or zstd, or
    /// if it consists of holes, and errors from reading the archive.
    pub(crate) async fn layer(
        &mut self,
        archive: &Archive,
        name: &str,
        diff_id: &Digest,
    ) -> Result<MadeLayer, Error> {
        let section = archive.section(name).await?;
        let size = section.length;
        let target = archive.target(name).await?;
        let media_type = match self.media_types.get(&target) {
            Some(media_type) => media_type,
            None => {
                let media_type = media_type(&section).await?;
                self.media_types.insert(target.clone(), media_type);
                media_type
            }
        };
        let digest = match media_type {
            PLAIN => diff_id.clone(),
            _ => self.compressed(name, &target, section).await?,
        };
        Ok(MadeLayer {
            media_type,
            digest,
            size,
        })
    }

    /// The digest of a compressed layer: the one in its name, or that of its bytes.
    async fn compressed(
        &mut self,
        name: &str,
        target: &str,
        section: Section,
    ) -> Result<Digest, Error> {
        self.holes = self.holes.saturating_add(section.holes());
        if self.holes > MAX_HOLES {
            return Err(Error::Unsupported {
                at: section.path.display().to_string(),
                what: format!(
                    "compressed layers with more than {MAX_HOLES} bytes of holes; pack the archive without \
                     tar -S"
                ),
            });
        }
        let named = name
            .strip_prefix("blobs/sha256/")
            .and_then(|hex| format!("sha256:{hex}").parse().ok());
        if let Some(digest) = named {
            return Ok(digest);
        }
        if let Some(digest) = self.hashes.get(target) {
            return Ok(digest.clone());
        }
        let (mut hasher, mut section) = (Algorithm::Sha256.hasher(), section);
        while let Some(chunk) = section.next().await? {
            hasher.update(&chunk);
        }
        let digest = hasher.finish();
        self.hashes.insert(target.to_owned(), digest.clone());
        Ok(digest)
    }
}

async fn media_type(section: &Section) -> Result<&'static str, Error> {
    // Enough for a tar header, whose first bytes are a name of any letters.
    let start = section.head(BLOCK).await?;
    Ok(match *start {
        _ if is_header(&start) => PLAIN,
        [0x1f, 0x8b, ..] => GZIP,
        // A frame, or a skippable one.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => ZSTD,
        [0xfd, b'7', b'z', b'X', b'Z', ..] | [b'B', b'Z', b'h', ..] => {
            return Err(Error::Unsupported {
                at: section.path.display().to_string(),
                what: "a layer compressed with xz or bzip2; store the layers plain, or with gzip or zstd"
                    .to_owned(),
            });
        }
        _ => PLAIN,
    })
}
