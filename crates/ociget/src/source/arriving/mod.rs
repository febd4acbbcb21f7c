//! An archive that comes once, from its first byte to its last, such as from a pipe.
//!
//! Readers of its members drive it: a reader that needs bytes that have not arrived reads on until they
//! have. Each member that comes by on the way is kept, passed over, or passed on:
//!
//! - Until there is a plan, every member is kept in the spool.
//! - Then a blob that the image does not name is passed over.
//! - The blob that is read first and only once is passed on to its reader and never kept. Readers of
//!   members after it wait until it is over.
//! - Every other member is kept, because it is needed later, or perhaps a second time.
//!
//! What becomes of a member depends on the order of members alone, not on time.

mod arrival;
pub(crate) mod plan;
mod pump;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, Notify};

use self::arrival::Arrival;
use self::plan::{FoundMember, Plan};
use self::pump::{Pump, Step};
use crate::background;
use crate::open_archive::{ArchiveStream, Wanted};

/// The archive, for all readers of its members.
#[derive(Debug)]
pub(crate) struct Arriving {
    pump: Arc<Mutex<Pump>>,
    /// Told when the member that is not kept is over.
    moved: Arc<Notify>,
}

impl Arriving {
    pub(crate) fn new(stream: ArchiveStream, wanted: Wanted) -> Self {
        let moved = Arc::<Notify>::default();
        let arrival = Arrival::new(stream, wanted, Arc::clone(&moved));
        Self {
            pump: Arc::new(Mutex::new(Pump::new(arrival, Arc::clone(&moved)))),
            moved,
        }
    }

    /// The member `name`, read up to its header; `None` if the archive ends before.
    pub(crate) async fn find(&self, name: &str) -> io::Result<Option<FoundMember>> {
        let name = name.to_owned();
        self.step(move |pump| pump.find(&name)).await
    }

    /// The names of all members that have come.
    pub(crate) async fn names(&self) -> Vec<String> {
        self.pump.lock().await.names()
    }

    /// The number of bytes that have come.
    pub(crate) async fn length(&self) -> u64 {
        self.pump.lock().await.length()
    }

    /// The name that `name` leads to by links that have come.
    pub(crate) async fn target(&self, name: &str) -> String {
        self.pump.lock().await.target(name).to_owned()
    }

    /// Some of the `size` bytes at `offset`, which are those of a member that was found.
    pub(crate) async fn read(&self, offset: u64, size: usize) -> io::Result<Bytes> {
        self.step(move |pump| pump.read(offset, size)).await
    }

    /// The `size` bytes at `offset`, or fewer where the member ends. Nothing is kept or lost by it.
    pub(crate) async fn peek(&self, offset: u64, size: usize) -> io::Result<Bytes> {
        self.step(move |pump| pump.peek(offset, size)).await
    }

    /// Says what is needed from now on.
    pub(crate) async fn plan(&self, plan: Plan) {
        self.pump.lock().await.plan(plan);
    }

    /// Reads the rest, in which nothing is needed any more, for what is wrong with it.
    pub(crate) async fn finish(&self) -> io::Result<()> {
        self.step(Pump::finish).await
    }

    /// Does `step`, which may block, as often as it takes.
    async fn step<T: Send + 'static>(
        &self,
        step: impl Fn(&mut Pump) -> io::Result<Step<T>> + Clone + Send + 'static,
    ) -> io::Result<T> {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // From here on no notification is missed.
            moved.as_mut().enable();
            let mut pump = Arc::clone(&self.pump).lock_owned().await;
            let step = step.clone();
            let stepping = background::run(move || pump.attempt(step));
            match stepping.await?? {
                Step::Done(outcome) => return Ok(outcome),
                Step::Again => {}
                Step::Later => moved.await,
            }
        }
    }
}
