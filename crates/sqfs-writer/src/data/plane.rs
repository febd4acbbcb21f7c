//! Splits bodies into blocks of an image, one body after the other.

use std::io::{self, Write};

use bytes::Bytes;

use super::duplicate::Taking;
use super::handle::{BlockList, Tail};
use super::held::Held;
use super::lists::{Lists, WordIndex};
use super::ordered::{Ordered, Wait};
use super::source::Source;
use super::tails::{Fragment, Kind, TailBytes, Tails};
use crate::cancel::{Cancel, Condition};
use crate::error::Error;
use crate::format::{BlockWord, FragmentEntry, FragmentIndex};
use crate::known::{Fingerprint, Known};
use crate::options::{Resolved, Shares, TailPolicy};
use crate::output::{Listener, Output};
use crate::pieces::Pieces;
use crate::pool::{Block, Effort, Pool};

/// Fragments whose fingerprints are kept: 2 MiB.
pub(super) const SEQUENCES_MAX: usize = 1 << 16;

/// What a compressed block is for.
pub(super) enum Purpose {
    /// A block of a body, and what becomes of the body if this is its last one.
    Block { word: WordIndex, end: Option<End> },
    /// A block that came compressed, whose word is known, and what becomes of the body if this is its last one. Empty
    /// for a whole body that would leave no trace.
    Replayed(Option<End>),
    /// The fragment of that index.
    Fragment(FragmentIndex),
}

/// The use of the blocks of a body.
#[derive(Clone, Copy)]
pub(super) enum End {
    Keep(BlockList),
    Duplicate(Duplicate),
    /// Drop them.
    Discard,
}

/// Blocks that are equal to those of an earlier body.
#[derive(Clone, Copy)]
pub(super) struct Duplicate {
    pub(super) list: BlockList,
    pub(super) original: BlockList,
    /// Bytes in them, without holes.
    pub(super) bytes: u64,
    /// Whether the tail is a duplicate as well, or there is none.
    pub(super) whole: bool,
}

/// A block whose place among the words of its body is fixed, and that is not submitted yet.
pub(super) struct Waiting {
    pub(super) block: Block,
    pub(super) word: WordIndex,
}

/// Splits, compresses and writes bodies.
pub(crate) struct DataPlane<W> {
    pub(super) output: Output<W>,
    pub(super) queue: Ordered<Purpose>,
    pub(super) lists: Lists,
    pub(super) fragments: Pieces<FragmentEntry>,
    pub(super) tails: Tails,
    pub(super) held: Held,
    /// `None` if duplicates are not looked for, or not any more.
    pub(super) known: Option<Known>,
    pub(super) taking: Taking,
    /// The last block of a body that was dropped. Its other blocks may be on their way.
    pub(super) orphan: Option<Waiting>,
    pub(super) block_size: usize,
    pub(super) memory: Shares,
    pub(super) tail_policy: TailPolicy,
    /// The efforts on blocks, and on fragments.
    pub(super) efforts: [Effort; 2],
    /// Source of what earlier images store.
    pub(super) source: Option<Box<dyn Source>>,
    /// Fingerprint of each fragment, up to a number of them, if the caller keeps places.
    pub(super) sequences: Option<Pieces<Option<Fingerprint>>>,
    /// Whether a step failed or panicked, after which the sink cannot become an image.
    pub(super) failed: bool,
    /// Whether there is a body that neither ended nor was dropped.
    pub(super) begun: bool,
    /// Whether there was one when the next one began: `mem::forget` keeps a body from being dropped.
    forgotten: bool,
    pub(super) counts: Counts,
    pub(super) cancel: Cancel,
}

/// Counts for the summary.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) body_bytes: u64,
    pub(crate) hole_bytes: u64,
    pub(crate) data_bytes: u64,
    pub(crate) block_bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) raw_blocks: u64,
    pub(crate) duplicates: u64,
    pub(crate) duplicate_bytes: u64,
    pub(crate) duplicates_kept: u64,
    pub(crate) forgotten: u64,
}

