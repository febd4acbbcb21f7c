//! Secrets that a client has sent, hidden in every text that a server sends back.
//!
//! Servers quote requests in their refusals, and token servers answer with what they should keep. The transport
//! notes each secret when it sends it, and every text of a server passes through [`Secrets::hide`].

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::header::{HeaderMap, HeaderValue};
use serde_json::Value;

/// Stands in the place of a secret.
const HIDDEN: &str = "***";
/// Most secrets that are kept; the oldest goes first. One that is sent again is noted again.
const MOST: usize = 128;
/// Shorter secrets count only as a word of their own, because they occur in other words.
const SHORTEST: usize = 5;
/// A secret of this length is recognized by a beginning of [`BEGINNING`] characters, because servers cut long values.
const LONG: usize = 32;
const BEGINNING: usize = 16;
/// Shortest value of a header of `hosts.toml` that counts as a secret.
const SHORTEST_HEADER: usize = 8;

/// The secrets of one client. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Mutex<VecDeque<Secret>>>);

struct Secret {
    raw: String,
    /// The secret itself, and its encodings that have another alphabet.
    forms: Vec<Vec<char>>,
}

/// Shows no secret.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// Notes the secrets in an `Authorization` or `Proxy-Authorization` header.
    pub(crate) fn note_authorization(&self, value: &HeaderValue) {
        let text = String::from_utf8_lossy(value.as_bytes());
        let Some((scheme, credentials)) = text.split_once(' ') else {
            return;
        };
        self.note(credentials);
        if scheme.eq_ignore_ascii_case("basic")
            && let Ok(pair) = STANDARD.decode(credentials)
        {
            let pair = String::from_utf8_lossy(&pair);
            let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
            // Some registries take a token as the user.
            self.note(if password.is_empty() { user } else { password });
        }
    }

    /// Notes the values of headers that a configuration adds to requests.
    pub(crate) fn note_headers(&self, headers: &HeaderMap) {
        for value in headers.values() {
            let text = String::from_utf8_lossy(value.as_bytes());
            let scheme = text.split(' ').next().unwrap_or_default();
            if ["basic", "bearer"]
                .iter()
                .any(|known| scheme.eq_ignore_ascii_case(known))
            {
                self.note_authorization(value);
            }
            if text.len() >= SHORTEST_HEADER {
                self.note(&text);
            }
        }
    }

    /// Notes the tokens in a form (`refresh_token=…`) that is sent.
    pub(crate) fn note_form(&self, form: &str) {
        for (name, value) in url::form_urlencoded::parse(form.as_bytes()) {
            if names_a_secret(&name) {
                self.note(&value);
            }
        }
    }

    /// Notes the tokens in a body of a token server, whatever it means by them. Returns whether there are any.
    pub(crate) fn note_body(&self, body: &[u8]) -> bool {
        fn walk(secrets: &Secrets, value: &Value, is_secret: bool) -> usize {
            match value {
                Value::String(text) if is_secret => {
                    secrets.note(text);
                    1
                }
                Value::Array(values) => values
                    .iter()
                    .map(|value| walk(secrets, value, is_secret))
                    .sum(),
                Value::Object(fields) => fields
                    .iter()
                    .map(|(name, value)| walk(secrets, value, is_secret || names_a_secret(name)))
                    .sum(),
                _ => 0,
            }
        }
        crate::json::read(body).is_ok_and(|json| walk(self, &json, false) > 0)
    }

    fn note(&self, secret: &str) {
        if secret.trim().is_empty() {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.iter().any(|one| one.raw == secret) {
            return;
        }
        if known.len() >= MOST {
            known.pop_front();
        }
        let chars = |text: &str| text.chars().collect::<Vec<char>>();
        let mut forms = vec![chars(secret)];
        if secret.len() >= SHORTEST {
            forms.push(chars(&STANDARD_NO_PAD.encode(secret)));
            forms.push(chars(&URL_SAFE_NO_PAD.encode(secret)));
        }
        known.push_back(Secret {
            raw: secret.to_owned(),
            forms,
        });
    }

    /// Returns `text` with `***` for each secret in it: in any case of letters, also with characters as URLs, JSON
    /// and HTML encode them, or in base64.
    pub(crate) fn hide(&self, text: &str) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            return text.to_owned();
        }
        let mut shown = String::with_capacity(text.len());
        let mut before = None;
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let forms = known.iter().flat_map(|secret| &secret.forms);
            let found = forms.filter_map(|form| found_at(rest, form, before)).max();
            let length = found.unwrap_or(first.len_utf8());
            let (taken, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
            shown.push_str(if found.is_some() { HIDDEN } else { taken });
            before = taken.chars().next_back();
            rest = after;
        }
        shown
    }
}

/// Whether a field of this name holds a secret.
fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_type = name.ends_with("_type") || name.ends_with("type");
    !is_type
        && ["token", "secret", "password"]
            .iter()
            .any(|word| name.contains(word))
}

