//! The `Link` header of RFC 8288, as far as pages of a list use it.

use http::header::{self, HeaderMap};

use url::Url;

use crate::error::Error;
use crate::header_url;
use crate::target;

/// Returns the target of the link to the next page, if there is one.
///
/// A link without a relation counts as one to the next page, because nothing else is linked to from a
/// list. Some versions of Quay send the target without angle brackets.
pub(super) fn next(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::LINK)
        .iter()
        .map(header_url::text)
        .flat_map(|value| {
            let links = split(&value, ',').into_iter().map(str::to_owned);
            links.collect::<Vec<_>>()
        })
        .find_map(|link| {
            let mut parts = split(&link, ';').into_iter();
            let target = parts.next()?.trim();
            let relations: Vec<&str> = parts.filter_map(relation).collect();
            let is_next = relations.is_empty()
                || relations
                    .iter()
                    .flat_map(|words| words.split_ascii_whitespace())
                    .any(|word| word.eq_ignore_ascii_case("next"));
            let bare = target
                .strip_prefix('<')
                .and_then(|target| target.strip_suffix('>'))
                .unwrap_or(target);
            is_next.then(|| bare.trim().to_owned())
        })
}

/// Returns the URL of the next page, which is always at the registry that sent `asked`.
///
/// The target may be relative. A reverse proxy that ends TLS makes registries write links with another
/// scheme or port than the one they are reached at, so that of a link to the same host only path and
/// query are used.
///
/// # Errors
/// Returns [`Error::Forbidden`] if the target is at another host, and [`Error::Protocol`] if it is empty
/// or not a URL.
pub(super) fn follow(target: &str, asked: &Url) -> Result<Url, Error> {
    let invalid = || {
        let reason = "its Link header has no URL for the next page";
        Error::protocol(target::shown(asked), reason)
    };
    if target.is_empty() {
        return Err(invalid());
    }
    let found = asked.join(target).map_err(|_| invalid())?;
    if !matches!(found.scheme(), "http" | "https") || found.host() != asked.host() {
        return Err(Error::Forbidden {
            url: target::shown(asked),
            target: target::shown(&found),
            reason: "a list continues at the host that it began at".to_owned(),
        });
    }
    let mut next = asked.clone();
    next.set_path(found.path());
    next.set_query(found.query());
    next.set_fragment(None);
    // A mirror of several registries has to know which one is meant, on every page.
    let namespace = |url: &Url| {
        url.query_pairs()
            .find(|(name, _)| name == "ns")
            .map(|(_, ns)| ns.into_owned())
    };
    if let (Some(ns), None) = (namespace(asked), namespace(&next)) {
        next.query_pairs_mut().append_pair("ns", &ns);
    }
    Ok(next)
}

/// Returns the value of a parameter `rel`, without quotes.
fn relation(parameter: &str) -> Option<&str> {
    let (name, value) = parameter.split_once('=')?;
    name.trim()
        .eq_ignore_ascii_case("rel")
        .then(|| value.trim().trim_matches('"'))
}

/// Splits `text` at `separator`, except within angle brackets and quotation marks.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut in_brackets, mut in_quotes) = (0, false, false);
    for (at, found) in text.char_indices() {
        match found {
            '"' if !in_brackets => in_quotes = !in_quotes,
            '<' if !in_quotes => in_brackets = true,
            '>' if !in_quotes => in_brackets = false,
            _ if found == separator && !in_brackets && !in_quotes => {
                parts.push(&text[start..at]);
                start = at + found.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    fn next_of(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::LINK, HeaderValue::try_from(*value).unwrap());
        }
        next(&headers)
    }

    #[test]
    fn next_link_is_found_in_every_form() {
        for (values, expected) in [
            (&[][..], None),
            (
                &["</v2/a/tags/list?last=b&n=2>; rel=\"next\""],
                Some("/v2/a/tags/list?last=b&n=2"),
            ),
            (&["</x>;rel=next"], Some("/x")),
            (
                &["</x>; title=\"a, b; rel=prev\"; REL=\"Next\""],
                Some("/x"),
            ),
            (
                &["</p>; rel=\"prev\", </x?a=1,2>; rel=\"next\""],
                Some("/x?a=1,2"),
            ),
            (&["</p>; rel=prev", "</x>; rel=\"last next\""], Some("/x")),
            (&["</p>; rel=\"prev\""], None),
            (&["</x>"], Some("/x")),
            // heroku/docker-registry-client#11
            (
                &["/v2/a/tags/list?next_page=z&n=50; rel=\"next\""],
                Some("/v2/a/tags/list?next_page=z&n=50"),
            ),
            // google/go-containerregistry#2332
            (&["<>; rel=\"next\""], Some("")),
        ] {
            assert_eq!(next_of(values).as_deref(), expected, "{values:?}");
        }
    }

    #[test]
    fn page_of_a_mirror_keeps_the_name_of_its_registry() {
        let asked = Url::parse("https://m.example/v2/a/tags/list?n=2&ns=reg.example").unwrap();
        for (target, expected) in [
            ("?last=b", "last=b&ns=reg.example"),
            ("?last=b&ns=other", "last=b&ns=other"),
        ] {
            assert_eq!(follow(target, &asked).unwrap().query(), Some(expected));
        }
    }

    #[test]
    fn next_page_stays_at_the_host_of_the_first() {
        let asked = Url::parse("https://reg.example:5000/v2/a/tags/list?n=2").unwrap();
        for (target, expected) in [
            (
                "/v2/a/tags/list?last=b",
                Some("https://reg.example:5000/v2/a/tags/list?last=b"),
            ),
            (
                "?last=b",
                Some("https://reg.example:5000/v2/a/tags/list?last=b"),
            ),
            (
                "list?last=b#x",
                Some("https://reg.example:5000/v2/a/tags/list?last=b"),
            ),
            (
                "https://reg.example:5000/v2/x?y",
                Some("https://reg.example:5000/v2/x?y"),
            ),
            (
                "http://reg.example/v2/x?y",
                Some("https://reg.example:5000/v2/x?y"),
            ),
            (
                "http://u:p@reg.example/v2/x",
                Some("https://reg.example:5000/v2/x"),
            ),
            ("https://other.example/v2/x", None),
            ("//169.254.169.254/latest", None),
            ("https://reg.example.evil/v2/x", None),
            ("file:///etc/passwd", None),
            ("http://[", None),
            ("", None),
        ] {
            let next = follow(target, &asked).ok().map(String::from);
            assert_eq!(next.as_deref(), expected, "{target}");
        }
    }
}
