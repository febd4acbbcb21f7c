//! The body of a blob, across broken connections and from one host to the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{StatusCode, header};
use tracing::Instrument as _;

use crate::blob::BlobBody;
use crate::client::Client;
use crate::content_range::ContentRange;
use crate::digest::Digest;
use crate::error::Error;
use crate::floor::Floor;
use crate::future::BoxFuture;
use crate::manifest::Descriptor;
use crate::options::Ranges;
use crate::progress::{Event, Progress};
use crate::refusal::{Part, may_pass};
use crate::retry::Retry;
use crate::source::registry::place::Place;
use crate::source::registry::ranges::{self, Origin, RangedBody};
use crate::source::registry::senders::Senders;
use crate::target;
use crate::transport::{Answer, Request};

/// A connection that brought this much since it last broke has earned its patience back.
const PROGRESS: u64 = 1 << 20;
/// Most bytes read and thrown away at one time, because a server sends from the start instead of resuming.
const MAX_DISCARD: u64 = 256 << 20;
/// Number of times a blob's size that may be thrown away in all, which grows with the square of the number of breaks.
const DISCARDED_SIZES: u64 = 4;
/// Bytes that may be thrown away of any blob.
const LEAST_DISCARDED: u64 = 64 << 20;
/// How long the end of a body is waited for, or a byte too many, when all bytes are there.
const END_TIME: Duration = Duration::from_secs(1);
/// Time without reads after which a closed connection is no failure of the server.
const AWAY: Duration = Duration::from_secs(1);

/// Fewest bytes of a part of a requested range after which the next part costs the budget of retries nothing. Fewest
/// bytes as well that show that the server is there: one that sends a byte and breaks off is as good as absent.
const LEAST_PART: u64 = 64 << 10;

/// Whether a server that refuses a request to go on may well answer one without a range: proxies and storages that
/// know no ranges answer with statuses of many kinds. Those that are tried again, and 401, are about something else.
fn refuses_ranges(status: StatusCode, offset: u64) -> bool {
    let is_of_request = status == StatusCode::NOT_IMPLEMENTED
        || status.is_client_error()
            && status != StatusCode::UNAUTHORIZED
            && !may_pass(status.as_u16());
    // A server that cannot resume and is too far on gets an error of its own.
    status == StatusCode::RANGE_NOT_SATISFIABLE || is_of_request && offset <= MAX_DISCARD
}

/// The body of a blob, across broken connections.
pub(crate) struct RegistryBody {
    places: Arc<[Place]>,
    digest: Digest,
    size: u64,
    /// Index of the current place. Those before it have failed.
    place: usize,
    /// Bytes delivered.
    offset: u64,
    /// Bytes to throw away, because the server starts from the beginning.
    skip: u64,
    /// Position after the last byte that `answer` promises, if that is not all that was requested.
    part_end: Option<u64>,
    /// Bytes thrown away, of all connections.
    discarded: u64,
    since_break: u64,
    /// Bytes delivered since the retries last got all of their time back.
    unheard: u64,
    answer: Option<Answer>,
    senders: Senders,
    /// The bytes after those of `answer`, if a blob is fetched in ranges.
    ranged: Option<RangedBody>,
    ranges: Ranges,
    retry: Retry,
    progress: Progress,
    /// When the reader last got something.
    last_read: Instant,
    /// Whether the reader let this connection wait.
    was_away: bool,
    /// Runs on across connections.
    floor: Floor,
    /// Whether the last connection was given up because of the floor.
    was_slow: bool,
    /// Whether too few bytes came in a window of the floor, and not enough since.
    is_slow: bool,
    /// Of the request for this blob.
    span: tracing::Span,
}

impl BlobBody for RegistryBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        Box::pin(async move {
            let waiting = Waiting::start(self);
            waiting.0.next().await
        })
    }

    fn origin(&self) -> Option<String> {
        self.senders.text()
    }
}

