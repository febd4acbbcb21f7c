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
use url::Url;

/// Stands in the place of a secret.
const HIDDEN: &str = "***";
/// Most secrets of each origin that are kept. The oldest goes first, and one that is sent again is the newest.
const MOST: usize = 128;
/// Most bytes of them.
const MOST_BYTES: usize = 1 << 20;
/// Characters of a text that are looked at and shown, and so of a secret that are kept.
pub(crate) const LONGEST: usize = 16 << 10;
/// Stands at the end of a text that was longer.
pub(crate) const CUT: &str = " [cut]";
/// Shorter secrets count only as a word of their own, because they occur in other words.
const SHORTEST: usize = 5;
/// A secret of this length is recognized by a beginning of [`BEGINNING`] characters, because servers cut long values.
const LONG: usize = 32;
const BEGINNING: usize = 16;
/// Shortest value of a header of `hosts.toml` that counts as a secret.
const SHORTEST_HEADER: usize = 8;
/// Shortest value in the query of a redirect that counts as a secret.
const SHORTEST_IN_QUERY: usize = 16;

/// The secrets of one client. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// Passwords, identity tokens and headers of the user. No token takes their place.
    own: Queue,
    /// What servers gave, of which they can give any number.
    tokens: Queue,
    /// Values in the queries of redirects. They push no token out.
    signatures: Queue,
    /// The forms of all of them, once a text is to be shown.
    forms: Option<Forms>,
}

/// Secrets, the one that was sent last at the end.
#[derive(Default)]
struct Queue {
    secrets: VecDeque<String>,
    bytes: usize,
}

impl Queue {
    /// Adds a secret, or moves it to the end. Returns whether it is new.
    fn note(&mut self, secret: &str) -> bool {
        let known = self.secrets.iter().position(|known| known == secret);
        if let Some(known) = known.and_then(|place| self.secrets.remove(place)) {
            self.secrets.push_back(known);
            return false;
        }
        self.bytes += secret.len();
        self.secrets.push_back(secret.to_owned());
        while self.secrets.len() > MOST || self.bytes > MOST_BYTES {
            let oldest = self.secrets.pop_front().unwrap_or_default();
            self.bytes -= oldest.len();
        }
        true
    }
}

