//! Shared parts of the readers of tar headers: the block, numbers, and the error with the position.

use std::io;

/// Bytes of a header, and what bodies are padded to.
pub(crate) const BLOCK: u64 = 512;

/// Octal digits, or a binary number with the highest bit set.
pub(crate) fn number(field: &[u8]) -> Option<u64> {
    if let Some((0x80, rest)) = field.split_first() {
        return rest.iter().try_fold(0u64, |number, byte| {
            number.checked_mul(256)?.checked_add(u64::from(*byte))
        });
    }
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches([' ', '\0']);
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(digits, 8).ok()
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
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\x02", Some(258)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xff\xff\xff", None),
            (b"-1", None),
            (b"9", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }
}
