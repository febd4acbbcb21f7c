//! URLs in headers, as servers write them.

use std::borrow::Cow;

use http::header::HeaderValue;

/// Returns the text of a header that holds a URL.
///
/// A URL is ASCII, and servers send names of files as they have them. Go, curl and browsers follow such a URL, so text in
/// UTF-8 stays for the URL parser to encode, and in other text each byte that is not ASCII is encoded (`%E9`).
pub(crate) fn text(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.into(),
        Err(_) => encoded(value.as_bytes()).into(),
    }
}

fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte.is_ascii() {
            true => text.push(char::from(*byte)),
            false => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn bytes_that_are_not_ascii_are_encoded() {
        let base = Url::parse("https://r.io/v2/").unwrap();
        for (header, expected) in [
            (&b"/a/b?x=y%2F"[..], "https://r.io/a/b?x=y%2F"),
            ("/é/x?n=ü".as_bytes(), "https://r.io/%C3%A9/x?n=%C3%BC"),
            (b"/\xe9/x", "https://r.io/%E9/x"),
            (b"/\xc3\xa9/\xe9", "https://r.io/%C3%A9/%E9"),
            (
                "https://bücher.example/x".as_bytes(),
                "https://xn--bcher-kva.example/x",
            ),
        ] {
            let value = HeaderValue::from_bytes(header).unwrap();
            assert_eq!(base.join(&text(&value)).unwrap().as_str(), expected);
        }
        let damaged = HeaderValue::from_bytes(b"https://b\xfccher.example/x").unwrap();
        assert!(base.join(&text(&damaged)).is_err());
    }
}
