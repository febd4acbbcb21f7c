//! The source of the bytes of a blob.

use bytes::Bytes;

use crate::error::Error;
use crate::future::BoxFuture;

/// The bytes of one blob, in order, from wherever they come.
///
/// An implementation delivers bytes; [`BlobStream`](crate::BlobStream) counts and hashes them.
pub trait BlobBody: Send {
    /// Returns the next bytes, `None` at the end. Dropping the future loses none: the next call goes on
    /// where this one was.
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>>;

    /// Returns the origin of the bytes so far, for the message about bytes that are wrong. `None` stands for the one that
    /// the stream was made with. A body that goes on elsewhere names each place.
    fn origin(&self) -> Option<String> {
        None
    }
}
