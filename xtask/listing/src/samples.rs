//! Where a file is read that is too large to be read whole.

use std::io::{self, Read, Seek, SeekFrom};

use sha2::Digest;

use crate::Sha256;

/// Bytes of one sample.
const LENGTH: u64 = 64 << 10;

/// Bytes from the start of one sample to the start of the next, the last one left out.
const DISTANCE: u64 = 256 << 20;

/// How many places there are at most, the last one left out: up to 1 TiB. A damaged size can be any.
const PLACES: usize = 4096;

/// Places in a large file: 64 KiB at every 256 MiB up to 1 TiB, half of them before and half of them after, and the
/// last 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Samples {
    size: u64,
}

impl Samples {
    /// Returns the places for a file of `size` bytes.
    #[must_use]
    pub fn of(size: u64) -> Self {
        Self { size }
    }

    /// Returns the start of each place, in ascending order. Places of a small file may overlap.
    pub fn starts(self) -> impl Iterator<Item = u64> {
        let last = self.size.saturating_sub(LENGTH);
        (0_u64..)
            .map(|n| (n * DISTANCE).saturating_sub(LENGTH / 2))
            .take(PLACES)
            .take_while(move |start| *start < last)
            .chain([last])
    }

    /// Returns the digest of the size and of the bytes at all places.
    ///
    /// # Errors
    ///
    /// Returns what the file says, and [`io::ErrorKind::UnexpectedEof`] if the file is shorter than its size.
    pub fn sha256(self, file: &mut (impl Read + Seek)) -> io::Result<Sha256> {
        let mut hasher = sha2::Sha256::new();
        hasher.update(self.size.to_le_bytes());
        let mut sample = Vec::new();
        for start in self.starts() {
            file.seek(SeekFrom::Start(start))?;
            sample.clear();
            let length = LENGTH.min(self.size - start);
            Read::by_ref(file).take(length).read_to_end(&mut sample)?;
            if u64::try_from(sample.len()) != Ok(length) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            hasher.update(&sample);
        }
        Ok(hasher.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    #[test]
    fn samples_of_a_large_file_lie_around_every_boundary() {
        let four_gib = 4 << 30;
        let starts: Vec<u64> = Samples::of(four_gib + LENGTH).starts().collect();
        assert_eq!(starts.len(), 18);
        assert_eq!((starts[0], starts[17]), (0, four_gib));
        assert_eq!(starts[16], four_gib - LENGTH / 2);
        for size in [0, 1, LENGTH - 1, LENGTH, LENGTH + 1, DISTANCE] {
            let starts: Vec<u64> = Samples::of(size).starts().collect();
            assert!(starts.is_sorted(), "{size}");
            assert_eq!(starts.last(), Some(&size.saturating_sub(LENGTH)));
        }
        assert_eq!(Samples::of(u64::MAX).starts().count(), PLACES + 1);
    }

    #[test]
    fn change_at_a_sample_or_of_size_changes_the_digest() {
        let mut file = tempfile::tempfile().unwrap();
        let size = DISTANCE + (1 << 20);
        file.set_len(size).unwrap();
        let before = Samples::of(size).sha256(&mut file).unwrap();
        file.set_len(size + 1).unwrap();
        assert_ne!(Samples::of(size + 1).sha256(&mut file).unwrap(), before);
        file.set_len(size).unwrap();
        file.seek(SeekFrom::Start(DISTANCE - 1)).unwrap();
        file.write_all(b"x").unwrap();
        assert_ne!(Samples::of(size).sha256(&mut file).unwrap(), before);
        let short = Samples::of(8).sha256(&mut Cursor::new(b"1234567"));
        assert_eq!(short.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
