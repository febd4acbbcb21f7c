//! From a request to its answer.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    RANGE, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Method, Response, StatusCode};
use serde_json::json;

use super::payload::Payload;
use super::{Action, Request, Shared, fault};

type Answer = Response<Payload>;

pub(super) async fn answer(
    request: hyper::Request<Incoming>,
    client_certificate: bool,
    shared: Arc<Shared>,
) -> Result<Answer, Infallible> {
    let (index, action) = record(&request, client_certificate, &shared);
    if let Some(Action::Delay(time)) = action {
        tokio::time::sleep(time).await;
    }
    let answer = match action {
        Some(Action::Status {
            status,
            headers,
            body,
        }) => plain(status, &headers, body),
        Some(Action::Redirect(origin)) => {
            let location = format!("{origin}{}", target(&request));
            plain(307, &[(LOCATION.to_string(), location)], String::new())
        }
        action => route(&request, &shared, action),
    };
    if let Some(entry) = shared.state().requests.get_mut(index) {
        entry.status = answer.status().as_u16();
    }
    Ok(answer)
}

/// Writes the request into the log, and takes the fault that is meant for it.
fn record(
    request: &hyper::Request<Incoming>,
    client_certificate: bool,
    shared: &Shared,
) -> (usize, Option<Action>) {
    let (method, path) = (request.method().as_str(), target(request));
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut state = shared.state();
    let stray = shared.stray(&state, &path, request.headers());
    state.strays.extend(stray);
    let action = fault::take(&mut state.faults, method, &path);
    let headers = request.headers().iter();
    let entry = Request {
        method: method.into(),
        path,
        headers: headers
            .map(|(name, value)| (name.as_str().into(), text(value)))
            .collect(),
        status: 0,
        client_certificate,
    };
    state.requests.push(entry);
    (state.requests.len() - 1, action)
}

fn target(request: &hyper::Request<Incoming>) -> String {
    let uri = request.uri();
    uri.path_and_query()
        .map_or_else(|| uri.path().into(), ToString::to_string)
}

fn route(request: &hyper::Request<Incoming>, shared: &Shared, action: Option<Action>) -> Answer {
    let path = request.uri().path();
    if path == "/token" {
        let query = request.uri().query().unwrap_or_default();
        return match shared.issue_token(request.headers(), query) {
            Some(token) => json_answer(200, json!({"token": token, "expires_in": 300})),
            None => error(401, "UNAUTHORIZED", "the token server does not know you"),
        };
    }
    let Some(rest) = path.strip_prefix("/v2/") else {
        return error(404, "NOT_FOUND", "this is a registry: see /v2/");
    };
    let thing = Thing::parse(rest);
    let repository = thing.as_ref().map(|thing| thing.repository);
    if let Err(refusal) = shared.authorize(request.headers(), repository) {
        let mut answer = error(401, refusal.code, "authentication required");
        if let Ok(value) = HeaderValue::try_from(refusal.challenge) {
            answer.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        return answer;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return error(405, "UNSUPPORTED", "this registry is read-only");
    }
    match thing {
        None if rest.is_empty() => json_answer(200, json!({})),
        None => error(404, "NAME_INVALID", "no such path"),
        Some(thing) => serve(request, shared, &thing, action),
    }
}

/// What a path below `/v2/` asks for.
struct Thing<'a> {
    repository: &'a str,
    manifest: bool,
    reference: &'a str,
}

impl<'a> Thing<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let (front, reference) = path.rsplit_once('/')?;
        let (repository, kind) = front.rsplit_once('/')?;
        let manifest = match kind {
            "manifests" => true,
            "blobs" => false,
            _ => return None,
        };
        Some(Self {
            repository,
            manifest,
            reference,
        })
    }
}

