//! The progress of all builds, from their events. The model reads no clock and no terminal: the time is an argument, as
//! the time since the program began.

use std::time::Duration;

use hpcc_rootfs::{Count, Event, ImageLayer, ShortDigest, Span};
use ociget::Digest;

use super::rate::{Rate, per_second};

/// Length of a silence of the source that is reported.
const SILENCE: Duration = Duration::from_secs(3);

/// The stage of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Resolve,
    Fetch,
    Seal,
    Sync,
    Publish,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Fetch => "fetch",
            Self::Seal => "seal",
            Self::Sync => "sync",
            Self::Publish => "publish",
        }
    }
}

/// The progress of all builds.
#[derive(Debug)]
pub(crate) struct Model {
    images: Vec<ImageState>,
    stage: Stage,
    is_remote: bool,
    /// Time of the last data from the source.
    heard: Duration,
    notice: Option<Notice>,
    /// Registries whose logins are looked up, and since when. A credential helper takes its time, not the registry.
    logins: Vec<(String, Duration)>,
    /// When the first layer was asked for.
    began: Option<Duration>,
    received: u64,
    /// Bytes of it that were reported as those of images before.
    reported: u64,
    /// Bytes that arrived for builds which restarted.
    spent: u64,
    rate: Rate,
}

#[derive(Debug)]
struct ImageState {
    digest: Digest,
    is_fetching: bool,
    layers: Vec<LayerState>,
}

#[derive(Debug, Default)]
struct LayerState {
    digest: String,
    size: u64,
    /// Bytes that are expected or arrived: more than the size if the layer is fetched twice, none if it is reused.
    wanted: u64,
    started: Option<Duration>,
    received: u64,
    /// Earlier attempts included.
    received_in_all: u64,
    is_held: bool,
    is_done: bool,
    heard: Duration,
    rate: Rate,
}

/// The reason why nothing arrives.
#[derive(Debug)]
enum Notice {
    /// The purpose, as a whole line.
    Waiting(String),
    Retry {
        text: String,
        attempt: u32,
        until: Duration,
    },
}

/// The progress of all builds at one moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) stage: Stage,
    pub(crate) elapsed: Duration,
    /// Bytes of all blobs that arrived, and that are needed.
    pub(crate) received: u64,
    pub(crate) total: u64,
    pub(crate) per_second: u64,
    pub(crate) eta: Option<Duration>,
    /// Waiting, trying again, or silence.
    pub(crate) note: Option<String>,
    /// How long the source has been silent, if that is long.
    pub(crate) silent: Option<Duration>,
    /// Layers in flight, oldest first.
    pub(crate) moving: Vec<MovingLayer>,
}

/// A layer in flight.
#[derive(Clone, Debug)]
pub(crate) struct MovingLayer {
    pub(crate) number: usize,
    pub(crate) of: usize,
    /// Short digest of the blob.
    pub(crate) digest: String,
    pub(crate) received: u64,
    pub(crate) size: u64,
    pub(crate) per_second: u64,
    /// Whether the build has no capacity for more of it.
    pub(crate) is_held: bool,
}

