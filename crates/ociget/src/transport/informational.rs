//! Informational answers (1xx), of which a server may send some before the answer. Without an end to them there is
//! none, and the connection is busy all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Most informational answers to a request. Servers send one or two.
const MAX: usize = 100;

/// The informational answers to one request.
#[derive(Debug, Default)]
pub(super) struct Informational {
    count: AtomicUsize,
    too_many: Notify,
}

impl Informational {
    /// Counts those that come to `request`.
    pub(super) fn of<B>(request: &mut http::Request<B>) -> Arc<Self> {
        let own = Arc::new(Self::default());
        let counted = Arc::clone(&own);
        hyper::ext::on_informational(request, move |_| {
            if counted.count.fetch_add(1, Ordering::Relaxed) == MAX {
                counted.too_many.notify_one();
            }
        });
        own
    }

    /// Waits until there are too many.
    pub(super) async fn too_many(&self) {
        self.too_many.notified().await;
    }

    /// Returns what came in place of an answer, if anything did.
    pub(super) fn reason(&self) -> Option<String> {
        match self.count.load(Ordering::Relaxed) {
            0 => None,
            1 => Some("it sent an informational answer (1xx) and no other".to_owned()),
            count if count <= MAX => Some(format!(
                "it sent {count} informational answers (1xx) and no other"
            )),
            _ => Some(format!(
                "it sent more than {MAX} informational answers (1xx) and no other"
            )),
        }
    }
}
