//! The text in the body of an answer that refuses a request: JSON, XML, plain text or HTML.

use crate::json;
use crate::printable;
use crate::secrets::{CUT, Secrets};

/// Most characters of a message that are shown.
const LONGEST: usize = 1000;
/// Most characters of a code.
const LONGEST_CODE: usize = 100;

/// Returns the code and the message of a body, each in one printable line.
///
/// JSON is `{"errors":[{"code":…,"message":…}]}`, or the OAuth form of it. Storage answers in XML.
/// Of plain text the first line counts, of a page its title. JSON of many values has no words. `secrets` are hidden in both.
pub(crate) fn of(
    content_type: Option<&str>,
    body: &[u8],
    secrets: &Secrets,
) -> (Option<String>, Option<String>) {
    let line = |text: &str, longest| line(text, longest, secrets);
    if matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')) {
        if !json::is_brief(body) {
            return (None, None);
        }
        if let Ok(json) = json::brief(body) {
            return of_json(&json, &line);
        }
    }
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if is_html(content_type, text) {
        return (None, title(text, &line));
    }
    if text.starts_with('<') {
        return (
            element(text, "code").and_then(|word| line(&word, LONGEST_CODE)),
            element(text, "message").and_then(|word| line(&word, LONGEST)),
        );
    }
    let is_text = content_type.is_none_or(|kind| {
        let kind = kind.trim().to_ascii_lowercase();
        kind.starts_with("text/") || kind.starts_with("application/json")
    });
    // Something binary, said to be text or not said to be anything, has no words.
    let is_binary = text.contains('\0') || text.contains('\u{fffd}');
    let first = text.lines().map(str::trim).find(|line| !line.is_empty());
    match first {
        Some(first) if is_text && !is_binary => (None, line(first, LONGEST)),
        _ => (None, None),
    }
}

/// Returns whether a body is a web page.
pub(crate) fn is_page(content_type: Option<&str>, body: &[u8]) -> bool {
    let start = body.get(..body.len().min(1024)).unwrap_or_default();
    let text = String::from_utf8_lossy(start);
    is_html(
        content_type,
        text.trim_start_matches('\u{feff}').trim_start(),
    )
}

fn is_html(content_type: Option<&str>, text: &str) -> bool {
    let starts = |start: &str| {
        let found = text.get(..start.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(start))
    };
    let is_said = content_type.is_some_and(|kind| {
        let kind = kind.trim_start().to_ascii_lowercase();
        kind.starts_with("text/html") || kind.starts_with("application/xhtml")
    });
    is_said && text.starts_with('<') || starts("<!doctype html") || starts("<html")
}

fn of_json(
    json: &serde_json::Value,
    line: &impl Fn(&str, usize) -> Option<String>,
) -> (Option<String>, Option<String>) {
    let first = json
        .get("errors")
        .and_then(|errors| errors.get(0))
        .or_else(|| json.get("error").filter(|error| error.is_object()))
        .or_else(|| json.get(0))
        .unwrap_or(json);
    let word = |name: &str, longest: usize| {
        let value = first.get(name)?;
        match value {
            serde_json::Value::String(text) => line(text, longest),
            serde_json::Value::Number(number) => line(&number.to_string(), longest),
            _ => None,
        }
    };
    let message = ["message", "error_description", "details", "detail", "title"];
    (
        word("code", LONGEST_CODE).or_else(|| word("error", LONGEST_CODE)),
        message.iter().find_map(|name| word(name, LONGEST)),
    )
}

/// The title of a page, or its first heading.
fn title(page: &str, line: &impl Fn(&str, usize) -> Option<String>) -> Option<String> {
    let found = element(page, "title").or_else(|| element(page, "h1"))?;
    line(&found, LONGEST)
}

/// The text in the first element of a name, without the tags in it.
fn element(page: &str, name: &str) -> Option<String> {
    let lower = page.to_ascii_lowercase();
    let mut from = 0;
    let start = loop {
        let at = from + lower.get(from..)?.find(&format!("<{name}"))?;
        let after = at + 1 + name.len();
        let next = lower.get(after..)?.chars().next()?;
        if next == '>' || next.is_ascii_whitespace() {
            break after + lower.get(after..)?.find('>')? + 1;
        }
        from = after;
    };
    let length = lower.get(start..)?.find(&format!("</{name}"))?;
    let inner = page.get(start..start + length)?;
    let mut text = String::new();
    let mut in_tag = false;
    for c in inner.chars() {
        match c {
            '<' => in_tag = true,
            '>' => in_tag = false,
            c if !in_tag => text.push(c),
            _ => {}
        }
    }
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ];
    for (entity, character) in entities {
        text = text.replace(entity, character);
    }
    Some(text)
}

