//! A request to fetch a layer.

use super::body;

/// A request to the asynchronous end.
pub(super) struct Request {
    pub(super) layer: usize,
    pub(super) chunks: body::Sender,
}
