//! From a source to one image: the manifest for a platform, its config, its layers, each verified
//! by what named it.

use crate::blob::requested;
use crate::config::ImageConfig;
use crate::digest::{DiffId, Digest, Verified};
use crate::error::Error;
use crate::future::BoxFuture;
use crate::manifest::{Descriptor, ImageManifest, Index, IndexEntry, Manifest, UnusableEntry};
use crate::platform::{Platform, PlatformError};
use crate::source::{Document, Source};

/// Largest depth of nested indexes.
const MAX_DEPTH: u32 = 4;
/// Largest number of manifests that are fetched in search of one image.
const MAX_FETCHES: u32 = 32;

/// A resolved image, without the bytes of its layers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Image {
    /// Digest that the user named or the tag resolved to: that of a manifest or of an index.
    pub identity: Verified<Digest>,
    /// Digest of the selected manifest; the same as `identity` unless that is an index.
    pub manifest: Verified<Digest>,
    /// Platform of the image.
    pub platform: Platform,
    /// The digest of the config.
    pub config_digest: Verified<Digest>,
    /// The config.
    pub config: ImageConfig,
    /// The layers, oldest first.
    pub layers: Vec<Layer>,
}

/// One layer of an [`Image`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// The blob, for [`Source::blob`].
    pub descriptor: Descriptor,
    /// Digest of its uncompressed tar.
    pub diff_id: DiffId,
}

/// Resolves the image of `source` for `platform`.
///
/// With `expected`, it requests that manifest or index, and ignores a tag. Otherwise it resolves the tag once.
/// All further requests are by digest. It compares every document with the digest that was requested.
///
/// # Errors
/// - [`Error::Usage`] if the source was made with another digest than `expected`
/// - [`Error::Digest`] if the source returns another document than the requested one
/// - [`Error::Platform`] if there is no image for the platform, even if the source holds a single image; the error
///   lists the available ones
/// - any other [`Error`] under the conditions of its variants
pub async fn resolve(
    source: &dyn Source,
    expected: Option<&Digest>,
    platform: &Platform,
) -> Result<Image, Error> {
    resolve_platform(source, expected, platform, false).await
}

/// Resolves as [`resolve`] does, and insists on `platform` if an index and the config of its entry name different
/// platforms.
///
/// Some tools have written such indexes. It selects the matching entry of the index regardless of its config, and
/// logs a warning. A source that holds a single image without an index must still hold one for `platform`.
///
/// # Errors
/// As [`resolve`], without the error about the two platforms.
pub async fn resolve_insisting(
    source: &dyn Source,
    expected: Option<&Digest>,
    platform: &Platform,
) -> Result<Image, Error> {
    resolve_platform(source, expected, platform, true).await
}

async fn resolve_platform(
    source: &dyn Source,
    expected: Option<&Digest>,
    platform: &Platform,
    insisting: bool,
) -> Result<Image, Error> {
    let root = source.root(expected).await?;
    let identity = root.named().clone();
    if let Some(expected) = expected {
        requested(&root.at, expected, identity.get())?;
    }
    let mut search = Search {
        source,
        platform,
        fetches: 0,
        available: Vec::new(),
        unusable: Vec::new(),
    };
    let Some(found) = search.document(root.clone(), None, 0).await? else {
        return Err(Error::Platform {
            at: root.at,
            wanted: Box::new(platform.clone()),
            available: search.available,
            unusable: search.unusable,
        });
    };
    let (config_digest, config) = fetch_config(source, &found.manifest.config).await?;
    let image_platform = settle_platform(&found, &config, platform, insisting)?;
    if !platform.accepts(&image_platform) {
        return Err(Error::Platform {
            at: root.at,
            wanted: Box::new(platform.clone()),
            available: vec![image_platform],
            unusable: search.unusable,
        });
    }
    let layers = pair_layers(&found, &config)?;
    Ok(Image {
        identity,
        manifest: found.document.digest,
        platform: image_platform,
        config_digest,
        config,
        layers,
    })
}

