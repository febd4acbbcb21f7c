//! Bounds the work that an image may cause, and checks whether its result is still needed.

use super::error::{EntryProblem, Halt};
use crate::layer;

/// Number of small pieces of work between two checks, which take well below a millisecond.
const EVERY: u32 = 1024;

/// Checks now and then whether to go on. Every loop whose length an image chooses must tick.
pub(super) struct Ticks<'c> {
    check: &'c dyn Fn() -> Result<(), layer::Error>,
    left: u32,
}

impl<'c> Ticks<'c> {
    pub(super) fn new(check: &'c dyn Fn() -> Result<(), layer::Error>) -> Self {
        Self { check, left: EVERY }
    }

    /// Counts one small piece of work. Returns the error of the check if the result is no longer needed.
    pub(super) fn tick(&mut self) -> Result<(), layer::Error> {
        self.left -= 1;
        if self.left == 0 {
            self.left = EVERY;
            (self.check)()?;
        }
        Ok(())
    }
}

/// The path components that may be walked for a whole image.
pub(super) struct Steps<'c> {
    left: u64,
    max: u64,
    ticks: Ticks<'c>,
}

impl<'c> Steps<'c> {
    pub(super) fn new(max: u64, ticks: Ticks<'c>) -> Self {
        Self {
            left: max,
            max,
            ticks,
        }
    }

    /// Takes `count` steps.
    pub(super) fn take(&mut self, count: u64) -> Result<(), Halt> {
        self.left = self
            .left
            .checked_sub(count)
            .ok_or(EntryProblem::LinkSteps(self.max))?;
        self.tick()
    }

    /// Counts one small piece of work that other limits bound.
    pub(super) fn tick(&mut self) -> Result<(), Halt> {
        self.ticks.tick().map_err(Halt::Stopped)
    }

    /// Returns the ticks, for work in which no entry can be at fault.
    pub(super) fn ticks(&mut self) -> &mut Ticks<'c> {
        &mut self.ticks
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn check_is_called_once_for_every_1024_pieces() {
        let calls = Cell::new(0);
        let check = || {
            calls.set(calls.get() + 1);
            Ok(())
        };
        let mut steps = Steps::new(u64::MAX, Ticks::new(&check));
        for piece in 1..=5000 {
            match piece % 2 {
                0 => steps.take(0).unwrap(),
                _ => steps.tick().unwrap(),
            }
            assert_eq!(calls.get(), piece / EVERY);
        }
    }

    #[test]
    fn work_that_is_no_longer_needed_ends() {
        let check = || Err(layer::Error::Source(std::io::Error::other("stop")));
        let mut ticks = Ticks::new(&check);
        let done = (0..10_000).take_while(|_| ticks.tick().is_ok()).count();
        assert_eq!(done, 1023);
    }
}
