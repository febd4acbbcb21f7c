//! The data plane: bodies in, blocks out, a handle for each body.
//!
//! ```text
//!  body ─► block ─► block ─► … ─► tail
//!            │        │             │
//!            ▼        ▼             ▼
//!        compressed, in order    the open fragment ─► when full: compressed, in the same order
//!            └────────┴──────► sink ◄──────────────────┘
//! ```
//!
//! A body's blocks follow each other in the image without a gap. A fragment is therefore only
//! submitted where a body ends, never between two blocks of one.
//!
//! A body that equals an earlier one gets the blocks of that one. If it is at most a block long it
//! is not even compressed: its last block is handed on only when more comes or the body ends. A
//! longer one is compressed while it comes in, and what came out is [`Held`] until its end.

mod block;
mod body;
mod duplicate;
mod held;
mod ordered;
mod pool;
mod record;

use std::io::Write;

pub use body::Body;
pub use record::FileData;
pub(crate) use record::Records;

use crate::error::Error;
use crate::format::{BlockWord, FragmentEntry, FragmentIndex};
use crate::options::Resolved;
use crate::output::Output;
use block::Block;
use duplicate::{Fingerprint, Known, Taking};
use held::Held;
use ordered::{Ordered, Wait};
use record::{OpenRecord, WordIndex};

/// What a compressed block is for.
enum Purpose {
    /// A block of a body, and what becomes of the body if this is its last one.
    Block { word: WordIndex, end: Option<End> },
    /// The fragment of that index.
    Fragment(usize),
}

/// What becomes of a body.
#[derive(Clone, Copy)]
enum End {
    Keep(OpenRecord),
    /// It equals an earlier one.
    Duplicate(OpenRecord, FileData),
    /// Nobody wants it.
    Discard,
}

/// A block that has its place among the words of its body, and waits to be handed on.
struct Waiting {
    block: Block,
    word: WordIndex,
}

/// Splits, compresses and writes bodies.
pub(crate) struct DataPlane<W> {
    output: Output<W>,
    queue: Ordered<Purpose>,
    records: Records,
    fragments: Vec<FragmentEntry>,
    /// The fragment that tails go to; its index is the length of `fragments`.
    tails: Block,
    held: Held,
    /// `None` if duplicates are not looked for.
    known: Option<Known>,
    taking: Taking,
    /// The last block of a body that was dropped. Its other blocks may be on their way.
    orphan: Option<Waiting>,
    block_size: usize,
    share_tails: bool,
    /// Something failed: what is in the sink is not an image and can't become one.
    failed: bool,
    counts: Counts,
}

/// What the summary wants to know.
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
}

/// What is left when all bodies are in.
pub(crate) struct Written<W> {
    pub(crate) output: Output<W>,
    pub(crate) records: Records,
    pub(crate) fragments: Vec<FragmentEntry>,
    pub(crate) counts: Counts,
}

impl<W: Write> DataPlane<W> {
    pub(crate) fn new(output: Output<W>, options: &Resolved) -> Result<Self, Error> {
        let mut queue = Ordered::new(options.threads, options.block_size, &options.codecs)?;
        Ok(Self {
            output,
            tails: queue.block(),
            queue,
            records: Records::new(options.block_size),
            fragments: Vec::new(),
            held: Held::new(if options.duplicates { held::BUDGET } else { 0 }),
            known: options.duplicates.then(Known::default),
            taking: Taking::new(),
            orphan: None,
            block_size: options.block_size,
            share_tails: options.tails,
            failed: false,
            counts: Counts::default(),
        })
    }

