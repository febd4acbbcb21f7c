//! The graph below a manifest or index: every document, read, and every blob, by its descriptor.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use bytes::Bytes;

use crate::artifact::ArtifactManifest;
use crate::blob::requested;
use crate::copy::layout::Layout;
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{Descriptor, MAX_DOCUMENT};
use crate::media_type::MediaType;
use crate::source::Source;

/// Largest depth of nested indexes.
const MAX_DEPTH: u32 = 4;
const MAX_DOCUMENTS: usize = 1024;
/// Most bytes of all documents together, which are held in memory.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
const MAX_BLOBS: usize = 16_384;
/// Manifests that are neither an image's nor an index.
const ARTIFACT_MANIFESTS: [&str; 2] = [
    "application/vnd.oci.artifact.manifest.v1+json",
    "application/vnd.cncf.oras.artifact.manifest.v1+json",
];

/// Everything to copy.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) root: Descriptor,
    /// Whether the root or its source names its media type.
    pub(super) is_typed: bool,
    /// The artifact type of the root, where it is an artifact.
    pub(super) artifact_type: Option<String>,
    /// Manifests and indexes, from the root down.
    pub(super) documents: Vec<(Descriptor, Bytes)>,
    pub(super) blobs: Vec<Blob>,
}

#[derive(Debug)]
pub(super) struct Blob {
    pub(super) descriptor: Descriptor,
    /// Whether an index lists it, under a media type that is unknown here.
    pub(super) may_be_manifest: bool,
}

struct Walk<'a> {
    source: &'a dyn Source,
    layout: &'a Arc<Layout>,
    left: u64,
    max_bytes: u64,
    document_bytes: u64,
    seen: HashMap<Digest, Seen>,
    /// Documents that were found, fetched or not.
    found: usize,
    documents: Vec<(Descriptor, Bytes)>,
    blobs: Vec<Blob>,
}

/// Content that a document names. One may name it as a blob, and another as a document.
struct Seen {
    size: u64,
    is_document: bool,
    /// Its number among the blobs.
    blob: Option<usize>,
}

impl Graph {
    /// Reads every manifest and index, from the layout where it has them.
    pub(super) async fn walk(
        source: &dyn Source,
        expected: Option<&Digest>,
        layout: &Arc<Layout>,
        max_bytes: u64,
    ) -> Result<Self, Error> {
        let (root, content_type, bytes, at) = root(source, expected, layout).await?;
        let manifest = read(&at, &bytes)?;
        let sent = content_type.filter(|sent| is_of_kind(sent, manifest.is_index()));
        let named = manifest.media_type.clone().or(sent);
        let is_typed = named.is_some();
        let name = named.unwrap_or_else(|| match manifest.is_index() {
            true => "application/vnd.oci.image.index.v1+json".to_owned(),
            false => "application/vnd.oci.image.manifest.v1+json".to_owned(),
        });
        let root = Descriptor::new(name, root, length(&bytes));
        let mut walk = Walk {
            source,
            layout,
            left: max_bytes,
            max_bytes,
            document_bytes: length(&bytes),
            seen: HashMap::new(),
            found: 1,
            documents: Vec::new(),
            blobs: Vec::new(),
        };
        let is_image = manifest
            .config
            .as_ref()
            .is_some_and(|c| c.media_type.is_config());
        let artifact_type = manifest
            .artifact_type()
            .filter(|_| manifest.declared_type.is_some() || !is_image)
            .map(str::to_owned);
        walk.count(&root, &at)?.is_document = true;
        // Breadth first: the documents of one depth, then those that they lead to.
        let mut wave = vec![(root.clone(), bytes, manifest, at)];
        for depth in 0.. {
            let mut next = Vec::new();
            for (descriptor, bytes, manifest, at) in wave {
                for entry in walk.children(manifest, &at)? {
                    if depth >= MAX_DEPTH {
                        return Err(Error::Unsupported {
                            at,
                            what: format!("indexes nested more than {MAX_DEPTH} deep"),
                        });
                    }
                    next.push(walk.fetch(entry).await?);
                }
                walk.documents.push((descriptor, bytes));
            }
            if next.is_empty() {
                break;
            }
            wave = next;
        }
        let seen = walk.seen;
        let is_blob = |blob: &Blob| {
            let found = seen.get(&blob.descriptor.digest);
            found.is_none_or(|found| !found.is_document)
        };
        Ok(Self {
            root,
            is_typed,
            artifact_type,
            documents: walk.documents,
            blobs: walk.blobs.into_iter().filter(is_blob).collect(),
        })
    }
}

