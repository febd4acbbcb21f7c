//! `WWW-Authenticate`: the credentials that a registry requires.
//!
//! A header holds one or several challenges, a response one or several headers; commas separate
//! both challenges and parameters, and stand inside quoted values as well (RFC 9110, 11.6.1).

/// Most bytes of a header that are looked at.
pub(super) const LONGEST: usize = 64 << 10;
/// Most challenges that count.
pub(super) const MOST: usize = 32;
/// Most parameters of a challenge that count.
const MOST_PARAMETERS: usize = 32;

/// One challenge of a `WWW-Authenticate` header.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Challenge {
    /// `basic`, `bearer`; always lower case.
    pub scheme: String,
    /// Names in lower case, values without quotes.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Parses all challenges of one header, in order. An invalid part ends the list.
    ///
    /// Of a header the first 64 KiB count, of those 32 challenges, and of each 32 parameters.
    ///
    /// ```
    /// let header = r#"Basic realm="a, b", Bearer realm="https://auth.example/token""#;
    /// let challenges = ociget::Challenge::parse(header);
    /// assert_eq!(challenges[1].get("realm"), Some("https://auth.example/token"));
    /// ```
    #[must_use]
    pub fn parse(header: &str) -> Vec<Self> {
        parse(header)
    }

    /// Returns the first non-empty value of a parameter, by its name in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Returns why no token server can be taken from the realm, which is not quoted because its query may be a secret.
    pub(super) fn fault_of_realm(&self) -> &'static str {
        match self.get("realm") {
            None => "its challenge names no token server (realm)",
            Some(realm) if realm.starts_with('\'') => {
                "its challenge has the URL of the token server (realm) in single quotes, \
                 where HTTP has double ones; ask the registry's operator"
            }
            Some(_) => {
                "its challenge names a token server (realm) whose URL is not absolute; \
                 ask the registry's operator"
            }
        }
    }
}

fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let cut = header.char_indices().nth(LONGEST).map(|(end, _)| end);
    let mut rest = cut.and_then(|end| header.get(..end)).unwrap_or(header);
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            return challenges;
        }
        let spaced = after.trim_start_matches([' ', '\t']);
        let is_full = challenges.len() == MOST;
        match (spaced.strip_prefix('='), challenges.last_mut()) {
            // `name = value` belongs to the challenge before it. A scheme is never followed by `=`.
            (Some(value), Some(challenge)) => {
                let Some((value, after)) = parameter_value(value.trim_start_matches([' ', '\t']))
                else {
                    return challenges;
                };
                if challenge.parameters.len() < MOST_PARAMETERS {
                    let name = word.to_ascii_lowercase();
                    challenge.parameters.push((name, value));
                }
                rest = after;
            }
            (Some(_), None) => return challenges,
            (None, _) if is_full => return challenges,
            (None, _) => {
                challenges.push(Challenge {
                    scheme: word.to_ascii_lowercase(),
                    parameters: Vec::new(),
                });
                rest = skip_token68(spaced);
            }
        }
    }
}

/// The longest token at the start, and what follows it.
fn token(text: &str) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|b| !(b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// A token or a quoted string. Values out of quotes run to the next comma or space, since
/// registries leave the quotes off URLs too.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// `Negotiate YII/+==` carries a blob in place of parameters. It has no `=` but at its end.
fn skip_token68(text: &str) -> &str {
    let (word, after) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
    let is_blob = !word.trim_end_matches('=').contains(['=', '"']);
    let is_name = after.trim_start_matches([' ', '\t']).starts_with('=');
    if is_blob && !is_name { after } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scheme k=v k=v | scheme`
    fn flat(header: &str) -> String {
        let one = |challenge: &Challenge| {
            let mut words = vec![challenge.scheme.clone()];
            words.extend(challenge.parameters.iter().map(|(k, v)| format!("{k}={v}")));
            words.join(" ")
        };
        let all: Vec<String> = parse(header).iter().map(one).collect();
        all.join(" | ")
    }

    #[test]
    fn every_shape_of_a_challenge_is_read() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull""#,
                "bearer realm=https://auth.docker.io/token service=registry.docker.io scope=repository:library/alpine:pull",
            ),
            (r#"Basic realm="x""#, "basic realm=x"),
            ("BASIC", "basic"),
            ("bAsIc REALM=plain", "basic realm=plain"),
            (
                r#"Bearer realm = "a" , service = b"#,
                "bearer realm=a service=b",
            ),
            (
                r#"Bearer scope="repository:a:pull,push",realm=https://h/t"#,
                "bearer scope=repository:a:pull,push realm=https://h/t",
            ),
            (r#"Bearer realm="a\"b\\c""#, r#"bearer realm=a"b\c"#),
            (
                r#"Basic realm="b", Bearer realm="t",service="s""#,
                "basic realm=b | bearer realm=t service=s",
            ),
            (r#"Negotiate, Basic realm="b""#, "negotiate | basic realm=b"),
            (
                r#"Negotiate YIIabc/+==, Basic realm="b""#,
                "negotiate | basic realm=b",
            ),
            (r#", ,Basic realm="b",, "#, "basic realm=b"),
            (r#"Bearer realm="unterminated"#, "bearer"),
            (r#"realm="no scheme""#, ""),
            ("", ""),
            (r#"Basic realm="é""#, "basic realm=é"),
            (
                r#"Bearer realm="t" error="insufficient_scope""#,
                "bearer realm=t error=insufficient_scope",
            ),
        ] {
            assert_eq!(flat(header), expected, "{header}");
        }
    }

    #[test]
    fn header_of_any_length_gives_few_challenges() {
        let parameters = |header: &str| {
            let all = parse(header).into_iter();
            all.map(|challenge| challenge.parameters.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(parameters(&"a ".repeat(250_000)), [0; MOST]);
        let many = format!("bearer {}, basic realm=b", "a=b,".repeat(1000));
        assert_eq!(parameters(&many), [MOST_PARAMETERS, 1]);
        let long = format!("bearer a=\"{}\", basic realm=b", "é".repeat(LONGEST));
        assert_eq!(parameters(&long), [0]);
    }

    #[test]
    fn an_empty_parameter_counts_as_none() {
        assert_eq!(
            parse(r#"Bearer service="",service="s""#)[0].get("service"),
            Some("s")
        );
        assert_eq!(parse(r#"Bearer service="""#)[0].get("service"), None);
    }

    #[test]
    fn realm_that_cannot_be_used_is_not_called_missing() {
        for (header, says) in [
            ("Bearer service=x", "names no token server"),
            (r#"Bearer realm="/token""#, "whose URL is not absolute"),
            ("Bearer realm='https://a.io/t'", "in single quotes"),
        ] {
            let fault = parse(header)[0].fault_of_realm();
            assert!(fault.contains(says), "{header}: {fault}");
        }
    }
}
