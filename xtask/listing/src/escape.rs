//! Names are bytes; lines are printable ASCII without spaces in a field.

/// Returns `bytes` as printable ASCII: the backslash, the equals sign, the space and all that is not graphic become
/// `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_graphic() && byte != b'\\' && byte != b'=' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Returns the bytes that [`escape`] made `text` from, or nothing if it cannot have.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let digits = escaped.strip_prefix('x')?;
        bytes.push(*from_hex(digits.get(..2)?)?.first()?);
        rest = digits.get(2..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

/// Returns `bytes` in lower-case hexadecimal.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the bytes behind `text` in lower-case hexadecimal, or nothing if it is not that.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_text() {
        let all: Vec<u8> = (0..=255).collect();
        let text = escape(&all);
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'=')
        );
        assert_eq!(unescape(&text), Some(all));
    }

    #[test]
    fn text_that_escape_never_writes_is_refused() {
        for text in ["\\", "\\x", "\\x0", "\\x0g", "\\n", "\\xé", "a\\x4"] {
            assert_eq!(unescape(text), None, "{text}");
        }
        for text in ["0", "0g", "AB", "é"] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }
}
