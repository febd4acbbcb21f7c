//! Re-reads an artifact against its record: the only way to find damage in the body.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use super::record::{CHUNK, Record, SUPERBLOCK};
use crate::tables::{Map, Owners};

/// Bytes of an artifact that are not those that were written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// From the first byte of the chunk to the one past its last. Damage is somewhere in it.
    pub range: Range<u64>,
    /// The parts of the image that lie in it: `data`, `inode table`, …
    pub parts: Vec<&'static str>,
    /// The files whose contents lie in it, by the image's tables. Where a table is among the parts,
    /// it may be the damage itself that names them.
    pub files: Owners,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.range;
        let (parts, files) = (self.parts.join(", "), &self.files);
        write!(f, "bytes {start} to {end}: {parts}: {files}")
    }
}

/// Compares every chunk with its digest.
pub(crate) fn verify(file: &File, record: &Record) -> io::Result<Vec<Damage>> {
    let mut buffer = vec![0; CHUNK];
    let mut ranges = Vec::new();
    let mut start = 0;
    for expected in &record.chunks {
        let end = record.image_length.min(start + CHUNK as u64);
        let length = usize::try_from(end - start).map_err(io::Error::other)?;
        let chunk = buffer.get_mut(..length).unwrap_or_default();
        file.read_exact_at(chunk, start)?;
        if blake3::hash(chunk) != *expected {
            ranges.push(start..end);
        }
        start = end;
    }
    if ranges.is_empty() {
        return Ok(Vec::new());
    }
    let mut superblock = [0; SUPERBLOCK];
    file.read_exact_at(&mut superblock, 0)?;
    let map = Map::of(&superblock);
    let files = Owners::find(file, &ranges);
    Ok(ranges
        .into_iter()
        .zip(files)
        .map(|(range, files)| Damage {
            parts: map.parts_in(&range),
            files,
            range,
        })
        .collect())
}
