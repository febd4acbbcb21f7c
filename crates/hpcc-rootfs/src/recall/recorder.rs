//! Records what a build reads and where it goes, during the build.

use std::io::{self, Write};

use bytes::Bytes;
use ociget::Image;
use sqfs_writer::replay::{Fingerprints, Handles, Places, Recipe};
use sqfs_writer::{DataWriter, Error, FileData};

use super::bytes::put_number;
use super::damaged::damaged;
use super::directory::{Caps, Directory, LayerPart, Rules};
use super::documents::Documents;
use super::head::{self, BlockRules};
use super::layer::{RECOVERED_MAX, has_body};
use super::section::{End, Section, SectionWriter};
use super::{entry, places};
use crate::artifact::ImageOptions;
use crate::flatten::{Body, BodySink, Counts, KnownBody, LayerSpec, Proof};
use crate::layer::{Entry, Limits};
use crate::staging::{Spare, StagedFile};

/// Bytes of entries that are passed to the encoder at a time.
const PIECE: usize = 64 << 10;

/// Divisor of the budget for metadata: the share that may be kept in memory of an image until its places are known.
const SHARE: u64 = 8;

/// Bytes that the file may have however small the image is, besides those for each layer.
const FLOOR: u64 = 256 << 10;

/// Divisor of the further bytes that the file may have: a part of the layers' blobs while they are read, and of the
/// image once it is written.
const PART: u64 = 8;

/// The record of a build, which is a hint for later builds. A failure ends the recording, and never the build.
pub(crate) struct Spool {
    state: Option<State>,
    file: Spare<StagedFile>,
    caps: Caps,
    /// The layers that follow, the next one last.
    layers: Vec<ociget::Layer>,
    done: Vec<Recorded>,
    /// The file whose body comes next, of a layer that was recorded before: its layer and ordinal.
    recovers: Option<(usize, u64)>,
    recovered: Vec<Recovered>,
    /// Bytes that the file may have however small the layers and the image are.
    floor: u64,
    /// Bytes that handles may still take.
    room: u64,
    /// Block size of the image in bytes.
    block_size: u64,
    rules: BlockRules,
}

/// A body that was skipped in its layer, and turned out to be needed.
struct Recovered {
    layer: usize,
    ordinal: u64,
    body: entry::Body,
    handle: FileData,
}

enum State {
    Between(End),
    Layer(Box<Layer>),
}

/// A layer that is being recorded.
struct Layer {
    section: SectionWriter,
    buffer: Vec<u8>,
    last_path: Vec<u8>,
    /// Whether the last entry is a file whose body was not recorded yet.
    open: bool,
    entries: u64,
    /// Number of files among them whose bodies are not recorded.
    missing: u64,
    bodies: Handles,
}

/// A layer whose entries are recorded.
struct Recorded {
    layer: ociget::Layer,
    list: Section,
    entries: u64,
    missing: u64,
    counts: Counts,
    bodies: Handles,
}

impl Spool {
    /// Begins to record a build of `image` to `file`. The build may drop the file if the image itself needs its disk
    /// space.
    pub(crate) fn new(
        file: Spare<StagedFile>,
        image: &Image,
        limits: &Limits,
        options: &ImageOptions,
    ) -> Self {
        let count = image.layers.len();
        let floor = FLOOR.saturating_add(u64::from(head::LAYER).saturating_mul(count as u64));
        let end = End {
            file: file.clone(),
            // The head is written at the end, when it is known whether the artifact holds all files of a layer.
            offset: head::length(count),
            most: floor,
        };
        let mut spool = Self {
            state: Some(State::Between(end)),
            file,
            caps: Caps::of(limits),
            layers: image.layers.clone(),
            done: Vec::new(),
            recovers: None,
            recovered: Vec::new(),
            floor,
            room: limits.metadata_bytes / SHARE,
            block_size: options.block_size.into(),
            rules: BlockRules::of(options),
        };
        if count as u64 > head::LAYERS_MAX.into() {
            spool.give_up(&damaged("the image has too many layers"));
        }
        spool
    }

    /// Records a body, of the layer that is being recorded or of one before.
    fn body(&mut self, fingerprints: Fingerprints, data: u64, handle: FileData) {
        let recovers = self.recovers.take();
        if fingerprints.len.div_ceil(self.block_size.max(1)) > places::RUNS_MAX {
            // As if the body did not exist: its layer is read again where it is needed.
            return;
        }
        let body = entry::Body { fingerprints, data };
        let size = match recovers {
            Some((layer, ordinal)) => {
                self.recovered.push(Recovered {
                    layer,
                    ordinal,
                    body,
                    handle,
                });
                size_of::<Recovered>()
            }
            None => {
                let mut size = 0;
                self.with(|layer| {
                    size = layer.body(body, handle)?;
                    Ok(())
                });
                size
            }
        };
        match self.room.checked_sub(size as u64) {
            Some(room) => self.room = room,
            None => self.give_up(&damaged("the image has too many files")),
        }
    }