/// A manifest, and what the index said about it.
struct Found {
    document: Document,
    manifest: ImageManifest,
    platform: Option<Platform>,
}

struct Search<'a> {
    source: &'a dyn Source,
    platform: &'a Platform,
    fetches: u32,
    available: Vec<Platform>,
    unusable: Vec<PlatformError>,
}

impl Search<'_> {
    /// Looks at a document, and into it if it is an index. Boxed because indexes nest.
    fn document<'a>(
        &'a mut self,
        document: Document,
        named: Option<&'a IndexEntry>,
        depth: u32,
    ) -> BoxFuture<'a, Result<Option<Found>, Error>> {
        Box::pin(async move {
            let manifest = Manifest::parse(&document.bytes, document.content_type.as_deref())
                .map_err(|reason| Error::document(&document.at, reason))?;
            let kind = manifest.media_type();
            // Docker's type for a document of the OCI, or the reverse, changes nothing: the digest
            // is that of the document.
            if let Some(entry) = named
                && entry.descriptor.media_type.is_index() != kind.is_index()
            {
                let said = entry.descriptor.media_type;
                return Err(Error::Inconsistent {
                    at: document.at,
                    reason: format!("the index calls it {}, it is {}", said.noun(), kind.noun()),
                });
            }
            match manifest {
                Manifest::Image(manifest) => Ok(Some(Found {
                    document,
                    manifest,
                    platform: named.and_then(|entry| entry.platform.clone()),
                })),
                Manifest::Index(_) if depth >= MAX_DEPTH => Err(Error::Unsupported {
                    at: document.at,
                    what: format!("indexes nested more than {MAX_DEPTH} deep"),
                }),
                Manifest::Index(index) => self.index(&document.at, index, depth).await,
            }
        })
    }

    async fn index(&mut self, at: &str, index: Index, depth: u32) -> Result<Option<Found>, Error> {
        for entry in &index.entries {
            if let Some(platform) = &entry.platform
                && !self.available.contains(platform)
            {
                self.available.push(platform.clone());
            }
            if let Some(reason) = &entry.unusable {
                let digest = &entry.descriptor.digest;
                tracing::warn!(%digest, %reason, "an entry of the index is skipped");
                self.unusable.push(reason.clone());
            }
        }
        for entry in &index.unusable {
            let (position, reason) = (entry.position, &entry.reason);
            tracing::warn!(position, %reason, "an entry of the index is skipped");
        }
        // The best of those that name their platform; of equals the first, as it stands first.
        let mut best: Option<((u32, u32), &IndexEntry)> = None;
        for entry in &index.entries {
            let fit = entry
                .platform
                .as_ref()
                .and_then(|found| self.platform.fit(found));
            if let Some(fit) = fit
                && best.is_none_or(|(so_far, _)| fit > so_far)
            {
                best = Some((fit, entry));
            }
        }
        if let Some((_, entry)) = best {
            return self.entry(entry, depth).await;
        }
        // Then whatever does not name one: nested indexes, and a lone image.
        let unnamed = || {
            index
                .entries
                .iter()
                .filter(|entry| entry.platform.is_none() && entry.unusable.is_none())
        };
        for entry in unnamed().filter(|entry| entry.descriptor.media_type.is_index()) {
            if let Some(found) = self.entry(entry, depth).await? {
                return Ok(Some(found));
            }
        }
        let mut images = unnamed().filter(|entry| entry.descriptor.media_type.is_manifest());
        match (images.next(), images.next()) {
            (Some(entry), None) => self.entry(entry, depth).await,
            (Some(_), Some(_)) => Err(Error::Unsupported {
                at: at.to_owned(),
                what: "an index of several images that do not name their platforms".to_owned(),
            }),
            (None, _) => self.nothing(at, &index),
        }
    }

    /// No entry of the index fits. If one does that is not valid, the error is that.
    fn nothing(&mut self, at: &str, index: &Index) -> Result<Option<Found>, Error> {
        let is_needed = |entry: &&UnusableEntry| {
            let platform = entry.platform.as_ref();
            platform.is_none_or(|platform| self.platform.accepts(platform))
        };
        if let Some(entry) = index.unusable.iter().find(is_needed) {
            return Err(Error::document(at, entry.error()));
        }
        let platforms = index.unusable.iter().filter_map(|e| e.platform.clone());
        self.available.extend(platforms);
        Ok(None)
    }

    async fn entry(&mut self, entry: &IndexEntry, depth: u32) -> Result<Option<Found>, Error> {
        self.fetches += 1;
        let document = self.source.manifest(&entry.descriptor).await?;
        requested(
            &document.at,
            &entry.descriptor.digest,
            document.digest.get(),
        )?;
        if self.fetches > MAX_FETCHES {
            return Err(Error::Unsupported {
                at: document.at,
                what: format!("more than {MAX_FETCHES} nested indexes"),
            });
        }
        self.document(document, Some(entry), depth + 1).await
    }
}

