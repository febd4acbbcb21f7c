//! What a build reports while it runs.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ociget::{Descriptor, Digest, Image};

use crate::panics;
use crate::units::{ShortDigest, Size};

/// An event of a build.
///
/// The stages of a build follow each other: [`Resolving`](Self::Resolving), [`Resolved`](Self::Resolved), the events of
/// layers, [`Sealing`](Self::Sealing), [`Syncing`](Self::Syncing), [`Publishing`](Self::Publishing). If the artifact
/// exists, a pull of a pinned image reports none of them. A pull of a tag from a registry ends after the first then, and
/// any other pull after the second. Builds of several images may report at the same time; each event says which image it
/// is about.
///
/// ```
/// use hpcc_rootfs::{Event, Options, Progress};
///
/// let mut options = Options::default();
/// options.progress = Progress::new(|event| match event {
///     Event::Resolved { image } => eprintln!("resolved {}", image.identity.get()),
///     Event::Waiting { digest } => eprintln!("waiting for another build of {digest}"),
///     _ => {}
/// });
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The source is about to receive the request that resolves the reference.
    Resolving {
        /// The reference as it was given, without credentials.
        image: &'a str,
        /// Whether the source is a registry, so that a pause is caused by the network.
        is_remote: bool,
    },
    /// The reference was resolved and its manifest and config verified.
    Resolved {
        /// The image that it resolved to.
        image: &'a Image,
    },
    /// An artifact exists and cannot be used; the build replaces it.
    Outdated {
        /// Identity of the image whose artifact it is.
        digest: &'a Digest,
        /// The reason, for people.
        because: &'a str,
    },
    /// Another process builds or removes the artifact; this one waits for it.
    Waiting {
        /// Identity of the image whose artifact it is.
        digest: &'a Digest,
    },
    /// As many builds as may run concurrently in this store are running; this one waits for its turn.
    Queued {
        /// Identity of the image whose artifact waits.
        digest: &'a Digest,
        /// Number of builds that run or wait before this one.
        ahead: usize,
    },
    /// A seed exists and is not trusted, so no layers are copied from it. Reported once for each seed of a
    /// [`Store`](crate::Store).
    SeedRefused {
        /// Directory of the seed.
        seed: &'a Path,
        /// The reason, for people.
        because: &'a str,
    },
    /// An artifact of an earlier build cannot be copied from, because it is damaged or cannot be read. The build begins
    /// again without it; after the second one, it copies from none.
    SourceFailed {
        /// Identity of the image whose artifact it is.
        source: &'a Digest,
        /// Directory of the artifact: that of the store, or a seed.
        directory: &'a Path,
        /// The reason, for people, and what became of the artifact.
        because: &'a str,
    },
    /// A layer was taken from the records and artifacts of earlier builds. Its blob is fetched only if a file of it is
    /// needed that looked replaced, or if the build restarts because the artifact that it copied from is damaged.
    LayerReused {
        /// The layer.
        layer: ImageLayer<'a>,
    },
    /// A layer's blob is being fetched: the first time, or again from its beginning.
    LayerStarted {
        /// The layer.
        layer: ImageLayer<'a>,
    },
    /// More of a layer's blob arrived.
    LayerBytes {
        /// The layer.
        layer: ImageLayer<'a>,
        /// Number of bytes that arrived since the last event.
        bytes: u64,
    },
    /// The build has no capacity for more of the layer's blob. It requests no bytes of it from the source until
    /// [`LayerResumed`](Self::LayerResumed), so a pause is not a fault of the source.
    LayerHeld {
        /// The layer.
        layer: ImageLayer<'a>,
    },
    /// The build requests more of the layer's blob from the source again.
    LayerResumed {
        /// The layer.
        layer: ImageLayer<'a>,
    },
    /// All of a layer's blob arrived, and its digest is the expected one.
    LayerDone {
        /// The layer.
        layer: ImageLayer<'a>,
    },
    /// Every layer is flattened, and the tables of the image are being written.
    Sealing {
        /// Identity of the image.
        image: &'a Digest,
    },
    /// The file is complete and is being made durable.
    Syncing {
        /// Identity of the image.
        image: &'a Digest,
    },
    /// The file is durable and gets its name.
    Publishing {
        /// Identity of the image.
        image: &'a Digest,
    },
}

/// A layer of an image, as errors, logs and progress name it.
///
/// Its text is `layer 3 of 7 (sha256:0123456789ab, 12.3M)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageLayer<'a> {
    /// Identity of the image.
    pub image: &'a Digest,
    /// The layer's number, from 1, the oldest.
    pub number: usize,
    /// Number of layers that the image has.
    pub of: usize,
    /// Media type, size and digest of its blob.
    pub descriptor: &'a Descriptor,
}

impl<'a> ImageLayer<'a> {
    /// Returns the layer with that index, counted from 0, the oldest; `None` if the image has fewer layers.
    pub(crate) fn of(image: &'a Image, index: usize) -> Option<Self> {
        Some(Self {
            image: image.identity.get(),
            number: index + 1,
            of: image.layers.len(),
            descriptor: &image.layers.get(index)?.descriptor,
        })
    }
}

impl fmt::Display for ImageLayer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, of, .. } = self;
        let digest = ShortDigest(&self.descriptor.digest);
        let size = Size(self.descriptor.size);
        write!(f, "layer {number} of {of} ({digest}, {size})")
    }
}

/// A callback for [`Event`]s, called from several threads; it should return quickly.
///
/// It runs on threads that drive builds, so it must not block on tokio: `blocking_send` and `block_on` panic there.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Callback>>);

type Callback = dyn Fn(&Event<'_>) + Send + Sync;

impl Progress {
    /// Calls `callback` for every event.
    pub fn new(callback: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(callback)))
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        if let Some(callback) = &self.0 {
            panics::call(|| callback(event));
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Progress(callback)"
        } else {
            "Progress(none)"
        })
    }
}