/// State after the last body.
pub(crate) struct Written<W> {
    pub(crate) output: Output<W>,
    pub(crate) lists: Lists,
    pub(crate) fragments: Pieces<FragmentEntry>,
    pub(crate) sequences: Option<Pieces<Option<Fingerprint>>>,
    pub(crate) counts: Counts,
    pub(crate) pool: Pool,
    pub(crate) cancel: Cancel,
}

impl<W: Write> DataPlane<W> {
    /// Starts the threads, and makes their codecs, for [`new`](Self::new) with the same options.
    pub(crate) fn pool(options: &Resolved) -> Result<Pool, Error> {
        Pool::new(options.threads.min(options.memory.blocks), &options.codecs)
    }

    pub(crate) fn new(output: Output<W>, pool: Pool, options: &Resolved) -> Self {
        let shares = &options.memory;
        // Enough for every thread to have something to do while another one is busy with a slow block, or has its
        // core taken away for a while. One more is on its way for a moment, before the oldest is waited for.
        let limit = (shares.blocks - 1).min(options.threads.saturating_mul(16));
        let queue = Ordered::new(pool, options.block_size, limit);
        let effort = |stored, probe| match (stored, probe) {
            (true, _) => Effort::Store,
            (false, true) => Effort::Probe,
            (false, false) => Effort::Compress,
        };
        Self {
            output,
            tails: Tails::new(),
            queue,
            lists: Lists::new(options.block_size),
            fragments: Pieces::new(),
            held: Held::new(if options.duplicates { shares.held } else { 0 }),
            known: options.duplicates.then(|| Known::new(shares.known)),
            taking: Taking::new(),
            orphan: None,
            block_size: options.block_size,
            memory: options.memory,
            tail_policy: options.tails,
            efforts: [
                effort(options.stored.data, options.probe),
                effort(options.stored.fragments, options.probe),
            ],
            source: None,
            sequences: None,
            failed: false,
            begun: false,
            forgotten: false,
            counts: Counts::default(),
            cancel: Cancel::default(),
        }
    }

    pub(crate) fn replay_from(&mut self, source: Box<dyn Source>) {
        self.source = Some(source);
    }

    pub(crate) fn keep_places(&mut self) {
        // Those of fragments that exist already are not known any more.
        let before = (0..self.fragments.len().min(SEQUENCES_MAX)).map(|_| None);
        let mut sequences = Pieces::new();
        // What is missing at the end is unknown as well.
        if before
            .map(|unknown| sequences.try_push(unknown))
            .all(|pushed| pushed.is_ok())
        {
            self.sequences = Some(sequences);
        }
    }

    pub(crate) fn listen(&mut self, listener: Listener) {
        self.output.listen(listener);
    }

    pub(crate) fn cancel_when(&mut self, condition: Condition) {
        self.cancel.set(condition);
    }

    /// Writes the blocks that are still in flight.
    pub(crate) fn finish(mut self) -> Result<Written<W>, Error> {
        self.leave_body();
        self.guard(|plane| {
            plane.discard_orphan()?;
            while let Some(fragment) = plane.tails.next() {
                plane.submit_fragment(fragment)?;
            }
            plane.write_ready(Wait::Always)
        })?;
        self.lists.seal(self.fragments.len());
        self.counts.forgotten += self.known.map_or(0, |known| known.forgotten());
        Ok(Written {
            output: self.output,
            lists: self.lists,
            fragments: self.fragments,
            sequences: self.sequences,
            counts: self.counts,
            pool: self.queue.into_pool(),
            cancel: self.cancel,
        })
    }