/// The length of the secret at the start of `text`, in bytes. `before` is the character before it.
fn found_at(text: &str, secret: &[char], before: Option<char>) -> Option<usize> {
    let plain = |text: &str, wanted: char| {
        let found = text.chars().next()?;
        found
            .eq_ignore_ascii_case(&wanted)
            .then(|| found.len_utf8())
    };
    let either = |text: &str, wanted| encoded(text, wanted).or_else(|| plain(text, wanted));
    let plainly = matched(text, secret, plain);
    let (count, length) = matched(text, secret, either).max(plainly);
    let is_whole = count == secret.len() || secret.len() >= LONG && count >= BEGINNING;
    let is_word = || {
        let after = text.get(length..).and_then(|after| after.chars().next());
        let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        !is_letter(before) && !is_letter(after)
    };
    (is_whole && (secret.len() >= SHORTEST || is_word())).then_some(length)
}

/// How many characters of a secret stand at the start of `text`, and in how many bytes.
fn matched(
    text: &str,
    secret: &[char],
    length: impl Fn(&str, char) -> Option<usize>,
) -> (usize, usize) {
    let (mut count, mut at) = (0, 0);
    for wanted in secret {
        let Some(length) = text.get(at..).and_then(|rest| length(rest, *wanted)) else {
            break;
        };
        (count, at) = (count + 1, at + length);
    }
    (count, at)
}

/// The length of `wanted` at the start of `text`, as a URL, a form, JSON or HTML encodes it.
fn encoded(text: &str, wanted: char) -> Option<usize> {
    let mut buffer = [0; 4];
    let starts = |start: &str| {
        let found = text.get(..start.len());
        found
            .is_some_and(|found| found.eq_ignore_ascii_case(start))
            .then_some(start.len())
    };
    match text.chars().next()? {
        '%' => {
            let bytes = wanted.encode_utf8(&mut buffer).bytes();
            starts(&bytes.map(|byte| format!("%{byte:02x}")).collect::<String>())
        }
        '+' => (wanted == ' ').then_some(1),
        '\\' => {
            let code = u32::from(wanted);
            let simple = || {
                let is_quoted = !wanted.is_alphanumeric() && !wanted.is_control();
                is_quoted.then(|| starts(&format!("\\{wanted}")))?
            };
            let mut units = [0; 2];
            let units = wanted.encode_utf16(&mut units).iter();
            let json: String = units.map(|unit| format!("\\u{unit:04x}")).collect();
            starts(&json)
                .or_else(|| starts(&format!("\\u{{{code:x}}}")))
                .or_else(|| starts(&format!("\\x{code:02x}")))
                .or_else(simple)
        }
        '&' => {
            let code = u32::from(wanted);
            let name = match wanted {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\'' => "&apos;",
                _ => "&;",
            };
            starts(name)
                .or_else(|| starts(&format!("&#{code};")))
                .or_else(|| starts(&format!("&#{code:03};")))
                .or_else(|| starts(&format!("&#x{code:x};")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{basic, bearer};

    #[test]
    fn secrets_of_requests_are_hidden_in_every_encoding() {
        let secrets = Secrets::default();
        secrets.note_authorization(&basic::header("ada", "p<w> \"q\"/é&7").unwrap());
        for (text, expected) in [
            ("bad login ada:p<w> \"q\"/é&7.", "bad login ada:***."),
            ("P<W> \"Q\"/é&7", "***"),
            ("p%3Cw%3e%20%22q%22%2F%C3%A9%267", "***"),
            ("a=p%3Cw%3E+%22q%22%2f%c3%a9%267&b=1", "a=***&b=1"),
            (r#"{"x":"p<w> \"q\"\/\u00e9&7"}"#, r#"{"x":"***"}"#),
            ("p&lt;w&gt; &quot;q&#34;/&#xe9;&amp;7", "***"),
            (
                "you sent Basic YWRhOnA8dz4gInEiL8OpJjc=",
                "you sent Basic ***",
            ),
            ("p<w> another", "p<w> another"),
        ] {
            assert_eq!(secrets.hide(text), expected, "{text}");
        }
        let alone = STANDARD.encode("p<w> \"q\"/é&7");
        assert!(!secrets.hide(&alone).contains("cDx3"), "{alone}");
    }

    #[test]
    fn long_secret_that_a_server_cut_is_hidden() {
        let secrets = Secrets::default();
        let token = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.c2VjcmV0";
        secrets.note_authorization(&bearer::header(token).unwrap());
        let text = format!("invalid token '{}...'", &token[..24]);
        assert_eq!(secrets.hide(&text), "invalid token '***...'");
    }

    #[test]
    fn short_secret_is_hidden_as_a_word_alone() {
        let secrets = Secrets::default();
        secrets.note_authorization(&bearer::header("T1").unwrap());
        assert_eq!(secrets.hide("bad \"T1\" in T12"), "bad \"***\" in T12");
    }

    #[test]
    fn tokens_of_forms_and_bodies_are_noted() {
        let secrets = Secrets::default();
        secrets.note_form("grant_type=refresh_token&service=s&refresh_token=re%2Ffresh1");
        assert!(
            secrets.note_body(br#"{"data":[{"Access_Token":"secret-two"}],"token_type":"bearer"}"#)
        );
        assert!(!secrets.note_body(br#"{"details":"no such user"}"#));
        assert_eq!(
            secrets.hide("refresh_token re/fresh1, re%2ffresh1, secret-two, bearer"),
            "refresh_token ***, ***, ***, bearer"
        );
        assert_eq!(format!("{secrets:?}"), "Secrets");
    }
}
