//! The image in disk order: bodies as they arrive, then the tables, and the superblock last.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::compress::Codec;
use crate::data::{Body, Counts, DataPlane, FileData, Lists, Places, Recipe, Run, Source, Written};
use crate::error::Error;
use crate::format::{
    ABSENT, DEVICE_BLOCK, Field, Flags, MetadataHeader, Superblock, XattrTableHeader,
};
use crate::meta::{MetadataBlocks, MetadataQueue, Tables, XattrTables, XattrWriter};
use crate::options::{Options, Resolved, TailPolicy};
use crate::output::Output;
use crate::pool::{Effort, Pool, PoolTimes};
use crate::summary::{Progress, Stage, Summary, Times};
use crate::tree::{Kind, Tree};

/// Writes bodies as they arrive, and the tables when the tree is known.
///
/// Use it if you keep the names yourself, or if the sink cannot seek. [`ImageWriter`](crate::ImageWriter) is simpler
/// otherwise. The sink receives the image from byte 96 on. [`finish`](Self::finish) returns the first 96 bytes, so there
/// is no image before it succeeds.
///
/// ```
/// use sqfs_writer::{DataWriter, Kind, Metadata, NodeId, Options, Tree};
/// # #[cfg(feature = "zstd")] {
///
/// let mut writer = DataWriter::new(Vec::new(), &Options::default())?;
/// let body = writer.add(&b"Hello, world!\n"[..])?;
///
/// let mut tree = Tree::new(Metadata::new(0o755));
/// tree.insert(NodeId::ROOT, b"hello", Metadata::new(0o644), Kind::File(body))?;
///
/// let sealed = writer.finish(&tree)?;
/// let image = [&sealed.superblock[..], &sealed.sink].concat();
/// assert_eq!(image.len(), 4096);
/// # }
/// # Ok::<(), sqfs_writer::Error>(())
/// ```
pub struct DataWriter<W: Write> {
    data: DataPlane<W>,
    options: Resolved,
    started: Instant,
}

/// A finished image whose first 96 bytes are still to be written.
#[derive(Debug)]
#[must_use = "the image is not one before its superblock is in front of it"]
#[non_exhaustive]
pub struct Sealed<W> {
    /// The first 96 bytes of the image.
    pub superblock: [u8; 96],
    /// The sink with everything after them, flushed.
    pub sink: W,
    /// Counts and times of what was written.
    pub summary: Summary,
    /// Positions of bodies and fragments, if [`keep_places`](DataWriter::keep_places) was called.
    pub places: Option<Places>,
}

impl<W: Write> DataWriter<W> {
    /// Returns a writer whose sink receives the bytes after the superblock. The writer writes in large pieces, so the sink
    /// needs no buffer.
    ///
    /// # Errors
    /// Returns [`Error::Options`] for a value out of range, [`Error::Sink`] if the sink fails, and [`Error::Codec`] if
    /// the codec cannot be made. A thread that cannot be started costs speed and is no error.
    pub fn new(sink: W, options: &Options) -> Result<Self, Error> {
        Self::begun(sink, options.resolve(None)?, |_| Ok(())).map(|(writer, ())| writer)
    }

