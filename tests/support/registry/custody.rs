//! Which secrets may come to a registry, looked at on every request.
//!
//! A password belongs to the registry that has its user, or to the token server of it; a token to
//! the registry that it was issued for. A wrong password of the right user is no stray: it was meant
//! for this place.

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, COOKIE};

use super::auth::{basic, credentials};
use super::{Auth, Shared, State};

impl Shared {
    /// What a request brings that is not for here, in words; `state` is the locked one.
    pub(super) fn stray(&self, state: &State, path: &str, headers: &HeaderMap) -> Option<String> {
        let secret = match &self.auth {
            Auth::Basic { password, .. } => Some(password),
            Auth::Bearer { user } => user.as_ref().map(|(_, password)| password),
            Auth::Anonymous => None,
        };
        if secret.is_some_and(|secret| path.contains(secret)) {
            return Some(format!("{path}: a password in the URL"));
        }
        if headers.contains_key(COOKIE) {
            return Some(format!("{path}: a cookie"));
        }
        if !headers.contains_key(AUTHORIZATION) || self.is_at_home(state, path, headers) {
            return None;
        }
        Some(format!("{path}: {:?}", headers.get_all(AUTHORIZATION)))
    }

    fn is_at_home(&self, state: &State, path: &str, headers: &HeaderMap) -> bool {
        let login = basic(headers);
        // The form in which skopeo sends no user.
        if login == Some((String::new(), String::new())) {
            return true;
        }
        let user = login.map(|(user, _)| user);
        let to_token_server = path.starts_with("/token");
        headers.get_all(AUTHORIZATION).iter().count() == 1
            && match &self.auth {
                Auth::Anonymous => false,
                Auth::Basic { user: known, .. } => user.as_ref() == Some(known) && !to_token_server,
                Auth::Bearer { user: known } if to_token_server => {
                    known.is_some() && user == known.as_ref().map(|(known, _)| known.clone())
                }
                Auth::Bearer { .. } => credentials(headers, "bearer")
                    .is_some_and(|token| state.all_tokens.contains(&token)),
            }
    }
}
