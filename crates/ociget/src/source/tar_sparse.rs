//! Members that tar stored without their holes: GNU's old header, and the POSIX records in the versions
//! 0.0, 0.1 and 1.0. `tar -S` makes them of a file in which whole blocks are zeros.

use std::io;

use crate::source::by_offset::ByOffset;
use crate::source::piece::Piece;
use crate::tar_fields::{BLOCK, broken, decimal, number};

/// Most pieces of one member.
const MAX_PIECES: usize = 65_536;
/// Most bytes of a member with its holes: more than any layer may have.
const MAX_LENGTH: u64 = 64 << 30;

/// The facts about a sparse member in its header, or in the records before it.
#[derive(Debug, Default)]
pub(crate) struct Sparse {
    /// Its name, where the header has another.
    pub(crate) name: Option<String>,
    /// Bytes with the holes.
    length: Option<u64>,
    /// Offsets and lengths, one after the other.
    numbers: Vec<u64>,
    /// Whether they are of one record (0.1).
    is_one_record: bool,
    /// How many pieces there are, as a record says.
    blocks: Option<u64>,
    /// The version, where the records name one.
    is_named: bool,
    major: Option<u8>,
    minor: Option<u8>,
    /// Whether records describe it, and not a header of GNU's own format.
    is_in_records: bool,
    is_broken: bool,
}