    /// Returns a writer that compresses with a codec of the caller's; `codec` makes one for each thread.
    ///
    /// The image names [`Options::compressor`] as its codec, and readers decompress the results accordingly. The crate's
    /// own implementation of that codec need not be compiled in.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_codec(
        sink: W,
        options: &Options,
        codec: impl Fn() -> io::Result<Box<dyn Codec>> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let options = options.resolve(Some(Arc::new(codec)))?;
        Self::begun(sink, options, |_| Ok(())).map(|(writer, ())| writer)
    }

    /// Returns a writer, and what `begin` returned for the sink. It calls `begin` once nothing but the sink can fail, because
    /// a writer that cannot be made must not change what the sink holds.
    pub(crate) fn begun<T>(
        mut sink: W,
        options: Resolved,
        begin: impl FnOnce(&mut W) -> io::Result<T>,
    ) -> Result<(Self, T), Error> {
        let pool = DataPlane::<W>::pool(&options)?;
        let begun = begin(&mut sink).map_err(Error::Sink)?;
        let mut output = Output::new(sink, Superblock::SIZE as u64);
        if let Some(bytes) = &options.codecs.options {
            // A metadata block that is never compressed.
            let len = u16::try_from(bytes.len()).unwrap_or_default();
            output.write(&(len | MetadataHeader::RAW).to_le_bytes())?;
            output.write(bytes)?;
        }
        let writer = Self {
            data: DataPlane::new(output, pool, &options),
            options,
            started: Instant::now(),
        };
        Ok((writer, begun))
    }

    /// Writes a body: what `body` returns until its end.
    ///
    /// # Errors
    /// Returns [`Error::Body`] if `body` fails, [`Error::Limit`] with the length of `a file` if it has more than 2³¹ - 1
    /// blocks, and [`Error::Shortage`] if there is no memory for one of them; the writer discards it and can go on. After
    /// any other error, and a shortage of memory for the lists of blocks, every further call returns [`Error::Poisoned`].
    pub fn add(&mut self, body: impl Read) -> Result<FileData, Error> {
        let mut writer = self.begin();
        writer.append(body)?;
        writer.finish()
    }

    /// Sets the listener that the calling thread calls after each write to the sink, about once per block. It should return
    /// quickly. A second listener replaces the first.
    pub fn on_progress(&mut self, listener: impl FnMut(Progress) + Send + 'static) {
        self.data.listen(Box::new(listener));
    }

    /// Sets the condition under which the writer gives the image up. The calling thread evaluates it regularly; once it
    /// returns `true`, the current call returns [`Error::Cancelled`], and every later one [`Error::Poisoned`]. A second
    /// condition replaces the first.
    ///
    /// The writer evaluates it at least once for each block of a body, and after at most 1024 entries of a table, so it
    /// should return quickly. [`finish`](Self::finish) writes nothing for seconds if there are millions of names; without
    /// a condition only the sink can end it.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use sqfs_writer::{Compressor, DataWriter, Error, Metadata, Options, Tree};
    ///
    /// let mut options = Options::default();
    /// options.compressor = Compressor::None;
    /// let mut writer = DataWriter::new(Vec::new(), &options)?;
    /// let cancelled = Arc::new(AtomicBool::new(false));
    /// let condition = Arc::clone(&cancelled);
    /// writer.cancel_when(move || condition.load(Ordering::Relaxed));
    /// cancelled.store(true, Ordering::Relaxed);
    /// let outcome = writer.finish(&Tree::new(Metadata::new(0o755)));
    /// assert!(matches!(outcome, Err(Error::Cancelled)));
    /// # Ok::<(), sqfs_writer::Error>(())
    /// ```
    pub fn cancel_when(&mut self, condition: impl FnMut() -> bool + Send + 'static) {
        self.data.cancel_when(Box::new(condition));
    }

    /// Sets the source of what earlier images store, for [`replay`](Self::replay). A second source replaces the first.
    pub fn replay_from(&mut self, source: impl Source + 'static) {
        self.data.replay_from(Box::new(source));
    }

    /// Writes a body of an earlier image without its bytes: the writer copies its stored blocks from the
    /// [source](Self::replay_from), unless an equal body is in the image. The image is the one that [`add`](Self::add)
    /// with the body's bytes would make; [`replay`](crate::replay) lists the conditions.
    ///
    /// The writer fetches a tail when its fragment is full, and only if the source has no fragment with the same tails.
    /// That may be after this call has returned, at the latest in [`finish`](Self::finish).
    ///
    /// # Errors
    /// Returns [`Error::Recipe`] or [`Error::Limit`] if no body of this image could have such a recipe; the writer can go
    /// on. Returns [`Error::Source`] if the source fails, or if the recipe's blocks change between two iterations, and the
    /// errors of [`add`](Self::add); it then cannot.
    pub fn replay<I>(&mut self, recipe: &Recipe<I>) -> Result<FileData, Error>
    where
        I: Iterator<Item = Run> + Clone,
    {
        self.data.replay(recipe)
    }

    /// Makes [`finish`](Self::finish) return the positions of bodies and fragments as [`Sealed::places`]. Takes 33 bytes of
    /// memory per fragment, at most 2 MiB, which [`Options::memory`] does not include. The tails of fragments beyond that have
    /// no fingerprint.
    pub fn keep_places(&mut self) {
        self.data.keep_places();
    }

    /// Calls the caller's condition for giving up, for work that writes nothing.
    #[cfg(all(feature = "host", target_os = "linux"))]
    pub(crate) fn check_cancelled(&mut self) -> Result<(), Error> {
        self.data.check_cancelled()
    }

    /// Begins a body that comes in pieces or has holes. There is one at a time.
    pub fn begin(&mut self) -> Body<'_, W> {
        self.data.begin()
    }

    /// Writes all tables for `tree`, whose files must be bodies of this writer. Bodies without a file stay in the image as
    /// dead bytes.
    ///
    /// # Errors
    /// - [`Error::Limit`], [`Error::EmptyTarget`] and [`Error::NulInTarget`] for a value that the format cannot express
    /// - [`Error::Tree`] if a file's content comes from another writer
    /// - [`Error::Sink`], [`Error::Codec`] or [`Error::Thread`] if writing or compressing fails
    /// - [`Error::Cancelled`] if the condition of [`cancel_when`](Self::cancel_when) is met
    /// - [`Error::Poisoned`] after an earlier failure
    pub fn finish(self, tree: &Tree<FileData>) -> Result<Sealed<W>, Error> {
        let options = self.options;
        let Written {
            output: mut image,
            mut lists,
            fragments,
            sequences,
            counts,
            pool,
            mut cancel,
        } = self.data.finish()?;
        cancel.check()?;
        let data_time = Clocks::read(self.started, &image, &pool);
        image.progress_mut().finishing = true;
        let stored = options.stored;
        // The budget for blocks of files is free now.
        let memory = options.memory.blocks * 2 * options.block_size;
        let xattr_effort = effort(stored.xattrs);
        let inode_effort = effort(stored.inodes);
        let mut queue = MetadataQueue::new(pool, cancel, memory, inode_effort, xattr_effort);

        let inode_table_start = image.position();
        let taken = lists.bytes() + fragments.bytes();
        let xattrs = XattrWriter::new(&options.memory, taken, xattr_effort);
        let Tables {
            directories,
            xattrs,
            refs,
            ids,
            root,
        } = Tables::build(tree, &lists, &mut queue, xattrs, &mut image)?;
        let fragment_count = count(fragments.len(), "number of fragments")?;
        let inode_count = count(refs.len(), "number of inodes")?;
        let id_count = u16::try_from(ids.len()).unwrap_or(u16::MAX);

        let directory_table_start = directories.bytes.write_to(&mut image)?;
        let entries = fragments
            .iter_from(0)
            .map(|fragment| Ok(fragment.to_bytes()));
        let table = queue.entries("the fragment table", effort(stored.fragments), entries)?;
        let fragment_table_start = write_table(&mut image, table)?;
        let lookup_table_start = if options.exportable {
            let entries = refs.iter().map(|inode| Ok(inode.0.to_le_bytes()));
            let table = queue.entries("the export table", effort(stored.inodes), entries)?;
            write_table(&mut image, table)?
        } else {
            ABSENT
        };
        let entries = ids.iter().map(|id| Ok(id.to_le_bytes()));
        let table = queue.entries("the id table", effort(stored.ids), entries)?;
        let id_table_start = write_table(&mut image, table)?;
        let (xattr_sets, dropped_xattrs) = (xattrs.count, xattrs.dropped);
        let forgotten = counts.forgotten + xattrs.forgotten;
        let xattr_id_table_start = write_xattrs(&mut image, xattrs)?;
        let bytes_used = image.position();
        pad(&mut image)?;

        let superblock = Superblock {
            s_magic: Superblock::MAGIC,
            inodes: inode_count,
            mkfs_time: options.mkfs_time,
            block_size: u32::try_from(options.block_size).unwrap_or_default(),
            fragments: fragment_count,
            compression: options.codecs.compression,
            block_log: u16::try_from(options.block_size.ilog2()).unwrap_or_default(),
            flags: flags(&options),
            no_ids: id_count,
            s_major: Superblock::VERSION.0,
            s_minor: Superblock::VERSION.1,
            root_inode: root,
            bytes_used,
            id_table_start,
            xattr_id_table_start,
            inode_table_start,
            directory_table_start,
            fragment_table_start,
            lookup_table_start,
        };
        let summary = Summary {
            bytes_used,
            image_bytes: image.position(),
            inodes: inode_count,
            dead_bytes: dead_bytes(tree, &mut lists, counts, queue.cancel())?,
            fragments: fragment_count,
            ids: id_count,
            xattr_sets,
            dropped_xattrs,
            forgotten,
            body_bytes: counts.body_bytes,
            hole_bytes: counts.hole_bytes,
            data_bytes: counts.data_bytes,
            blocks: counts.blocks,
            raw_blocks: counts.raw_blocks,
            duplicates: counts.duplicates,
            duplicate_bytes: counts.duplicate_bytes,
            duplicates_kept: counts.duplicates_kept,
            times: Clocks::read(self.started, &image, queue.pool()).times(&data_time),
        };
        Ok(Sealed {
            superblock: superblock.to_bytes(),
            sink: image.into_sink()?,
            summary,
            places: sequences.map(|tails| Places::new(lists, fragments, tails)),
        })
    }
}