    /// Runs a step, unless an earlier one failed.
    pub(super) fn guard<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.failed {
            return Err(Error::Poisoned);
        }
        // Set before the step, because a sink, a listener or a codec of the caller may panic in it.
        self.failed = true;
        let outcome = step(self);
        self.failed = outcome.is_err();
        outcome
    }

    #[cfg(all(feature = "host", target_os = "linux"))]
    pub(crate) fn check_cancelled(&mut self) -> Result<(), Error> {
        self.guard(|plane| plane.cancel.check())
    }

    /// Keeps within the budget what grows with the data. The positions of blocks and fragments must be kept; the cache of
    /// duplicates need not. The decision depends only on the order of the bodies, as the bytes of the image must.
    pub(super) fn check_memory(&mut self) -> Result<(), Error> {
        let needed = self.lists.bytes() + self.fragments.bytes();
        if needed <= self.memory.lists {
            return Ok(());
        }
        if let Some(known) = self.known.take() {
            self.counts.forgotten += known.forget();
        }
        let allowed = self.memory.lists + self.memory.known;
        if needed > allowed {
            return Err(Error::Memory { needed, allowed });
        }
        Ok(())
    }

    pub(super) fn submit_block(&mut self, waiting: Waiting, end: Option<End>) -> Result<(), Error> {
        self.check_memory()?;
        self.discard_orphan()?;
        let Waiting { block, word } = waiting;
        let [effort, _] = self.efforts;
        self.queue
            .submit(Purpose::Block { word, end }, block, effort);
        self.write_ready(Wait::OverBudget)
    }

    /// Takes leave of a body that neither ended nor was dropped, before another one begins.
    pub(super) fn leave_body(&mut self) {
        self.forgotten |= std::mem::take(&mut self.begun);
    }

    /// Ends a body that was dropped or forgotten, before anything else is submitted.
    pub(super) fn discard_orphan(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.forgotten) {
            // Its blocks may be on their way or held, and no other end would follow them.
            let purpose = Purpose::Replayed(Some(End::Discard));
            self.queue.submit_stored(purpose, Bytes::new(), false);
            self.write_ready(Wait::OverBudget)?;
        }
        match self.orphan.take() {
            Some(waiting) => self.submit_block(waiting, Some(End::Discard)),
            None => Ok(()),
        }
    }

    /// Adds a tail to a fragment, and returns its place.
    pub(super) fn add_tail(
        &mut self,
        kind: Kind,
        tail: TailBytes<'_>,
        fingerprint: Option<Fingerprint>,
    ) -> Result<Tail, Error> {
        let full = |open: &mut Fragment| open.block.room() < tail.len();
        if let Some(fragment) = self.tails.of(kind).take_if(full) {
            self.submit_fragment(fragment)?;
        }
        let mut fragment = match self.tails.of(kind).take() {
            Some(fragment) => fragment,
            None => self.new_fragment()?,
        };
        let offset = stored_len(fragment.block.filled())?;
        fragment.add(tail, fingerprint);
        let place = (fragment.index, offset);
        *self.tails.of(kind) = Some(fragment);
        Ok(place)
    }

    fn new_fragment(&mut self) -> Result<Fragment, Error> {
        let index = u32::try_from(self.fragments.len())
            .ok()
            .map(FragmentIndex)
            .filter(|&index| index != FragmentIndex::NONE)
            .ok_or(Error::Limit {
                what: "number of fragments",
                entry: "the image".into(),
                value: self.fragments.len() as u64,
                max: u64::from(u32::MAX) - 1,
            })?;
        self.fragments.try_push(FragmentEntry {
            start_block: 0,
            size: BlockWord::HOLE,
            unused: 0,
        })?;
        if let Some(sequences) = &mut self.sequences
            && sequences.len() < SEQUENCES_MAX
        {
            sequences.try_push(None)?;
        }
        self.check_memory()?;
        Ok(Fragment::new(index, self.queue.block()?))
    }

    fn submit_fragment(&mut self, mut fragment: Fragment) -> Result<(), Error> {
        self.discard_orphan()?;
        let tails = fragment.tails();
        let slot = |sequences: &mut Pieces<_>| {
            if let Some(slot) = sequences.get_mut(fragment.index.0 as usize) {
                *slot = tails;
            }
        };
        self.sequences.as_mut().map(slot);
        let purpose = Purpose::Fragment(fragment.index);
        if !fragment.missing.is_empty() {
            if let Some(tails) = tails
                && let Some(stored) = self.source()?.fragment(&tails).map_err(Error::Source)?
            {
                let (filled, found) = (fragment.block.filled().len(), stored.bytes.len());
                let fits = match stored.raw {
                    true => found == filled,
                    false => found < filled && found > 0,
                };
                if !fits {
                    return Err(wrong_length("a fragment", filled, found));
                }
                self.queue.submit_stored(purpose, stored.bytes, stored.raw);
                self.queue.recycle(fragment.block);
                return self.write_ready(Wait::OverBudget);
            }
            self.fetch_missing(&mut fragment)?;
        }
        let [_, effort] = self.efforts;
        self.queue.submit(purpose, fragment.block, effort);
        self.write_ready(Wait::OverBudget)
    }

    /// Fills in the tails whose bytes are still elsewhere.
    fn fetch_missing(&mut self, fragment: &mut Fragment) -> Result<(), Error> {
        for missing in std::mem::take(&mut fragment.missing) {
            self.cancel.tick()?;
            let len = u32::try_from(missing.len).unwrap_or(u32::MAX);
            let tail = self.source()?.tail(missing.at, len);
            let tail = tail.map_err(Error::Source)?;
            if tail.len() != missing.len {
                return Err(wrong_length("a tail", missing.len, tail.len()));
            }
            fragment.block.patch(missing.offset, &tail);
        }
        Ok(())
    }

    /// Writes blocks that are done and next in the order.
    pub(super) fn write_ready(&mut self, wait: Wait) -> Result<(), Error> {
        while let Some((purpose, block)) = self.queue.next(wait)? {
            self.cancel.check()?;
            let stored = block.stored();
            let len = stored_len(stored)?;
            let raw = block.is_raw();
            let word = BlockWord(if raw { len | BlockWord::RAW } else { len });
            match purpose {
                Purpose::Block { word: index, end } => {
                    self.lists.set_word(index, word);
                    self.held.add(stored, raw, &mut self.output)?;
                    if let Some(end) = end {
                        self.end_body(end)?;
                    }
                }
                Purpose::Replayed(end) => {
                    if !stored.is_empty() {
                        self.held.add(stored, raw, &mut self.output)?;
                    }
                    if let Some(end) = end {
                        self.end_body(end)?;
                    }
                }
                Purpose::Fragment(index) => {
                    let start_block = self.output.write(stored)?;
                    self.counts.data_bytes += u64::from(len);
                    self.counts.raw_blocks += u64::from(raw);
                    if let Some(entry) = self.fragments.get_mut(index.0 as usize) {
                        entry.start_block = start_block;
                        entry.size = word;
                    }
                }
            }
            self.queue.done(block);
        }
        Ok(())
    }
}

