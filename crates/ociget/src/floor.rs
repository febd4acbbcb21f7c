//! The least rate at which bytes have to come. A byte now and then is progress for a time limit, and
//! would hold the reader of a blob for as long as the server likes.

use std::time::{Duration, Instant};

use crate::printable;

/// A least rate, and the time over which it is an average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MinRate {
    /// Bytes per second; 0 for none.
    pub(crate) bytes: u64,
    pub(crate) window: Duration,
}

/// Compares the bytes that arrive with a [`MinRate`]. Its clock runs only while a caller waits for bytes, and it
/// runs on across connections, pauses and retries.
#[derive(Debug)]
pub(crate) struct Floor {
    rate: MinRate,
    /// Time waited in this window, up to the last [`stop`](Self::stop).
    waited: Duration,
    /// When the wait that is running began.
    since: Option<Instant>,
    /// Bytes that came in this window.
    bytes: u64,
}

impl Floor {
    pub(crate) fn new(rate: MinRate) -> Self {
        Self {
            rate,
            waited: Duration::ZERO,
            since: None,
            bytes: 0,
        }
    }

    /// Starts the clock: a caller waits for bytes from `now` on.
    pub(crate) fn start(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Stops the clock, because no reader waits any longer.
    pub(crate) fn stop(&mut self, now: Instant) {
        self.waited = self.waited_until(now);
        self.since = None;
    }

    /// Counts `bytes` that came, and judges the window if it is over; then the next one begins. Returns whether the
    /// bytes that came are enough for a whole window.
    ///
    /// # Errors
    /// Returns the reason, for people, if too few bytes came in the window.
    pub(crate) fn receive(&mut self, bytes: usize, now: Instant) -> Result<bool, String> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        let waited = self.waited_until(now);
        if self.rate.bytes == 0 || waited < self.rate.window {
            return Ok(u128::from(self.bytes) >= self.wanted(self.rate.window));
        }
        let came = std::mem::take(&mut self.bytes);
        self.waited = Duration::ZERO;
        self.since = self.since.map(|_| now);
        if u128::from(came) >= self.wanted(waited) {
            return Ok(true);
        }
        Err(format!(
            "only {came} bytes came in {}, less than {} bytes per second (the minimum rate)",
            printable::exact(waited),
            self.rate.bytes
        ))
    }

    /// Fewest bytes of a wait for `time`.
    fn wanted(&self, time: Duration) -> u128 {
        u128::from(self.rate.bytes).saturating_mul(time.as_millis()) / 1000
    }

    fn waited_until(&self, now: Instant) -> Duration {
        let running = self.since.map(|since| now.saturating_duration_since(since));
        self.waited.saturating_add(running.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: MinRate = MinRate {
        bytes: 1024,
        window: Duration::from_secs(300),
    };

    /// Seconds after the start at which the floor gives up, if `bytes` come every `seconds` for an
    /// hour, and no reader waits for `away` seconds after each of them.
    fn given_up(rate: MinRate, bytes: usize, seconds: u64, away: u64) -> Option<u64> {
        let start = Instant::now();
        let mut floor = Floor::new(rate);
        let mut clock = 0;
        while clock < 3600 {
            floor.start(start + Duration::from_secs(clock));
            clock += seconds;
            let now = start + Duration::from_secs(clock);
            if floor.receive(bytes, now).is_err() {
                return Some(clock);
            }
            floor.stop(now);
            clock += away;
        }
        None
    }

    #[test]
    fn bytes_that_trickle_are_a_stall_after_the_window() {
        for (bytes, seconds, away, expected) in [
            (1, 1, 0, Some(300)),
            (1, 59, 0, Some(354)),
            (1023, 1, 0, Some(300)),
            (1024, 1, 0, None),
            (60 * 1024, 60, 0, None),
            (59 * 1024, 60, 0, Some(300)),
            (1 << 20, 1, 0, None),
            // A reader that is away is not waiting: 100 KiB of each 101 s, in one of them.
            (100 << 10, 1, 100, None),
            // A wait of one second in ten: the window is over with the 300th.
            (1, 1, 9, Some(2991)),
        ] {
            let found = given_up(RATE, bytes, seconds, away);
            assert_eq!(found, expected, "{bytes} bytes in {seconds} s");
        }
        let none = MinRate { bytes: 0, ..RATE };
        assert_eq!(given_up(none, 1, 1, 0), None);
        let largest = MinRate {
            bytes: u64::MAX,
            ..RATE
        };
        assert_eq!(given_up(largest, usize::MAX, 1, 0), Some(300));
    }

    #[test]
    fn each_window_is_judged_alone() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut floor = Floor::new(RATE);
        floor.start(at(0));
        // A good first window does not pay for the second.
        assert!(floor.receive(100 << 20, at(300)).is_ok());
        assert!(floor.receive(1, at(599)).is_ok());
        let reason = floor.receive(1, at(600)).unwrap_err();
        assert_eq!(
            reason,
            "only 2 bytes came in 5m, less than 1024 bytes per second (the minimum rate)"
        );
        // After a stall there is a new window, for a new connection.
        assert_eq!(floor.receive(1, at(899)), Ok(false));
        assert_eq!(floor.receive(1 << 20, at(900)), Ok(true));
        // A window is good as soon as enough came.
        assert_eq!(floor.receive((300 << 10) - 1, at(901)), Ok(false));
        assert_eq!(floor.receive(1, at(902)), Ok(true));
    }

    #[test]
    fn a_wait_that_was_given_up_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut floor = Floor::new(RATE);
        for wait in 0..299 {
            floor.start(at(2 * wait));
            floor.stop(at(2 * wait + 1));
        }
        floor.start(at(600));
        assert!(floor.receive(1, at(600)).is_ok());
        assert!(floor.receive(1, at(601)).is_err());
    }
}
