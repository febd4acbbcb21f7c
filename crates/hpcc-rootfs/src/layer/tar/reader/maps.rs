//! Maps of sparse files that are in the archive itself, and not in records.

use super::{TarReader, name_limit, padding};
use crate::layer::error::{Error, Malformed};
use crate::layer::tar::decimal::decimal;
use crate::layer::tar::header::{BLOCK, Header};
use crate::layer::tar::sparse::{self, Run};

/// Most bytes of a line of a map: the 20 digits of a number of 64 bits, and the line feed.
const LINE: usize = 21;

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

    /// Reads a line as a whole, because a map may have as many bytes as a layer.
    fn decimal_line(&mut self, stored: &mut u64) -> Result<u64, Error> {
        let what = "number in the sparse map";
        let named = |error| name_limit(error, self.position, &self.name);
        let ahead = self.stream.peek::<LINE>().map_err(named)?;
        let within = usize::try_from(*stored).map_or(ahead.len(), |left| left.min(ahead.len()));
        let line = &ahead[..within];
        let length = line.iter().position(|byte| *byte == b'\n');
        let number = length.map(|length| decimal(&line[..length], what));
        let Some((length, number)) = length.zip(number) else {
            return Err(self.fail(match within {
                LINE => Malformed::Number(what),
                _ if *stored == within as u64 => {
                    Malformed::Sparse("its map is longer than its body")
                }
                _ => Malformed::Truncated,
            }));
        };
        self.stream.consume(length + 1);
        *stored = stored.saturating_sub(length as u64 + 1);
        number.map_err(|e| self.fail(e))
    }
}
