//! The image in disk order: bodies as they come, then the tables, and the superblock last.

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

/// Writes bodies as they come, and an image around them when the tree is known.
///
/// This is the door for those who keep names themselves, or whose sink cannot seek; others have it
/// easier with [`ImageWriter`](crate::ImageWriter). The sink gets the image from its byte 96 on.
/// The 96 bytes that belong in front are what [`finish`](Self::finish) returns, so there is no
/// image before it has succeeded.
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

/// A finished image, but for the place of its first 96 bytes.
#[derive(Debug)]
#[must_use = "the image is not one before its superblock is in front of it"]
#[non_exhaustive]
pub struct Sealed<W> {
    /// The first 96 bytes of the image.
    pub superblock: [u8; 96],
    /// Holds everything behind them, flushed.
    pub sink: W,
    /// What was written.
    pub summary: Summary,
    /// Where it is, if [`keep_places`](DataWriter::keep_places) asked for it.
    pub places: Option<Places>,
}

impl<W: Write> DataWriter<W> {
    /// A writer whose sink gets the bytes behind the superblock. It writes in large pieces and
    /// needs no buffer around it.
    ///
    /// # Errors
    /// Returns [`Error::Options`] for a value out of range, [`Error::Sink`] if the sink fails, and [`Error::Codec`] if
    /// the codec cannot be made. A thread that cannot be started costs speed and is no error.
    pub fn new(sink: W, options: &Options) -> Result<Self, Error> {
        Self::resolved(sink, options.resolve(None)?)
    }

    /// A writer that compresses with a codec of the caller's, which `codec` makes for each thread.
    ///
    /// The image says that it is compressed with what [`Options::compressor`] names; readers take
    /// the codec's results for that. The crate's own implementation of it is not needed.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_codec(
        sink: W,
        options: &Options,
        codec: impl Fn() -> io::Result<Box<dyn Codec>> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::resolved(sink, options.resolve(Some(Arc::new(codec)))?)
    }

    fn resolved(sink: W, options: Resolved) -> Result<Self, Error> {
        let mut output = Output::new(sink, Superblock::SIZE as u64);
        if let Some(bytes) = &options.codecs.options {
            // A metadata block that is never compressed.
            let len = u16::try_from(bytes.len()).unwrap_or_default();
            output.write(&(len | MetadataHeader::RAW).to_le_bytes())?;
            output.write(bytes)?;
        }
        Ok(Self {
            data: DataPlane::new(output, &options)?,
            options,
            started: Instant::now(),
        })
    }

    /// Writes a body: everything that `body` gives until its end.
    ///
    /// # Errors
    /// [`Error::Body`] if `body` fails: it is discarded then, and the writer can go on. After
    /// [`Error::Sink`], [`Error::Codec`], [`Error::Thread`] or [`Error::Limit`] it can't, and
    /// answers [`Error::Poisoned`].
    pub fn add(&mut self, body: impl Read) -> Result<FileData, Error> {
        let mut writer = self.begin();
        writer.append(body)?;
        writer.finish()
    }

    /// Has `listener` called whenever something was handed to the sink: by the calling thread,
    /// about once a block. It should be quick. There is one; a second takes its place.
    pub fn on_progress(&mut self, listener: impl FnMut(Progress) + Send + 'static) {
        self.data.listen(Box::new(listener));
    }

    /// Has `condition` called now and then by the calling thread, and gives the image up once it
    /// returns `true`: whatever is called then, and [`finish`](Self::finish) while it runs, returns
    /// [`Error::Cancelled`], and [`Error::Poisoned`] afterwards. There is one; a second takes its
    /// place.
    ///
    /// It is called at least once for each block of a body, and after at most 1024 entries of a
    /// table, so it should be quick. Without it only the sink can end a `finish`, which writes
    /// nothing for seconds where there are millions of names.
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

    /// Gives the writer what earlier images store, for [`replay`](Self::replay). There is one source; a second takes its
    /// place.
    pub fn replay_from(&mut self, source: impl Source + 'static) {
        self.data.replay_from(Box::new(source));
    }

    /// Writes a body of an earlier image without its bytes: what is stored of it is copied from the
    /// [source](Self::replay_from), if it is needed at all. The image is the one that [`add`](Self::add) with the body's
    /// bytes would make; [`replay`](crate::replay) says under which conditions.
    ///
    /// A tail is fetched when its fragment is full, and only if the source has no fragment with the same tails. So the
    /// source is asked for it after this has returned, at the latest by [`finish`](Self::finish).
    ///
    /// # Errors
    /// [`Error::Recipe`] and [`Error::Limit`] if no body of this image could have such a recipe: the writer can go on.
    /// [`Error::Source`] if the source fails, and as for [`add`](Self::add): it can't.
    pub fn replay<I>(&mut self, recipe: &Recipe<I>) -> Result<FileData, Error>
    where
        I: Iterator<Item = Run> + Clone,
    {
        self.data.replay(recipe)
    }

    /// Has [`finish`](Self::finish) return where bodies and fragments are, as [`Sealed::places`]. Costs 33 bytes of
    /// memory for each fragment, beside [`Options::memory`].
    pub fn keep_places(&mut self) {
        self.data.keep_places();
    }

    /// Begins a body that comes in pieces, or with holes. There is one at a time.
    pub fn begin(&mut self) -> Body<'_, W> {
        self.data.begin()
    }

    /// Writes all tables for `tree`, whose files must be bodies of this writer. Bodies that no
    /// file has stay in the image as dead bytes.
    ///
    /// # Errors
    /// [`Error::Limit`] and [`Error::EmptyTarget`] for what the format has no room for;
    /// [`Error::Tree`] if a file's content is from another writer; [`Error::Sink`],
    /// [`Error::Codec`], [`Error::Thread`]; [`Error::Cancelled`] if
    /// [`cancel_when`](Self::cancel_when) says so; [`Error::Poisoned`] after an earlier failure.
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
        // The blocks of files have had theirs.
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

/// How far the clocks are: all of them only go forward.
struct Clocks {
    total: Duration,
    writing: Duration,
    waiting: Duration,
    compressing: Stage,
    /// The part of it that the calling thread did.
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

    /// What is left of the calling thread's time.
    fn rest(&self) -> Duration {
        self.total
            .saturating_sub(self.writing + self.waiting + self.own)
    }

    /// `data` is where they stood when all bodies were in.
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

/// Ends the file on a whole device block. Without that a device with sectors of 4 KiB has no last
/// one, and mounting fails. `bytes_used` doesn't count it.
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

/// Bytes of blocks that no file of the tree has.
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