/// A reader that waits for bytes, until it has some or gives up.
struct Waiting<'a>(&'a mut RegistryBody);

impl<'a> Waiting<'a> {
    fn start(body: &'a mut RegistryBody) -> Self {
        body.floor.start(Instant::now());
        Self(body)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.floor.stop(Instant::now());
    }
}

impl RegistryBody {
    /// The blob of `descriptor` from the byte `offset` on, from the first place that sends it.
    pub(crate) async fn open(
        client: &Client,
        places: Arc<[Place]>,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Self, Error> {
        let options = client.options();
        let mut body = Self {
            retry: match places.first() {
                Some(place) => place.patience(),
                None => Retry::new(options.budget(), options.progress.clone()),
            },
            places,
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            place: 0,
            offset,
            skip: 0,
            part_end: None,
            discarded: 0,
            since_break: 0,
            unheard: 0,
            answer: None,
            senders: Senders::default(),
            ranged: None,
            ranges: options.ranges,
            progress: options.progress.clone(),
            last_read: Instant::now(),
            was_away: false,
            floor: Floor::new(options.min_rate()),
            was_slow: false,
            is_slow: false,
            span: tracing::Span::current(),
        };
        body.connect().await?;
        Ok(body)
    }

    /// Returns its origin, for people.
    pub(crate) fn at(&self) -> String {
        let origin = self.senders.text();
        origin.unwrap_or_else(|| self.digest.to_string())
    }

    /// Asks the current place for what is missing, and those after it if it fails. The registry's
    /// own URL is requested each time, not the target of its redirect, because signed URLs expire.
    async fn connect(&mut self) -> Result<(), Error> {
        let places = Arc::clone(&self.places);
        loop {
            let Some(place) = places.get(self.place) else {
                return Err(Error::Usage("there is no registry to ask".to_owned()));
            };
            let is_last = self.place + 1 == places.len();
            if is_last || !place.is_left_out() {
                match self.ask(place).await {
                    Err(error) if !is_last => place.failed(&error),
                    outcome => return outcome,
                }
            }
            self.turn_to_next();
        }
    }

    fn turn_to_next(&mut self) {
        self.place += 1;
        if let Some(place) = self.places.get(self.place) {
            self.retry = place.patience();
            self.is_slow = false;
            self.unheard = 0;
        }
    }

    /// Whether there is another place, to which it turns.
    fn has_next(&mut self, broken: &str) -> bool {
        let there_is = self.place + 1 < self.places.len();
        if there_is {
            if let Some(place) = self.places.get(self.place) {
                place.left(broken);
            }
            self.turn_to_next();
        }
        there_is
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.was_away |= self.last_read.elapsed() >= AWAY;
        let chunk = loop {
            let broken = match self.read_or_end().await {
                Some(Ok(chunk)) => break Some(chunk),
                // All there: how the connection ends no longer matters, the hash decides.
                _ if self.offset >= self.size => break None,
                None if self.answer.is_none() => {
                    let span = self.span.clone();
                    self.connect().instrument(span).await?;
                    continue;
                }
                None if self.part_end == Some(self.offset) => {
                    "it sends ranges of fewer bytes than requested".to_owned()
                }
                None => "the connection ended".to_owned(),
                Some(Err(reason)) => reason,
            };
            let in_ranges = self.answer.is_none();
            // A server may send less than was requested (RFC 9110, 15.3.7). That is no failure of it, as long as the
            // parts are worth a request each.
            let is_part =
                self.part_end.take() == Some(self.offset) && self.since_break >= LEAST_PART;
            // The next request goes to the registry's own URL, so name the host that broke off here.
            let broken = match self
                .answer
                .as_ref()
                .and_then(|a| Some((a, a.redirected_from()?)))
            {
                Some((answer, _)) => format!("{broken} (from {}, by a redirect)", answer.url),
                None => broken,
            };
            self.answer = None;
            self.ranged = None;
            // One connection goes on where several failed, and it is the one that is judged. And a
            // server that closes what was not read for a while does as it should. One that sends
            // too little does not.
            let is_excused = !self.was_slow && (in_ranges || self.was_away || is_part);
            self.was_slow = false;
            self.was_away = false;
            if in_ranges {
                self.ranges.parallel /= 2;
            }
            if is_excused {
                tracing::debug!(reason = broken, "going on with a new connection");
                continue;
            }
            // Before there is a long wait there may be another place; the hash runs on.
            let url = self.url();
            if !self.retry.pause(None, &url, &broken).await && !self.has_next(&broken) {
                return Err(Error::Interrupted {
                    url,
                    received: self.offset,
                    size: self.size,
                    reason: broken,
                    attempts: self.retry.attempts(),
                });
            }
        };
        self.last_read = Instant::now();
        Ok(chunk)
    }

    /// As [`read`](Self::read). When all bytes are there, the end of the answer may never come.
    async fn read_or_end(&mut self) -> Option<Result<Bytes, String>> {
        if self.offset < self.size {
            return self.read().await;
        }
        let end = tokio::time::timeout(END_TIME, self.read()).await;
        end.unwrap_or_else(|_| {
            self.answer = None;
            self.ranged = None;
            None
        })
    }

    /// More bytes from wherever they come now; `None` if nothing does.
    async fn read(&mut self) -> Option<Result<Bytes, String>> {
        if let Some(ranged) = &mut self.ranged
            && self.offset >= ranged.start
        {
            self.answer = None;
            let chunk = ranged.chunk().await?;
            return Some(match chunk {
                Ok(chunk) => self.keep_up(&chunk).map(|()| {
                    self.advance(&chunk);
                    chunk
                }),
                Err(reason) => Err(reason),
            });
        }
        if self.part_end == Some(self.offset) {
            return None;
        }
        loop {
            let mut chunk = match self.answer.as_mut()?.chunk().await {
                Ok(chunk) => chunk?,
                Err(reason) => return Some(Err(reason)),
            };
            // What is thrown away counts as well: it keeps the reader waiting just so.
            if let Err(slow) = self.keep_up(&chunk) {
                return Some(Err(slow));
            }
            let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            self.discarded = self.discarded.saturating_add(length.min(self.skip));
            if length <= self.skip {
                self.skip -= length;
                continue;
            }
            let skipped = usize::try_from(std::mem::take(&mut self.skip)).unwrap_or(0);
            let mut chunk = chunk.split_off(skipped);
            let ends = [
                self.ranged.as_ref().map(|ranged| ranged.start),
                self.part_end,
            ];
            for end in ends.into_iter().flatten() {
                let room = end.saturating_sub(self.offset);
                chunk.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            }
            self.advance(&chunk);
            return Some(Ok(chunk));
        }
    }

    /// Counts a chunk that arrived, whose bytes are requested again if it is too late.
    fn keep_up(&mut self, chunk: &Bytes) -> Result<(), String> {
        match self.floor.receive(chunk.len(), Instant::now()) {
            Ok(is_enough) => self.is_slow &= !is_enough,
            Err(slow) => {
                self.was_slow = true;
                self.is_slow = true;
                self.unheard = 0;
                return Err(slow);
            }
        }
        Ok(())
    }

    fn advance(&mut self, chunk: &Bytes) {
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.offset = self.offset.saturating_add(length);
        self.since_break = self.since_break.saturating_add(length);
        self.unheard = self.unheard.saturating_add(length);
        // A body that trickles earns no patience, however many bytes that brings.
        if !self.is_slow && self.unheard >= LEAST_PART {
            self.unheard = 0;
            self.retry.heard();
        }
        if !self.is_slow && self.since_break >= PROGRESS {
            self.retry.refill();
        }
        self.progress.tell(&Event::Bytes {
            digest: &self.digest,
            bytes: length,
        });
    }

    /// Asks for what is missing.
    async fn ask(&mut self, place: &Place) -> Result<(), Error> {
        let mut request = Request::get(
            place.url("blobs", &self.digest.to_string())?,
            &place.endpoint,
        );
        // The first request has no range: some registries stall on one. Later ones name the last byte
        // as well, because some servers refuse a range without an end.
        request.from = self.offset;
        request.until = (self.offset > 0).then_some(self.size);
        let mut answer = place.send(&mut request, &mut self.retry).await?;
        if self.offset > 0 && refuses_ranges(answer.status(), self.offset) {
            tracing::debug!(
                from = self.offset,
                status = answer.status().as_u16(),
                "no ranges are served; reading from the start"
            );
            place.serves_no_ranges();
            (request.from, request.until) = (0, None);
            answer = place.send(&mut request, &mut self.retry).await?;
        }
        self.since_break = 0;
        self.skip = 0;
        self.part_end = None;
        match answer.status() {
            _ if answer.is_whole() => {
                if let Some(length) = answer.length().filter(|length| *length != self.size) {
                    answer.check_encoding("the blob")?;
                    return Err(Error::size(&answer.at(), self.size, length.to_string()));
                }
                // Another place may send the bytes as they are.
                if answer.is_encoded() && answer.length().is_none() {
                    answer.check_encoding("the blob")?;
                }
                let most = self.size.saturating_mul(DISCARDED_SIZES);
                let left = most.max(LEAST_DISCARDED).saturating_sub(self.discarded);
                if self.offset > MAX_DISCARD.min(left) {
                    return Err(Error::Interrupted {
                        url: answer.at(),
                        received: self.offset,
                        size: self.size,
                        reason: "the server cannot resume".to_owned(),
                        attempts: self.retry.attempts(),
                    });
                }
                self.skip = self.offset;
            }
            StatusCode::PARTIAL_CONTENT if self.offset > 0 => {
                let range = answer.header(header::CONTENT_RANGE).unwrap_or_default();
                let parsed = ContentRange::parse(range)
                    .filter(|range| range.continues(self.offset, self.size));
                let Some(range) = parsed else {
                    let what = match answer.headers().contains_key(header::CONTENT_RANGE) {
                        true => format!("{:?}", answer.quoted(header::CONTENT_RANGE)),
                        false => "a part without Content-Range".to_owned(),
                    };
                    let reason = format!(
                        "it was asked for bytes from {} of {} and sends {what}",
                        self.offset, self.size
                    );
                    return Err(Error::protocol(answer.at(), reason));
                };
                let end = range.last.saturating_add(1);
                self.part_end = (end < self.size).then_some(end);
            }
            StatusCode::PARTIAL_CONTENT => {
                return Err(Error::protocol(
                    answer.at(),
                    "it sends a part of what it was asked for",
                ));
            }
            _ => return Err(place.refuse_part(answer, Part::Blob).await),
        }
        let left = self.size - self.offset;
        if self.skip == 0
            && self.part_end.is_none()
            && ranges::are_worth_it(self.ranges, left, place, &answer)
        {
            let origin = Origin {
                places: Arc::clone(&self.places),
                place: self.place,
                name: self.digest.to_string(),
                size: self.size,
                retry: self.retry.share(),
            };
            let from = self.offset + self.ranges.bytes;
            self.ranged = Some(RangedBody::start(origin, self.ranges, from));
        }
        let at = match answer.encoding() {
            Some(encoding) => {
                format!("{} (sent with Content-Encoding {encoding:?})", answer.at())
            }
            None => answer.at(),
        };
        self.senders.add(self.offset, at);
        self.answer = Some(answer);
        Ok(())
    }

    fn url(&self) -> String {
        let place = self.places.get(self.place);
        let url = place.and_then(|place| place.url("blobs", &self.digest.to_string()).ok());
        url.map_or_else(|| self.digest.to_string(), |url| target::shown(&url))
    }
}
