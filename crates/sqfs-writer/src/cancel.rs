//! Whether the caller still wants the image.

use crate::error::Error;

/// Small pieces of work between two looks: well below a millisecond.
const EVERY: u32 = 1024;

/// The caller's condition, and how long ago it was looked at.
pub(crate) struct Cancel {
    condition: Option<Condition>,
    left: u32,
}

/// Returns whether to give up.
pub(crate) type Condition = Box<dyn FnMut() -> bool + Send>;

impl Default for Cancel {
    fn default() -> Self {
        Self {
            condition: None,
            left: EVERY,
        }
    }
}

impl Cancel {
    pub(crate) fn set(&mut self, condition: Condition) {
        self.condition = Some(condition);
    }

    /// Looks at the condition.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        self.left = EVERY;
        let cancelled = self.condition.as_mut().is_some_and(|condition| condition());
        if cancelled {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Counts a small piece of work, and looks at the condition after enough of them.
    pub(crate) fn tick(&mut self) -> Result<(), Error> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return self.check();
        }
        Ok(())
    }
}
