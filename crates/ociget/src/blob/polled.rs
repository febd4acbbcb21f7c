//! The state that a blob which is read by polls keeps from one poll to the next.

use std::fmt;

use bytes::Bytes;

use crate::blob::body::BlobBody;
use crate::error::Error;
use crate::future::BoxFuture;

/// The result of a body, and the body.
type Delivery = (Box<dyn BlobBody>, Result<Option<Bytes>, Error>);

/// What is kept between two polls.
///
/// A future of [`BlobBody::chunk`] cannot be dropped between polls: its timers and its wakers would go
/// with it. So it owns the body while it runs.
#[derive(Default)]
pub(super) struct Polled {
    pub(super) running: Option<BoxFuture<'static, Delivery>>,
    /// Bytes that did not fit into the reader's buffer.
    pub(super) left: Bytes,
}

impl Polled {
    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some() || !self.left.is_empty()
    }
}

/// In place of the body while it is away.
pub(super) struct Away;

impl BlobBody for Away {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        Box::pin(async { Err(Error::Usage("a blob is read in two ways".to_owned())) })
    }
}

impl fmt::Debug for Polled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polled").finish_non_exhaustive()
    }
}