    /// Runs `act` on the layer that is being recorded, and gives up if that fails.
    fn with(&mut self, act: impl FnOnce(&mut Layer) -> io::Result<()>) {
        if let Some(State::Layer(layer)) = &mut self.state
            && let Err(error) = act(layer)
        {
            self.give_up(&error);
        }
    }

    /// Ends the recording, and frees its memory. The build continues.
    fn give_up(&mut self, error: &io::Error) {
        tracing::info!(%error, "the build leaves no recall file for later ones");
        drop(self.file.take());
        self.state = None;
        self.done = Vec::new();
        self.recovered = Vec::new();
        self.room = 0;
    }

    fn begin(&mut self) {
        let Some(State::Between(mut end)) = self.state.take() else {
            return;
        };
        let blob = self.layers.last().map_or(0, |of| of.descriptor.size);
        end.most = end.most.saturating_add(blob / PART);
        match SectionWriter::new(end) {
            Ok(section) => {
                self.state = Some(State::Layer(Box::new(Layer {
                    section,
                    buffer: Vec::new(),
                    last_path: Vec::new(),
                    open: false,
                    entries: 0,
                    missing: 0,
                    bodies: Handles::default(),
                })));
            }
            Err(error) => self.give_up(&error),
        }
    }

    fn end(&mut self, counts: Counts) {
        self.with(Layer::flush);
        let (Some(State::Layer(layer)), Some(of)) = (self.state.take(), self.layers.pop()) else {
            return;
        };
        let Layer {
            section,
            entries,
            missing,
            mut bodies,
            ..
        } = *layer;
        match section.finish() {
            Ok((list, end)) => {
                self.state = Some(State::Between(end));
                bodies.shrink();
                self.done.push(Recorded {
                    layer: of,
                    list,
                    entries,
                    missing,
                    counts,
                    bodies,
                });
            }
            Err(error) => self.give_up(&error),
        }
    }

    /// Completes the file, which has no name yet, for an artifact whose record has this root and whose image has
    /// `image_bytes`. Returns `None` if it is not worth its space, or was given up.
    pub(crate) fn seal(
        mut self,
        places: &Places,
        root: String,
        image_bytes: u64,
        documents: &Documents,
    ) -> Option<StagedFile> {
        let Some(State::Between(end)) = self.state.take() else {
            return None;
        };
        let file = self.file.clone();
        match self.write_rest(end, places, root, image_bytes, documents) {
            Ok(()) => file.take(),
            Err(error) => {
                tracing::info!(%error, "the build leaves no recall file for later ones");
                drop(file.take());
                None
            }
        }
    }

    fn write_rest(
        self,
        mut end: End,
        places: &Places,
        root: String,
        image_bytes: u64,
        documents: &Documents,
    ) -> io::Result<()> {
        end.limit(self.floor.saturating_add(image_bytes / PART))?;
        let mut buffer = Vec::new();
        let mut layers = Vec::with_capacity(self.done.len());
        // They were read newest first.
        let oldest = (0..self.done.len()).rev();
        for (index, recorded) in oldest.zip(self.done) {
            let mut section = SectionWriter::new(end)?;
            for data in recorded.bodies.into_values() {
                let place = places.body(data);
                let place = place.ok_or_else(|| damaged("a body is not in the image"))?;
                places::put(&mut buffer, place.start, place.blocks, place.tail);
                if buffer.len() >= PIECE {
                    section.write(&buffer)?;
                    buffer.clear();
                }
            }
            section.write(&buffer)?;
            buffer.clear();
            let (written, after) = section.finish()?;
            let mut section = SectionWriter::new(after)?;
            let of_layer = self.recovered.iter().filter(|body| body.layer == index);
            let count = of_layer.clone().count();
            let is_whole = recorded.missing == count as u64 && count <= RECOVERED_MAX;
            put_number(&mut buffer, count as u64);
            for recovered in of_layer {
                let place = places.body(recovered.handle);
                let place = place.ok_or_else(|| damaged("a body is not in the image"))?;
                put_number(&mut buffer, recovered.ordinal);
                put_number(&mut buffer, recovered.body.fingerprints.len);
                entry::put_body(&mut buffer, Some(&recovered.body));
                places::put(&mut buffer, place.start, place.blocks, place.tail);
                if buffer.len() >= PIECE {
                    section.write(&buffer)?;
                    buffer.clear();
                }
            }
            section.write(&buffer)?;
            buffer.clear();
            let (recovered, after) = section.finish()?;
            end = after;
            let ociget::Layer {
                descriptor,
                diff_id,
                ..
            } = &recorded.layer;
            layers.push(LayerPart::new(
                diff_id,
                &descriptor.digest,
                descriptor.size,
                recorded.entries,
                recorded.counts,
                self.caps,
                is_whole,
                recorded.list,
                written,
                recovered,
            ));
        }
        let mut section = SectionWriter::new(end)?;
        put_number(&mut buffer, places.fragments().count() as u64);
        for fragment in places.fragments() {
            places::put_fragment(&mut buffer, fragment.into());
        }
        section.write(&buffer)?;
        buffer.clear();
        let (fragments, after) = section.finish()?;
        let mut section = SectionWriter::new(after)?;
        documents.put(&mut buffer);
        section.write(&buffer)?;
        let (documents, mut end) = section.finish()?;
        let directory = Directory {
            rules: Rules::CURRENT,
            root,
            layers,
            fragments,
            documents,
        };
        directory.write(&mut end)?;
        let layers = directory.layers.iter();
        let head = head::encode(self.rules, layers.map(|layer| (layer.name(), layer.whole)))?;
        end.write_head(&head)
    }
}

