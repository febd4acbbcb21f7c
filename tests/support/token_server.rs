//! A token server that a real registry trusts: it signs JWTs, counts them, and lets them expire.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::{Failure, Result};

/// Who signs and for whom, as both sides have it.
const ISSUER: &str = "tests";
const SERVICE: &str = "real registry";
/// What docker-registry adds to the life of a token, for clocks that differ.
const LEEWAY: Duration = Duration::from_secs(60);

/// Serves `/token` on a free port of 127.0.0.1 until the process ends.
#[derive(Debug)]
pub struct TokenServer {
    addr: SocketAddr,
    authority: Authority,
    shared: Arc<Mutex<Shared>>,
}

/// A request for a token, as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// Path with query.
    pub path: String,
    /// The Authorization header.
    pub authorization: Option<String>,
    /// Whether a token was given.
    pub granted: bool,
}

#[derive(Debug)]
struct Shared {
    user: Option<(String, String)>,
    life: Duration,
    requests: Vec<TokenRequest>,
}

impl TokenServer {
    /// Gives tokens to everybody, or to one user alone.
    pub fn start(user: Option<(&str, &str)>) -> Result<Self> {
        let authority = Authority::new()?;
        let pair = authority.client()?;
        let signer = Arc::new(Signer::new(
            &std::fs::read_to_string(pair.key)?,
            &std::fs::read_to_string(pair.cert)?,
        )?);
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Mutex::new(Shared {
            user: user.map(|(user, password)| (user.into(), password.into())),
            life: Duration::from_secs(300),
            requests: Vec::new(),
        }));
        let serving = Arc::clone(&shared);
        // It holds nothing but a port; it ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up is not our trouble.
                drop(answer(&stream, &serving, &signer));
            }
        });
        Ok(Self {
            addr,
            authority,
            shared,
        })
    }

    /// Makes the registry accept further tokens for this long. The tokens themselves name five
    /// minutes, so that clients cannot notice.
    pub fn expire_after(&self, life: Duration) {
        self.shared().life = life;
    }

    /// Returns every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<TokenRequest> {
        self.shared().requests.clone()
    }

    /// Returns the section `auth` of the registry's configuration.
    pub(crate) fn section(&self) -> String {
        let bundle: PathBuf = self.authority.cert();
        format!(
            "auth:\n  token:\n    realm: http://{}/token\n    service: {SERVICE}\n    issuer: {ISSUER}\n    \
             rootcertbundle: {}\n",
            self.addr,
            bundle.display()
        )
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(stream: &TcpStream, shared: &Mutex<Shared>, signer: &Signer) -> Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines
        .next()
        .ok_or_else(|| Failure::new("nothing was asked"))??;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut authorization = None;
    for line in lines {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                authorization = Some(value.to_owned());
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let expected = shared
        .user
        .as_ref()
        .map(|(user, password)| format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
    let granted = expected.is_none() || expected == authorization;
    let body = match granted {
        true => {
            let token = signer.token(&path, shared.life)?;
            json!({"token": token, "expires_in": 300})
        }
        false => json!({"details": "incorrect username or password"}),
    };
    shared.requests.push(TokenRequest {
        path,
        authorization,
        granted,
    });
    let (status, body) = (if granted { 200 } else { 401 }, body.to_string());
    let length = body.len();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )?;
    Ok(())
}

/// A key, and the certificate that the registry checks it by.
struct Signer {
    key: EcdsaKeyPair,
    certificate: String,
}

impl Signer {
    fn new(key: &str, certificate: &str) -> Result<Self> {
        let key = STANDARD
            .decode(pem_body(key))
            .map_err(Failure::when("no PEM key"))?;
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &SystemRandom::new())
                .map_err(Failure::when("openssl's key"))?;
        Ok(Self {
            key,
            certificate: pem_body(certificate),
        })
    }

    /// Returns a JWT for the scopes that the query asks for.
    fn token(&self, path: &str, life: Duration) -> Result<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]});
        let claims = json!({
            "iss": ISSUER,
            "aud": SERVICE,
            "sub": "",
            "nbf": now.as_secs().saturating_sub(600),
            "iat": now.as_secs(),
            "exp": (now + life).saturating_sub(LEEWAY).as_secs(),
            "jti": format!("{}", now.as_nanos()),
            "access": access(path),
        });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .map_err(Failure::when("signing"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// `repository:a/b:pull,push` and the like, as claims.
fn access(path: &str) -> Vec<Value> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let scopes = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("scope="));
    scopes
        .flat_map(|scope| {
            let scope = scope
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%2C", ",");
            scope.split('+').map(str::to_owned).collect::<Vec<_>>()
        })
        .filter_map(|scope| {
            let mut parts = scope.splitn(3, ':');
            let (kind, name, actions) = (parts.next()?, parts.next()?, parts.next()?);
            let actions: Vec<_> = actions.split(',').collect();
            Some(json!({"type": kind, "name": name, "actions": actions}))
        })
        .collect()
}

fn pem_body(text: &str) -> String {
    let body = text.lines().filter(|line| !line.starts_with("-----"));
    body.collect()
}