impl<W: Write> fmt::Debug for DataWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataWriter").finish_non_exhaustive()
    }
}

/// A reading of the clocks, all of which only go forward.
struct Clocks {
    total: Duration,
    writing: Duration,
    waiting: Duration,
    compressing: Stage,
    /// The part of it on the calling thread.
    own: Duration,
}

impl Clocks {
    fn read<W: Write>(started: Instant, image: &Output<W>, pool: &Pool) -> Self {
        let PoolTimes {
            compressing,
            own,
            waited,
        } = pool.times();
        Self {
            total: started.elapsed(),
            writing: image.busy(),
            waiting: waited,
            compressing,
            own,
        }
    }

    /// Returns the rest of the calling thread's time.
    fn rest(&self) -> Duration {
        self.total
            .saturating_sub(self.writing + self.waiting + self.own)
    }

    /// Returns the times of an image. `data` is the reading after the last body.
    fn times(&self, data: &Self) -> Times {
        Times {
            total: self.total,
            input: data.rest(),
            tables: self.rest().saturating_sub(data.rest()),
            writing: self.writing,
            waiting: self.waiting,
            compressing: self.compressing,
        }
    }
}

fn effort(stored: bool) -> Effort {
    if stored {
        Effort::Store
    } else {
        Effort::Compress
    }
}

