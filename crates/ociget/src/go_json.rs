//! JSON text as Go's `encoding/json` reads it, which wrote and reads most images.
//!
//! Go differs from the strict reader in three ways that images in use depend on: a key matches a
//! field in any case (`rootfS`), half a UTF-16 pair is U+FFFD, and so is a byte that is not UTF-8.
//! [`as_go_reads`] rewrites such text for the strict reader. A document that names one field in two
//! spellings then has a key twice, and is refused as such.

use serde_json::Value;

/// Which keys are folded to their canonical spelling, and which values are left alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    /// Fields, in the spelling that they are read by.
    pub(crate) known: &'static [&'static str],
    /// Fields whose objects have keys of their own, such as labels. Named also in `known`.
    pub(crate) maps: &'static [&'static str],
    /// Fields whose objects have keys of their own and objects with known fields as values, such as the registries
    /// of a credentials file. Named also in `known`.
    pub(crate) records: &'static [&'static str],
}

/// An object with keys of its own, in which the rewriting is.
#[derive(Clone, Copy)]
struct Map {
    /// The depth of the object whose field it is.
    of: usize,
    is_of_records: bool,
}

impl Map {
    /// Whether a key at `depth` belongs to another document.
    fn owns_keys_at(self, depth: usize) -> bool {
        !self.is_of_records || depth <= self.of + 1
    }
}

/// Returns `text` with keys in their canonical spelling and strings that are valid Unicode.
///
/// Text that is not JSON stays so, and the parser reports it. The result has at most three times as
/// many bytes as `text`.
pub(crate) fn as_go_reads(text: &[u8], keys: Keys) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut depth = 0usize;
    let mut map: Option<Map> = None;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                let end = end_of_string(text, at);
                let string = mended(text.get(at..end).unwrap_or_default());
                at = end;
                let is_ours = map.is_none_or(|map| !map.owns_keys_at(depth));
                let key = (is_ours && is_key(text, end))
                    .then(|| canonical(&string, keys.known))
                    .flatten();
                match key {
                    Some(key) => {
                        out.push(b'"');
                        out.extend_from_slice(key.as_bytes());
                        out.push(b'"');
                        let is_of_records = keys.records.contains(&key);
                        let opens = is_of_records || keys.maps.contains(&key);
                        map = map.or_else(|| {
                            opens.then_some(Map {
                                of: depth,
                                is_of_records,
                            })
                        });
                    }
                    None => out.extend_from_slice(&string),
                }
                continue;
            }
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                map = map.filter(|map| map.of <= depth);
            }
            b',' => map = map.filter(|map| map.of != depth),
            _ => {}
        }
        out.push(byte);
        at += 1;
    }
    out
}

/// Returns the index after the closing quotation mark of the string that starts at `start`.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Whether the string that ends before `end` is a key.
fn is_key(text: &[u8], end: usize) -> bool {
    let rest = text.get(end..).unwrap_or_default();
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// Gives the fields `known` of an object, and no others in it, their canonical spelling.
pub(crate) fn respell(object: &mut serde_json::Map<String, Value>, known: &[&'static str]) {
    for (key, value) in std::mem::take(object) {
        let field = spelling(&key, known).map(str::to_owned);
        object.insert(field.unwrap_or(key), value);
    }
}

/// The spelling in `known` of the key `quoted`, if Go takes one for the other.
fn canonical(quoted: &[u8], known: &[&'static str]) -> Option<&'static str> {
    let key: String = serde_json::from_slice(quoted).ok()?;
    spelling(&key, known)
}

fn spelling(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let exact = known.iter().find(|name| **name == key);
    exact
        .or_else(|| known.iter().find(|name| folded(name) == folded(key)))
        .copied()
}

/// Go folds ASCII letters, the Kelvin sign and the long s.
fn folded(key: &str) -> String {
    key.chars()
        .map(|letter| match letter {
            '\u{212a}' => 'k',
            '\u{17f}' => 's',
            letter => letter.to_ascii_lowercase(),
        })
        .collect()
}

/// A string, quotation marks included, with U+FFFD for bytes that are not UTF-8 and for halves of
/// UTF-16 pairs.
fn mended(string: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(string);
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let length = match (byte, bytes.get(at + 1)) {
            (b'\\', Some(b'u')) => match (unit(bytes, at), unit(bytes, at + 6)) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
                (Some(0xd800..=0xdfff), _) => {
                    out.extend_from_slice(b"\\ufffd");
                    at += 6;
                    continue;
                }
                _ => 2,
            },
            (b'\\', Some(_)) => 2,
            _ => 1,
        };
        let end = at.saturating_add(length).min(bytes.len());
        out.extend_from_slice(bytes.get(at..end).unwrap_or_default());
        at = end;
    }
    out
}

/// The number in `\uXXXX` at `at`.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at.checked_add(6)?)?;
    let digits = escape.strip_prefix(b"\\u")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: Keys = Keys {
        known: &["rootfs", "Labels", "diff_ids", "auths", "auth"],
        maps: &["Labels"],
        records: &["auths"],
    };

    fn rewritten(text: &[u8]) -> String {
        String::from_utf8(as_go_reads(text, KEYS)).unwrap()
    }

    #[test]
    fn keys_are_folded_outside_of_maps_alone() {
        for (text, expected) in [
            (
                r#"{"rootfS":{"DIFF_IDS":[]}}"#,
                r#"{"rootfs":{"diff_ids":[]}}"#,
            ),
            (r#"{"root\u0066S" : 1}"#, r#"{"rootfs" : 1}"#),
            ("{\"root\u{17f}\":1}", "{\"root\u{17f}\":1}"),
            ("{\"rootf\u{17f}\":1}", r#"{"rootfs":1}"#),
            (
                r#"{"labels":{"RootFS":"a","x":{"y":[1,2]},"Labels":"b"},"RootFS":["RootFS"]}"#,
                r#"{"Labels":{"RootFS":"a","x":{"y":[1,2]},"Labels":"b"},"rootfs":["RootFS"]}"#,
            ),
            (
                r#"{"Labels":null,"RootFS":1}"#,
                r#"{"Labels":null,"rootfs":1}"#,
            ),
            (
                r#"[{"Labels":{"a":1}},{"RootFS":1}]"#,
                r#"[{"Labels":{"a":1}},{"rootfs":1}]"#,
            ),
            (
                r#"{"a":"RootFS","b":"\":","RootFS":1}"#,
                r#"{"a":"RootFS","b":"\":","rootfs":1}"#,
            ),
            (
                r#"{"Auths":{"AUTH":{"Auth":1,"Auths":{"x":1}},"Auths":{"AUTH":2}},"RootFS":1}"#,
                r#"{"auths":{"AUTH":{"auth":1,"auths":{"x":1}},"Auths":{"auth":2}},"rootfs":1}"#,
            ),
        ] {
            assert_eq!(rewritten(text.as_bytes()), expected);
        }
    }

    #[test]
    fn halves_of_pairs_and_foreign_bytes_become_the_replacement_character() {
        for (text, expected) in [
            (&br#""caf\udce9""#[..], r#""caf\ufffd""#),
            (br#""\ud83d""#, r#""\ufffd""#),
            (br#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (br#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (br#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (br#""\\ud83d""#, r#""\\ud83d""#),
            (b"\"caf\xe9\"", "\"caf\u{fffd}\""),
            (br#""\u12"#, r#""\u12"#),
            (br#""\"#, r#""\"#),
        ] {
            assert_eq!(rewritten(text), expected);
        }
    }
}