impl<W: Write> DataPlane<W> {
    /// Decides about a body all of whose blocks are compressed.
    fn end_body(&mut self, end: End) -> Result<(), Error> {
        let kept = match end {
            End::Keep(_) => Some(self.held.keep(&mut self.output)?),
            End::Duplicate(_) | End::Discard => self.held.drop_body(),
        };
        if let Some((_, sizes)) = kept {
            self.counts.blocks += sizes.blocks;
            self.counts.raw_blocks += sizes.raw_blocks;
            self.counts.block_bytes += sizes.bytes;
            self.counts.data_bytes += sizes.bytes;
        }
        match (end, kept) {
            (End::Discard, _) | (End::Keep(_), None) => {}
            (End::Keep(list), Some((start, _))) => self.lists.set_start(list, start),
            (End::Duplicate(duplicate), Some((start, _))) => {
                self.lists.set_start(duplicate.list, start);
                self.counts.duplicates_kept += 1;
            }
            (End::Duplicate(duplicate), None) => {
                // Equal blocks have equal words; only the place is another.
                self.lists.share(duplicate.list, duplicate.original);
                self.count_duplicate(duplicate);
            }
        }
        Ok(())
    }

    pub(super) fn count_duplicate(&mut self, duplicate: Duplicate) {
        self.counts.duplicate_bytes += duplicate.bytes;
        self.counts.duplicates += u64::from(duplicate.whole);
    }
}

/// Returns the length of at most a block, which always fits.
fn stored_len(bytes: &[u8]) -> Result<u32, Error> {
    u32::try_from(bytes.len()).map_err(|_| Error::Limit {
        what: "length of a block",
        entry: "the image".into(),
        value: bytes.len() as u64,
        max: 1 << 20,
    })
}

/// Returns the error of a source that returned another number of bytes than requested.
pub(super) fn wrong_length(what: &str, asked: usize, found: usize) -> Error {
    Error::Source(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the source of stored bytes gave {found} bytes for {what} of {asked}"),
    ))
}
