//! Numbers and byte strings in the sections of a recall file.

use std::io::{self, Read};

use super::damaged::damaged;

/// Length in bytes of the longest byte string: a document, with a large margin.
const LENGTH_MAX: u64 = 16 << 20;

/// Bytes of memory that are reserved for a string before any of it is read.
const EXPECTED: usize = 4096;

/// Bytes that a number takes at most.
pub(super) const NUMBER_MAX: usize = 10;

/// Appends a number: seven bits per byte, low ones first; the top bit means that more follow.
pub(super) fn put_number(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7F {
        bytes.push(0x80 | (value & 0x7F).to_le_bytes()[0]);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

/// Appends a length and that many bytes.
pub(super) fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    put_number(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}

pub(super) fn number(input: &mut impl Read) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = array(input)?;
        let bits = u64::from(byte & 0x7F);
        if bits.leading_zeros() < shift {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged("a number is too large"))
}

/// Reads a number that fits a smaller type.
pub(super) fn small<T: TryFrom<u64>>(input: &mut impl Read) -> io::Result<T> {
    T::try_from(number(input)?).map_err(|_| damaged("a number is too large"))
}

/// Reads a byte string and appends it to `into`. Beyond 4 KiB, memory grows with the bytes that are read, not with the
/// announced length.
pub(super) fn append(input: &mut impl Read, into: &mut Vec<u8>) -> io::Result<()> {
    let length = number(input)?;
    if length > LENGTH_MAX {
        return Err(damaged("a byte string is too long"));
    }
    // Most strings are short. In a vector that grows, a string leaves a gap in memory when it is cut to its length.
    let expected = usize::try_from(length).unwrap_or(EXPECTED).min(EXPECTED);
    into.try_reserve_exact(expected)?;
    let read = input.take(length).read_to_end(into)?;
    if read as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

pub(super) fn byte_string(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    append(input, &mut bytes)?;
    Ok(bytes)
}

pub(super) fn array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_byte_strings_come_back() {
        for value in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            1 << 32,
            u64::MAX - 1,
            u64::MAX,
        ] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, value);
            assert_eq!(number(&mut &bytes[..]).unwrap(), value);
            assert!(number(&mut &bytes[..bytes.len() - 1]).is_err());
        }
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, b"name");
        assert_eq!(byte_string(&mut &bytes[..]).unwrap(), b"name");
        assert!(byte_string(&mut &bytes[..4]).is_err());
    }

    #[test]
    fn short_strings_take_no_more_memory_than_their_bytes() {
        for length in [0, 1, 31, 32, 33, 40, 100, 1000, EXPECTED] {
            let mut bytes = Vec::new();
            put_bytes(&mut bytes, &vec![7; length]);
            // What follows is not read.
            bytes.extend([9; 100]);
            let string = byte_string(&mut &bytes[..]).unwrap();
            assert_eq!((string.len(), string.capacity()), (length, length));
        }
        // Nor is memory taken for what is announced and missing.
        let mut announced = Vec::new();
        put_number(&mut announced, LENGTH_MAX);
        let mut into = Vec::new();
        assert!(append(&mut &announced[..], &mut into).is_err());
        assert_eq!(into.capacity(), EXPECTED);
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        for bytes in [[0xFF; 10], [0x80; 10]] {
            assert!(number(&mut &bytes[..]).is_err());
        }
        let mut most = [0xFF; 10];
        most[9] = 2;
        assert!(number(&mut &most[..]).is_err());
        most[9] = 1;
        assert_eq!(number(&mut &most[..]).unwrap(), u64::MAX);
        assert!(byte_string(&mut &[0xFF, 0xFF, 0xFF, 0xFF, 0x7F][..]).is_err());
    }
}
