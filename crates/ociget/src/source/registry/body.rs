//! The body of a blob, across broken connections and from one host to the next.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::{StatusCode, header};

use crate::BoxFuture;
use crate::blob::BlobBody;
use crate::content_range::ContentRange;
use crate::error::Error;
use crate::retry::Retry;
use crate::source::registry::Shared;
use crate::source::registry::place::Place;
use crate::target;
use crate::transport::{Answer, Request};

/// A connection that brought this much since it last broke has earned its patience back.
const PROGRESS: u64 = 1 << 20;
/// Most bytes read and thrown away because a server sends from the start instead of resuming.
const MAX_DISCARD: u64 = 256 << 20;

/// The body of a blob, across broken connections.
pub(crate) struct RegistryBody {
    shared: Arc<Shared>,
    /// Digest of the blob.
    name: String,
    size: u64,
    /// Which of the places is asked. Those before it have failed.
    place: usize,
    /// Bytes delivered.
    offset: u64,
    /// Bytes to throw away, because the server starts from the beginning.
    skip: u64,
    since_break: u64,
    answer: Option<Answer>,
    retry: Retry,
}

impl BlobBody for RegistryBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        Box::pin(self.next())
    }
}

impl RegistryBody {
    /// The blob `name` of `size` bytes, from the first place that sends it.
    pub(crate) async fn open(shared: &Arc<Shared>, name: String, size: u64) -> Result<Self, Error> {
        let places = shared.places().await?;
        let mut body = Self {
            shared: Arc::clone(shared),
            name,
            size,
            place: 0,
            offset: 0,
            skip: 0,
            since_break: 0,
            answer: None,
            retry: Retry::new(places.first().map_or(0, |place| place.retries)),
        };
        body.connect().await?;
        Ok(body)
    }

    /// Where it comes from, for people.
    pub(crate) fn at(&self) -> String {
        let answer = self.answer.as_ref();
        answer.map_or_else(|| self.name.clone(), |answer| answer.asked.clone())
    }

    /// Asks the current place for what is missing, and those after it if it fails. The registry's
    /// own URL is asked each time, not where it redirected to: signed URLs expire.
    async fn connect(&mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let places = shared.places().await?;
        loop {
            let Some(place) = places.get(self.place) else {
                return Err(Error::Usage("there is no registry to ask".to_owned()));
            };
            let is_last = self.place + 1 == places.len();
            if is_last || !place.is_lost() {
                match self.ask(place).await {
                    Err(error) if !is_last => place.failed(&error),
                    outcome => return outcome,
                }
            }
            self.turn_to_next(places);
        }
    }

    fn turn_to_next(&mut self, places: &[Place]) {
        self.place += 1;
        self.retry = Retry::new(places.get(self.place).map_or(0, |place| place.retries));
    }

    /// Whether there is another place, to which it turns.
    async fn has_next(&mut self) -> Result<bool, Error> {
        let shared = Arc::clone(&self.shared);
        let places = shared.places().await?;
        if self.place + 1 < places.len() {
            self.turn_to_next(places);
            return Ok(true);
        }
        Ok(false)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some(answer) = &mut self.answer else {
                self.connect().await?;
                continue;
            };
            let broken = match answer.chunk().await {
                Ok(Some(mut chunk)) => {
                    let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                    if length <= self.skip {
                        self.skip -= length;
                        continue;
                    }
                    let skipped = usize::try_from(std::mem::take(&mut self.skip)).unwrap_or(0);
                    let chunk = chunk.split_off(skipped);
                    self.advance(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
                    return Ok(Some(chunk));
                }
                // All there: how the connection ends no longer matters, the hash decides.
                Ok(None) | Err(_) if self.offset >= self.size => return Ok(None),
                Ok(None) => "the connection ended".to_owned(),
                Err(reason) => reason,
            };
            self.answer = None;
            // Before there is a long wait there may be another place; the hash runs on.
            if !self.retry.pause(None, &broken).await && !self.has_next().await? {
                return Err(self.interrupted(broken));
            }
        }
    }

    fn advance(&mut self, length: u64) {
        self.offset = self.offset.saturating_add(length);
        self.since_break = self.since_break.saturating_add(length);
        if self.since_break >= PROGRESS {
            self.retry.refill();
        }
    }

    /// Asks for what is missing.
    async fn ask(&mut self, place: &Place) -> Result<(), Error> {
        let mut request = Request::get(place.url("blobs", &self.name)?, &place.endpoint);
        // The first request has no range: some registries stall on one.
        request.from = self.offset;
        let answer = place.send(&mut request, &mut self.retry).await?;
        self.since_break = 0;
        self.skip = 0;
        match answer.status() {
            StatusCode::OK => {
                if let Some(length) = answer.length().filter(|length| *length != self.size) {
                    return Err(Error::size(&answer.asked, self.size, length.to_string()));
                }
                if self.offset > MAX_DISCARD {
                    return Err(Error::Interrupted {
                        url: answer.asked,
                        received: self.offset,
                        size: self.size,
                        reason: "the server cannot resume".to_owned(),
                    });
                }
                self.skip = self.offset;
            }
            StatusCode::PARTIAL_CONTENT if self.offset > 0 => {
                let range = answer.header(header::CONTENT_RANGE).unwrap_or_default();
                let parsed = ContentRange::parse(range);
                if !parsed.is_some_and(|range| range.continues(self.offset, self.size)) {
                    let reason = format!(
                        "it was asked for bytes from {} of {} and sends {range:?}",
                        self.offset, self.size
                    );
                    return Err(Error::protocol(&answer.asked, reason));
                }
            }
            StatusCode::PARTIAL_CONTENT => {
                return Err(Error::protocol(
                    &answer.asked,
                    "it sends a part of what it was asked for",
                ));
            }
            _ => return Err(place.refuse(answer).await),
        }
        if let Some(encoding) = answer.header(header::CONTENT_ENCODING)
            && !encoding.eq_ignore_ascii_case("identity")
        {
            let reason = format!("it sends the blob in the encoding {encoding:?}, unasked");
            return Err(Error::protocol(&answer.asked, reason));
        }
        self.answer = Some(answer);
        Ok(())
    }

    fn interrupted(&self, reason: String) -> Error {
        let places = self.shared.places.get();
        let url = places
            .and_then(|places| places.get(self.place))
            .and_then(|place| place.url("blobs", &self.name).ok());
        Error::Interrupted {
            url: url.map_or_else(|| self.name.clone(), |url| target::shown(&url)),
            received: self.offset,
            size: self.size,
            reason,
        }
    }
}
