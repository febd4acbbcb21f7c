//! The members of an archive that are needed, and those that are found.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::source::piece::Piece;

/// The members of an archive that are needed, by name.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Blobs that are opened at some time.
    pub(crate) needed: HashSet<String>,
    /// The blob that is opened once, and before all others; its reader waits for none of them.
    pub(crate) once: Option<String>,
}

/// A member that was found.
#[derive(Clone, Debug)]
pub(crate) struct FoundMember {
    pub(crate) pieces: Arc<[Piece]>,
    /// Of the one reader whose member is not kept.
    #[expect(dead_code, reason = "it is there to be dropped")]
    pub(crate) attached: Option<Arc<Attached>>,
}

/// The reader of the member that is not kept. When it is dropped, the member is no longer needed.
#[derive(Debug)]
pub(crate) struct Attached(pub(super) Arc<Notify>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}
