//! Bodies that come as recipes.

use std::io::{self, Write};

use bytes::Bytes;

use super::body::Closed;
use super::handle::{BlockList, FileData};
use super::ordered::Wait;
use super::plane::{DataPlane, Duplicate, End, Purpose, wrong_length};
use super::recipe::{Fingerprints, Recipe, Run, Shape};
use super::source::Source;
use super::tails::{Kind, TailBytes};
use crate::error::Error;
use crate::format::BlockWord;

impl<W: Write> DataPlane<W> {
    /// Takes a body as [`Body::finish`](super::Body::finish) does, with the same checks at the same sizes of the lists.
    pub(crate) fn replay<I>(&mut self, recipe: &Recipe<I>) -> Result<FileData, Error>
    where
        I: Iterator<Item = Run> + Clone,
    {
        self.leave_body();
        self.guard(|plane| plane.cancel.tick())?;
        let shape = recipe.shape(self.block_size, self.tail_policy)?;
        self.guard(|plane| plane.take(recipe, shape))
    }

    fn take<I>(&mut self, recipe: &Recipe<I>, shape: Shape) -> Result<FileData, Error>
    where
        I: Iterator<Item = Run> + Clone,
    {
        let Fingerprints { len, blocks, tail } = recipe.fingerprints;
        let list = match blocks {
            Some(_) => Some(self.add_words(recipe.blocks.clone(), shape)?),
            None => None,
        };
        self.counts.hole_bytes += shape.hole_bytes;
        self.counts.body_bytes += len;
        self.output.progress_mut().body_bytes = self.counts.body_bytes;
        let known = tail.map(|tail| self.look_up(tail));
        let shared = known.is_none_or(|place| place.is_some());
        let list = match (list, blocks) {
            (Some(list), Some(blocks)) => {
                let bytes = shape.blocks_len.saturating_sub(shape.hole_bytes);
                let lengths = [shape.blocks_len, bytes];
                let closed = self.close_blocks(list, lengths, shared, |_| blocks)?;
                Some(self.take_blocks(recipe, shape, list, &closed)?)
            }
            _ => None,
        };
        let place = match (tail, known) {
            (Some(fingerprint), Some(known)) => {
                let tail = TailBytes::Elsewhere {
                    len: shape.tail_len,
                    at: recipe.tail,
                };
                Some(self.place_tail(Kind::of(list), tail, Some(fingerprint), known)?)
            }
            _ => None,
        };
        if list.is_none() && place.is_some() {
            self.counts.duplicates += u64::from(shared);
        }
        Ok(self.lists.handle(len, list, place))
    }

    /// Makes the list of a body, words included.
    fn add_words(
        &mut self,
        blocks: impl Iterator<Item = Run>,
        shape: Shape,
    ) -> Result<BlockList, Error> {
        let list = self.lists.open()?;
        let mut left = shape.blocks_len.div_ceil(self.block_size as u64);
        let (mut stored, mut stored_bytes) = (0, 0);
        for run in blocks {
            let count = match run {
                Run::Holes { blocks } => blocks,
                Run::Stored { .. } => 1,
            };
            left = left.checked_sub(count).ok_or_else(changed)?;
            match run {
                Run::Holes { .. } => {
                    // The shape has seen to it that the count fits.
                    let count = u32::try_from(count).unwrap_or(u32::MAX >> 1);
                    self.lists.add_holes(list, count)?;
                }
                Run::Stored { len, raw } => {
                    self.cancel.check()?;
                    let word = self.lists.add_block()?;
                    let flag = if raw { BlockWord::RAW } else { 0 };
                    self.lists.set_word(word, BlockWord(len | flag));
                    // The block before it would be handed on now.
                    if stored > 0 {
                        self.check_memory()?;
                    }
                    stored += 1;
                    stored_bytes += u64::from(len);
                }
            }
        }
        if (left, stored, stored_bytes) != (0, shape.stored, shape.stored_bytes) {
            return Err(changed());
        }
        Ok(list)
    }

    /// Copies the blocks, unless they would leave no trace.
    fn take_blocks<I>(
        &mut self,
        recipe: &Recipe<I>,
        shape: Shape,
        list: BlockList,
        closed: &Closed,
    ) -> Result<BlockList, Error>
    where
        I: Iterator<Item = Run> + Clone,
    {
        if let Some(duplicate) = closed.duplicate {
            if shape.stored <= 1 {
                return Ok(self.share(duplicate));
            }
            if self.held.fits(shape.stored_bytes) {
                // It would be dropped at its end. Where the original begins is known only when its turn has come.
                self.submit_stored(Some(End::Duplicate(duplicate)), Bytes::new(), false)?;
                return Ok(list);
            }
        }
        let (mut at, mut left) = (recipe.start, shape.stored);
        for run in recipe.blocks.clone() {
            let Run::Stored { len, raw } = run else {
                continue;
            };
            left = left.checked_sub(1).ok_or_else(changed)?;
            self.cancel.check()?;
            let bytes = self.source()?.block(at, len).map_err(Error::Source)?;
            if bytes.len() != len as usize {
                return Err(wrong_length("a block", len as usize, bytes.len()));
            }
            at = at.saturating_add(u64::from(len));
            let end = (left == 0).then(|| closed.end(list));
            self.submit_stored(end, bytes, raw)?;
        }
        if left > 0 {
            return Err(changed());
        }
        self.remember_blocks(list, closed)?;
        Ok(list)
    }

    fn submit_stored(&mut self, end: Option<End>, bytes: Bytes, raw: bool) -> Result<(), Error> {
        self.discard_orphan()?;
        self.queue.submit_stored(Purpose::Replayed(end), bytes, raw);
        self.write_ready(Wait::OverBudget)
    }

    pub(super) fn source(&mut self) -> Result<&mut dyn Source, Error> {
        match &mut self.source {
            Some(source) => Ok(&mut **source),
            None => Err(Error::Source(io::Error::other(
                "a body was replayed without a source of stored bytes",
            ))),
        }
    }
}

/// Returns the error of a recipe whose iterator has returned other blocks than before.
fn changed() -> Error {
    Error::Source(io::Error::new(
        io::ErrorKind::InvalidData,
        "the blocks of a recipe changed between two iterations over them",
    ))
}

impl Closed {
    /// Returns what becomes of the blocks of `list`.
    pub(super) fn end(&self, list: BlockList) -> End {
        let duplicate: Option<Duplicate> = self.duplicate;
        duplicate.map_or(End::Keep(list), End::Duplicate)
    }
}
