//! The state machine: headers become entries, bodies become segments.

mod maps;

use ociget::{DiffId, Verified};

use super::decode::{decode, no_body, one_name};
use super::entry::{Entry, EntryKind, Segment};
use super::header::{BLOCK, Header, is_header};
use super::pax::Extended;
use super::sparse::{self, MapAt, Run};
use crate::growth::{Growth as _, copy_of};
use crate::layer::error::{At, Error, Fault, Limit, Malformed};
use crate::layer::limits::Budget;
use crate::layer::measure::Measure;
use crate::layer::stream::Stream;

/// Reads the entries of one layer, in order, each with its body.
///
/// ```text
///   read_entry ──► true ──► segment ──► Some … None ──┐
///       ▲                   (or not at all)           │
///       └─────────────────────────────────────────────┘
///       └──► false ──► finish ──► Verified<DiffId>
/// ```
pub struct TarReader<'a> {
    stream: Stream<'a>,
    budget: &'a mut Budget,
    body: Body,
    /// Offset of the current entry's first header.
    position: u64,
    /// The current entry's name as the archive spells it, as soon as it is known.
    name: Vec<u8>,
    /// The body of a long header; kept so that its memory is reused.
    scratch: Vec<u8>,
    /// The kind of the current entry, and the size that its header declares although no contents follow.
    bodiless: Option<(&'static str, u64)>,
    ended: bool,
}

/// The rest of the current entry's body.
#[derive(Default)]
struct Body {
    /// The position in the file, holes included, and the end of the file.
    position: u64,
    size: u64,
    /// The runs that follow, the next one last.
    runs: Vec<Run>,
    padding: u64,
}

/// The values of extended headers for the entry being read.
#[derive(Default)]
struct Pending {
    pax: Option<Extended>,
    long_name: Option<Box<[u8]>>,
    long_link: Option<Box<[u8]>>,
}

impl<'a> TarReader<'a> {
    /// Makes a reader of the entries of that stream, counted against that budget.
    pub fn new(mut stream: Stream<'a>, budget: &'a mut Budget) -> Self {
        stream.allow(budget.unpacked_left(), budget.limits().unpacked_bytes);
        Self {
            stream,
            budget,
            body: Body::default(),
            position: 0,
            name: Vec::new(),
            scratch: Vec::new(),
            bodiless: None,
            ended: false,
        }
    }

    /// Reads the next entry into `entry`, and reuses only the memory of its previous value. Returns `false` at the end
    /// of the archive. The rest of the previous body is skipped.
    ///
    /// # Errors
    /// Returns [`Error::Tar`] and [`Error::Limit`], which name the location, and [`Error::Source`] and
    /// [`Error::Compression`] of the stream.
    pub fn read_entry(&mut self, entry: &mut Entry) -> Result<bool, Error> {
        while self.segment()?.is_some() {}
        if self.ended {
            return Ok(false);
        }
        let mut pending = Pending::default();
        self.position = self.stream.position();
        loop {
            let Some(header) = self.header()? else {
                self.ended = true;
                if !pending.is_empty() {
                    return Err(self.fail(Malformed::NothingDescribed));
                }
                return Ok(false);
            };
            match header.typeflag() {
                b'x' => {
                    self.read_long(&header)?;
                    let parsed = Extended::parse(&self.scratch, self.budget.limits());
                    let extended = parsed.map_err(|fault| self.fail_ahead(fault))?;
                    let first = pending.pax.as_ref();
                    if first.is_some_and(|first| !first.is_repeated_by(&extended)) {
                        return Err(self.fail(Malformed::TwoHeaders("PAX")));
                    }
                    pending.pax = Some(extended);
                }
                // No tool that applies container layers lets one entry change all that follow.
                b'g' => {
                    // Go forgets what came before a global header, and others keep it for the file.
                    if !pending.is_empty() {
                        let between = "a global header stands between a header and its file";
                        return Err(self.fail(Malformed::Pax(between)));
                    }
                    self.read_long(&header)?;
                    let parsed = Extended::parse(&self.scratch, self.budget.limits());
                    parsed.map_err(|fault| self.fail(fault))?;
                }
                b'L' => {
                    let name = self.read_long_name(&header)?;
                    if pending
                        .long_name
                        .as_ref()
                        .is_some_and(|first| *first != name)
                    {
                        return Err(self.fail(Malformed::TwoHeaders("GNU long name")));
                    }
                    pending.long_name = Some(name);
                }
                b'K' => {
                    let name = self.read_long_name(&header)?;
                    if pending
                        .long_link
                        .as_ref()
                        .is_some_and(|first| *first != name)
                    {
                        return Err(self.fail(Malformed::TwoHeaders("GNU long link")));
                    }
                    pending.long_link = Some(name);
                }
                _ => {
                    self.file(&header, pending, entry)?;
                    return Ok(true);
                }
            }
        }
    }

