use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::*;

/// Every character that a terminal must never get, by the ranges of the Unicode standard.
fn forbidden() -> impl Iterator<Item = char> {
    [
        0..=0x1f,
        0x7f..=0x9f,
        0xad..=0xad,
        0x34f..=0x34f,
        0x61c..=0x61c,
        0x115f..=0x1160,
        0x180b..=0x180f,
        0x200b..=0x200f,
        0x2028..=0x202e,
        0x2060..=0x206f,
        0x3164..=0x3164,
        0xfe00..=0xfe0f,
        0xfeff..=0xfeff,
        0xfff0..=0xfffb,
        0x1d173..=0x1d17a,
        0xe0000..=0xe0fff,
    ]
    .into_iter()
    .flatten()
    .filter_map(char::from_u32)
}

#[test]
fn text_holds_no_forbidden_character() {
    for c in forbidden() {
        assert!(!is_printable(c), "{:x}", u32::from(c));
        let shown = text(format!("a{c}b"));
        assert!(
            shown.starts_with("a\\") && shown.ends_with('b') && shown.is_ascii(),
            "{shown:?}"
        );
    }
}

#[test]
fn text_shows_every_character_as_itself_or_by_number() {
    // The planes with characters in them, and the start of those for private use.
    for c in (0..0x34000)
        .chain(0xe0000..0xf0100)
        .filter_map(char::from_u32)
    {
        let shown = text(c);
        let expected = match c {
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            c if is_printable(c) => c.to_string(),
            c => format!("\\u{{{:x}}}", u32::from(c)),
        };
        assert_eq!(shown, expected);
        assert!(shown.chars().all(is_printable), "{shown:?}");
    }
}

#[test]
fn punctuation_behind_a_url_stays() {
    for (raw, shown) in [
        (
            "(see https://u:pw@h/?sig=S); log in",
            "(see https://***@h/?***); log in",
        ),
        ("[https://h/a?s=1], x", "[https://h/a?***], x"),
        ("at https://h/a?s=1.", "at https://h/a?***."),
        ("https://h/a?s=(1)&t=2", "https://h/a?***"),
        ("(https://h/a)", "(https://h/a)"),
    ] {
        assert_eq!(text(raw), shown);
        assert_eq!(text(shown), shown);
    }
}

#[test]
fn text_is_idempotent() {
    let every: String = forbidden().collect();
    for raw in [every.as_str(), "a\\u{1b}\\n", "https://a:b@c/d?e", "***@h"] {
        let once = text(raw);
        assert_eq!(text(&once), once);
    }
}

#[test]
fn readable_text_stays_as_it_is() {
    for plain in [
        "",
        "linux/arm64/v8",
        "C:\\a \"b\" 'c' <d> ~",
        "größe, naïve, re\u{301}sume\u{301}",
        "日本語 עברית العربية हिन्दी",
        "🐚 → €",
        "a@b.example, path/@scope",
        "sha256:0123@x",
    ] {
        assert_eq!(text(plain), plain);
        assert_eq!(bytes(plain.as_bytes()), plain);
    }
}