fn flags(options: &Resolved) -> Flags {
    let stored = options.stored;
    let flags = [
        (stored.inodes, Flags::UNCOMPRESSED_INODES),
        (stored.data, Flags::UNCOMPRESSED_DATA),
        (stored.fragments, Flags::UNCOMPRESSED_FRAGMENTS),
        (stored.xattrs, Flags::UNCOMPRESSED_XATTRS),
        (stored.ids, Flags::UNCOMPRESSED_IDS),
        (options.tails == TailPolicy::Never, Flags::NO_FRAGMENTS),
        (options.tails == TailPolicy::Always, Flags::ALWAYS_FRAGMENTS),
        (options.duplicates, Flags::DUPLICATES),
        (options.exportable, Flags::EXPORTABLE),
        (options.codecs.options.is_some(), Flags::COMPRESSOR_OPTIONS),
    ];
    let set = flags.iter().filter(|(is_set, _)| *is_set);
    Flags(set.fold(0, |all, (_, flag)| all | flag))
}

/// Writes a table and, after it, the index of its blocks. Returns the position of the index, for the
/// superblock.
///
/// Only the fragment table can be empty. It then starts where the directory table ends, because GRUB,
/// U-Boot, 7-Zip and go-diskfs compute the size of the directory table from it, as mksquashfs has it.
fn write_table<W: Write>(image: &mut Output<W>, table: MetadataBlocks) -> Result<u64, Error> {
    let start = table.bytes.write_to(image)?;
    image.write(&block_index(start, &table.starts))
}

fn write_xattrs<W: Write>(image: &mut Output<W>, xattrs: XattrTables) -> Result<u64, Error> {
    if xattrs.count == 0 {
        return Ok(ABSENT);
    }
    let xattr_table_start = xattrs.values.bytes.write_to(image)?;
    let start = xattrs.sets.bytes.write_to(image)?;
    let header = XattrTableHeader {
        xattr_table_start,
        xattr_ids: xattrs.count,
        unused: 0,
    };
    let position = image.write(&header.to_bytes())?;
    image.write(&block_index(start, &xattrs.sets.starts))?;
    Ok(position)
}

fn block_index(start: u64, starts: &[u64]) -> Vec<u8> {
    let positions = starts.iter().map(|offset| start + offset);
    positions.flat_map(u64::to_le_bytes).collect()
}

/// Pads the file to a whole device block, because mounting fails on a device with sectors of 4 KiB whose last one is
/// incomplete. `bytes_used` does not count the padding.
fn pad<W: Write>(image: &mut Output<W>) -> Result<(), Error> {
    let len = image.position().next_multiple_of(DEVICE_BLOCK as u64) - image.position();
    let zeros = [0; DEVICE_BLOCK];
    image.write(
        zeros
            .get(..usize::try_from(len).unwrap_or_default())
            .unwrap_or_default(),
    )?;
    Ok(())
}

/// Returns the bytes of blocks that belong to no file of the tree.
fn dead_bytes(
    tree: &Tree<FileData>,
    lists: &mut Lists,
    counts: Counts,
    cancel: &mut Cancel,
) -> Result<u64, Error> {
    let mut alive = 0;
    for (_, node) in tree.nodes() {
        cancel.tick()?;
        if let Kind::File(data) = node.kind() {
            alive += lists.claim(*data)?;
        }
    }
    Ok(counts.block_bytes.saturating_sub(alive))
}

fn count(len: usize, what: &'static str) -> Result<u32, Error> {
    u32::try_from(len).map_err(|_| Error::Limit {
        what,
        entry: "the image".into(),
        value: len as u64,
        max: u32::MAX.into(),
    })
}
