//! The entries of a layer, from a recall file.

use std::collections::VecDeque;
use std::io;

use super::bytes::number;
use super::damaged::damaged;
use super::entry::{self, Body};
use super::places::{self, Place};
use super::section::SectionReader;
use crate::flatten::{Counts, KnownBody, KnownLayer, Remembered};
use crate::layer::{Entry, EntryKind};

/// A position in the artifacts from which bodies are copied: the artifact, and the offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) artifact: u16,
    pub(super) at: u64,
}

/// Number of bits of the offset in a position: an image has at most 2^44 bytes, and a tail needs 32 bits for its
/// fragment and 20 for the offset in it.
const AT: u32 = 52;

/// Bits of an offset in a fragment: a block has at most 2^20 bytes.
const OFFSET: u32 = 20;

/// Number of bodies of a layer that can be recovered from memory. A layer with more is read from its archive.
pub(super) const RECOVERED_MAX: usize = 1 << 14;

/// Number of artifacts that positions can distinguish.
pub(super) const ARTIFACTS_MAX: usize = 1 << (64 - AT);

impl Position {
    pub(super) fn pack(self) -> u64 {
        u64::from(self.artifact) << AT | self.at
    }

    pub(super) fn unpack(packed: u64) -> Self {
        Self {
            artifact: u16::try_from(packed >> AT).unwrap_or(u16::MAX),
            at: packed & ((1 << AT) - 1),
        }
    }

    /// Returns the position of a tail.
    pub(super) fn of_tail(artifact: u16, fragment: u32, offset: u32) -> Self {
        Self {
            artifact,
            at: u64::from(fragment) << OFFSET | u64::from(offset),
        }
    }

    /// Returns the fragment of a tail, and the offset in it.
    pub(super) fn tail(self) -> (usize, usize) {
        let fragment = usize::try_from(self.at >> OFFSET).unwrap_or(usize::MAX);
        let offset = usize::try_from(self.at & ((1 << OFFSET) - 1)).unwrap_or(usize::MAX);
        (fragment, offset)
    }
}

/// The entries of one layer while they are read.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) list: SectionReader,
    pub(super) places: SectionReader,
    /// Bodies that the list lacks, with the ordinals of their entries, in order.
    pub(super) recovered: VecDeque<(u64, Body, Place)>,
    /// Ordinal of the next entry.
    pub(super) ordinal: u64,
    /// Number of entries that follow.
    pub(super) left: u64,
    pub(super) counts: Counts,
    pub(super) artifact: u16,
    /// Largest number of attributes of an entry.
    pub(super) xattrs: u64,
    pub(super) remembered: Remembered,
}

impl Listed {
    fn body(&self, body: Body, place: Place) -> io::Result<KnownBody> {
        let Place {
            start,
            blocks,
            tail,
        } = place;
        let Body { fingerprints, data } = body;
        if start >> AT != 0 || tail.is_some() != fingerprints.tail.is_some() {
            return Err(damaged("a body is where it cannot be"));
        }
        let artifact = self.artifact;
        let tail = match tail {
            Some((_, offset)) if offset >> OFFSET != 0 => {
                return Err(damaged("a tail is where it cannot be"));
            }
            Some((fragment, offset)) => Position::of_tail(artifact, fragment, offset).pack(),
            None => 0,
        };
        Ok(KnownBody {
            fingerprints,
            data,
            blocks,
            start: Position {
                artifact,
                at: start,
            }
            .pack(),
            tail,
        })
    }
}

impl KnownLayer for Listed {
    fn counts(&self) -> Counts {
        self.counts
    }

    fn next(&mut self, entry: &mut Entry) -> io::Result<Option<Option<KnownBody>>> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let ordinal = self.ordinal;
        self.ordinal += 1;
        let body = entry::read(&mut self.list, entry, self.xattrs)?;
        let first = self.recovered.front();
        let recovered = match first.is_some_and(|(of, ..)| *of == ordinal) {
            true => self.recovered.pop_front(),
            false => None,
        };
        // More bytes than all files of the layer together.
        let too_long = |body: &Body| body.fingerprints.len > self.counts.logical_bytes;
        let (body, place) = match (body, recovered, &entry.kind) {
            (Some(body), None, _) if too_long(&body) => {
                return Err(damaged("a file is longer than its layer"));
            }
            (Some(body), None, _) => {
                let place = places::read(&mut self.places, body.fingerprints.len)?;
                (body, place)
            }
            (None, Some((_, body, place)), EntryKind::File { size })
                if body.fingerprints.len == *size && !too_long(&body) =>
            {
                (body, place)
            }
            (None, None, _) => return Ok(Some(None)),
            _ => return Err(damaged("a recovered body belongs to no file")),
        };
        self.body(body, place).map(|body| Some(Some(body)))
    }

    fn finish(self: Box<Self>) -> io::Result<Remembered> {
        if self.left > 0 || !self.recovered.is_empty() {
            return Err(damaged("entries are left"));
        }
        self.list.finish()?;
        self.places.finish()?;
        Ok(self.remembered)
    }
}

/// Reads the bodies of a layer that its list lacks. Memory grows with what is read.
pub(super) fn recovered(
    mut section: SectionReader,
    entries: u64,
) -> io::Result<Vec<(u64, Body, Place)>> {
    let count = number(&mut section)?;
    if count > entries {
        return Err(damaged("more bodies were recovered than there are entries"));
    }
    let (mut bodies, mut runs) = (Vec::new(), 0);
    for _ in 0..count {
        let ordinal = number(&mut section)?;
        let len = number(&mut section)?;
        let body = entry::body(&mut section, len)?;
        let body = body.ok_or_else(|| damaged("a recovered body does not exist"))?;
        let place = places::read(&mut section, len)?;
        runs += place.blocks.len() as u64;
        if runs > places::RUNS_MAX || bodies.len() == RECOVERED_MAX {
            return Err(damaged("too much was recovered"));
        }
        bodies.push((ordinal, body, place));
    }
    section.finish()?;
    Ok(bodies)
}

/// Returns whether an entry may have a body.
pub(super) fn has_body(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::File { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back() {
        for artifact in [0, 1, 4095] {
            for at in [0, 96, (1 << AT) - 1] {
                let position = Position { artifact, at };
                assert_eq!(Position::unpack(position.pack()), position);
            }
            let tail = Position::of_tail(artifact, u32::MAX - 1, (1 << OFFSET) - 1);
            let found = Position::unpack(tail.pack());
            assert_eq!(found, tail);
            assert_eq!(found.tail(), (u32::MAX as usize - 1, (1 << OFFSET) - 1));
        }
    }
}
