//! Bearer tokens: asked for at the realm that a challenge names, kept until they expire.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::auth::basic;
use crate::auth::challenge::Challenge;
use crate::clock;
use crate::credentials::login::{Login, Secret};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::retry::{self, Retry};
use crate::target;
use crate::transport::{Request, Transport};

/// Most bytes of a token server's answer.
const MAX_TOKEN: u64 = 1 << 20;
/// How long a token lives whose server does not say.
const DEFAULT_LIFE: u64 = 60;
/// Names us to token servers that want to know.
const CLIENT_ID: &str = "ociget";

/// Where tokens come from, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenServer {
    realm: Url,
    service: Option<String>,
    scopes: Scopes,
}

/// A token, until when it is worth sending.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    pub(crate) expires: Instant,
}

impl TokenServer {
    /// From a challenge of the registry `home`.
    ///
    /// `wanted` is the scope we know that we need; it is asked for where the challenge names
    /// none. What `self` asked for before is asked for again with it.
    pub(crate) fn from_challenge(
        challenge: &Challenge,
        home: &Endpoint,
        wanted: &str,
        before: Option<&Self>,
    ) -> Result<Self, Error> {
        let realm = challenge.get("realm").unwrap_or_default();
        let realm = Url::parse(realm).map_err(|_| {
            Error::protocol(
                target::shown(&home.base),
                "its challenge names no token server (realm)",
            )
        })?;
        home.check(&realm, &home.base)?;
        let mut scopes = before
            .map(|before| before.scopes.clone())
            .unwrap_or_default();
        scopes.add(challenge.get("scope").unwrap_or(wanted));
        Ok(Self {
            realm,
            service: challenge.get("service").map(str::to_owned),
            scopes,
        })
    }

    /// Where it is, as it may be printed.
    pub(crate) fn shown(&self) -> String {
        target::shown(&self.realm)
    }

    /// Asks for a token.
    pub(crate) async fn fetch(
        &self,
        transport: &Transport,
        home: &Endpoint,
        login: &Login,
        patience: Retry,
    ) -> Result<Token, Error> {
        if let Secret::Identity(refresh) = &login.secret {
            let mut request = Request::get(self.realm.clone(), home);
            request.method = Method::POST;
            request.form = Some(self.form(refresh));
            match self.ask(transport, &request, login, patience.clone()).await {
                // Token servers without OAuth know the GET alone.
                Err(Error::NotFound(_)) => {}
                Err(Error::Registry(refusal)) if refusal.status == 405 => {}
                outcome => return outcome,
            }
        }
        let mut request = Request::get(self.url(), home);
        request.authorization = match &login.secret {
            Secret::Password { user, password } => basic::header(user, password),
            // By convention an identity token is the password of this user.
            Secret::Identity(token) => basic::header("<token>", token),
            Secret::None | Secret::Registry(_) => None,
        };
        self.ask(transport, &request, login, patience).await
    }

    async fn ask(
        &self,
        transport: &Transport,
        request: &Request<'_>,
        login: &Login,
        mut retry: Retry,
    ) -> Result<Token, Error> {
        loop {
            // Taken before the request, so that its way here shortens the life of the token.
            let asked = Instant::now();
            let mut answer = retry::send(transport, request, &mut retry).await?;
            if answer.status() != StatusCode::OK {
                return Err(retry::refuse(answer, login.to_string()).await);
            }
            let Some(body) = retry::read(&mut answer, MAX_TOKEN, &mut retry).await? else {
                continue;
            };
            return parse_token(&body, asked)
                .ok_or_else(|| Error::protocol(&answer.asked, "its answer holds no token"));
        }
    }

    fn url(&self) -> Url {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &self.service {
                query.append_pair("service", service);
            }
            for scope in self.scopes.lines() {
                query.append_pair("scope", &scope);
            }
        }
        url
    }

    fn form(&self, refresh_token: &str) -> String {
        // An URL's query is the one place of this crate's dependencies that encodes forms.
        let mut url = self.realm.clone();
        let scope: Vec<String> = self.scopes.lines().collect();
        url.query_pairs_mut()
            .clear()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", self.service.as_deref().unwrap_or_default())
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", &scope.join(" "))
            .append_pair("refresh_token", refresh_token);
        url.query().unwrap_or_default().to_owned()
    }
}