/// One printable line of at most `longest` characters and a mark; `None` if nothing is left.
fn line(text: &str, longest: usize, secrets: &Secrets) -> Option<String> {
    // Before anything changes or cuts it, because a changed secret is not recognized.
    let spaced: String = secrets
        .hide(text)
        .chars()
        .map(|c| {
            if matches!(c, '\n' | '\r' | '\t') {
                ' '
            } else {
                c
            }
        })
        .filter(|c| !c.is_control())
        .collect();
    let words: Vec<&str> = spaced.split(' ').filter(|word| !word.is_empty()).collect();
    // Secrets are recognized in whole URLs alone, so they go before the text is cut.
    let clean = printable::text(words.join(" "));
    if clean.is_empty() {
        return None;
    }
    Some(match clean.char_indices().nth(longest) {
        Some((end, _)) => format!("{}{CUT}", clean.get(..end).unwrap_or_default()),
        None => clean,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // containerd/containerd#3076, goharbor/harbor#19983, moby/moby#30798, google/go-containerregistry#451
    #[test]
    fn words_of_the_other_side_cannot_control_the_terminal() {
        let (json, plain, html) = (
            Some("application/json"),
            Some("text/plain"),
            Some("text/html; charset=utf-8"),
        );
        for (kind, body, code, message) in [
            (
                json,
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                Some("MANIFEST_UNKNOWN"),
                Some("manifest unknown"),
            ),
            (
                json,
                r#"{"errors":[{"code":"X","message":"a\u001b[31mb\n"}]}"#,
                Some("X"),
                Some("a[31mb"),
            ),
            (
                json,
                r#"{"errors":[{"code":"X","message":"a\u202eb https://u:p@h/?sig=s"}]}"#,
                Some("X"),
                Some("a\\u{202e}b https://***@h/?***"),
            ),
            (
                json,
                r#"{"error":"invalid_grant","error_description":"no"}"#,
                Some("invalid_grant"),
                Some("no"),
            ),
            (
                json,
                r#"{"error":{"code":403,"message":"Permission denied"}}"#,
                Some("403"),
                Some("Permission denied"),
            ),
            (
                None,
                r#"{"details":"incorrect username or password"}"#,
                None,
                Some("incorrect username or password"),
            ),
            (json, r#"{"errors":[]}"#, None, None),
            (json, r#"{"errors":null,"message":"m"}"#, None, Some("m")),
            (
                plain,
                "\n\n Blocked by\u{7} policy \r\nmore\n",
                None,
                Some("Blocked by policy"),
            ),
            (None, "no such\thost", None, Some("no such host")),
            (plain, "a\0b", None, None),
            (Some("application/octet-stream"), "abc", None, None),
            (
                html,
                "<html><head><TITLE lang=en>Blocked\n by &amp; <b>filter</b></TITLE>",
                None,
                Some("Blocked by & filter"),
            ),
            (
                plain,
                "<!DOCTYPE HTML><h1>502 Bad Gateway</h1>",
                None,
                Some("502 Bad Gateway"),
            ),
            (
                html,
                "<html><titlex>no</titlex><title>yes</title>",
                None,
                Some("yes"),
            ),
            (html, "<html><title>never ends", None, None),
            (html, "<html>", None, None),
            (
                html,
                "plain words all the same",
                None,
                Some("plain words all the same"),
            ),
            (
                Some("application/xml"),
                "<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
                Some("AccessDenied"),
                Some("Request has expired"),
            ),
            (None, "", None, None),
        ] {
            let (found_code, found_message) = of(kind, body.as_bytes(), &Secrets::default());
            assert_eq!(
                (found_code.as_deref(), found_message.as_deref()),
                (code, message),
                "{body}"
            );
        }
    }

    #[test]
    fn long_words_are_cut_with_a_mark() {
        let of_length = |n: usize| {
            let body = format!(r#"{{"message":"{}"}}"#, "é".repeat(n));
            of(None, body.as_bytes(), &Secrets::default()).1.unwrap()
        };
        assert_eq!(of_length(1000).chars().count(), 1000);
        let long = of_length(1001);
        assert!(long.ends_with("é [cut]"), "{long}");
        assert_eq!(long.chars().count(), 1000 + CUT.len());
    }

    #[test]
    fn json_of_many_values_has_no_words() {
        for (count, message) in [(10, Some("m")), (10_000, None)] {
            let objects = "{\"\":0},".repeat(count);
            let body = format!(r#"{{"x":[{objects}0],"message":"m","token":"secret"}}"#);
            let found = of(None, body.as_bytes(), &Secrets::default());
            assert_eq!(found, (None, message.map(str::to_owned)), "{count}");
        }
    }

    #[test]
    fn pages_are_distinguished_from_documents() {
        for (kind, body, page) in [
            (Some("text/html"), "<p>Sign in</p>", true),
            (Some("text/html"), r#"{"schemaVersion":2}"#, false),
            (None, "\n<!doctype HTML>", true),
            (Some("application/json"), "<html>", true),
            (Some("application/xml"), "<Error/>", false),
        ] {
            assert_eq!(is_page(kind, body.as_bytes()), page, "{body}");
        }
    }
}
