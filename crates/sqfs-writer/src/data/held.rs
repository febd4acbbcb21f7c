//! The blocks of one body, between their compression and the decision what becomes of them.

use std::io::Write;

use crate::error::Error;
use crate::output::Output;

/// Only compressed sizes decide what is held, and in which order: never what happens to be ready.
/// So the image stays a function of what went in.
pub(super) struct Held {
    bytes: Vec<u8>,
    /// Number of bytes that may wait. Further bytes are written before it is known whether they are a duplicate, and
    /// stay.
    budget: usize,
    /// Start of the body in the image, once it was too large to be held.
    start: Option<u64>,
    sizes: Sizes,
}

/// The sizes of a body.
#[derive(Clone, Copy, Default)]
pub(super) struct Sizes {
    pub(super) blocks: u64,
    pub(super) raw_blocks: u64,
    pub(super) bytes: u64,
}

impl Held {
    pub(super) fn new(budget: usize) -> Self {
        Self {
            bytes: Vec::new(),
            budget,
            start: None,
            sizes: Sizes::default(),
        }
    }

    /// Returns whether a body of this many stored bytes would be held until its end.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        bytes <= self.budget as u64
    }

    pub(super) fn add<W: Write>(
        &mut self,
        stored: &[u8],
        raw: bool,
        output: &mut Output<W>,
    ) -> Result<(), Error> {
        self.sizes.blocks += 1;
        self.sizes.raw_blocks += u64::from(raw);
        self.sizes.bytes += stored.len() as u64;
        if self.start.is_none() {
            if self.bytes.len() + stored.len() <= self.budget {
                if self.bytes.capacity() == 0 {
                    // Once and for all: growing would take twice the budget. What is not used is
                    // not touched.
                    let reserved = self.bytes.try_reserve_exact(self.budget);
                    reserved.map_err(|error| Error::shortage("a body that is held", error))?;
                }
                self.bytes.extend_from_slice(stored);
                return Ok(());
            }
            self.start = Some(output.write(&self.bytes)?);
        }
        output.write(stored)?;
        Ok(())
    }

    /// Ends a body that stays, and returns its position and size.
    pub(super) fn keep<W: Write>(&mut self, output: &mut Output<W>) -> Result<(u64, Sizes), Error> {
        let start = match self.start {
            Some(start) => start,
            None => output.write(&self.bytes)?,
        };
        Ok((start, self.clear()))
    }

    /// Ends a body that is not needed. Returns `None` if nothing of it was written; otherwise does the same as
    /// [`keep`](Self::keep).
    pub(super) fn drop_body(&mut self) -> Option<(u64, Sizes)> {
        let start = self.start;
        let sizes = self.clear();
        start.map(|start| (start, sizes))
    }

    fn clear(&mut self) -> Sizes {
        self.bytes.clear();
        self.start = None;
        std::mem::take(&mut self.sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_within_budget_leaves_no_trace_and_larger_one_does() {
        for (last, written) in [(4, 0), (5, 11)] {
            let mut output = Output::new(Vec::new(), 96);
            let mut held = Held::new(10);
            held.add(&[1; 6], false, &mut output).unwrap();
            held.add(&vec![2; last], true, &mut output).unwrap();
            let kept = held.drop_body();
            assert_eq!(kept.map(|(start, _)| start), (written > 0).then_some(96));
            assert_eq!(output.position(), 96 + written);
            held.add(&[3; 3], false, &mut output).unwrap();
            let (start, sizes) = held.keep(&mut output).unwrap();
            assert_eq!((start, sizes.blocks, sizes.bytes), (96 + written, 1, 3));
        }
    }
}