fn serve(
    request: &hyper::Request<Incoming>,
    shared: &Shared,
    thing: &Thing<'_>,
    action: Option<Action>,
) -> Answer {
    let moved = shared.state().moved.get(thing.reference).cloned();
    let tagged = shared.store.tagged(thing.reference);
    let digest = match (&moved, tagged) {
        (Some(digest), _) if thing.manifest => digest,
        (None, Some(target)) if thing.manifest => &target.digest,
        _ => thing.reference,
    };
    let Some((media_type, content)) = shared.store.get(digest) else {
        let code = if thing.manifest {
            "MANIFEST_UNKNOWN"
        } else {
            "BLOB_UNKNOWN"
        };
        return error(404, code, thing.reference);
    };
    let size = content.size();
    let range = match wanted_range(request.headers(), size) {
        _ if action == Some(Action::IgnoreRange) || thing.manifest => None,
        Some((from, to)) if from >= to => return error(416, "RANGE_INVALID", "out of range"),
        range => range,
    };
    let (from, to) = range.unwrap_or((0, size));
    let mut payload = Payload::of(content.clone(), from, to);
    let mut length = payload.len();
    let has_end = action != Some(Action::Endless);
    match action {
        Some(Action::Truncate(at)) => payload.cut_at(at),
        Some(Action::Corrupt(at)) => payload.corrupt_at(at),
        Some(Action::Stall { at, time }) => payload.stall_at(at, time),
        Some(Action::Throttle { piece, every }) => payload.throttle(piece, every),
        Some(Action::Drip { at, every }) => payload.drip_at(at, every),
        Some(Action::Endless) => payload.go_on_forever(),
        Some(Action::ContentLength(lie)) => {
            // A body that ends early fails in hyper, and what it still buffers would be lost.
            if lie > length {
                payload.cut_at(to);
            }
            length = lie;
        }
        _ => {}
    }
    let mut headers = vec![
        (ACCEPT_RANGES, "bytes".into()),
        (
            HeaderName::from_static("docker-content-digest"),
            digest.to_owned(),
        ),
    ];
    if has_end {
        headers.push((CONTENT_LENGTH, length.to_string()));
    }
    headers.push(if thing.manifest {
        (CONTENT_TYPE, media_type.to_owned())
    } else {
        (CONTENT_TYPE, "application/octet-stream".into())
    });
    let mut status = 200;
    if range.is_some() {
        status = 206;
        let last = to.saturating_sub(1);
        headers.push((CONTENT_RANGE, format!("bytes {from}-{last}/{size}")));
    }
    respond(status, headers, payload)
}

/// Returns the first and one past the last byte that a `Range` header asks for, if it asks for one range of the forms
/// `a-` and `a-b`; anything else is ignored, as RFC 9110 allows.
fn wanted_range(headers: &HeaderMap, size: u64) -> Option<(u64, u64)> {
    let value = headers.get(RANGE)?.to_str().ok()?;
    let (from, to) = value.strip_prefix("bytes=")?.split_once('-')?;
    let to = match to {
        "" => size,
        last => last.parse::<u64>().ok()?.saturating_add(1).min(size),
    };
    Some((from.parse().ok()?, to))
}

fn plain(status: u16, headers: &[(String, String)], body: String) -> Answer {
    let payload = Payload::text(body);
    let mut all = vec![(CONTENT_LENGTH, payload.len().to_string())];
    for (name, value) in headers {
        if let Ok(name) = HeaderName::try_from(name) {
            all.push((name, value.clone()));
        }
    }
    respond(status, all, payload)
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    json_answer(
        status,
        json!({"errors": [{"code": code, "message": message}]}),
    )
}

fn json_answer(status: u16, body: serde_json::Value) -> Answer {
    let json = [(CONTENT_TYPE.to_string(), "application/json".to_owned())];
    plain(status, &json, body.to_string())
}

fn respond(status: u16, headers: Vec<(HeaderName, String)>, payload: Payload) -> Answer {
    let mut response = Response::new(payload);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
