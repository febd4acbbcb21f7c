//! How much went through a stage whose threads come and go, and what they did meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::timings::Stage;

/// The two stages of a feed.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(super) download: Meter,
    /// Its busy time is that of everything up to the next chunk, whatever was waited for.
    pub(super) inflate: Meter,
    /// How long frames with large windows waited for their layer's turn.
    pub(super) turn: Meter,
    /// How long the reader waited for decompressed bytes.
    pub(super) reader: Meter,
}

impl Meters {
    /// What the download of all layers took.
    pub(crate) fn download(&self) -> Stage {
        self.download.read()
    }

    /// What decompressing all layers took.
    pub(crate) fn inflate(&self) -> Stage {
        let inflate = self.inflate.read();
        let turn = self.turn.read().blocked;
        Stage {
            busy: inflate.busy.saturating_sub(inflate.starved + turn),
            blocked: inflate.blocked + turn,
            ..inflate
        }
    }

    /// How long the reader waited for decompressed bytes.
    pub(crate) fn reader_starved(&self) -> Duration {
        self.reader.read().starved
    }
}

/// A sum over threads. Nothing depends on the order in which they add to it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: AtomicU64,
    busy: AtomicU64,
    starved: AtomicU64,
    blocked: AtomicU64,
}

/// What a time was spent with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spent {
    Busy,
    Starved,
    Blocked,
}

impl Meter {
    pub(super) fn bytes(&self, count: usize) {
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn add(&self, spent: Spent, time: Duration) {
        let sum = match spent {
            Spent::Busy => &self.busy,
            Spent::Starved => &self.starved,
            Spent::Blocked => &self.blocked,
        };
        // 584 years.
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        sum.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Does something and adds how long it took.
    pub(super) fn time<T>(&self, spent: Spent, act: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = act();
        self.add(spent, start.elapsed());
        result
    }

    fn read(&self) -> Stage {
        let time = |sum: &AtomicU64| Duration::from_nanos(sum.load(Ordering::Relaxed));
        let [busy, starved, blocked] = [&self.busy, &self.starved, &self.blocked].map(time);
        Stage {
            bytes: self.bytes.load(Ordering::Relaxed),
            busy,
            starved,
            blocked,
        }
    }
}