/// Whose a secret is.
#[derive(Clone, Copy)]
enum Origin {
    User,
    Server,
    Redirect,
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
        if !scheme.eq_ignore_ascii_case("basic") {
            self.note(credentials, Origin::Server);
            return;
        }
        self.note_own(credentials);
        if let Ok(pair) = STANDARD.decode(credentials) {
            let pair = String::from_utf8_lossy(&pair);
            let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
            // Some registries take a token as the user.
            self.note_own(if password.is_empty() { user } else { password });
        }
    }

    /// Notes a secret that the user chose, which is kept whatever servers send.
    pub(crate) fn note_own(&self, secret: &str) {
        self.note(secret, Origin::User);
    }

    /// Notes the values of headers that a configuration adds to requests.
    pub(crate) fn note_headers(&self, headers: &HeaderMap) {
        for value in headers.values() {
            let text = String::from_utf8_lossy(value.as_bytes());
            let scheme = text.split(' ').next().unwrap_or_default();
            if scheme.eq_ignore_ascii_case("basic") {
                self.note_authorization(value);
            } else if scheme.eq_ignore_ascii_case("bearer") {
                self.note_own(text.get(scheme.len()..).unwrap_or_default().trim());
            }
            if text.len() >= SHORTEST_HEADER {
                self.note_own(&text);
            }
        }
    }

    /// Notes the tokens in a form (`refresh_token=…`) that is sent.
    pub(crate) fn note_form(&self, form: &str) {
        for (name, value) in url::form_urlencoded::parse(form.as_bytes()) {
            if names_a_secret(&name) {
                self.note_own(&value);
            }
        }
    }

    /// Notes the values in the query of a URL that a server redirects to, as they stand and decoded. With its
    /// signature, anyone can fetch what it is for.
    pub(crate) fn note_query(&self, url: &Url) {
        for pair in url.query().unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or(("", pair));
            // A plus sign is one in most signatures, and in forms alone a space.
            let field = format!("={}", value.replace('+', "%2B"));
            let mut fields = url::form_urlencoded::parse(field.as_bytes());
            let (_, decoded) = fields.next().unwrap_or_default();
            for text in [value, &decoded] {
                if text.len() >= SHORTEST_IN_QUERY && !is_no_signature(name, &decoded) {
                    self.note(text, Origin::Redirect);
                }
            }
        }
    }

    /// Notes the tokens in a body of a token server, whatever it means by them. Returns whether there are any.
    pub(crate) fn note_body(&self, body: &[u8]) -> bool {
        fn walk(secrets: &Secrets, value: &Value, is_secret: bool) -> usize {
            match value {
                Value::String(text) if is_secret => {
                    secrets.note(text, Origin::Server);
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
        crate::json::brief(body).is_ok_and(|json| walk(self, &json, false) > 0)
    }

    fn note(&self, secret: &str, origin: Origin) {
        if secret.trim().is_empty() {
            return;
        }
        let cut = secret.char_indices().nth(LONGEST).map(|(end, _)| end);
        let kept = cut.and_then(|end| secret.get(..end)).unwrap_or(secret);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = match origin {
            Origin::User => &mut known.own,
            Origin::Server => &mut known.tokens,
            Origin::Redirect => &mut known.signatures,
        };
        if queue.note(kept) {
            known.forms = None;
        }
    }

    /// Returns `text` with `***` for each secret in it: in any case of letters, also with characters as URLs, JSON
    /// and HTML encode them, or in base64. Of a long text it returns the first [`LONGEST`] characters, with a mark.
    pub(crate) fn hide(&self, text: &str) -> String {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.hide(text, &mut || {})
    }
}

impl Known {
    /// As [`Secrets::hide`]. `compare` is called for each comparison of a character with those of secrets.
    fn hide(&mut self, text: &str, compare: &mut impl FnMut()) -> String {
        let given = self.tokens.secrets.iter().chain(&self.signatures.secrets);
        let secrets = self.own.secrets.iter().chain(given);
        let forms = self.forms.get_or_insert_with(|| Forms::of(secrets));
        let cut = text.char_indices().nth(LONGEST).map(|(end, _)| end);
        let end = cut.unwrap_or(text.len());
        let mut shown = String::with_capacity(end);
        let (mut at, mut before) = (0, None);
        // A secret that begins before the end is recognized by what is behind it as well.
        while at < end
            && let Some(first) = text.get(at..).and_then(|rest| rest.chars().next())
        {
            let found = forms.found_at(text, at, before, compare);
            let next = found.unwrap_or(at + first.len_utf8());
            let taken = text.get(at..next).unwrap_or_default();
            shown.push_str(if found.is_some() { HIDDEN } else { taken });
            before = taken.chars().next_back();
            at = next;
        }
        if cut.is_some() {
            shown.push_str(CUT);
        }
        shown
    }
}

/// Secrets and their encodings that have another alphabet, in lower case and sorted: those with one beginning are
/// compared together.
struct Forms {
    /// Those that are recognized as a whole alone.
    short: Vec<String>,
    /// Those of [`LONG`] characters or more.
    long: Vec<String>,
}

/// Forms with one beginning, and where in a text it ends.
struct Branch<'a> {
    forms: &'a [String],
    /// Bytes of the beginning.
    length: usize,
    /// Characters of it.
    count: usize,
    end: usize,
}

impl Forms {
    fn of<'a>(secrets: impl Iterator<Item = &'a String>) -> Self {
        let mut all = Vec::new();
        for secret in secrets {
            all.push(secret.to_ascii_lowercase());
            if secret.len() >= SHORTEST {
                all.push(STANDARD_NO_PAD.encode(secret).to_ascii_lowercase());
                all.push(URL_SAFE_NO_PAD.encode(secret).to_ascii_lowercase());
            }
        }
        all.sort_unstable();
        all.dedup();
        let is_long = |form: &String| form.chars().nth(LONG - 1).is_some();
        let (long, short) = all.into_iter().partition(is_long);
        Self { short, long }
    }

    /// Returns where the longest secret ends that begins at `start` of `text`. `before` is the character before it.
    fn found_at(
        &self,
        text: &str,
        start: usize,
        before: Option<char>,
        compare: &mut impl FnMut(),
    ) -> Option<usize> {
        let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let is_word = |end: usize| {
            let after = text.get(end..).and_then(|after| after.chars().next());
            !is_letter(before) && !is_letter(after)
        };
        let is_short = |branch: &Branch<'_>| {
            let whole = branch.forms.first().map(String::len);
            whole == Some(branch.length) && (branch.count >= SHORTEST || is_word(branch.end))
        };
        let is_long = |branch: &Branch<'_>| branch.count >= BEGINNING;
        let mut longest = None;
        // As it stands as well: a secret may itself look encoded.
        for read in [unescaped, |_: &str| None] {
            let short = longest_in(&self.short, text, start, read, is_short, compare);
            let long = longest_in(&self.long, text, start, read, is_long, compare);
            longest = longest.max(short).max(long);
        }
        longest
    }
}