impl Walk<'_> {
    /// Takes note of the blobs of a document, and returns the documents below it that are new.
    fn children(&mut self, manifest: ArtifactManifest, at: &str) -> Result<Vec<Descriptor>, Error> {
        for blob in manifest.config.into_iter().chain(manifest.layers) {
            self.blob(blob, false, at)?;
        }
        let mut documents = Vec::new();
        for entry in manifest.manifests {
            let kind = entry.media_type;
            if kind.is_index()
                || kind.is_manifest()
                || ARTIFACT_MANIFESTS.contains(&entry.media_type_name())
            {
                let seen = self.count(&entry, at)?;
                if !std::mem::replace(&mut seen.is_document, true) {
                    documents.push(entry);
                }
            } else {
                // The caches of BuildKit are indexes of layers.
                self.blob(entry, true, at)?;
            }
        }
        for document in &documents {
            self.document_bytes = self.document_bytes.saturating_add(document.size);
        }
        if self.document_bytes > MAX_DOCUMENT_BYTES {
            let what = format!("manifests of more than {MAX_DOCUMENT_BYTES} bytes together");
            return Err(unsupported(at, what));
        }
        self.found += documents.len();
        if self.found > MAX_DOCUMENTS {
            return Err(unsupported(
                at,
                format!("more than {MAX_DOCUMENTS} manifests"),
            ));
        }
        Ok(documents)
    }

    fn blob(
        &mut self,
        descriptor: Descriptor,
        may_be_manifest: bool,
        at: &str,
    ) -> Result<(), Error> {
        let next = self.blobs.len();
        let seen = self.count(&descriptor, at)?;
        if seen.is_document {
            return Ok(());
        }
        if let Some(number) = seen.blob {
            if let Some(blob) = self.blobs.get_mut(number) {
                blob.may_be_manifest |= may_be_manifest;
            }
            return Ok(());
        }
        seen.blob = Some(next);
        if next >= MAX_BLOBS {
            return Err(unsupported(at, format!("more than {MAX_BLOBS} blobs")));
        }
        self.blobs.push(Blob {
            descriptor,
            may_be_manifest,
        });
        Ok(())
    }

    /// Counts the bytes of a descriptor, once for each digest, and returns the uses of its content.
    fn count(&mut self, descriptor: &Descriptor, at: &str) -> Result<&mut Seen, Error> {
        let (digest, size) = (&descriptor.digest, descriptor.size);
        match self.seen.entry(digest.clone()) {
            Entry::Occupied(before) if before.get().size != size => Err(Error::Inconsistent {
                at: at.to_owned(),
                reason: format!(
                    "{digest} has {} bytes in one place and {size} in another",
                    before.get().size
                ),
            }),
            Entry::Occupied(before) => Ok(before.into_mut()),
            Entry::Vacant(new) => {
                let Some(left) = self.left.checked_sub(size) else {
                    let what = format!(
                        "more than {} bytes of content; raise CopyOptions::max_bytes",
                        self.max_bytes
                    );
                    return Err(unsupported(at, what));
                };
                self.left = left;
                Ok(new.insert(Seen {
                    size,
                    is_document: false,
                    blob: None,
                }))
            }
        }
    }

    async fn fetch(
        &self,
        descriptor: Descriptor,
    ) -> Result<(Descriptor, Bytes, ArtifactManifest, String), Error> {
        if descriptor.size > MAX_DOCUMENT {
            let at = descriptor.digest.to_string();
            let what = format!(
                "a manifest of {} bytes; {MAX_DOCUMENT} are the most",
                descriptor.size
            );
            return Err(unsupported(&at, what));
        }
        let kept = self.layout.document(&descriptor.digest).await?;
        let (bytes, at) = match kept {
            Some(bytes) => (bytes, self.layout.shown(&descriptor.digest)),
            None => {
                let document = self.source.manifest(&descriptor).await?;
                requested(&document.at, &descriptor.digest, document.digest.get())?;
                (document.bytes, document.at)
            }
        };
        if length(&bytes) != descriptor.size {
            return Err(Error::size(
                &at,
                descriptor.size,
                length(&bytes).to_string(),
            ));
        }
        let manifest = read(&at, &bytes)?;
        Ok((descriptor, bytes, manifest, at))
    }
}

/// The root: its digest, the media type it was sent as, its bytes, and where they are.
async fn root(
    source: &dyn Source,
    expected: Option<&Digest>,
    layout: &Arc<Layout>,
) -> Result<(Digest, Option<String>, Bytes, String), Error> {
    let known = match expected {
        Some(expected) => Some(expected.clone()),
        None => source.identity().await?,
    };
    // The identity of a root file system is the digest of its layer, which is a blob of the layout and no manifest.
    if let Some(digest) = known
        && let Some(bytes) = layout.document(&digest).await?
        && ArtifactManifest::parse(&bytes).is_ok()
    {
        source.admit(&digest).await?;
        let at = layout.shown(&digest);
        return Ok((digest, None, bytes, at));
    }
    let document = source.root(expected).await?;
    if let Some(expected) = expected {
        requested(&document.at, expected, document.named().get())?;
    }
    let digest = document.digest.get().clone();
    Ok((digest, document.content_type, document.bytes, document.at))
}

/// Whether a media type is that of an index, or of a manifest.
fn is_of_kind(name: &str, is_index: bool) -> bool {
    MediaType::parse(name).is_some_and(|kind| match is_index {
        true => kind.is_index(),
        false => kind.is_manifest(),
    })
}

fn read(at: &str, bytes: &[u8]) -> Result<ArtifactManifest, Error> {
    ArtifactManifest::parse(bytes).map_err(|reason| Error::document(at, reason))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn unsupported(at: &str, what: String) -> Error {
    Error::Unsupported {
        at: at.to_owned(),
        what,
    }
}