    pub(crate) fn begin(&mut self) -> Body<'_, W> {
        Body::new(self)
    }

    /// Writes what is still on its way.
    pub(crate) fn finish(mut self) -> Result<Written<W>, Error> {
        self.guard(|plane| {
            plane.discard_orphan()?;
            if !plane.tails.is_empty() {
                plane.submit_fragment()?;
            }
            plane.write_ready(Wait::Always)
        })?;
        Ok(Written {
            output: self.output,
            records: self.records,
            fragments: self.fragments,
            counts: self.counts,
        })
    }

    /// Runs a step, unless an earlier one failed.
    fn guard<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.failed {
            return Err(Error::Poisoned);
        }
        step(self).inspect_err(|_| self.failed = true)
    }

    fn submit_block(&mut self, waiting: Waiting, end: Option<End>) -> Result<(), Error> {
        self.discard_orphan()?;
        let Waiting { block, word } = waiting;
        self.queue.submit(Purpose::Block { word, end }, block)?;
        self.write_ready(Wait::OverBudget)
    }

    /// Ends a body that was dropped, before anything else is submitted.
    fn discard_orphan(&mut self) -> Result<(), Error> {
        match self.orphan.take() {
            Some(waiting) => self.submit_block(waiting, Some(End::Discard)),
            None => Ok(()),
        }
    }

    /// Puts a tail into a fragment, and says where.
    fn add_tail(&mut self, tail: &[u8]) -> Result<(FragmentIndex, u32), Error> {
        if self.tails.space().len() < tail.len() {
            self.submit_fragment()?;
        }
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
        let offset = stored_len(self.tails.filled())?;
        self.tails.push(tail);
        Ok((index, offset))
    }

    fn submit_fragment(&mut self) -> Result<(), Error> {
        self.discard_orphan()?;
        let fragment = std::mem::replace(&mut self.tails, self.queue.block());
        let index = self.fragments.len();
        self.fragments.push(FragmentEntry {
            start_block: 0,
            size: BlockWord::HOLE,
            unused: 0,
        });
        self.queue.submit(Purpose::Fragment(index), fragment)?;
        self.write_ready(Wait::OverBudget)
    }

    /// Writes blocks that are done and next in the order.
    fn write_ready(&mut self, wait: Wait) -> Result<(), Error> {
        while let Some((purpose, block)) = self.queue.next(wait)? {
            let stored = block.stored();
            let len = stored_len(stored)?;
            let raw = !block.shrank;
            let word = BlockWord(if raw { len | BlockWord::RAW } else { len });
            match purpose {
                Purpose::Block { word: index, end } => {
                    self.records.set_word(index, word);
                    self.held.add(stored, raw, &mut self.output)?;
                    if let Some(end) = end {
                        self.end_body(end)?;
                    }
                }
                Purpose::Fragment(index) => {
                    let start_block = self.output.write(stored)?;
                    self.counts.data_bytes += u64::from(len);
                    self.counts.raw_blocks += u64::from(raw);
                    if let Some(entry) = self.fragments.get_mut(index) {
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
            End::Duplicate(..) | End::Discard => self.held.drop_body(),
        };
        if let Some((start, sizes)) = kept {
            if let End::Keep(record) | End::Duplicate(record, _) = end {
                self.records.set_start(record, start);
            }
            self.counts.blocks += sizes.blocks;
            self.counts.raw_blocks += sizes.raw_blocks;
            self.counts.block_bytes += sizes.bytes;
            self.counts.data_bytes += sizes.bytes;
        }
        if let End::Duplicate(record, original) = end {
            if kept.is_some() {
                self.counts.duplicates_kept += 1;
            } else {
                self.records.share(record, original);
                self.count_duplicate(original);
            }
        }
        Ok(())
    }

    /// The fingerprint of the body that was taken, and the earlier body that is equal to it.
    fn fingerprint(&mut self, len: u64) -> (Option<Fingerprint>, Option<FileData>) {
        match &self.known {
            Some(known) if len > 0 => {
                let fingerprint = self.taking.finish(len);
                (Some(fingerprint), known.get(&fingerprint, len))
            }
            _ => (None, None),
        }
    }

    fn count_duplicate(&mut self, body: FileData) {
        self.counts.duplicates += 1;
        self.counts.duplicate_bytes += body.len();
    }
}

/// Length of at most a block, which always fits.
fn stored_len(bytes: &[u8]) -> Result<u32, Error> {
    u32::try_from(bytes.len()).map_err(|_| Error::Limit {
        what: "length of a block",
        entry: "the image".into(),
        value: bytes.len() as u64,
        max: 1 << 20,
    })
}
