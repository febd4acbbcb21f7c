//! The state machine: headers become entries, bodies become segments.

use ociget::{DiffId, Verified};

use super::decode::{decode, no_body, one_name};
use super::entry::{Entry, EntryKind, Segment};
use super::header::{BLOCK, Header};
use super::pax::{Extended, decimal};
use super::sparse::{self, MapAt, Run};
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
    /// Where the current entry's first header is.
    position: u64,
    /// Its name as the archive spells it, as soon as that is known.
    name: Vec<u8>,
    /// A long header's body, kept for its memory.
    scratch: Vec<u8>,
    ended: bool,
}

/// What is left of the current entry's body.
#[derive(Default)]
struct Body {
    /// Where we are in the file, holes included, and where it ends.
    position: u64,
    size: u64,
    /// The runs still to come, the next one last.
    runs: Vec<Run>,
    padding: u64,
}

/// What extended headers said about the entry that is being read.
#[derive(Default)]
struct Pending {
    pax: Option<Extended>,
    long_name: Option<Box<[u8]>>,
    long_link: Option<Box<[u8]>>,
}

impl<'a> TarReader<'a> {
    /// The entries of that stream, counted against that budget.
    pub fn new(mut stream: Stream<'a>, budget: &'a mut Budget) -> Self {
        stream.allow(budget.unpacked_left(), budget.limits().unpacked_bytes);
        Self {
            stream,
            budget,
            body: Body::default(),
            position: 0,
            name: Vec::new(),
            scratch: Vec::new(),
            ended: false,
        }
    }

    /// Reads the next entry into `entry`, which keeps nothing of what was in it before but its
    /// memory. `false` at the end of the archive. What is left of the body before is skipped.
    ///
    /// # Errors
    /// [`Error::Tar`] and [`Error::Limit`], which name the place; [`Error::Source`] and
    /// [`Error::Compression`] from below.
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
                    if pending.pax.replace(extended).is_some() {
                        return Err(self.fail(Malformed::TwoHeaders("PAX")));
                    }
                }
                // Nobody who applies container layers lets one entry change all that follow.
                b'g' => {
                    self.read_long(&header)?;
                    let parsed = Extended::parse(&self.scratch, self.budget.limits());
                    parsed.map_err(|fault| self.fail(fault))?;
                }
                b'L' => {
                    let name = self.read_long_name(&header)?;
                    if pending.long_name.replace(name).is_some() {
                        return Err(self.fail(Malformed::TwoHeaders("GNU long name")));
                    }
                }
                b'K' => {
                    let name = self.read_long_name(&header)?;
                    if pending.long_link.replace(name).is_some() {
                        return Err(self.fail(Malformed::TwoHeaders("GNU long link")));
                    }
                }
                _ => {
                    self.file(&header, pending, entry)?;
                    return Ok(true);
                }
            }
        }
    }

    /// The next piece of the current entry's body; `None` at its end, and for what has no body.
    ///
    /// # Errors
    /// As [`read_entry`](Self::read_entry).
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
                self.skip(padding)?;
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

    /// Reads the layer to its end, whatever is there, and compares its hash.
    ///
    /// # Errors
    /// [`Error::DiffId`] if it is another one, and errors from below. Entries that were not read
    /// are skipped without being looked at.
    pub fn finish(mut self) -> Result<Verified<DiffId>, Error> {
        self.stream.skip(u64::MAX)?;
        self.budget.add_unpacked(self.stream.position());
        self.stream.finish()
    }

    /// Charges memory for what the caller keeps of the entry that was read last.
    pub(crate) fn charge(&mut self, bytes: u64) -> Result<(), Error> {
        let charged = self.budget.take_metadata(bytes);
        charged.map_err(|limit| self.fail(limit))
    }

    /// The next header; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        // Until there is a header, the entry before is the one that led here.
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
            return Ok(None);
        }
        self.name.clear();
        let header = Header::new(block).map_err(|problem| self.fail(problem))?;
        if let Err(limit) = self.budget.take_entry() {
            self.take_name(&header, None);
            return Err(self.fail(limit));
        }
        Ok(Some(header))
    }

    /// The body of an extended header, into `scratch`.
    fn read_long(&mut self, header: &Header) -> Result<(), Error> {
        let size = header.size().map_err(|problem| self.fail(problem))?;
        let max = self.budget.limits().header_bytes as u64;
        if size > max {
            self.take_name(header, None);
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
            self.scratch.extend_from_slice(&bytes);
        }
        self.skip(padding(size))
    }

    fn read_long_name(&mut self, header: &Header) -> Result<Box<[u8]>, Error> {
        self.read_long(header)?;
        let name = self.scratch.split(|byte| *byte == 0).next();
        Ok(name.unwrap_or_default().into())
    }

    /// A header that is a file's own.
    fn file(&mut self, header: &Header, pending: Pending, entry: &mut Entry) -> Result<(), Error> {
        let Pending {
            pax,
            long_name,
            long_link,
        } = pending;
        let mut pax = pax.unwrap_or_default();
        let sparse_name = pax.sparse.name.take();
        let name = one_name("name", pax.path.take(), long_name).map_err(|e| self.fail(e))?;
        self.take_name(header, sparse_name.or(name));
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
            _ => no_body(header, &pax, &entry.kind).map_err(|fault| self.fail(fault)),
        }
    }

    /// Keeps the name as the archive spells it, for messages and for what a trailing slash means.
    fn take_name(&mut self, header: &Header, long: Option<Box<[u8]>>) {
        self.name.clear();
        if let Some(long) = long {
            self.name.extend_from_slice(&long);
            return;
        }
        let (prefix, name) = header.name();
        self.name.extend_from_slice(prefix);
        if !prefix.is_empty() {
            self.name.push(b'/');
        }
        self.name.extend_from_slice(name);
    }

    /// Finds out where the body's data belongs, and counts its size before any of it is read.
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
        let map = match pax.sparse.map() {
            Ok(MapAt::Records(_) | MapAt::Body) if gnu => {
                return Err(self.fail(Malformed::Sparse("it has two maps")));
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

    /// The map of an old GNU sparse file: four slots in the header, 21 in each block behind it.
    fn gnu_map(&mut self, header: &Header) -> Result<Vec<Run>, Error> {
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
            // A chain of blocks that say nothing but "more" would be read without counting.
            if more && runs.len() == before {
                return Err(self.fail(Malformed::Sparse("an empty block in its map")));
            }
        }
        Ok(runs)
    }

    /// The map of PAX format 1.0: decimal lines in front of the data, padded to 512.
    fn map_in_body(&mut self, stored: &mut u64) -> Result<Vec<Run>, Error> {
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

    fn skip(&mut self, count: u64) -> Result<(), Error> {
        let named = |error| name_limit(error, self.position, &self.name);
        if self.stream.skip(count).map_err(named)? {
            return Ok(());
        }
        Err(self.fail(Malformed::Truncated))
    }

    /// For what is wrong with an extended header: names the entry behind it, which it is about.
    fn fail_ahead(&mut self, fault: Fault) -> Error {
        let next = self.stream.peek::<BLOCK>().ok();
        let next = next.and_then(|block| <[u8; BLOCK]>::try_from(block).ok());
        if let Some(header) = next.and_then(|block| Header::new(block).ok())
            && !matches!(header.typeflag(), b'x' | b'g' | b'L' | b'K')
        {
            self.take_name(&header, None);
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

/// The stream knows that the layer is too long; only we know whose header or body makes it so.
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

/// The bytes that fill the last block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