    /// Returns the next piece of the current entry's body, or `None` at its end and for an entry without a body.
    ///
    /// # Errors
    /// Returns the errors of [`read_entry`](Self::read_entry).
    pub fn segment(&mut self) -> Result<Option<Segment>, Error> {
        let body = &mut self.body;
        let next = loop {
            match body.runs.last() {
                Some(run) if run.length == 0 => {
                    body.runs.pop();
                }
                next => break next.copied(),
            }
        };
        let hole_end = next.map_or(body.size, |run| run.offset);
        if body.position < hole_end {
            let length = hole_end - body.position;
            body.position = hole_end;
            return Ok(Some(Segment::Hole(length)));
        }
        let Some(run) = next else {
            let padding = std::mem::take(&mut self.body.padding);
            if padding > 0 {
                // The contents are complete. Writers that never finished their archive left out the padding of the last
                // file, in whole or in part (opencontainers/umoci#436).
                let named = |error| name_limit(error, self.position, &self.name);
                self.stream.skip(padding).map_err(named)?;
            }
            return Ok(None);
        };
        let named = |error| name_limit(error, self.position, &self.name);
        let data = self.stream.take(run.length).map_err(named)?;
        if data.is_empty() {
            return Err(self.fail(Malformed::Truncated));
        }
        let length = data.len() as u64;
        self.body.position += length;
        if let Some(run) = self.body.runs.last_mut() {
            run.offset += length;
            run.length -= length;
        }
        Ok(Some(Segment::Data(data)))
    }

    /// Reads the layer to its end, whatever it contains, and compares its hash. Entries that were not read are skipped
    /// without being checked.
    ///
    /// # Errors
    /// Returns [`Error::DiffId`] if the hash differs, and errors of the stream.
    pub fn finish(mut self) -> Result<Verified<DiffId>, Error> {
        self.stream.skip(u64::MAX)?;
        self.budget.add_unpacked(self.stream.position());
        self.stream.finish()
    }

    /// Reads an archive to its end without comparing its hash, so that a writer at the other end of
    /// a pipe can finish and damaged compression is noticed. For [`Stream::unverified`]; a layer of
    /// an image needs [`finish`](Self::finish).
    ///
    /// # Errors
    /// Returns [`Error::Source`] and [`Error::Compression`] of the stream.
    pub fn drain(mut self) -> Result<(), Error> {
        self.stream.skip(u64::MAX).map(drop)
    }

    /// Charges memory for what the caller keeps of the entry that was read last.
    pub(crate) fn charge(&mut self, bytes: u64) -> Result<(), Error> {
        let charged = self.budget.take_metadata(bytes);
        charged.map_err(|limit| self.fail(limit))
    }

