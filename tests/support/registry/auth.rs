//! Who may pull, and the token server beside the registry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::{Shared, State};

/// Login that the registry requires of its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    Anonymous,
    /// A user's name and password with every request.
    Basic {
        /// The one user.
        user: String,
        /// Their password.
        password: String,
    },
    /// A token from `/token`, which names the repository and `pull`.
    Bearer {
        /// Basic credentials that the token server requires; `None` gives tokens to anyone.
        user: Option<(String, String)>,
    },
}

/// Why a request may not pass: status, challenge, and the registry's error code.
pub(super) struct Refusal {
    pub(super) challenge: String,
    pub(super) code: &'static str,
}

impl Shared {
    /// Returns whether a request for `repository` (none for `/v2/` itself) may pass.
    pub(super) fn authorize(
        &self,
        headers: &HeaderMap,
        repository: Option<&str>,
    ) -> Result<(), Refusal> {
        match &self.auth {
            Auth::Anonymous => Ok(()),
            Auth::Basic { user, password } => {
                if basic(headers).as_ref() == Some(&(user.clone(), password.clone())) {
                    return Ok(());
                }
                Err(Refusal {
                    challenge: "Basic realm=\"test registry\"".into(),
                    code: "UNAUTHORIZED",
                })
            }
            Auth::Bearer { .. } => self.authorize_token(headers, repository),
        }
    }

    fn authorize_token(
        &self,
        headers: &HeaderMap,
        repository: Option<&str>,
    ) -> Result<(), Refusal> {
        let scope = repository.map(|name| format!("repository:{name}:pull"));
        let token = credentials(headers, "bearer");
        let scopes = token.and_then(|token| self.state().scopes(&token));
        let error = match (&scopes, &scope) {
            (Some(_), None) => return Ok(()),
            (Some(granted), Some(scope)) if granted.split(' ').any(|s| s == scope) => return Ok(()),
            (Some(_), Some(_)) => ",error=\"insufficient_scope\"",
            (None, _) => "",
        };
        let scope = scope.map_or(String::new(), |scope| format!(",scope=\"{scope}\""));
        Err(Refusal {
            challenge: format!(
                "Bearer realm=\"{}://{}/token\",service=\"test registry\"{scope}{error}",
                self.scheme, self.addr
            ),
            code: "UNAUTHORIZED",
        })
    }

    /// Returns a fresh token, unless the credentials are not those asked for.
    pub(super) fn issue_token(&self, headers: &HeaderMap, query: &str) -> Option<String> {
        if let Auth::Bearer { user: Some(user) } = &self.auth
            && basic(headers).as_ref() != Some(user)
        {
            return None;
        }
        let scopes: Vec<String> = query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("scope="))
            .map(percent_decode)
            .collect();
        let mut state = self.state();
        state.tokens_issued += 1;
        // Not a JWT, and with characters that only an opaque treatment survives.
        let token = format!("token/{}+x==", state.tokens_issued);
        state.all_tokens.insert(token.clone());
        state.tokens.insert((token.clone(), scopes.join(" ")));
        Some(token)
    }
}

impl State {
    fn scopes(&self, token: &str) -> Option<String> {
        let mut all = self.tokens.iter();
        all.find(|(known, _)| known == token)
            .map(|(_, scopes)| scopes.clone())
    }
}

/// What follows the scheme in the Authorization header.
pub(super) fn credentials(headers: &HeaderMap, scheme: &str) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (found, rest) = value.split_once(' ')?;
    found
        .eq_ignore_ascii_case(scheme)
        .then(|| rest.trim().to_owned())
}

pub(super) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let decoded = STANDARD.decode(credentials(headers, "basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.into(), password.into()))
}

fn percent_decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next().unwrap_or(b'0')).to_digit(16);
                let (high, low) = (digit().unwrap_or(0), digit().unwrap_or(0));
                u8::try_from(high * 16 + low).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
