//! Shared parts of the readers of tar headers: the block, numbers, the checksum, and the error with the position.

use std::io;
use std::ops::Range;

/// Bytes of a header, and what bodies are padded to.
pub(crate) const BLOCK: u64 = 512;
/// The field of a header with its checksum.
const CHECKSUM: Range<usize> = 148..156;

/// Returns the number in `field`: octal digits, or after a byte with the highest bit a binary number
/// that is not negative.
pub(crate) fn number(field: &[u8]) -> Option<u64> {
    match signed(field)? {
        (false, number) => Some(number),
        (true, _) => None,
    }
}

/// Whether Go's `archive/tar` reads `field` as a number, negative ones included.
pub(crate) fn is_number(field: &[u8]) -> bool {
    signed(field).is_some()
}

/// Returns whether the number is negative, and its 63 low bits, inverted if it is.
fn signed(field: &[u8]) -> Option<(bool, u64)> {
    let Some((first, rest)) = field.split_first().filter(|(first, _)| *first & 0x80 != 0) else {
        return octal(field).map(|number| (false, number));
    };
    let is_negative = first & 0x40 != 0;
    let sign = if is_negative { 0xff } else { 0 };
    let first = u64::from((first ^ sign) & 0x7f);
    let number = rest.iter().try_fold(first, |number, byte| {
        let shifted = (number >> 56 == 0).then_some(number << 8)?;
        Some(shifted | u64::from(byte ^ sign))
    })?;
    (number >> 63 == 0).then_some((is_negative, number))
}

/// Returns the number that `field` holds in octal digits, 0 if it is blank.
///
/// The rule is Go's: spaces and NULs around the digits are skipped, also leading NULs, and the
/// digits end at the first NUL. A sign is not a digit.
fn octal(field: &[u8]) -> Option<u64> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().take_while(|byte| is_blank(byte)).count();
    let field = field.get(start..).unwrap_or_default();
    let behind = field.iter().rev().take_while(|byte| is_blank(byte)).count();
    let field = field.get(..field.len() - behind).unwrap_or_default();
    let digits = field.split(|byte| *byte == 0).next().unwrap_or_default();
    digits.iter().try_fold(0u64, |number, digit| match digit {
        b'0'..=b'7' => Some(number.checked_mul(8)? | u64::from(digit - b'0')),
        _ => None,
    })
}

/// Whether `bytes` begin with a tar header.
pub(crate) fn is_header(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(has_checksum)
}

/// Whether the checksum is right. Some old writers summed signed bytes.
pub(crate) fn has_checksum(block: &[u8; 512]) -> bool {
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (index, byte) in block.iter().enumerate() {
        // The checksum counts itself as spaces.
        let byte = if CHECKSUM.contains(&index) {
            b' '
        } else {
            *byte
        };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    let found = block.get(CHECKSUM).and_then(octal);
    let found = found.and_then(|sum| i64::try_from(sum).ok());
    found.is_some_and(|sum| sum == unsigned || sum == signed)
}

/// Returns the number that `text` holds in decimal digits and nothing else, as PAX records have it.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

pub(crate) fn broken(at: u64, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the archive has {what} at byte {at}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b" 12 \0", Some(0o12)),
            (b"\0\0\0", Some(0)),
            (b"\0\x0012\0", Some(0o12)),
            (b"0012\0 34", Some(0o12)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\x02", Some(258)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x81\0\0\0\0\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff", None),
            (b"-1", None),
            (b"+1", None),
            (b"1 2", None),
            (b"9", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }

    #[test]
    fn negative_binary_numbers_are_numbers() {
        assert!(is_number(
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"
        ));
        assert!(!is_number(b"\xff\0\0\0\0\0\0\0\0\0\0\0"));
        assert!(!is_number(b"layers/some/"));
    }

    #[test]
    fn decimal_numbers_have_no_sign() {
        for (text, expected) in [
            (&b"18446744073709551615"[..], Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"", None),
            (b"+5", None),
            (b"-5", None),
            (b"5 ", None),
        ] {
            assert_eq!(decimal(text), expected, "{text:?}");
        }
    }
}