    /// Returns the next header, or `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        // Until the next header is read, errors name the previous entry.
        let named = |error| name_limit(error, self.position, &self.name);
        let block = self.stream.peek::<BLOCK>().map_err(named)?;
        if block.is_empty() {
            return Ok(None);
        }
        let Ok(block) = <[u8; BLOCK]>::try_from(block) else {
            self.name.clear();
            return Err(self.fail(Malformed::Truncated));
        };
        self.stream.consume(BLOCK);
        if block[0] == 0 && block == [0; BLOCK] {
            let second = self.stream.peek::<BLOCK>().map_err(named)?;
            if second.iter().any(|byte| *byte != 0) {
                self.name.clear();
                return Err(self.fail(Malformed::LoneZeroBlock));
            }
            self.check_end()?;
            return Ok(None);
        }
        self.bodiless = None;
        self.name.clear();
        let header = Header::new(block).map_err(|problem| self.fail(problem))?;
        if let Err(limit) = self.budget.take_entries(1) {
            self.take_name(&header, None)?;
            return Err(self.fail(limit));
        }
        Ok(Some(header))
    }

    /// Reads the body of an extended header into `scratch`.
    fn read_long(&mut self, header: &Header) -> Result<(), Error> {
        let size = header.size().map_err(|problem| self.fail(problem))?;
        let max = self.budget.limits().header_bytes as u64;
        if size > max {
            self.take_name(header, None)?;
        }
        Limit::check(Measure::HeaderBytes, size, max).map_err(|limit| self.fail(limit))?;
        self.scratch.clear();
        let mut left = size;
        while left > 0 {
            let named = |error| name_limit(error, self.position, &self.name);
            let bytes = self.stream.take(left).map_err(named)?;
            if bytes.is_empty() {
                return Err(self.fail(Malformed::Truncated));
            }
            left -= bytes.len() as u64;
            self.scratch.try_append(&bytes)?;
        }
        self.skip(padding(size))
    }

    fn read_long_name(&mut self, header: &Header) -> Result<Box<[u8]>, Error> {
        self.read_long(header)?;
        let name = self.scratch.split(|byte| *byte == 0).next();
        Ok(copy_of(name.unwrap_or_default())?)
    }

    /// Reads the header of a file itself.
    fn file(&mut self, header: &Header, pending: Pending, entry: &mut Entry) -> Result<(), Error> {
        let Pending {
            pax,
            long_name,
            long_link,
        } = pending;
        let mut pax = pax.unwrap_or_default();
        let sparse_name = pax.sparse.name.take();
        let name = one_name("name", pax.path.take(), long_name).map_err(|e| self.fail(e))?;
        let is_long = sparse_name.is_some() || name.is_some();
        self.take_name(header, sparse_name.or(name))?;
        match is_long {
            true => header.check_old_directory(&self.name),
            false => header.check_prefix(),
        }
        .map_err(|e| self.fail(e))?;
        let link = one_name("link target", pax.linkpath.take(), long_link);
        let link = link.map_err(|e| self.fail(e))?;
        let link = link.as_deref().unwrap_or(header.linkname());

        entry.path.clear();
        decode(
            &self.name,
            header,
            &mut pax,
            link,
            self.budget.limits(),
            entry,
        )
        .map_err(|fault| self.fail(fault))?;
        match entry.kind {
            EntryKind::File { .. } => self.open_body(header, &mut pax, &mut entry.kind),
            _ => {
                let claimed = no_body(header, &pax, &entry.kind).map_err(|e| self.fail(e))?;
                self.bodiless = claimed;
                self.check_no_body()
            }
        }
    }

    /// Checks that an entry which declares a size and can have no contents has none: a header or the end of the archive
    /// has to follow. Readers that skip contents there would skip these bytes.
    fn check_no_body(&mut self) -> Result<(), Error> {
        let Some((kind, size)) = self.bodiless else {
            return Ok(());
        };
        let named = |error| name_limit(error, self.position, &self.name);
        let next = self.stream.peek::<BLOCK>().map_err(named)?;
        let follows = next.iter().all(|byte| *byte == 0) || is_header(next);
        if !follows {
            return Err(self.fail(Malformed::Body { kind, size }));
        }
        Ok(())
    }

    /// Checks that the zeros after an entry without contents are the end of the archive, and not its contents with more
    /// of the archive after them.
    fn check_end(&mut self) -> Result<(), Error> {
        let Some((kind, size)) = self.bodiless else {
            return Ok(());
        };
        let named = |error| name_limit(error, self.position, &self.name);
        loop {
            let bytes = self.stream.take(u64::MAX).map_err(named)?;
            if bytes.is_empty() {
                return Ok(());
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Err(self.fail(Malformed::Body { kind, size }));
            }
        }
    }

    /// Keeps the name as the archive spells it, for messages and because a trailing slash has a meaning.
    fn take_name(&mut self, header: &Header, long: Option<Box<[u8]>>) -> Result<(), Error> {
        self.name.clear();
        if let Some(long) = long {
            self.name.try_append(&long)?;
            return Ok(());
        }
        let (prefix, name) = header.name();
        self.name.extend_from_slice(prefix);
        if !prefix.is_empty() {
            self.name.push(b'/');
        }
        self.name.extend_from_slice(name);
        Ok(())
    }

    /// Determines where the body's data belongs, and counts its size before any of it is read.
    fn open_body(
        &mut self,
        header: &Header,
        pax: &mut Extended,
        kind: &mut EntryKind,
    ) -> Result<(), Error> {
        let declared = header.size().map_err(|e| self.fail(e))?;
        let mut stored = pax.size.unwrap_or(declared);
        let padding = padding(stored);
        let gnu = header.typeflag() == b'S';
        if gnu && !header.is_gnu() {
            return Err(self.fail(Malformed::Sparse("its header does not have GNU's magic")));
        }
        if gnu && !header.gnu_prefix().is_empty() {
            return Err(self.fail(Malformed::Sparse("its times are not numbers")));
        }
        let map = match pax.sparse.map() {
            Ok(MapAt::Records(_) | MapAt::Body) if gnu => {
                return Err(self.fail(sparse::TWO_MAPS));
            }
            other => other.map_err(|e| self.fail(e))?,
        };
        let size = match (&map, pax.sparse.size) {
            (MapAt::NotSparse, _) if gnu => header.gnu_realsize().map_err(|e| self.fail(e))?,
            (MapAt::NotSparse, _) => stored,
            (_, Some(size)) => size,
            (_, None) => return Err(self.fail(Malformed::Sparse("it does not say its size"))),
        };
        self.budget.take_bytes(size).map_err(|e| self.fail(e))?;
        let mut runs = match map {
            MapAt::NotSparse if gnu => self.gnu_map(header)?,
            MapAt::NotSparse => {
                let mut runs = std::mem::take(&mut self.body.runs);
                runs.clear();
                runs.push(Run {
                    offset: 0,
                    length: size,
                });
                runs
            }
            MapAt::Records(runs) => runs,
            MapAt::Body => self.map_in_body(&mut stored)?,
        };
        sparse::check(&runs, size, stored).map_err(|e| self.fail(e))?;
        // A writer marks the end of a file with one. More of them cost time, and no other limit on the image counts it.
        let empty = runs.iter().filter(|run| run.length == 0).count() as u64;
        let charged = self.budget.take_entries(empty.saturating_sub(1));
        charged.map_err(|e| self.fail(e))?;
        runs.reverse();
        self.body = Body {
            position: 0,
            size,
            runs,
            padding,
        };
        *kind = EntryKind::File { size };
        Ok(())
    }

    fn skip(&mut self, count: u64) -> Result<(), Error> {
        let named = |error| name_limit(error, self.position, &self.name);
        if self.stream.skip(count).map_err(named)? {
            return Ok(());
        }
        Err(self.fail(Malformed::Truncated))
    }

    /// Makes the error for an extended header. It names the entry after the header, to which the header belongs.
    fn fail_ahead(&mut self, fault: Fault) -> Error {
        let next = self.stream.peek::<BLOCK>().ok();
        let next = next.and_then(|block| <[u8; BLOCK]>::try_from(block).ok());
        if let Some(header) = next.and_then(|block| Header::new(block).ok())
            && !matches!(header.typeflag(), b'x' | b'g' | b'L' | b'K')
            && let Err(error) = self.take_name(&header, None)
        {
            return error;
        }
        self.fail(fault)
    }

    fn fail(&self, fault: impl Into<Fault>) -> Error {
        fault.into().at(self.at())
    }

    fn at(&self) -> At {
        At {
            position: self.position,
            entry: self.name.as_slice().into(),
        }
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }
}

/// Names the entry in an error about a layer that is too long, because the stream does not know whose header or body
/// makes it so.
fn name_limit(error: Error, position: u64, name: &[u8]) -> Error {
    match error {
        Error::Limit {
            what, value, max, ..
        } => Error::Limit {
            at: At {
                position,
                entry: name.into(),
            },
            what,
            value,
            max,
        },
        other => other,
    }
}

/// Returns the number of bytes that fill the last block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
