//! Pieces of archives made by hand.

use std::path::{Path, PathBuf};

use crate::raw::{Raw, pax, raw};

/// An archive in pieces.
pub(crate) type Parts = Vec<Vec<u8>>;

/// A body that shows where it was cut, and is no multiple of a block.
pub(crate) const BODY: &[u8] = &[b'x'; 700];

pub(crate) fn octal(number: u64) -> Vec<u8> {
    format!("{number:011o}\0").into_bytes()
}

/// Returns the top bit set, and then the number in all bytes of the field.
pub(crate) fn base256(number: i128, width: usize) -> Vec<u8> {
    let mut bytes = number.to_be_bytes()[16 - width..].to_vec();
    bytes[0] |= 0x80;
    bytes
}

pub(crate) fn v7(flag: u8, name: &[u8]) -> Raw {
    raw(flag, name).put(257, &[0; 8])
}

/// With the checksum that old writers made of signed chars.
pub(crate) fn signed(raw: Raw) -> Vec<u8> {
    let raw = raw.put(148, b"        ");
    let high = raw.0.iter().filter(|byte| **byte >= 0x80).count();
    let sum = raw.sum() - 256 * i64::try_from(high).unwrap();
    raw.put(148, format!("{sum:06o}\0 ").as_bytes()).0.to_vec()
}

/// Returns a global header with these records.
pub(crate) fn global(records: &[(&str, &[u8])]) -> Vec<u8> {
    let pax = pax(records);
    let mut header = Raw([0; 512]);
    header.0.copy_from_slice(&pax[..512]);
    header.put(156, b"g").with(&pax[512..])
}

/// Written to files, in this order.
pub(crate) fn write<'a>(
    directory: &Path,
    archives: impl Iterator<Item = &'a Parts>,
    end: usize,
) -> Vec<PathBuf> {
    let write = |(n, parts): (usize, &Parts)| {
        let path = directory.join(format!("{n}.tar"));
        std::fs::write(&path, [parts.concat(), vec![0; end]].concat()).unwrap();
        path
    };
    archives.enumerate().map(write).collect()
}
