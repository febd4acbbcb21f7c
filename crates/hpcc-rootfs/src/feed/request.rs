//! A layer that the asynchronous end is to fetch.

use super::body;

/// What the asynchronous end is asked for.
pub(super) struct Request {
    pub(super) layer: usize,
    pub(super) chunks: body::Sender,
}