impl Layer {
    fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.close();
        // Before the next one, because nothing that an image chooses may be kept for longer.
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        let more = entry::length_max(entry) + entry::NUMBERS_MAX;
        self.buffer.try_reserve(more)?;
        entry::put(&mut self.buffer, &mut self.last_path, entry);
        self.open = has_body(entry);
        self.entries += 1;
        Ok(())
    }

    /// Returns the bytes of memory that are kept of the body.
    fn body(&mut self, body: entry::Body, handle: FileData) -> io::Result<usize> {
        if !std::mem::replace(&mut self.open, false) {
            return Err(damaged("a body came without an entry"));
        }
        entry::put_body(&mut self.buffer, Some(&body));
        let before = self.bodies.bytes();
        self.bodies.push(handle);
        Ok(self.bodies.bytes() - before)
    }

    /// Closes the last file, of whose body nothing is known.
    fn close(&mut self) {
        if std::mem::replace(&mut self.open, false) {
            self.missing += 1;
            entry::put_body(&mut self.buffer, None);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.close();
        self.section.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// The writer of an image, with a record of what goes in.
pub(crate) struct Recorder<'w, W: Write> {
    data: &'w mut DataWriter<W>,
    spool: &'w mut Option<Spool>,
    /// Called with the index of each layer that was taken from earlier builds.
    taken: &'w dyn Fn(usize),
    /// Number of layers that follow.
    left: usize,
}

impl<'w, W: Write> Recorder<'w, W> {
    /// Takes the bodies of that many layers, the newest first. Calls `taken` with the index of each layer that comes
    /// from earlier builds, once all of its entries were taken.
    pub(crate) fn new(
        data: &'w mut DataWriter<W>,
        spool: &'w mut Option<Spool>,
        layers: usize,
        taken: &'w dyn Fn(usize),
    ) -> Self {
        Self {
            data,
            spool,
            taken,
            left: layers,
        }
    }
}

impl<W: Write> BodySink for Recorder<'_, W> {
    type Handle = FileData;
    type Error = Error;
    type Body<'a>
        = RecordedBody<'a, W>
    where
        Self: 'a;

    fn begin(&mut self, _size: u64) -> Result<Self::Body<'_>, Error> {
        Ok(RecordedBody {
            body: self.data.begin(),
            data: 0,
            spool: self.spool,
        })
    }

    fn replay(&mut self, body: &KnownBody) -> Result<Option<FileData>, Error> {
        let KnownBody {
            fingerprints,
            data,
            ref blocks,
            start,
            tail,
        } = *body;
        let blocks = blocks.iter().copied();
        let recipe = Recipe::new(fingerprints, blocks, start, tail);
        let handle = self.data.replay(&recipe)?;
        if let Some(spool) = self.spool {
            spool.body(fingerprints, data, handle);
        }
        Ok(Some(handle))
    }

    fn begin_layer(&mut self, _spec: &LayerSpec) {
        if let Some(spool) = self.spool {
            spool.begin();
        }
    }

    fn entry(&mut self, entry: &Entry) {
        if let Some(spool) = self.spool {
            spool.with(|layer| layer.entry(entry));
        }
    }

    fn recovers(&mut self, layer: usize, ordinal: u64) {
        if let Some(spool) = self.spool {
            spool.recovers = Some((layer, ordinal));
        }
    }

    fn end_layer(&mut self, counts: Counts, proof: &Proof) {
        self.left = self.left.saturating_sub(1);
        if matches!(proof, Proof::Remembered(_)) {
            (self.taken)(self.left);
        }
        if let Some(spool) = self.spool {
            spool.end(counts);
        }
    }
}

/// A body that is written to the image and recorded.
pub(crate) struct RecordedBody<'a, W: Write> {
    body: sqfs_writer::Body<'a, W>,
    data: u64,
    spool: &'a mut Option<Spool>,
}

impl<W: Write> Body for RecordedBody<'_, W> {
    type Handle = FileData;
    type Error = Error;

    fn data(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.data += bytes.len() as u64;
        self.body.append_bytes(bytes)
    }

    fn hole(&mut self, length: u64) -> Result<(), Error> {
        self.body.hole(length)
    }

    fn finish(self) -> Result<FileData, Error> {
        let (handle, fingerprints) = self.body.finish_recorded()?;
        if let (Some(spool), Some(fingerprints)) = (self.spool, fingerprints) {
            spool.body(fingerprints, self.data, handle);
        }
        Ok(handle)
    }
}

#[cfg(test)]
mod tests;
