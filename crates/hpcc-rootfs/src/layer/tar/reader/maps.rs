//! Maps of sparse files that are in the archive itself, and not in records.

use super::{TarReader, padding};
use crate::layer::error::{Error, Malformed};
use crate::layer::tar::decimal::decimal;
use crate::layer::tar::header::{BLOCK, Header};
use crate::layer::tar::sparse::{self, Run};

impl TarReader<'_> {
    /// Reads the map of an old GNU sparse file: four slots in the header, 21 in each block after it.
    pub(super) fn gnu_map(&mut self, header: &Header) -> Result<Vec<Run>, Error> {
        let mut runs = Vec::new();
        let (slots, mut more) = header.gnu_sparse();
        sparse::push_gnu(&mut runs, slots, self.budget.limits()).map_err(|e| self.fail(e))?;
        while more {
            let block = self.stream.peek::<BLOCK>()?;
            let Ok(block) = <[u8; BLOCK]>::try_from(block) else {
                return Err(self.fail(Malformed::Truncated));
            };
            self.stream.consume(BLOCK);
            let before = runs.len();
            sparse::push_gnu(&mut runs, &block[..504], self.budget.limits())
                .map_err(|e| self.fail(e))?;
            more = block[504] != 0;
            // A chain of blocks that only announce more would be read without counting.
            if more && runs.len() == before {
                return Err(self.fail(Malformed::Sparse("an empty block in its map")));
            }
        }
        Ok(runs)
    }

    /// Reads the map of PAX format 1.0: decimal lines before the data, padded to 512.
    pub(super) fn map_in_body(&mut self, stored: &mut u64) -> Result<Vec<Run>, Error> {
        let before = *stored;
        let mut runs = Vec::new();
        let count = self.decimal_line(stored)?;
        for _ in 0..count {
            let offset = self.decimal_line(stored)?;
            let length = self.decimal_line(stored)?;
            sparse::push(&mut runs, Run { offset, length }, self.budget.limits())
                .map_err(|e| self.fail(e))?;
        }
        let rest = padding(before - *stored);
        *stored = stored
            .checked_sub(rest)
            .ok_or_else(|| self.fail(Malformed::Sparse("its map is longer than its body")))?;
        self.skip(rest)?;
        Ok(runs)
    }

    fn decimal_line(&mut self, stored: &mut u64) -> Result<u64, Error> {
        // A number of 64 bits has 20 digits at most.
        let mut line = [0; 20];
        let mut length = 0;
        loop {
            *stored = stored
                .checked_sub(1)
                .ok_or_else(|| self.fail(Malformed::Sparse("its map is longer than its body")))?;
            match (&self.stream.take(1)?[..], line.get_mut(length)) {
                (&[b'\n'], _) => break,
                (&[digit], Some(slot)) => *slot = digit,
                ([], _) => return Err(self.fail(Malformed::Truncated)),
                _ => return Err(self.fail(Malformed::Number("number in the sparse map"))),
            }
            length += 1;
        }
        decimal(&line[..length], "number in the sparse map").map_err(|e| self.fail(e))
    }
}
