//! Foreign text made safe to print: names, messages of registries, URLs.
//!
//! A terminal obeys escape sequences, reorders text by bidirectional controls, and hides characters
//! without a width. A log takes every newline for a new record. The functions here write such
//! characters as `\n`, `\t`, `\r` or `\u{1b}`, and bytes that are not UTF-8 as `\xff`. Letters, marks
//! and symbols of every script stay as they are.
//!
//! Escaping is idempotent: text that is already escaped does not change. Backslashes stay single
//! for that, so the result does not tell `\u{1b}` in the original from an escape character there.
//!
//! Secrets that are part of a URL are replaced by `***`: the user and password before its host, and
//! its query, where signed URLs carry their signature.
//!
//! The [`Display`] output of every error of this crate has passed through here.

mod credentials;
mod span;

pub(crate) use credentials::has_credentials;
pub use credentials::redacted;
pub use span::Span;
pub(crate) use span::exact;

use std::fmt::{Display, Write as _};
use std::path::Path;

/// Returns `value` as one line that is safe for a terminal and a log, without the secrets of URLs.
///
/// ```
/// use ociget::printable;
///
/// assert_eq!(printable::text("v8\u{1b}[31m\nfake"), "v8\\u{1b}[31m\\nfake");
/// assert_eq!(printable::text("größe 日本 🐚"), "größe 日本 🐚");
/// assert_eq!(printable::text("see https://bob:pw@h/a?sig=x"), "see https://***@h/a?***");
/// ```
#[must_use]
pub fn text(value: impl Display) -> String {
    let mut raw = String::new();
    // Only a `Display` that reports an error fails; what it wrote before that is what can be shown.
    let _ = write!(raw, "{value}");
    escaped(&credentials::without_secrets_of_urls(&raw))
}

/// Returns `bytes` as [`text`] does; those that are not UTF-8 become `\xff`.
#[must_use]
pub fn bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&escaped(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// Returns `bytes`, such as a file name, so that they can be recovered: printable characters as they
/// are, and every other byte, quotation marks and backslashes as [`slice::escape_ascii`] writes them.
///
/// ```
/// use ociget::printable;
///
/// assert_eq!(printable::name("größe/日本".as_bytes()), "größe/日本");
/// assert_eq!(printable::name(b"a\\b\xff\n\xe2\x80\xae"), r"a\\b\xff\n\xe2\x80\xae");
/// ```
#[must_use]
pub fn name(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    let escape = |shown: &mut String, bytes: &[u8]| {
        let _ = write!(shown, "{}", bytes.escape_ascii());
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c.is_ascii() || !is_printable(c) {
                true => escape(&mut shown, c.encode_utf8(&mut [0; 4]).as_bytes()),
                false => shown.push(c),
            }
        }
        escape(&mut shown, chunk.invalid());
    }
    shown
}

/// Returns `path` as [`bytes()`] does.
#[must_use]
pub fn path(path: &Path) -> String {
    bytes(path.as_os_str().as_encoded_bytes())
}

/// Returns whether a terminal shows `c` as itself, and does not act on it.
///
/// False for controls (C0, DEL, C1), format characters such as bidirectional controls and zero-width
/// joiners, line and paragraph separators, spaces other than U+0020, private use, unassigned
/// characters, and everything else that has no shape of its own.
#[must_use]
pub fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    if is_ignorable(c) {
        return false;
    }
    // The library's tables of Unicode classes. The leading letter keeps a combining mark from counting
    // as one without a base.
    let mut buffer = [b'a', 0, 0, 0, 0];
    let length = c.len_utf8();
    if let Some(rest) = buffer.get_mut(1..) {
        c.encode_utf8(rest);
    }
    let text = buffer.get(..=length).map(std::str::from_utf8);
    matches!(text, Some(Ok(text)) if text.escape_debug().eq(['a', c]))
}

fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if is_printable(c) => shown.push(c),
            c => shown.extend(c.escape_unicode()),
        }
    }
    shown
}

/// Characters that Unicode calls letters or marks and that renderers ignore by default: fillers,
/// joiners and variation selectors.
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{34f}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests;
