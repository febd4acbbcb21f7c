//! Several ranges of one blob at once, handed out in order.
//!
//! ```text
//!   tasks:  [ 8..12 ) [ 12..16 ) [ 16..20 ) [ 20..24 )     each one request, each into memory of its own
//!              │          waits for its turn, whole, in memory
//!   reader: ◄──┘          when it has finished a range, the next one is requested
//! ```
//!
//! This only makes a download faster: any failure ends it, and the one connection that
//! can be resumed, moved to another host and explained takes over from the same byte.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, header};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::content_range::ContentRange;
use crate::error::Error;
use crate::options::Ranges;
use crate::retry::Retry;
use crate::source::registry::gathered::{self, Receiver, Sender};
use crate::source::registry::place::Place;
use crate::transport::{Answer, Request};

/// The origin of the ranges of one blob.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) places: Arc<[Place]>,
    /// Index of the place among them.
    pub(crate) place: usize,
    /// Digest of the blob.
    pub(crate) name: String,
    pub(crate) size: u64,
    /// Shares its time with the blob, so that ranges cannot spend it again.
    pub(crate) retry: Retry,
}

/// The rest of a blob from some byte on, on its way. Dropping it ends the requests.
#[derive(Debug)]
pub(crate) struct RangedBody {
    origin: Origin,
    options: Ranges,
    /// Position of the first byte that comes from here.
    pub(crate) start: u64,
    /// First byte that was not requested yet.
    next: u64,
    /// In the order of the blob.
    running: VecDeque<Running>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Running {
    chunks: Receiver,
    /// Bytes of it that were not handed out yet.
    left: u64,
}

/// Whether a blob of which `left` bytes are missing is worth several requests, by an answer that
/// was sent for it.
pub(crate) fn are_worth_it(options: Ranges, left: u64, place: &Place, answer: &Answer) -> bool {
    options.parallel > 1
        && left >= options.above.max(options.bytes.saturating_mul(2))
        && place.may_serve_ranges()
        && (answer.status() == StatusCode::PARTIAL_CONTENT
            || answer
                .header(header::ACCEPT_RANGES)
                .is_some_and(|units| units.trim().eq_ignore_ascii_case("bytes")))
}

impl RangedBody {
    /// Sends for the blob from `from` on; the bytes before that still come the other way, which is
    /// the first of the `parallel` connections.
    pub(crate) fn start(origin: Origin, options: Ranges, from: u64) -> Self {
        let mut body = Self {
            origin,
            options,
            start: from,
            next: from,
            running: VecDeque::new(),
            tasks: JoinSet::new(),
        };
        // The first connection has the place that is left.
        body.send_for_up_to(body.parallel().saturating_sub(1));
        body
    }

    /// The next bytes, `None` at the end. After an error there is nothing more to be had. Dropping
    /// the future loses none.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            let front = self.running.front_mut()?;
            if front.left == 0 {
                self.running.pop_front();
                // The first connection is gone by now, so its place is free as well.
                self.send_for_up_to(self.parallel());
                continue;
            }
            return Some(match front.chunks.recv().await {
                Some(Ok(chunk)) => {
                    let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                    front.left = front.left.saturating_sub(length);
                    Ok(chunk)
                }
                Some(Err(reason)) => Err(reason),
                None => Err("a range ended early".to_owned()),
            });
        }
    }

    fn parallel(&self) -> usize {
        usize::try_from(self.options.parallel).unwrap_or(usize::MAX)
    }

    /// Sends for ranges until `parallel` of them are running, or none is left.
    fn send_for_up_to(&mut self, parallel: usize) {
        while self.running.len() < parallel && self.next < self.origin.size {
            self.send_for_next();
        }
    }

    fn send_for_next(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        let end = self.next.saturating_add(self.options.bytes);
        let range = self.next..end.min(self.origin.size);
        if range.is_empty() {
            return;
        }
        self.next = range.end;
        let (sender, chunks) = gathered::pair();
        self.running.push_back(Running {
            chunks,
            left: range.end - range.start,
        });
        let origin = self.origin.clone();
        let task = async move {
            if let Err(reason) = fetch(&origin, range, &sender).await {
                sender.fail(reason);
            }
        };
        self.tasks.spawn(task.in_current_span());
    }
}

/// One range, to its last byte and not a byte more.
async fn fetch(origin: &Origin, range: Range<u64>, sender: &Sender) -> Result<(), String> {
    let place = origin
        .places
        .get(origin.place)
        .ok_or("there is no such place")?;
    let mut retry = origin.retry.share();
    let mut answer = request(place, origin, &range, &mut retry)
        .await
        .map_err(|error| error.to_string())?;
    if let Err(reason) = check(&answer, &range, origin.size) {
        place.serves_no_ranges();
        return Err(reason);
    }
    // The ranges wait for each other, so that one that comes is progress for all.
    retry.heard();
    let mut left = range.end - range.start;
    while left > 0 {
        let Some(mut chunk) = answer.chunk().await? else {
            return Err("the connection ended".to_owned());
        };
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if length > left {
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        left = left.saturating_sub(length);
        // The blob may have been given up.
        if !sender.send(&chunk) {
            return Ok(());
        }
    }
    // Read to its end, a connection can be used again.
    drop(answer.chunk().await);
    Ok(())
}

async fn request(
    place: &Place,
    origin: &Origin,
    range: &Range<u64>,
    retry: &mut Retry,
) -> Result<Answer, Error> {
    let mut request = Request::get(place.url("blobs", &origin.name)?, &place.endpoint);
    request.from = range.start;
    request.until = Some(range.end);
    place.send(&mut request, retry).await
}

/// Returns whether it is the requested range.
fn check(answer: &Answer, range: &Range<u64>, size: u64) -> Result<(), String> {
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return Err(format!("it answered {} to a range", answer.status()));
    }
    if let Some(encoding) = answer.encoding().filter(|_| answer.is_encoded()) {
        return Err(format!(
            "it sends a range with Content-Encoding {encoding:?}"
        ));
    }
    let found = answer.header(header::CONTENT_RANGE).unwrap_or_default();
    let exact = ContentRange::parse(found).is_some_and(|found| {
        found.continues(range.start, size) && found.last.saturating_add(1) == range.end
    });
    let length = answer.length().unwrap_or(range.end - range.start);
    if !exact || length != range.end - range.start {
        let found = answer.quoted(header::CONTENT_RANGE);
        return Err(format!(
            "it was asked for the bytes {}-{} of {size} and sends {found:?}",
            range.start,
            range.end - 1
        ));
    }
    Ok(())
}
