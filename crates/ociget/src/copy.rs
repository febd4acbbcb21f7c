//! Copies of an image, an index or any other artifact in an OCI image layout.

mod blob_file;
mod graph;
mod layout;
mod limited;
mod listing;

use std::path::Path;
use std::sync::Arc;

use crate::blob::requested;
use crate::copy::blob_file::{BlobFile, Fetched};
use crate::copy::graph::Graph;
use crate::copy::layout::Layout;
use crate::copy::listing::Listed;
use crate::digest::Digest;
use crate::error::Error;
use crate::future::BoxFuture;
use crate::manifest::Descriptor;
use crate::source::Source;

/// Options of [`copy_to_layout`].
///
/// ```
/// let mut options = ociget::CopyOptions::default();
/// options.ref_name = Some("v1".to_owned());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CopyOptions {
    /// The annotation `org.opencontainers.image.ref.name` of the copy in `index.json`: the tag by which
    /// `oci:DIR:TAG` finds it. ASCII letters, digits and `-._:@/+`. Default: none.
    pub ref_name: Option<String>,
    /// Number of blobs that are fetched concurrently, at least 1. Default: 4.
    pub parallel: usize,
    /// Most bytes of all content together, as the manifests declare it. Default: 1 TiB.
    pub max_bytes: u64,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            ref_name: None,
            parallel: 4,
            max_bytes: 1 << 40,
        }
    }
}

/// The result of [`copy_to_layout`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// The manifest or index that was copied, as `index.json` lists it.
    pub root: Descriptor,
    /// Number of blobs and manifests that came from the source.
    pub fetched: u64,
    /// Number of bytes that came from the source, without those of an earlier download that broke off.
    pub fetched_bytes: u64,
    /// Number of blobs and manifests that the layout had, and whose digests were checked.
    pub kept: u64,
}

/// Copies the manifest or index that `source` names, and everything below it, to the OCI image layout in
/// `dir`.
///
/// With `expected`, the manifest or index with that digest is copied, and a source that was made with another digest is
/// an error. An index is copied whole: every
/// platform, and attestations and artifacts as well. To copy one platform, pass the digest that
/// [`Image::manifest`](crate::Image::manifest) names. What refers to the image
/// ([`Client::referrers`](crate::Client::referrers)) is not copied.
///
/// - **Verified.** Every byte is hashed before its file gets the name of its digest.
/// - **Unchanged.** No document is converted. Media types of Docker stay, which umoci and older versions of skopeo do
///   not read in a layout.
/// - **Resumable.** Blobs in the layout are hashed; intact ones are not fetched, damaged ones are replaced.
///   A download that broke off is resumed from a file `blobs/ALGORITHM/.partial-HEX`. Where that
///   leads to another digest, the blob is fetched again from its start.
/// - **Atomic.** `index.json` is replaced last, after everything that it leads to has been written to the
///   disk. Other entries in it stay, with fields that this crate does not know. An entry with the same
///   `ref_name` is replaced, because a name refers to one image. If its `io.containerd.image.name` is the name of
///   another image, it stays and loses its tag. A tag alone is of the image whose name ends with it, unless entries
///   with different names share the tag. Entries of the copied digest get the right size and media type.
/// - **Concurrent.** Copies to one layout, by several processes too, lock `index.json` and each unfinished
///   blob (`flock`), and wait for each other. Nothing below `dir` is written through a symlink.
///
/// `dir` is created if it does not exist. An existing one must be empty or an image layout.
///
/// ```no_run
/// # async fn copy() -> Result<(), ociget::Error> {
/// use ociget::{Client, CopyOptions, Options, SourceSpec, copy_to_layout};
///
/// let client = Client::new(Options::default())?;
/// let source = "alpine:3".parse::<SourceSpec>()?.open(&client)?;
/// let mut options = CopyOptions::default();
/// options.ref_name = Some("3".to_owned());
/// let copied = copy_to_layout(source.as_ref(), None, "images".as_ref(), &options).await?;
/// println!("{}", copied.root.digest);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Returns [`Error::Usage`] if an option or `dir` cannot be used, [`Error::Write`] if the layout cannot be
/// written, [`Error::Document`] if its `index.json` is damaged, and [`Error::Unsupported`] if the content
/// is above a bound: `max_bytes`, indexes nested 4 deep, 1024 manifests, 64 MiB of
/// manifests, 16384 blobs. Any other [`Error`]
/// as its variants say.
pub async fn copy_to_layout(
    source: &dyn Source,
    expected: Option<&Digest>,
    dir: &Path,
    options: &CopyOptions,
) -> Result<Copied, Error> {
    if let Some(name) = &options.ref_name {
        check_ref_name(name)?;
    }
    let layout = Layout::open(dir).await?;
    let graph = Graph::walk(source, expected, &layout, options.max_bytes).await?;
    let mut fetches: Vec<BoxFuture<'_, Result<Fetched, Error>>> = Vec::new();
    for blob in &graph.blobs {
        let fetching = fetch(source, &layout, &blob.descriptor, blob.may_be_manifest);
        fetches.push(Box::pin(fetching));
    }
    let mut outcomes = limited::all(options.parallel.max(1), fetches).await?;
    // From the bottom up: a copy that is killed leaves no index without its manifests.
    for (descriptor, bytes) in graph.documents.iter().rev() {
        outcomes.push(BlobFile::store(&layout, &descriptor.digest, bytes.clone()).await?);
    }
    let root = graph.root;
    let listed = Listed {
        root: root.clone(),
        is_typed: graph.is_typed,
        artifact_type: graph.artifact_type,
        ref_name: options.ref_name.clone(),
    };
    layout.list(listed).await?;
    let count = |wanted: &dyn Fn(&Fetched) -> bool| {
        let found = outcomes.iter().filter(|outcome| wanted(outcome)).count();
        u64::try_from(found).unwrap_or(u64::MAX)
    };
    Ok(Copied {
        root,
        fetched: count(&|outcome| matches!(outcome, Fetched::Bytes(_))),
        kept: count(&|outcome| matches!(outcome, Fetched::Kept)),
        fetched_bytes: outcomes.iter().fold(0, |sum: u64, outcome| match outcome {
            Fetched::Bytes(bytes) => sum.saturating_add(*bytes),
            Fetched::Kept => sum,
        }),
    })
}

/// Brings one blob into the layout.
async fn fetch(
    source: &dyn Source,
    layout: &Arc<Layout>,
    descriptor: &Descriptor,
    may_be_manifest: bool,
) -> Result<Fetched, Error> {
    match BlobFile::fetch(source, layout, descriptor).await {
        // An index may list manifests of types that this client does not know.
        Err(Error::NotFound(refusal)) if may_be_manifest => {
            match source.manifest(descriptor).await {
                Ok(document) => {
                    requested(&document.at, &descriptor.digest, document.digest.get())?;
                    let size = u64::try_from(document.bytes.len()).unwrap_or(u64::MAX);
                    if size != descriptor.size {
                        let found = size.to_string();
                        return Err(Error::size(&document.at, descriptor.size, found));
                    }
                    BlobFile::store(layout, &descriptor.digest, document.bytes).await
                }
                Err(_) => Err(Error::NotFound(refusal)),
            }
        }
        outcome => outcome,
    }
}

/// The characters that the image specification allows in a reference name.
fn check_ref_name(name: &str) -> Result<(), Error> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:@/+".contains(&b);
    if !name.is_empty() && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{name:?} cannot be a reference name: letters, digits and -._:@/+ are allowed"
    )))
}