#[test]
fn bytes_outside_utf8_become_hex() {
    let raw = b"a\xff\x9b31m\xed\xa0\x80\xc2\x9b\n\xe2\x82";
    let shown = "a\\xff\\x9b31m\\xed\\xa0\\x80\\u{9b}\\n\\xe2\\x82";
    assert_eq!(bytes(raw), shown);
    assert_eq!(path(Path::new(OsStr::from_bytes(raw))), shown);
}

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn credentials_are_hidden_in_every_spelling() {
    for (text, expected) in [
        ("docker://bob:s3cret@h/x", "docker://***@h/x"),
        ("DOCKER://bob:s3cret@h/x", "DOCKER://***@h/x"),
        ("https://bob:s3cret@h/x", "https://***@h/x"),
        ("bob:s3cret@h/x:v1", "***@h/x:v1"),
        ("bob:s3cret@localhost", "***@localhost"),
        ("bob:s3cret@localhost:5000", "***@localhost:5000"),
        ("bob:s3cret@sha-host:5000/x", "***@sha-host:5000/x"),
        ("//bob:s3cret@h/x", "***@h/x"),
        ("docker:bob:s3cret@h/x", "***@h/x"),
        ("bob:s3/cr:et@h/x", "***@h/x"),
        ("bob:s3@cret@h/x", "***@h/x"),
        ("bob:s3://cret@h/x", "***@h/x"),
        ("bob:s3?cret@h/x", "***@h/x"),
        ("bob:s3 cret@h/x", "***@h/x"),
        ("bob:s3%40cret@h/x", "***@h/x"),
        ("bob%3As3cret%40h/x", "***%40h/x"),
        ("ghp_s3cret@ghcr.io/x", "***@ghcr.io/x"),
        ("s3cret@ghcr.io", "***@ghcr.io"),
        // A host or a word is no digest, however long what follows its colon.
        (
            "bob:s3cret@h.io:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "***@h.io:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ),
        ("bob:s3cret@sha256:a/b", "***@sha256:a/b"),
        ("s3cret-s3cret-s3cret-s3c@h", "***@h"),
        (":s3cret@h/x", "***@h/x"),
        ("https://h/x?token=s3cret", "https://h/x?***"),
    ] {
        assert!(!redacted(text).contains("cret"), "{text}");
        assert_eq!(redacted(text), expected, "{text}");
        let pinned = format!("{text}@{D}");
        if !text.contains('?') {
            assert_eq!(redacted(&pinned), format!("{expected}@{D}"), "{text}");
        }
    }
}

#[test]
fn references_without_credentials_stay_as_they_are() {
    let pinned = format!("registry.example:5000/a/b:v1@{D}");
    for reference in [
        "debian:12",
        "debian@latest",
        "[::1]:5000/app:v1",
        "debian@sha256:",
        "debian:12@sha265:00",
        "debian@md5:d41d8cd98f00b204e9800998ecf8427e",
        &pinned,
    ] {
        assert_eq!(redacted(reference), reference);
        assert!(!has_credentials(reference), "{reference}");
    }
}

// containerd#5453: a registry's own words held a signed URL.
#[test]
fn urls_in_words_of_others_lose_their_secrets() {
    for (words, expected) in [
        (
            "Get \"https://bob:s3cret@s3.example/a?X-Amz-Signature=1\": timeout",
            "Get \"https://***@s3.example/a?***\": timeout",
        ),
        (
            "(http://a:b@h/x), then ftp://c:d@h",
            "(http://***@h/x), then ftp://***@h",
        ),
        ("proxy=socks5://u:p@h:1", "proxy=socks5://***@h:1"),
        ("=https://u:p@h/", "=https://***@h/"),
        ("a+b-c.d://u:p@h/", "a+b-c.d://***@h/"),
        ("é(git+https://u:p@h/)", "é(git+https://***@h/)"),
        ("“https://u:p@h/”", "“https://***@h/”"),
        (
            "»http://u:p@h« →https://u:p@h/?s=1",
            "»http://***@h« →https://***@h/?***",
        ),
        ("代理：https://u:p@h/a", "代理：https://***@h/a"),
        ("a https://h/p b", "a https://h/p b"),
    ] {
        assert_eq!(text(words), expected);
    }
}

#[test]
fn file_names_can_be_recovered() {
    for (bytes, expected) in [
        (&b"etc/passwd"[..], "etc/passwd"),
        ("größe/日本".as_bytes(), "größe/日本"),
        (b"a\\b\"c", r#"a\\b\"c"#),
        (b"\xff\n\x1b[m", r"\xff\n\x1b[m"),
        // A bidi override and a C1 control, both valid UTF-8.
        ("x\u{202e}y\u{9b}z".as_bytes(), r"x\xe2\x80\xaey\xc2\x9bz"),
    ] {
        assert_eq!(name(bytes), expected);
    }
}