/// The header for a token; `None` if it cannot be one.
pub(crate) fn header(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn parse_token(body: &[u8], asked: Instant) -> Option<Token> {
    #[derive(Deserialize)]
    struct Body {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<f64>,
        issued_at: Option<String>,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    let filled = |token: Option<String>| token.filter(|token| !token.is_empty());
    let token = filled(body.token).or_else(|| filled(body.access_token))?;
    let life = body.expires_in.filter(|life| *life >= 1.0);
    let life = life.map_or(Duration::from_secs(DEFAULT_LIFE), |life| {
        Duration::from_secs_f64(life.min(86_400.0))
    });
    // A token server that hands out kept ones says since when. A clock that is off, theirs or
    // ours, must not make a token immortal or dead at once.
    let age = body
        .issued_at
        .and_then(|text| clock::rfc3339(&text))
        .and_then(|issued| SystemTime::now().duration_since(issued).ok())
        .filter(|age| *age < life)
        .unwrap_or_default();
    let life = life.saturating_sub(age);
    Some(Token {
        header: header(&token)?,
        // Not to be sent in the moment in which it expires.
        expires: asked + life.mul_f32(0.9),
    })
}

/// What a token allows: actions by resource, so that scopes merge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    /// Adds scopes separated by spaces: `repository:a/b:pull,push registry:catalog:*`.
    fn add(&mut self, text: &str) {
        for scope in text.split_ascii_whitespace() {
            let (resource, actions) = scope.rsplit_once(':').unwrap_or((scope, ""));
            let known = self.0.entry(resource.to_owned()).or_default();
            known.extend(
                actions
                    .split(',')
                    .filter(|a| !a.is_empty())
                    .map(str::to_owned),
            );
        }
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(resource, actions)| {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            match actions[..] {
                [] => resource.clone(),
                _ => format!("{resource}:{}", actions.join(",")),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(header: &str, before: Option<&TokenServer>) -> Result<TokenServer, Error> {
        let home = Endpoint::origin("reg.example", &crate::options::Options::default()).unwrap();
        let challenge = &Challenge::parse(header)[0];
        TokenServer::from_challenge(challenge, &home, "repository:app:pull", before)
    }

    #[test]
    fn what_is_asked_of_a_token_server() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://a.io/t",service="s s""#,
                "https://a.io/t?service=s+s&scope=repository%3Aapp%3Apull",
            ),
            (
                r#"Bearer realm="https://a.io/t?x=1",scope="repository:b:push,pull""#,
                "https://a.io/t?x=1&scope=repository%3Ab%3Apull%2Cpush",
            ),
        ] {
            assert_eq!(server(header, None).unwrap().url().as_str(), expected);
        }
        let first = server(
            r#"Bearer realm="https://a.io/t",scope="repository:b:pull""#,
            None,
        )
        .unwrap();
        let second = server(
            r#"Bearer realm="https://a.io/t",scope="repository:b:push registry:catalog:*""#,
            Some(&first),
        )
        .unwrap();
        let scopes: Vec<String> = second.scopes.lines().collect();
        assert_eq!(scopes, ["registry:catalog:*", "repository:b:pull,push"]);
    }

    #[test]
    fn a_realm_has_to_be_a_place_where_one_may_go() {
        for header in [
            "Bearer",
            r#"Bearer realm="token""#,
            r#"Bearer realm="http://a.io/t""#,
            r#"Bearer realm="https://127.0.0.1/t""#,
            r#"Bearer realm="https://169.254.169.254/t""#,
            r#"Bearer realm="https://localhost/t""#,
        ] {
            assert!(server(header, None).is_err(), "{header}");
        }
    }

    #[test]
    fn tokens_come_in_several_shapes() {
        let asked = Instant::now();
        for (body, expected) in [
            (r#"{"token":"a"}"#, Some(("Bearer a", 54))),
            (
                r#"{"access_token":"b","expires_in":300}"#,
                Some(("Bearer b", 270)),
            ),
            (
                r#"{"token":"","access_token":"c","expires_in":0}"#,
                Some(("Bearer c", 54)),
            ),
            (
                r#"{"token":"d","access_token":"e","expires_in":-5}"#,
                Some(("Bearer d", 54)),
            ),
            (
                r#"{"token":"f","expires_in":1e300}"#,
                Some(("Bearer f", 77760)),
            ),
            (
                r#"{"token":"g","expires_in":100,"issued_at":"2001-01-01T00:00:00Z"}"#,
                Some(("Bearer g", 90)),
            ),
            (
                r#"{"token":"h","expires_in":100,"issued_at":"2901-01-01T00:00:00Z"}"#,
                Some(("Bearer h", 90)),
            ),
            (r#"{"token":""}"#, None),
            (r#"{"token":"a\nb"}"#, None),
            ("{}", None),
            ("", None),
        ] {
            let token = parse_token(body.as_bytes(), asked);
            let found = token.as_ref().map(|token| {
                let life = (token.expires - asked).as_secs_f32().round();
                (token.header.to_str().unwrap(), life)
            });
            assert_eq!(
                found,
                expected.map(|(header, life)| (header, life as f32)),
                "{body}"
            );
        }
    }
}
