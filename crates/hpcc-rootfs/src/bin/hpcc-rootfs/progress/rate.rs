//! Bytes per second over the last few seconds.

use std::collections::VecDeque;
use std::time::Duration;

/// Time over which a rate is averaged.
const WINDOW: Duration = Duration::from_secs(5);
/// Time between two samples that are kept.
const STEP: Duration = Duration::from_millis(200);

/// A count of bytes that grows, with the times of its values.
#[derive(Debug, Default)]
pub(super) struct Rate {
    samples: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// Notes the total number of bytes at that time.
    pub(super) fn note(&mut self, now: Duration, bytes: u64) {
        let is_early = self
            .samples
            .back()
            .is_some_and(|(last, _)| now.saturating_sub(*last) < STEP);
        if is_early && self.samples.len() > 1 {
            if let Some((_, last)) = self.samples.back_mut() {
                *last = bytes;
            }
        } else {
            self.samples.push_back((now, bytes));
        }
        // One sample older than the window stays: the rate runs from there.
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// Returns the bytes per second between the window's beginning and now.
    pub(super) fn per_second(&self, now: Duration) -> u64 {
        let (Some((first, from)), Some((_, to))) = (self.samples.front(), self.samples.back())
        else {
            return 0;
        };
        per_second(to.saturating_sub(*from), now.saturating_sub(*first))
    }
}

/// Returns the bytes per second for `bytes` bytes in that time.
pub(super) fn per_second(bytes: u64, time: Duration) -> u64 {
    let millis = time.as_millis().max(1);
    let rate = u128::from(bytes) * 1000 / millis;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_forgets_what_is_older_than_its_window() {
        let mut rate = Rate::default();
        let mut bytes = 0;
        for tenth in 0..100 {
            rate.note(Duration::from_millis(tenth * 100), bytes);
            bytes += 1000;
        }
        let now = Duration::from_secs(10);
        assert!((9_000..=10_000).contains(&rate.per_second(now)));
        for second in 11..30 {
            rate.note(Duration::from_secs(second), bytes);
        }
        assert_eq!(rate.per_second(Duration::from_secs(30)), 0);
    }
}