impl Sparse {
    /// Takes a POSIX record, whose key is `key` after `GNU.sparse.`.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) {
        let is_even = self.numbers.len().is_multiple_of(2);
        self.is_in_records = true;
        match key {
            b"name" => {
                self.is_broken |= value.is_empty() || value.contains(&0);
                self.name = Some(String::from_utf8_lossy(value).into_owned());
                self.is_named = true;
            }
            b"size" | b"realsize" => {
                let length = self.parsed(value);
                // Readers differ on which of two counts.
                self.is_broken |= self.length.is_some() && self.length != length;
                self.length = length;
            }
            // Readers differ on which of two maps counts.
            b"offset" if is_even && !self.is_one_record => self.push(value),
            b"numbytes" if !is_even && !self.is_one_record => self.push(value),
            b"map" if self.numbers.is_empty() => {
                self.is_one_record = true;
                let numbers = value.split(|byte| *byte == b',');
                numbers.for_each(|text| self.push(text));
            }
            b"major" => self.major = self.version(value),
            b"minor" => self.minor = self.version(value),
            // GNU tar begins another map at each of them.
            b"numblocks" => {
                self.is_broken |= self.blocks.is_some();
                self.blocks = self.parsed(value);
            }
            _ => self.is_broken = true,
        }
    }

    /// Whether the records cannot be those of a sparse member, whatever its contents.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    fn push(&mut self, text: &[u8]) {
        match self.parsed(text) {
            Some(number) if self.numbers.len() < 2 * MAX_PIECES => self.numbers.push(number),
            _ => self.is_broken = true,
        }
    }

    /// Reads a part of a version. Go compares the text, others the number, so that a zero before it makes two files of one.
    fn version(&mut self, text: &[u8]) -> Option<u8> {
        let version = match text {
            b"0" => Some(0),
            b"1" => Some(1),
            _ => None,
        };
        self.is_broken |= version.is_none();
        version
    }

    fn parsed(&mut self, text: &[u8]) -> Option<u64> {
        let number = decimal(text);
        self.is_broken |= number.is_none();
        number
    }

    /// The pieces of the member whose header is at `at`, and whose `stored` bytes are at `body`.
    ///
    /// # Errors
    /// Returns an error if the map is not one: pieces that overlap or are out of order, or that are not
    /// the stored bytes.
    pub(crate) fn pieces(
        mut self,
        bytes: &mut dyn ByOffset,
        at: u64,
        body: u64,
        stored: u64,
    ) -> io::Result<Vec<Piece>> {
        let wrong = || broken(at, "a sparse member whose map makes no sense");
        let (mut offset, mut left) = (body, stored);
        // Whether the map stands before the data.
        let in_body = match (self.major, self.minor) {
            (None, None) | (Some(0), Some(0 | 1)) => false,
            (Some(1), Some(0)) => true,
            _ => return Err(wrong()),
        };
        if in_body {
            let taken = self.read_map(bytes, body, stored).ok_or_else(wrong)?;
            (offset, left) = (body + taken, stored - taken);
        }
        let end = self.length.ok_or_else(wrong)?;
        // Go takes records without a map for a file of the stored bytes with the header's name, and others for one hole.
        let is_more = end > 0 || self.is_named || self.major.is_some();
        let lacks_map = self.is_in_records && !in_body && self.numbers.is_empty() && is_more;
        // Go and GNU tar refuse a map without the number of its pieces, or with another. Others ignore the number.
        let pieces = u64::try_from(self.numbers.len() / 2).map_err(io::Error::other)?;
        let is_counted = !self.is_in_records || in_body || self.blocks.unwrap_or(0) == pieces;
        if self.is_broken || lacks_map || !is_counted || end > MAX_LENGTH {
            return Err(wrong());
        }
        let mut pieces = Vec::new();
        let mut reached = 0;
        let (pairs, rest) = self.numbers.as_chunks::<2>();
        for &[start, length] in pairs {
            let hole = start.checked_sub(reached).ok_or_else(wrong)?;
            left = left.checked_sub(length).ok_or_else(wrong)?;
            reached = start.checked_add(length).ok_or_else(wrong)?;
            pieces.extend([Piece::Zeros(hole), Piece::Data { offset, length }]);
            offset += length;
        }
        let hole = end.checked_sub(reached).ok_or_else(wrong)?;
        pieces.push(Piece::Zeros(hole));
        if left > 0 || !rest.is_empty() {
            return Err(wrong());
        }
        pieces.retain(|piece| piece.length() > 0);
        Ok(pieces)
    }

    /// Reads the map of version 1.0: decimal numbers, one a line; the first is the number of pairs that follow.
    /// Returns how many bytes it takes with its padding.
    fn read_map(&mut self, bytes: &mut dyn ByOffset, body: u64, stored: u64) -> Option<u64> {
        // Records of the older versions hold the map themselves.
        if !self.numbers.is_empty() {
            return None;
        }
        let mut block = [0; 512];
        let (mut taken, mut digits, mut count) = (0, Vec::new(), None);
        loop {
            if stored - taken < BLOCK {
                return None;
            }
            bytes.read_exact_at(&mut block, body + taken).ok()?;
            taken += BLOCK;
            for byte in block {
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return None;
                    }
                    continue;
                }
                let number = decimal(&digits)?;
                digits.clear();
                let pairs = match count {
                    None => *count.insert(usize::try_from(number).ok()?),
                    Some(pairs) => {
                        self.numbers.push(number);
                        pairs
                    }
                };
                if pairs > MAX_PIECES {
                    return None;
                }
                if self.numbers.len() >= 2 * pairs {
                    return Some(taken);
                }
            }
        }
    }
}

