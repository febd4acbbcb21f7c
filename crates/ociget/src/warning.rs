//! `Warning` (RFC 7234, 5.5): messages of a registry to its users.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use http::header::{self, HeaderMap};

use crate::printable;
use crate::secrets::{self, Secrets};

/// Most different texts that are shown for one client.
const MOST: usize = 32;
/// Most characters of one.
const LONGEST: usize = 1000;

/// The warnings that were shown, so that each is shown once.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<HashSet<String>>);

impl Warnings {
    /// Returns the warnings of an answer that were not seen before, as lines that are safe to print.
    /// `secrets` are hidden in them.
    pub(crate) fn new_in(&self, headers: &HeaderMap, secrets: &Secrets) -> Vec<String> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = Vec::new();
        let mut left = secrets::LONGEST;
        for value in headers.get_all(header::WARNING) {
            if seen.len() >= MOST || left == 0 {
                break;
            }
            left = left.saturating_sub(value.len());
            let value = String::from_utf8_lossy(value.as_bytes());
            let mut shown = secrets.hide(&value);
            if shown.ends_with(secrets::CUT) {
                shown.push('"');
            }
            for text in parse(&shown) {
                if seen.len() < MOST && seen.insert(text.clone()) {
                    new.push(text);
                }
            }
        }
        new
    }
}

/// The texts of the warnings with code 299 in one header.
fn parse(header: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        // code SP agent SP quoted-string [SP quoted-date]
        let Some((code, after)) = rest.split_once(' ') else {
            return texts;
        };
        let Some((_agent, after)) = after.trim_start().split_once(' ') else {
            return texts;
        };
        let Some((text, after)) = quoted(after.trim_start()) else {
            return texts;
        };
        if code == "299" {
            let clean = printable::text(text.replace(char::is_control, " "));
            let clean: String = clean.trim().chars().take(LONGEST).collect();
            if !clean.is_empty() {
                texts.push(clean);
            }
        }
        rest = after.trim_start();
        if let Some((_date, after)) = quoted(rest) {
            rest = after;
        }
    }
}

/// A quoted string without its escapes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut found = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((found, inner.get(at + 1..)?)),
            '\\' => found.push(characters.next()?.1),
            c => found.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    // oras-project/oras#898
    #[test]
    fn only_warnings_of_code_299_are_shown() {
        for (header, expected) in [
            (r#"299 - "old image""#, &["old image"][..]),
            (
                r#"299 reg.test "a \"b\" \\c" "Tue, 15 Nov 1994 08:12:31 GMT""#,
                &["a \"b\" \\c"],
            ),
            (r#"299 - "a, b", 299 - "c""#, &["a, b", "c"]),
            (r#"110 - "stale", 299 - "c""#, &["c"]),
            (r#"299 - "https://u:p@h/?s""#, &["https://***@h/?***"]),
            ("299 - \"a\u{1b}[31m\"", &["a [31m"]),
            (r#"299 - "never ends"#, &[]),
            (r#"299 - """#, &[]),
            ("299 -", &[]),
            ("", &[]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn beginning_of_long_warnings_is_shown() {
        let (warnings, none) = (Warnings::default(), Secrets::default());
        let mut headers = HeaderMap::new();
        for letter in ["a", "b"] {
            let value = format!("299 - \"{}\"", letter.repeat(400 << 10));
            headers.append("warning", value.parse().unwrap());
        }
        assert_eq!(warnings.new_in(&headers, &none), ["a".repeat(LONGEST)]);
    }

    #[test]
    fn a_warning_is_shown_once_and_many_are_not_shown() {
        let (warnings, none) = (Warnings::default(), Secrets::default());
        let mut headers = HeaderMap::new();
        headers.append("warning", r#"299 - "a""#.parse().unwrap());
        headers.append("warning", r#"299 - "b", 299 - "a""#.parse().unwrap());
        assert_eq!(warnings.new_in(&headers, &none), ["a", "b"]);
        assert!(warnings.new_in(&headers, &none).is_empty());
        for number in 0..2 * MOST {
            headers.append("warning", format!("299 - \"{number}\"").parse().unwrap());
        }
        assert_eq!(warnings.new_in(&headers, &none).len(), MOST - 2);
    }
}
