//! How much work an image may cause, and whether anybody still needs the result.

use super::error::{EntryProblem, Halt};
use crate::layer;

/// Small pieces of work between two looks at whether to go on: well below a millisecond.
const EVERY: u32 = 1024;

/// Whether to go on, looked at now and then. Every loop whose length an image chooses ticks.
pub(super) struct Ticks<'c> {
    check: &'c dyn Fn() -> Result<(), layer::Error>,
    left: u32,
}

impl<'c> Ticks<'c> {
    pub(super) fn new(check: &'c dyn Fn() -> Result<(), layer::Error>) -> Self {
        Self { check, left: EVERY }
    }

    /// Counts one small piece of work. Returns the error of the check if the result is no longer
    /// needed.
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

    /// Looks at whether to go on, for work that other limits bound.
    pub(super) fn tick(&mut self) -> Result<(), Halt> {
        self.ticks.tick().map_err(Halt::Stopped)
    }

    /// The same, where no entry can be at fault.
    pub(super) fn ticks(&mut self) -> &mut Ticks<'c> {
        &mut self.ticks
    }
}
