//! Where an artifact holds the bodies of a layer, and its fragments.

use std::io::{self, Read};

use sqfs_writer::Fingerprint;
use sqfs_writer::replay::{FragmentPlace, Run};

use super::bytes::{array, number, put_number, small};
use super::damaged::damaged;
use crate::growth::Growth as _;

/// Bytes of the smallest block that squashfs allows.
const BLOCK_MIN: u64 = 4096;

/// Number of blocks of a body, or runs of holes among them. A body with more is read from its archive each time,
/// because all of them are in memory together: 4 MiB.
pub(super) const RUNS_MAX: u64 = 1 << 18;

/// The place of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) blocks: Vec<Run>,
    /// Index of the fragment, and offset in it.
    pub(super) tail: Option<(u32, u32)>,
}

pub(super) fn put(
    bytes: &mut Vec<u8>,
    start: u64,
    blocks: impl Iterator<Item = Run> + Clone,
    tail: Option<(u32, u32)>,
) {
    put_number(bytes, start);
    put_number(bytes, blocks.clone().count() as u64);
    for run in blocks {
        put_number(
            bytes,
            match run {
                Run::Holes { blocks } => blocks << 1 | 1,
                Run::Stored { len, raw } => u64::from(len) << 2 | u64::from(raw) << 1,
            },
        );
    }
    // 0 means none.
    let (fragment, offset) = match tail {
        Some((fragment, offset)) => (u64::from(fragment) + 1, offset),
        None => (0, 0),
    };
    put_number(bytes, fragment);
    put_number(bytes, offset.into());
}

/// Reads the place of a body of `len` bytes.
pub(super) fn read(input: &mut impl Read, len: u64) -> io::Result<Place> {
    let start = number(input)?;
    let count = number(input)?;
    if count > len.div_ceil(BLOCK_MIN).min(RUNS_MAX) {
        return Err(damaged("a body has more blocks than bytes for them"));
    }
    let mut blocks = Vec::new();
    for _ in 0..count {
        let run = number(input)?;
        blocks.try_push(if run & 1 == 1 {
            Run::Holes { blocks: run >> 1 }
        } else {
            Run::Stored {
                len: u32::try_from(run >> 2).map_err(|_| damaged("a block is too long"))?,
                raw: run & 2 != 0,
            }
        })?;
    }
    let (fragment, offset) = (number(input)?, small(input)?);
    let tail = match fragment.checked_sub(1) {
        Some(fragment) => {
            let fragment = fragment.try_into();
            Some((fragment.map_err(|_| damaged("no such fragment"))?, offset))
        }
        None => None,
    };
    Ok(Place {
        start,
        blocks,
        tail,
    })
}

/// A fragment of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) start: u64,
    pub(super) len: u32,
    pub(super) raw: bool,
    pub(super) tails: Option<Fingerprint>,
}

impl From<FragmentPlace> for Fragment {
    fn from(place: FragmentPlace) -> Self {
        Self {
            start: place.start,
            len: place.len,
            raw: place.raw,
            tails: place.tails,
        }
    }
}

pub(super) fn put_fragment(bytes: &mut Vec<u8>, fragment: Fragment) {
    let Fragment {
        start,
        len,
        raw,
        tails,
    } = fragment;
    put_number(bytes, start);
    put_number(
        bytes,
        u64::from(len) << 2 | u64::from(raw) << 1 | u64::from(tails.is_some()),
    );
    if let Some(tails) = tails {
        bytes.extend_from_slice(&tails.to_bytes());
    }
}

pub(super) fn read_fragment(input: &mut impl Read) -> io::Result<Fragment> {
    let (start, word) = (number(input)?, number(input)?);
    Ok(Fragment {
        start,
        len: u32::try_from(word >> 2).map_err(|_| damaged("a fragment is too long"))?,
        raw: word & 2 != 0,
        tails: match word & 1 {
            0 => None,
            _ => Some(Fingerprint::from_bytes(array(input)?)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let blocks = vec![
            Run::Holes { blocks: 1 << 31 },
            Run::Stored { len: 1, raw: false },
            Run::Stored {
                len: 1 << 20,
                raw: true,
            },
        ];
        for blocks in [Vec::new(), blocks] {
            for tail in [None, Some((0, 0)), Some((u32::MAX - 1, 1 << 19))] {
                let mut bytes = Vec::new();
                put(&mut bytes, 1 << 40, blocks.iter().copied(), tail);
                let place = read(&mut &bytes[..], 3 * BLOCK_MIN).unwrap();
                let expected = Place {
                    start: 1 << 40,
                    blocks: blocks.clone(),
                    tail,
                };
                assert_eq!(place, expected);
                assert!(read(&mut &bytes[..bytes.len() - 1], 3 * BLOCK_MIN).is_err());
                let fits = read(&mut &bytes[..], BLOCK_MIN).is_ok();
                assert_eq!(fits, blocks.is_empty());
            }
        }
        for tails in [None, Some(Fingerprint::from_bytes([3; 32]))] {
            let fragment = Fragment {
                start: 96,
                len: 1 << 20,
                raw: true,
                tails,
            };
            let mut bytes = Vec::new();
            put_fragment(&mut bytes, fragment);
            assert_eq!(read_fragment(&mut &bytes[..]).unwrap(), fragment);
        }
    }
}
