//! Bearer tokens: requested from the realm that a challenge names, and kept until they expire.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use http::header::HeaderValue;
use http::{Method, header};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::auth::basic;
use crate::auth::challenge::Challenge;
use crate::clock;
use crate::credentials::login::{Login, Secret};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::go_document;
use crate::go_json::Keys;
use crate::refusal::{Part, Sender};
use crate::retry::{self, Retry};
use crate::target;
use crate::transport::{Answer, Request, Transport};
use crate::words;

/// Most bytes of a token server's answer.
const MAX_ANSWER: u64 = 1 << 20;
/// Most bytes of a token. Servers take headers of a few KiB.
const MAX_TOKEN: usize = 64 << 10;
/// Most resources in the scope of a token.
const MAX_RESOURCES: usize = 64;
/// Most bytes of the scope of a token. Servers take URLs of a few KiB.
const MAX_SCOPE: usize = 16 << 10;
/// How long a token lives whose server does not say.
const DEFAULT_LIFE: u64 = 60;
/// Names us to token servers that want to know.
const CLIENT_ID: &str = "ociget";

/// The server that issues tokens, and their scope.
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
    /// `wanted` is the scope that the client needs, which it requests if the challenge names
    /// none. The scopes that `before` requested are requested again with it, unless that makes too many. Then only
    /// `wanted` is. It is added if the challenge to a token names no scope that the token was not requested for: some
    /// registries name a placeholder. A challenge to one of its tokens may name no token server (RFC 6750, 3). Then it is
    /// that of `before`.
    pub(crate) fn from_challenge(
        challenge: &Challenge,
        home: &Endpoint,
        wanted: &str,
        before: Option<&Self>,
    ) -> Result<Self, Error> {
        let named = Url::parse(challenge.get("realm").unwrap_or_default());
        let (realm, service) = match (named, before) {
            (Ok(realm), _) => (realm, challenge.get("service").map(str::to_owned)),
            (Err(_), Some(before)) => (before.realm.clone(), before.service.clone()),
            (Err(_), None) => {
                let fault = challenge.fault_of_realm();
                return Err(Error::protocol(target::shown(&home.base), fault));
            }
        };
        home.check(&realm, &home.base)?;
        let demanded = challenge.get("scope").unwrap_or(wanted);
        let of_challenge = Scopes::parse(demanded);
        if !of_challenge.are_few() {
            return Err(Error::protocol(
                target::shown(&home.base),
                format!(
                    "its challenge names a scope of {} resources and {} bytes; {MAX_RESOURCES} and {MAX_SCOPE} are the most",
                    of_challenge.0.len(),
                    of_challenge.length()
                ),
            ));
        }
        let mut scopes = before
            .map(|before| before.scopes.clone())
            .unwrap_or_default();
        scopes.add(demanded);
        if before.is_some_and(|before| before.scopes == scopes) {
            scopes.add(wanted);
        }
        if !scopes.are_few() {
            // A registry that names new ones each time would have all of them requested each time.
            scopes = Scopes::parse(wanted);
            scopes.add(demanded);
        }
        Ok(Self {
            realm,
            service,
            scopes,
        })
    }

    /// Returns its address as it may be printed.
    pub(crate) fn shown(&self) -> String {
        target::shown(&self.realm)
    }

    /// Whether tokens of it are requested for all of `scope`.
    pub(crate) fn includes(&self, scope: &str) -> bool {
        let wanted = Scopes::parse(scope);
        wanted.0.iter().all(|(resource, actions)| {
            let own = self.scopes.0.get(resource);
            own.is_some_and(|own| own.is_superset(actions))
        })
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
                // Token servers without OAuth know the GET alone, and say so in different ways.
                Err(error)
                    if error.refusal().is_some_and(|refusal| {
                        matches!(refusal.status, 400 | 401 | 404 | 405 | 501)
                    }) => {}
                outcome => return outcome,
            }
        }
        let mut request = Request::get(self.url(), home);
        request.authorization = match &login.secret {
            half if half.lacks().is_some() => None,
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
            // Any success may bring a token, as docker and containerd have it.
            if !answer.status().is_success() {
                // The target of a redirect got no credentials.
                let sender = match answer.at_home {
                    true => login.sender(),
                    false => Sender::default(),
                };
                return Err(retry::refuse(answer, sender, Part::Token).await);
            }
            let Some(body) = retry::read(&mut answer, MAX_ANSWER, &mut retry).await? else {
                continue;
            };
            let Some(token) = parse_token(&body, asked) else {
                let reason = without_token(&answer, &body);
                return Err(Error::protocol(answer.at(), reason));
            };
            let length = token.header.len().saturating_sub(SCHEME.len());
            if length > MAX_TOKEN {
                let reason =
                    format!("it sends a token of {length} bytes; {MAX_TOKEN} are the most");
                return Err(Error::protocol(answer.at(), reason));
            }
            return Ok(token);
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
        // A URL's query is the one place of this crate's dependencies that encodes forms.
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

/// Stands before the token in a header.
const SCHEME: &str = "Bearer ";

/// The header for a token; `None` if it cannot be one.
pub(crate) fn header(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("{SCHEME}{token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether an `Authorization` header holds a token.
pub(crate) fn is_header(value: &HeaderValue) -> bool {
    value.as_bytes().starts_with(SCHEME.as_bytes())
}

/// What a success without a token is instead. A body that cannot be read may be a token, so nothing of it is quoted:
/// only the message of a JSON object without a token, and the title of a page.
fn without_token(answer: &Answer, body: &[u8]) -> String {
    let is_page = words::is_page(answer.header(header::CONTENT_TYPE), body);
    let has_token = answer.secrets.note_body(body);
    let is_object = crate::json::brief(body).is_ok_and(|json| json.is_object());
    let (code, message) = match is_page || is_object && !has_token {
        true => answer.words(body),
        false => (None, None),
    };
    let said = message.or(code).map(|said| format!(": {said}"));
    let said = said.unwrap_or_default();
    match (is_page, answer.encoding()) {
        (true, _) => {
            format!("it answers with a web page (text/html) where a token was expected{said}")
        }
        (_, Some(encoding)) => {
            format!("it sends a token with Content-Encoding {encoding:?}, which was not asked for")
        }
        _ => format!("its answer holds no token{said}"),
    }
}

/// The fields of a token server's answer, whose readers in Go take them in any case.
const KEYS: Keys = Keys {
    known: &["token", "access_token", "expires_in", "issued_at"],
    maps: &[],
    records: &[],
};

fn parse_token(body: &[u8], asked: Instant) -> Option<Token> {
    // Of the wrong type, a field is as if it were not there: only the token has to be good.
    #[derive(Deserialize)]
    struct Body {
        token: Option<Value>,
        access_token: Option<Value>,
        expires_in: Option<Value>,
        issued_at: Option<Value>,
    }
    let body: Body = crate::json::from_value(go_document::whole(body, KEYS).ok()?).ok()?;
    let text = |value: Option<Value>| match value {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    let token = text(body.token).or_else(|| text(body.access_token))?;
    let life = match &body.expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(number)) => number.trim().parse().ok(),
        _ => None,
    };
    let life = life.filter(|life| *life >= 1.0);
    let life = life.map_or(Duration::from_secs(DEFAULT_LIFE), |life| {
        Duration::from_secs_f64(life.min(86_400.0))
    });
    // A token server that returns cached tokens names their time of issue. A wrong clock, on either
    // side, must not make a token valid forever or expired at once.
    let age = text(body.issued_at)
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

/// The rights of a token: actions by resource, so that scopes merge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    fn parse(text: &str) -> Self {
        let mut scopes = Self::default();
        scopes.add(text);
        scopes
    }

    fn are_few(&self) -> bool {
        self.0.len() <= MAX_RESOURCES && self.length() <= MAX_SCOPE
    }

    /// Returns its length in bytes, with a separator after each part.
    fn length(&self) -> usize {
        let actions = self.0.values().flatten();
        self.0
            .keys()
            .chain(actions)
            .map(|part| part.len() + 1)
            .sum()
    }

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
mod tests;