/// The map of GNU's own header `block` at `at`, and where the stored bytes begin.
pub(crate) fn old_gnu(
    bytes: &mut dyn ByOffset,
    block: &[u8; 512],
    at: u64,
) -> io::Result<(Sparse, u64)> {
    let wrong = || broken(at, "a sparse member whose map makes no sense");
    let mut map = Sparse {
        length: block.get(483..495).and_then(number),
        ..Sparse::default()
    };
    let mut behind = at + BLOCK;
    let mut fields = block.get(386..482).unwrap_or_default().to_vec();
    let mut goes_on = block[482] != 0;
    loop {
        for field in fields.chunks_exact(12) {
            // An entry of NULs, and everything after it, is unused.
            if field.iter().all(|byte| *byte == 0) {
                break;
            }
            // Go takes a first NUL alone for the end.
            if field.first() == Some(&0) {
                return Err(wrong());
            }
            map.numbers.push(number(field).ok_or_else(wrong)?);
        }
        // Blocks without an entry are counted as well: each holds 21.
        let blocks = (behind - at) / BLOCK;
        if map.numbers.len() > 2 * MAX_PIECES || blocks > MAX_PIECES as u64 / 21 + 1 {
            return Err(wrong());
        }
        if !goes_on {
            return Ok((map, behind));
        }
        let mut more = [0; 512];
        if bytes.read_at(&mut more, behind)? < more.len() {
            return Err(wrong());
        }
        behind += BLOCK;
        fields = more.get(..504).unwrap_or_default().to_vec();
        goes_on = more[504] != 0;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::source::by_offset::InFile;

    #[test]
    fn map_in_two_places_is_refused_before_it_is_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&b"1\n".repeat(1 << 16)).unwrap();
        let mut sparse = Sparse::default();
        sparse.take(b"major", b"1");
        sparse.take(b"minor", b"0");
        sparse.take(b"size", b"1");
        for key in [&b"offset"[..], b"numbytes", b"offset"] {
            sparse.take(key, b"0");
        }
        let mut bytes = InFile::new(&file, || true).unwrap();
        assert!(sparse.pieces(&mut bytes, 0, 0, 1 << 17).is_err());
    }

    /// The pieces that records give, of a body of `stored` bytes at offset 512.
    fn pieces(records: &[(&[u8], &str)], stored: u64) -> Option<Vec<Piece>> {
        let mut sparse = Sparse::default();
        for (key, value) in records {
            sparse.take(key, value.as_bytes());
        }
        let file = tempfile::tempfile().unwrap();
        let mut bytes = InFile::new(&file, || true).unwrap();
        sparse.pieces(&mut bytes, 0, 512, stored).ok()
    }

    #[test]
    fn map_covers_the_stored_bytes_and_nothing_else() {
        let data = |offset, length| Piece::Data { offset, length };
        let map = |map: &str, size, stored| {
            let count = (map.split(',').count() / 2).to_string();
            let records: [(&[u8], &str); 3] =
                [(b"numblocks", &count), (b"map", map), (b"size", size)];
            pieces(&records, stored)
        };
        assert_eq!(
            map("1,2,3,4,9,0", "9", 6),
            Some(vec![
                Piece::Zeros(1),
                data(512, 2),
                data(514, 4),
                Piece::Zeros(2)
            ])
        );
        assert_eq!(map("0,6", "6", 6), Some(vec![data(512, 6)]));
        for (text, size, stored) in [
            ("1,2,2,4", "9", 6),
            ("1,2,3,4", "6", 6),
            ("1,2,3,4", "9", 5),
            ("1,2,3,4", "9", 7),
            ("1,2,3", "9", 2),
            ("1,2,18446744073709551615,1", "9", 3),
            ("", "9", 0),
        ] {
            assert_eq!(map(text, size, stored), None, "{text} {size} {stored}");
        }
    }

    #[test]
    fn sizes_and_pieces_have_limits() {
        let empty = |size: u64| {
            let map = format!("{size},0");
            let size = size.to_string();
            pieces(
                &[(b"numblocks", "1"), (b"map", &map), (b"realsize", &size)],
                0,
            )
        };
        assert_eq!(empty(MAX_LENGTH), Some(vec![Piece::Zeros(MAX_LENGTH)]));
        assert_eq!(empty(MAX_LENGTH + 1), None);
        let many = |count: usize| {
            let map = vec!["0,0"; count].join(",");
            let count = count.to_string();
            pieces(&[(b"numblocks", &count), (b"map", &map), (b"size", "0")], 0)
        };
        assert_eq!(many(MAX_PIECES), Some(Vec::new()));
        assert_eq!(many(MAX_PIECES + 1), None);
    }

    #[test]
    fn size_in_records_without_a_map_is_refused() {
        let size = |size| pieces(&[(b"size", size)], 0);
        assert_eq!(size("1"), None);
        assert_eq!(size("0"), Some(Vec::new()));
        assert_eq!(pieces(&[(b"name", "f"), (b"size", "0")], 0), None);
    }

    #[test]
    fn only_versions_with_a_known_map_are_read() {
        for (major, minor, is_read) in [
            ("0", "0", true),
            ("0", "1", true),
            ("0", "2", false),
            ("1", "1", false),
            ("2", "0", false),
            ("x", "0", false),
            ("0", "01", false),
            ("00", "1", false),
        ] {
            let records: [(&[u8], &str); 5] = [
                (b"numblocks", "1"),
                (b"major", major),
                (b"minor", minor),
                (b"size", "7"),
                (b"map", "7,0"),
            ];
            assert_eq!(pieces(&records, 0).is_some(), is_read, "{major}.{minor}");
        }
        // Version 1.0 without the block that holds its map.
        assert_eq!(
            pieces(&[(b"major", "1"), (b"minor", "0"), (b"size", "7")], 0),
            None
        );
        // Two sizes, of which readers take different ones.
        assert_eq!(pieces(&[(b"size", "7"), (b"realsize", "8")], 0), None);
        assert_eq!(pieces(&[(b"size", "7"), (b"unknown", "8")], 0), None);
    }

    /// Go joins the numbers of both or keeps those of 0.0, bsdtar keeps the first, and GNU tar and Python read other ones.
    #[test]
    fn map_in_two_kinds_of_records_is_refused() {
        let five: [(&[u8], &str); 2] = [(b"size", "5"), (b"numblocks", "1")];
        let map: (&[u8], &str) = (b"map", "0,5");
        let offset: (&[u8], &str) = (b"offset", "0");
        let length: (&[u8], &str) = (b"numbytes", "5");
        let with = |records: &[(&[u8], &str)]| pieces(&[&five, records].concat(), 5);
        for records in [
            &[offset, length, map][..],
            &[map, offset, length],
            &[map, map],
            &[offset, map, length],
            &[map, length],
        ] {
            assert_eq!(with(records), None, "{records:?}");
        }
        assert!(with(&[map]).is_some());
        assert!(with(&[offset, length]).is_some());
    }

    /// Go `readGNUSparseMap0x1`; GNU tar `sparse_numblocks_decoder`.
    #[test]
    fn number_of_pieces_has_to_be_that_of_the_map() {
        let size: (&[u8], &str) = (b"size", "5");
        let count = |text| (&b"numblocks"[..], text);
        let map: (&[u8], &str) = (b"map", "0,5");
        let offset: (&[u8], &str) = (b"offset", "0");
        let length: (&[u8], &str) = (b"numbytes", "5");
        let with = |records: &[(&[u8], &str)]| pieces(&[&[size], records].concat(), 5);
        for records in [
            &[map][..],
            &[offset, length],
            &[count("0"), map],
            &[count("2"), map],
            &[count("2"), offset, length],
            &[count("-1"), map],
            &[count("+1"), map],
            &[count("x"), map],
            &[count(""), map],
            &[count("1"), map, count("1")],
        ] {
            assert_eq!(with(records), None, "{records:?}");
        }
        assert!(with(&[count("1"), map]).is_some());
    }

    #[test]
    fn map_with_blocks_of_nothing_ends() {
        let mut header = [0; 512];
        header[482] = 1;
        let mut block = [0; 512];
        block[504] = 1;
        let blocks = MAX_PIECES / 21 + 3;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0; 512]).unwrap();
        for _ in 0..blocks {
            file.write_all(&block).unwrap();
        }
        let mut bytes = InFile::new(&file, || true).unwrap();
        assert!(old_gnu(&mut bytes, &header, 0).is_err());
    }
}