async fn fetch_config(
    source: &dyn Source,
    descriptor: &Descriptor,
) -> Result<(Verified<Digest>, ImageConfig), Error> {
    let mut blob = source.blob(descriptor).await?;
    // The descriptor's size was capped when the manifest was read.
    let mut bytes = Vec::new();
    while let Some(chunk) = blob.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    let at = blob.at().to_owned();
    let proof = blob.finish_as(&descriptor.digest).await?;
    let config = ImageConfig::parse(bytes.into()).map_err(|reason| Error::document(&at, reason))?;
    Ok((proof, config))
}

/// Returns the platform of the image. Config and index must agree. If neither has one, it is that of the caller,
/// because there is no other image.
fn settle_platform(
    found: &Found,
    config: &ImageConfig,
    wanted: &Platform,
    insisting: bool,
) -> Result<Platform, Error> {
    let disagree = |index: &Platform, config: &dyn std::fmt::Display| {
        let at = found.document.at.clone();
        let reason = format!(
            "the index says that this image is for {index}, its config says {config}; to take it \
             nevertheless, name the platform with resolve_insisting"
        );
        Err(Error::Inconsistent { at, reason })
    };
    match (&config.platform, &found.platform) {
        (Some(config), Some(index)) if !config.agrees_with(index) => {
            if !insisting {
                return disagree(index, config);
            }
            tracing::warn!(%index, %config, platform = %wanted,
                "index and config name different platforms; the caller's counts");
            Ok(wanted.clone())
        }
        (None, Some(index)) if !config.half.allows(index) && !insisting => {
            disagree(index, &config.half)
        }
        (Some(config), Some(index)) => Ok(config.clone().or_variant(index.variant())),
        (Some(platform), None) | (None, Some(platform)) => Ok(platform.clone()),
        (None, None) if config.half.allows(wanted) => {
            tracing::warn!(platform = %wanted, "the image names no platform and is taken for this one");
            Ok(wanted.clone())
        }
        (None, None) => Err(Error::Inconsistent {
            at: found.document.at.clone(),
            reason: format!("its config says {}, expected {wanted}", config.half),
        }),
    }
}

fn pair_layers(found: &Found, config: &ImageConfig) -> Result<Vec<Layer>, Error> {
    let (layers, diff_ids) = (&found.manifest.layers, &config.diff_ids);
    if layers.len() != diff_ids.len() {
        return Err(Error::Inconsistent {
            at: found.document.at.clone(),
            reason: format!(
                "the manifest has {} layers, the config's rootfs.diff_ids {}",
                layers.len(),
                diff_ids.len()
            ),
        });
    }
    let pairs = layers.iter().cloned().zip(diff_ids.iter().cloned());
    Ok(pairs
        .map(|(descriptor, diff_id)| Layer {
            descriptor,
            diff_id,
        })
        .collect())
}
