//! User names, passwords and signatures in references and URLs: found, and replaced by `***`.

/// Replacement for a secret.
const HIDDEN: &str = "***";

/// Schemes that may stay before a hidden user name. Any other word there may be part of a secret.
const SCHEMES: [&str; 6] = [
    "docker://",
    "https://",
    "http://",
    "oci://",
    "socks5://",
    "socks5h://",
];

/// Returns a reference or a URL without credentials: everything before the last `@` that no digest
/// follows, and the query, become `***`.
///
/// A name before such an `@` is hidden as well, because some registries take a token as the user.
///
/// ```
/// use ociget::printable::redacted;
///
/// assert_eq!(redacted("docker://bob:secret@h:5000/app:v1"), "docker://***@h:5000/app:v1");
/// assert_eq!(redacted("h/app@sha256:0123"), "h/app@sha256:0123");
/// ```
#[must_use]
pub fn redacted(text: &str) -> String {
    let scheme = SCHEMES.iter().find_map(|scheme| {
        let start = text.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(start)
    });
    let scheme = scheme.unwrap_or_default();
    let rest = text.get(scheme.len()..).unwrap_or_default();
    let (hidden, shown) = match secret_end(rest) {
        Some(end) => (HIDDEN, rest.get(end..).unwrap_or_default()),
        None => ("", rest),
    };
    let (shown, query) = match shown.split_once('?') {
        Some((shown, _)) => (shown, format!("?{HIDDEN}")),
        None => (shown, String::new()),
    };
    format!("{scheme}{hidden}{shown}{query}")
}

/// Whether a reference holds what could be credentials.
pub(crate) fn has_credentials(reference: &str) -> bool {
    secret_end(reference).is_some()
}

/// Redacts the URLs in a text, which end where a space or a quotation mark does.
pub(super) fn without_secrets_of_urls(text: &str) -> String {
    if !text.contains("://") {
        return text.to_owned();
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>');
    let mut clean = String::with_capacity(text.len());
    for piece in text.split_inclusive(ends) {
        let word = piece.trim_end_matches(ends);
        let end = piece.get(word.len()..).unwrap_or_default();
        match word.split_once("://") {
            Some((scheme, rest)) => {
                // Punctuation at the end is the text's, and is kept where a query is hidden.
                let url = rest.trim_end_matches([')', ']', '}', ',', ';', ':', '.', '!']);
                let after = rest.get(url.len()..).unwrap_or_default();
                // Whatever the scheme, the rest is what `redacted` takes for a URL.
                let shown = redacted(&format!("https://{url}"));
                let shown = shown.strip_prefix("https").unwrap_or_default();
                clean.extend([scheme, shown, after]);
            }
            None => clean.push_str(word),
        }
        clean.push_str(end);
    }
    clean
}

/// Where credentials end: the last `@`, plain or percent-encoded, that no digest follows. Its own
/// offset, in bytes.
fn secret_end(text: &str) -> Option<usize> {
    // A query may hold addresses of people, and is hidden anyway. A password may hold a question mark:
    // then the `@` comes after it, and all of the text counts.
    let plain = text.rmatch_indices('@').map(|(at, _)| (at, 1));
    let encoded = text.rmatch_indices("%40").map(|(at, _)| (at, 3));
    let mut found: Vec<_> = plain.chain(encoded).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    let is_secret = |(at, length): &(usize, usize)| {
        let after = text.get(at + length..).unwrap_or_default();
        !is_digest(after.split('@').next().unwrap_or_default()) && !is_tag(&text[..*at], after)
    };
    found.into_iter().find(is_secret).map(|(at, _)| at)
}

/// Whether a text is meant as a digest, rightly or not. A host is not, whatever its port.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else {
        return false;
    };
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let number = algorithm.strip_prefix("sha");
    let is_sha = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    !algorithm.is_empty() && is_word(algorithm) && is_word(digits) && (is_sha || digits.len() >= 32)
}

/// Whether this is `name@tag`, a slip for `name:tag`, in which nothing is secret.
fn is_tag(before: &str, after: &str) -> bool {
    let is_name = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'/'))
    };
    // Names of hosts that are one word without a dot are rarer than this slip.
    is_name(before)
        && before.len() < 24
        && !after.is_empty()
        && after
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
