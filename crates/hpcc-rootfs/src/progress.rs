//! What a build tells while it runs.

use std::fmt;
use std::sync::Arc;

use ociget::{Descriptor, Digest, Image};

/// Something that happened. Layers are counted from 0, the oldest.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The reference was resolved and its manifest and config verified.
    Resolved {
        /// What it resolved to.
        image: &'a Image,
    },
    /// An artifact is there and can't be used: it will be replaced.
    Outdated {
        /// Whose artifact.
        digest: &'a Digest,
        /// What is wrong with it, for people.
        because: &'a str,
    },
    /// Another process builds or removes the artifact; this one waits for it.
    Waiting {
        /// Whose artifact.
        digest: &'a Digest,
    },
    /// A layer's blob is being fetched: the first time, or again from its beginning.
    LayerStarted {
        /// Which one.
        layer: usize,
        /// Its media type, size and digest.
        descriptor: &'a Descriptor,
    },
    /// More of it arrived.
    LayerBytes {
        /// Which one.
        layer: usize,
        /// How many bytes more.
        bytes: u64,
    },
    /// All of it arrived and is what its digest says.
    LayerDone {
        /// Which one.
        layer: usize,
    },
    /// Every layer is flattened; the tables of the image are being written.
    Sealing,
    /// The file is complete and is being made durable.
    Publishing,
}

/// A callback for [`Event`]s, called from several threads; it should return quickly.
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
            callback(event);
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