/// Returns where the longest beginning ends that `is_found` takes. `read` returns an encoded character and its length.
fn longest_in(
    forms: &[String],
    text: &str,
    start: usize,
    read: fn(&str) -> Option<(char, usize)>,
    is_found: impl Fn(&Branch<'_>) -> bool,
    compare: &mut impl FnMut(),
) -> Option<usize> {
    let mut longest = None;
    let mut waiting = Vec::new();
    let mut next = Some(Branch {
        forms,
        length: 0,
        count: 0,
        end: start,
    });
    while let Some(branch) = next.take().or_else(|| waiting.pop()) {
        if is_found(&branch) {
            longest = longest.max(Some(branch.end));
        }
        let rest = text.get(branch.end..).unwrap_or_default();
        let lower = |(c, length): (char, usize)| (c.to_ascii_lowercase(), length);
        let plain = rest.chars().next().map(|c| lower((c, c.len_utf8())));
        let encoded = read(rest).map(lower);
        let is_other = plain.map(|(c, _)| c) != encoded.map(|(c, _)| c);
        for (c, length) in encoded.into_iter().chain(plain.filter(|_| is_other)) {
            compare();
            let forms = continued(branch.forms, branch.length, c);
            if forms.is_empty() {
                continue;
            }
            let branch = Branch {
                forms,
                length: branch.length + c.len_utf8(),
                count: branch.count + 1,
                end: branch.end + length,
            };
            match next {
                None => next = Some(branch),
                Some(_) => waiting.push(branch),
            }
        }
    }
    longest
}

/// Returns those of `forms`, whose first `length` bytes are equal, in which `c` follows.
fn continued(forms: &[String], length: usize, c: char) -> &[String] {
    fn rest(form: &str, length: usize) -> &[u8] {
        form.as_bytes().get(length..).unwrap_or_default()
    }
    let mut buffer = [0; 4];
    let c = c.encode_utf8(&mut buffer).as_bytes();
    let first = forms.partition_point(|form| rest(form, length) < c);
    let found = forms.get(first..).unwrap_or_default();
    let count = found.partition_point(|form| rest(form, length).starts_with(c));
    found.get(..count).unwrap_or_default()
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

/// Whether a value of a query is what texts may show: a date, the name of an algorithm, or a URL, which is redacted as such.
fn is_no_signature(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with("date") || name.ends_with("algorithm") || value.contains("://")
}

/// Returns the character that stands encoded at the start of `text`, as in a URL, a form, JSON or HTML, and its length.
fn unescaped(text: &str) -> Option<(char, usize)> {
    match text.as_bytes().first()? {
        b'%' => of_url(text),
        b'+' => Some((' ', 1)),
        b'\\' => of_json(text),
        b'&' => of_html(text),
        _ => None,
    }
}

fn of_url(text: &str) -> Option<(char, usize)> {
    let byte = |n: usize| {
        let digits = text.get(3 * n..3 * n + 3)?.strip_prefix('%')?;
        u8::try_from(hexadecimal(digits)?).ok()
    };
    let length = match byte(0)? {
        0..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
    };
    let mut buffer = [0; 4];
    let bytes = buffer.get_mut(..length)?;
    for (n, place) in bytes.iter_mut().enumerate() {
        *place = byte(n)?;
    }
    let c = std::str::from_utf8(bytes).ok()?.chars().next()?;
    Some((c, 3 * length))
}

fn of_json(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = without_start(text.get(at..at + 6)?, "\\u")?;
        u16::try_from(hexadecimal(digits)?).ok()
    };
    if let Some(first) = unit(0) {
        let units = [Some(first), unit(6)].into_iter().flatten();
        let c = char::decode_utf16(units).next()?.ok()?;
        return Some((c, 6 * c.len_utf16()));
    }
    if let Some(braced) = without_start(text, "\\u{") {
        let digits = until(braced, b'}')?;
        let c = char::from_u32(hexadecimal(digits)?)?;
        return Some((c, digits.len() + 4));
    }
    if let Some(digits) = text.get(..4).and_then(|start| without_start(start, "\\x")) {
        return Some((char::from_u32(hexadecimal(digits)?)?, 4));
    }
    let quoted = text.chars().nth(1)?;
    let is_quoted = !quoted.is_alphanumeric() && !quoted.is_control();
    is_quoted.then_some((quoted, 1 + quoted.len_utf8()))
}

fn of_html(text: &str) -> Option<(char, usize)> {
    let name = until(text.get(1..)?, b';')?;
    let named = [
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
    ];
    let named = named
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known));
    let c = match (named, without_start(name, "#x"), name.strip_prefix('#')) {
        (Some((_, c)), _, _) => *c,
        (None, Some(digits), _) => char::from_u32(hexadecimal(digits)?)?,
        (None, None, Some(digits)) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            char::from_u32(digits.parse().ok()?)?
        }
        _ => return None,
    };
    Some((c, name.len() + 2))
}

/// Returns the text before `end`, of at most the length that a number of a character has.
fn until(text: &str, end: u8) -> Option<&str> {
    let length = text.bytes().take(10).position(|byte| byte == end)?;
    text.get(..length)
}

/// Returns `text` without `start`, which may be in another case.
fn without_start<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let (found, rest) = text.split_at_checked(start.len())?;
    found.eq_ignore_ascii_case(start).then_some(rest)
}

fn hexadecimal(digits: &str) -> Option<u32> {
    let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    are_digits.then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests;
