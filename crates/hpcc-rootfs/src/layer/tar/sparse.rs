//! Files whose data the archive stores without the holes.
//!
//! The map that says where the data belongs has four forms: in the header and the blocks after it (old GNU), as
//! repeated PAX records (0.0), as one PAX record (0.1), or before the data itself (1.0). All of them become the same
//! list; the map is never part of a file's contents.

use super::decimal::decimal;
use super::header::unsigned;
use crate::growth::Growth as _;
use crate::layer::error::{Fault, Limit, Malformed};
use crate::layer::limits::Limits;
use crate::layer::measure::Measure;

/// One run of stored data in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The values of `GNU.sparse.*` records.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    /// The real name; the header has a made-up one.
    pub(super) name: Option<Box<[u8]>>,
    /// The size with holes.
    pub(super) size: Option<u64>,
    is_named: bool,
    major: Option<u8>,
    minor: Option<u8>,
    map: Vec<Run>,
    /// Whether one record is the map (0.1).
    is_one_record: bool,
    /// The number of runs that a record gives.
    blocks: Option<u64>,
    /// An offset of format 0.0 that waits for its length.
    offset: Option<u64>,
    seen: bool,
}

pub(super) const TWO_MAPS: Malformed = Malformed::Sparse("it has two maps");

/// The location of the map of a PAX sparse file.
pub(super) enum MapAt {
    /// No map: an ordinary file.
    NotSparse,
    /// The map was in the records.
    Records(Vec<Run>),
    /// The map comes before the data.
    Body,
}

impl PaxSparse {
    /// Takes one record, without the prefix of its key.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<(), Fault> {
        self.seen = true;
        let number = |what| decimal(value, what);
        match key {
            b"name" => {
                self.name = Some(value.into());
                self.is_named = true;
            }
            // Go prefers the first of these keys, and others the one that comes last.
            b"size" | b"realsize" => {
                let size = number("size of the sparse file")?;
                if self.size.replace(size).is_some_and(|other| other != size) {
                    return Err(Malformed::Sparse("two different sizes").into());
                }
            }
            b"major" => self.major = Some(version(value)?),
            b"minor" => self.minor = Some(version(value)?),
            // Go joins the numbers of 0.0, and they replace the record of 0.1; bsdtar takes what comes first.
            b"offset" | b"numbytes" if self.is_one_record => return Err(TWO_MAPS.into()),
            b"map" if self.is_one_record || self.offset.is_some() || !self.map.is_empty() => {
                return Err(TWO_MAPS.into());
            }
            b"offset" => {
                if self
                    .offset
                    .replace(number("offset in the sparse map")?)
                    .is_some()
                {
                    return Err(Malformed::Sparse("two offsets in a row").into());
                }
            }
            b"numbytes" => {
                let offset = self.offset.take();
                let offset = offset.ok_or(Malformed::Sparse("a length without an offset"))?;
                let length = number("length in the sparse map")?;
                push(&mut self.map, Run { offset, length }, limits)?;
            }
            b"map" => {
                self.is_one_record = true;
                if value.is_empty() {
                    return Err(Malformed::Sparse("the map is empty").into());
                }
                let mut numbers = value.split(|byte| *byte == b',');
                while let Some(offset) = numbers.next() {
                    let length = numbers
                        .next()
                        .ok_or(Malformed::Sparse("the map has an odd number of numbers"))?;
                    let offset = decimal(offset, "offset in the sparse map")?;
                    let length = decimal(length, "length in the sparse map")?;
                    push(&mut self.map, Run { offset, length }, limits)?;
                }
            }
            // GNU tar begins another map at each of them.
            b"numblocks" => {
                let blocks = number("number of runs in the sparse map")?;
                if self.blocks.replace(blocks).is_some() {
                    return Err(Malformed::Sparse("two numbers of runs").into());
                }
            }
            _ => return Err(Malformed::Sparse("a record of an unknown format").into()),
        }
        Ok(())
    }

    pub(super) fn is_sparse(&self) -> bool {
        self.seen
    }

    /// Returns the location of the map, with the map itself if it is complete.
    pub(super) fn map(&mut self) -> Result<MapAt, Malformed> {
        if !self.seen {
            return Ok(MapAt::NotSparse);
        }
        if self.offset.is_some() {
            return Err(Malformed::Sparse("the map ends with an offset"));
        }
        match (self.major, self.minor) {
            // Go takes it for an ordinary file with the header's own name. Others give it the sparse file's name, and one
            // hole for contents.
            (None, None) if self.map.is_empty() && (self.is_named || self.size > Some(0)) => {
                Err(Malformed::Sparse("it has no map"))
            }
            (Some(0), Some(0 | 1)) if self.map.is_empty() => {
                Err(Malformed::Sparse("it has no map"))
            }
            // Go and GNU tar refuse such a map. Others ignore the number.
            (None, None) | (Some(0), Some(0 | 1))
                if self.blocks.unwrap_or(0) != self.map.len() as u64 =>
            {
                Err(Malformed::Sparse(
                    "`GNU.sparse.numblocks` is missing or is not the number of its runs",
                ))
            }
            (None, None) | (Some(0), Some(0 | 1)) => {
                Ok(MapAt::Records(std::mem::take(&mut self.map)))
            }
            (Some(1), Some(0)) if self.map.is_empty() => Ok(MapAt::Body),
            (Some(1), Some(0)) => Err(TWO_MAPS),
            _ => Err(Malformed::Sparse("a version that is not supported")),
        }
    }
}

/// Reads a part of a version. Go compares the text, others the number, so that zeros in front of it make two files of one.
fn version(value: &[u8]) -> Result<u8, Malformed> {
    match value {
        b"0" => Ok(0),
        b"1" => Ok(1),
        _ => Err(Malformed::Sparse("a version that is not supported")),
    }
}

/// Adds the runs of one block of an old GNU map; an unused slot ends it.
pub(super) fn push_gnu(map: &mut Vec<Run>, slots: &[u8], limits: &Limits) -> Result<(), Fault> {
    for slot in slots.chunks_exact(24) {
        if slot[0] == 0 {
            break;
        }
        let offset = unsigned(&slot[..12], "offset in the sparse map")?;
        let length = unsigned(&slot[12..], "length in the sparse map")?;
        push(map, Run { offset, length }, limits)?;
    }
    Ok(())
}

pub(super) fn push(map: &mut Vec<Run>, run: Run, limits: &Limits) -> Result<(), Fault> {
    map.try_push(run)?;
    let max = limits.sparse_segments as u64;
    Limit::check(Measure::SparseSegments, map.len() as u64, max)?;
    Ok(())
}

/// Checks that the runs are in order, inside the file, and together as long as what is stored.
pub(super) fn check(map: &[Run], size: u64, stored: u64) -> Result<(), Malformed> {
    let mut end = 0;
    let mut total = 0;
    for run in map {
        if run.offset < end {
            return Err(Malformed::Sparse("its data runs overlap"));
        }
        end = run
            .offset
            .checked_add(run.length)
            .filter(|end| *end <= size)
            .ok_or(Malformed::Sparse(
                "a data run ends after the end of the file",
            ))?;
        // Runs do not overlap and end within the file, so their sum cannot exceed it either.
        total += run.length;
    }
    if total != stored {
        return Err(Malformed::Sparse("the map and the stored size disagree"));
    }
    Ok(())
}
