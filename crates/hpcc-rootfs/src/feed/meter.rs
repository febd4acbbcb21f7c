//! How much went through a stage whose threads start and end, and how they spent their time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::timings::Stage;

/// The two stages of a feed.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(super) download: Meter,
    /// Its busy time covers everything up to the next chunk, whatever the thread waited for.
    pub(super) inflate: Meter,
    /// How long frames with large windows waited for their layer's turn.
    pub(super) turn: Meter,
    /// How long the reader waited for decompressed bytes.
    pub(super) reader: Meter,
}

impl Meters {
    /// Returns the time and the bytes of downloading all layers.
    pub(crate) fn download(&self) -> Stage {
        self.download.read()
    }

    /// Returns the time and the bytes of decompressing all layers.
    pub(crate) fn inflate(&self) -> Stage {
        let inflate = self.inflate.read();
        let turn = self.turn.read().blocked;
        Stage {
            busy: inflate.busy.saturating_sub(inflate.starved + turn),
            blocked: inflate.blocked + turn,
            ..inflate
        }
    }

    /// Returns how long the reader waited for decompressed bytes.
    pub(crate) fn reader_starved(&self) -> Duration {
        self.reader.read().starved
    }
}

/// A sum over threads. It does not depend on the order in which they add to it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: AtomicU64,
    busy: AtomicU64,
    starved: AtomicU64,
    blocked: AtomicU64,
}

/// What a thread did during a time.
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
        // Enough for 584 years.
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        sum.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Runs `act` and adds the time that it took.
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