/// The bytes and the time of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) time: Duration,
    pub(crate) per_second: u64,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            images: Vec::new(),
            stage: Stage::Resolve,
            is_remote: false,
            heard: Duration::ZERO,
            notice: None,
            logins: Vec::new(),
            began: None,
            received: 0,
            reported: 0,
            spent: 0,
            rate: Rate::default(),
        }
    }

    /// Takes an event in. For the end of a layer, returns its bytes and its time.
    pub(crate) fn event(&mut self, event: &Event<'_>, now: Duration) -> Option<Finished> {
        if !matches!(
            event,
            Event::LayerHeld { .. } | Event::Waiting { .. } | Event::Queued { .. }
        ) {
            self.heard = now;
        }
        match event {
            Event::Resolving { is_remote, .. } => {
                self.stage = Stage::Resolve;
                self.is_remote = *is_remote;
            }
            Event::Resolved { image } => self.resolved(image),
            Event::Waiting { digest } => {
                let digest = ShortDigest(digest);
                self.notice = Some(Notice::Waiting(format!(
                    "waiting for another build of {digest}"
                )));
                return None;
            }
            Event::Queued { ahead, .. } => {
                self.notice = Some(Notice::Waiting(queued(*ahead)));
                return None;
            }
            Event::LayerReused { layer } => {
                if let Some(state) = self.layer(layer) {
                    state.wanted = 0;
                }
            }
            Event::LayerStarted { layer } => {
                self.began.get_or_insert(now);
                if let Some(state) = self.layer(layer) {
                    state.start(now);
                }
            }
            Event::LayerBytes { layer, bytes } => {
                self.received = self.received.saturating_add(*bytes);
                self.rate.note(now, self.received);
                if let Some(state) = self.layer(layer) {
                    state.receive(*bytes, now);
                }
            }
            Event::LayerHeld { layer } | Event::LayerResumed { layer } => {
                if let Some(state) = self.layer(layer) {
                    state.is_held = matches!(event, Event::LayerHeld { .. });
                    state.heard = now;
                }
                return None;
            }
            Event::LayerDone { layer } => {
                let state = self.layer(layer)?;
                state.is_done = true;
                let time = now.saturating_sub(state.started.unwrap_or(now));
                let per_second = per_second(state.received, time);
                return Some(Finished { time, per_second });
            }
            Event::Sealing { image } => self.next(image, Stage::Seal),
            Event::Syncing { image } => self.next(image, Stage::Sync),
            Event::Publishing { image } => self.next(image, Stage::Publish),
            _ => {}
        }
        // The pause before a retry continues, whatever else arrives.
        if matches!(self.notice, Some(Notice::Waiting(_))) {
            self.notice = None;
        }
        None
    }

    /// Returns, for the event after which no build fetches any more, the bytes that arrived since the last such event and
    /// the time since the first of them was requested.
    pub(crate) fn received_until(
        &mut self,
        event: &Event<'_>,
        now: Duration,
    ) -> Option<(u64, Duration)> {
        let is_end = matches!(event, Event::Sealing { .. });
        let is_last = self.images.iter().all(|image| !image.is_fetching);
        if !is_end || !is_last {
            return None;
        }
        // The next of several images has its own bytes and its own time.
        let began = self.began.take()?;
        let before = std::mem::replace(&mut self.reported, self.received);
        let received = self.received.saturating_sub(before);
        Some((received, now.saturating_sub(began)))
    }

    /// Returns the name of the layer whose blob has this URL.
    pub(crate) fn layer_at(&self, url: &str) -> Option<String> {
        let (_, digest) = url.rsplit_once('/')?;
        self.images.iter().find_map(|image| {
            let is_it =
                |layer: &LayerState| !layer.digest.is_empty() && digest.starts_with(&layer.digest);
            let index = image.layers.iter().position(is_it)?;
            let digest = &image.layers.get(index)?.digest;
            Some(format!(
                "layer {} of {} ({digest})",
                index + 1,
                image.layers.len()
            ))
        })
    }

    /// Notes that something is tried again after a pause.
    pub(crate) fn retry(&mut self, text: String, attempt: u32, pause: Duration, now: Duration) {
        let until = now.saturating_add(pause);
        self.notice = Some(Notice::Retry {
            text,
            attempt,
            until,
        });
        self.heard(until);
    }

    /// Notes that a login for a registry is looked up, or is known.
    pub(crate) fn login(&mut self, registry: &str, is_known: bool, now: Duration) {
        if !is_known {
            self.logins.push((registry.to_owned(), now));
            return;
        }
        if let Some(at) = self.logins.iter().position(|(name, _)| name == registry) {
            self.logins.remove(at);
        }
        self.heard(now);
    }

    /// Notes that the source gave a sign of life.
    pub(crate) fn heard(&mut self, now: Duration) {
        self.heard = self.heard.max(now);
        let layers = self.images.iter_mut().flat_map(|image| &mut image.layers);
        for layer in layers.filter(|layer| layer.is_moving() && layer.received == 0) {
            layer.heard = layer.heard.max(now);
        }
    }

    fn resolved(&mut self, image: &ociget::Image) {
        let digest = image.identity.get();
        // The same image again: its build restarts.
        let mut again = self.images.extract_if(.., |state| state.digest == *digest);
        let spent: u64 = again
            .by_ref()
            .flat_map(|state| state.layers)
            .map(|layer| layer.received_in_all)
            .sum();
        drop(again);
        self.spent = self.spent.saturating_add(spent);
        let layers = image.layers.iter().map(|layer| LayerState {
            digest: ShortDigest(&layer.descriptor.digest).to_string(),
            size: layer.descriptor.size,
            wanted: layer.descriptor.size,
            ..LayerState::default()
        });
        self.images.push(ImageState {
            digest: digest.clone(),
            is_fetching: true,
            layers: layers.collect(),
        });
        self.stage = Stage::Fetch;
    }

    fn layer(&mut self, layer: &ImageLayer<'_>) -> Option<&mut LayerState> {
        let mut images = self.images.iter_mut();
        let image = images.find(|image| image.digest == *layer.image)?;
        image.layers.get_mut(layer.number.checked_sub(1)?)
    }

    fn next(&mut self, image: &Digest, stage: Stage) {
        for state in self
            .images
            .iter_mut()
            .filter(|state| state.digest == *image)
        {
            state.is_fetching = false;
        }
        self.stage = stage;
    }

    pub(crate) fn view(&self, now: Duration) -> View {
        let fetching = || self.images.iter().filter(|image| image.is_fetching);
        let stage = match fetching().next() {
            Some(_) => Stage::Fetch,
            None => self.stage,
        };
        let layers = self.images.iter().flat_map(|image| &image.layers);
        let total = layers.fold(self.spent, |all, layer| all.saturating_add(layer.wanted));
        let moving = fetching().flat_map(|image| {
            let of = image.layers.len();
            let numbered = image.layers.iter().enumerate();
            numbered
                .filter(|(_, layer)| layer.is_moving())
                .map(move |(index, layer)| MovingLayer {
                    number: index + 1,
                    of,
                    digest: layer.digest.clone(),
                    received: layer.received,
                    size: layer.size,
                    per_second: layer.rate.per_second(now),
                    is_held: layer.is_held,
                })
        });
        let silent = self.silent(stage, now);
        let per_second = match stage {
            Stage::Fetch => self.rate.per_second(now),
            _ => 0,
        };
        let left = total.saturating_sub(self.received);
        let seconds = left.checked_div(per_second);
        View {
            stage,
            elapsed: now,
            received: self.received.min(total),
            total,
            per_second,
            eta: seconds
                .filter(|_| stage == Stage::Fetch)
                .map(Duration::from_secs),
            note: self.note(silent, now),
            silent,
            moving: moving.collect(),
        }
    }

    fn silent(&self, stage: Stage, now: Duration) -> Option<Duration> {
        if matches!(self.notice, Some(Notice::Waiting(_))) || !self.logins.is_empty() {
            return None;
        }
        let heard = match stage {
            Stage::Resolve if self.is_remote => self.heard,
            Stage::Fetch => self
                .images
                .iter()
                .filter(|image| image.is_fetching)
                .flat_map(|image| &image.layers)
                .filter(|layer| layer.is_moving())
                .map(|layer| if layer.is_held { now } else { layer.heard })
                .max()?,
            _ => return None,
        };
        Some(now.saturating_sub(heard)).filter(|silence| *silence >= SILENCE)
    }

    fn note(&self, silent: Option<Duration>, now: Duration) -> Option<String> {
        match &self.notice {
            Some(Notice::Waiting(text)) => Some(text.clone()),
            Some(Notice::Retry {
                text,
                attempt,
                until,
            }) if *until > now => {
                // Rounded up, so that it never says 0.
                let left = until.saturating_sub(now) + Duration::from_millis(999);
                Some(format!("retry {attempt} in {}: {text}", Span(left)))
            }
            _ => silent
                .map(|silence| self.silence(silence))
                .or_else(|| self.look_up(now)),
        }
    }

    /// The words for a login that takes long.
    fn look_up(&self, now: Duration) -> Option<String> {
        let (registry, since) = self.logins.first()?;
        let seconds = now.saturating_sub(*since);
        let seconds = Some(seconds).filter(|seconds| *seconds >= SILENCE)?;
        Some(format!(
            "waiting for the credentials for {registry} for {}",
            Span(seconds)
        ))
    }

    /// The words for a silence.
    fn silence(&self, silence: Duration) -> String {
        let who = if self.is_remote { "registry" } else { "source" };
        format!("{who} silent for {}", Span(silence))
    }
}

impl LayerState {
    fn is_moving(&self) -> bool {
        self.started.is_some() && !self.is_done
    }

    fn start(&mut self, now: Duration) {
        // The bytes so far are discarded and are fetched again.
        self.wanted = self.received_in_all.saturating_add(self.size);
        self.started = Some(now);
        self.received = 0;
        self.rate = Rate::default();
        self.rate.note(now, 0);
        (self.is_held, self.is_done) = (false, false);
        self.heard = now;
    }

    fn receive(&mut self, bytes: u64, now: Duration) {
        self.received = self.received.saturating_add(bytes);
        self.received_in_all = self.received_in_all.saturating_add(bytes);
        self.rate.note(now, self.received);
        self.heard = now;
        self.is_held = false;
    }
}

/// What a build waits for that is not yet its turn.
pub(super) fn queued(ahead: usize) -> String {
    format!(
        "waiting for {} of this store",
        Count::of(ahead, "other build")
    )
}
