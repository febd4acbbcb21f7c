//! Trying again: what is worth it, how often, after how long.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header;

use crate::clock;
use crate::error::{Error, Refusal};
use crate::printable;
use crate::progress::{Event, Progress};
use crate::target;
use crate::transport::{Answer, Failure, Request, Transport};

/// The first pause; each following one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause of our own choosing.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The longest pause that a server may impose. Who wants more is an error at once, so that a
/// pull never seems to hang.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Most bytes read of the body of a refusal.
const MAX_ERROR_BODY: u64 = 64 << 10;

/// How much patience is left for one thing that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Retry {
    budget: u32,
    used: u32,
    progress: Progress,
}

impl Retry {
    pub(crate) fn new(budget: u32, progress: Progress) -> Self {
        Self {
            budget,
            used: 0,
            progress,
        }
    }

    /// Attempts made, the running one included.
    pub(crate) fn attempts(&self) -> u32 {
        self.used + 1
    }

    /// Things went well for a while: patience is full again.
    pub(crate) fn refill(&mut self) {
        self.used = 0;
    }

    /// Waits before the next attempt at `url`; `false` if there is to be none.
    pub(crate) async fn pause(&mut self, asked: Option<Duration>, url: &str, reason: &str) -> bool {
        if self.used >= self.budget || asked.is_some_and(|asked| asked > LONGEST_RETRY_AFTER) {
            return false;
        }
        let pause = asked.unwrap_or_else(|| jittered(own_pause(self.used)));
        self.used += 1;
        let reason = &printable::text(reason);
        tracing::info!(attempt = self.used, ?pause, url, reason, "trying again");
        self.progress.tell(&Event::Retry {
            url,
            attempt: self.used,
            pause,
            reason,
        });
        tokio::time::sleep(pause).await;
        true
    }
}

/// Sends until there is an answer that is not worth another try. That may be a refusal.
pub(crate) async fn send(
    transport: &Transport,
    request: &Request<'_>,
    retry: &mut Retry,
) -> Result<Answer, Error> {
    loop {
        match transport.send_once(request).await {
            Ok(mut answer) => {
                answer.attempts = retry.attempts();
                let status = answer.status().as_u16();
                if !matches!(status, 408 | 429 | 500..=599) {
                    return Ok(answer);
                }
                let asked = answer
                    .header(header::RETRY_AFTER)
                    .and_then(|text| clock::retry_after(text, SystemTime::now()));
                let reason = format!("it answered {status}");
                if !retry.pause(asked, &answer.asked, &reason).await {
                    return Ok(answer);
                }
            }
            Err(Failure::Error(error)) => return Err(error),
            Err(Failure::Permanent(reason)) => return Err(unreachable(request, reason, retry)),
            Err(Failure::Transient(reason)) => {
                if !retry
                    .pause(None, &target::shown(&request.url), &reason)
                    .await
                {
                    return Err(unreachable(request, reason, retry));
                }
            }
        }
    }
}

/// The whole body of a successful answer. `Ok(None)` asks for another request.
pub(crate) async fn read(
    answer: &mut Answer,
    cap: u64,
    retry: &mut Retry,
) -> Result<Option<Bytes>, Error> {
    match answer.read(cap).await {
        Ok(body) => Ok(Some(body)),
        Err(Failure::Error(error)) => Err(error),
        Err(Failure::Transient(reason) | Failure::Permanent(reason)) => {
            if retry.pause(None, &answer.asked, &reason).await {
                return Ok(None);
            }
            Err(Error::Unreachable {
                url: answer.asked.clone(),
                reason,
                attempts: retry.attempts(),
            })
        }
    }
}

/// The error that an answer other than 200 is, with the words of whoever sent it.
pub(crate) async fn refuse(mut answer: Answer, credentials: String) -> Error {
    let status = answer.status().as_u16();
    let retry_after = answer
        .header(header::RETRY_AFTER)
        .and_then(|text| clock::retry_after(text, SystemTime::now()));
    // The body is a courtesy. If it does not come, the status alone has to do.
    let body = answer.read(MAX_ERROR_BODY).await.unwrap_or_default();
    let (code, message) = own_words(&body);
    Refusal {
        url: answer.asked,
        status,
        code,
        message,
        credentials,
        attempts: answer.attempts,
        retry_after,
    }
    .into_error()
}

fn unreachable(request: &Request<'_>, reason: String, retry: &Retry) -> Error {
    Error::Unreachable {
        url: target::shown(&request.url),
        reason,
        attempts: retry.attempts(),
    }
}

fn own_pause(used: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << used.min(10))
        .min(LONGEST_PAUSE)
}

/// Between half of the pause and all of it, so that a fleet does not come back in step.
fn jittered(pause: Duration) -> Duration {
    // Every RandomState is seeded anew; as a source of jitter that is random enough.
    let random = RandomState::new().hash_one(0u8) % 1024;
    let half = pause / 2;
    half + half.saturating_mul(u32::try_from(random).unwrap_or(0)) / 1024
}

/// `{"errors":[{"code":…,"message":…}]}`, or the OAuth form of it, made fit for a terminal.
fn own_words(body: &[u8]) -> (Option<String>, Option<String>) {
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) else {
        return (None, None);
    };
    let first = json
        .get("errors")
        .and_then(|errors| errors.get(0))
        .unwrap_or(&json);
    let word = |name: &str| {
        let text = first.get(name)?.as_str()?;
        let clean: String = text.chars().filter(|c| !c.is_control()).collect();
        // Secrets are recognized in whole URLs alone, so they go before the text is cut.
        let clean: String = printable::text(clean).chars().take(200).collect();
        (!clean.is_empty()).then_some(clean)
    };
    (
        word("code").or_else(|| word("error")),
        word("message")
            .or_else(|| word("error_description"))
            .or_else(|| word("details")),
    )
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::*;
    use crate::endpoint::Endpoint;
    use crate::options::Options;

    /// What a registry at a public address leads us to.
    async fn sent_to(url: &str) -> Error {
        let options = Options {
            retries: 3,
            ..Options::default()
        };
        let transport = Transport::new(&options);
        let home = Endpoint::origin("93.184.216.34", &options).unwrap();
        let request = Request::get(Url::parse(url).unwrap(), &home);
        let mut retry = Retry::new(options.retries, options.progress.clone());
        send(&transport, &request, &mut retry).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_name_for_an_internal_address_is_refused_at_once() {
        let error = sent_to("http://localhost:1/token").await;
        assert!(
            matches!(&error, Error::Forbidden { target, reason, .. }
                if target == "http://localhost:1/token" && reason.contains("internal address")),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_now_is_asked_for_again() {
        let error = sent_to("https://surely-missing.invalid/").await;
        assert!(
            matches!(error, Error::Unreachable { attempts: 4, .. }),
            "{error:?}"
        );
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let pauses: Vec<u128> = (0..9).map(|used| own_pause(used).as_millis()).collect();
        assert_eq!(
            pauses,
            [250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]
        );
        assert_eq!(own_pause(u32::MAX), LONGEST_PAUSE);
        for _ in 0..100 {
            let pause = jittered(FIRST_PAUSE);
            assert!(
                pause >= FIRST_PAUSE / 2 && pause <= FIRST_PAUSE,
                "{pause:?}"
            );
        }
    }

    #[tokio::test]
    async fn patience_ends() {
        let mut retry = Retry::new(1, Progress::default());
        for (seconds, refilled, expected) in [
            (0, false, true),
            (0, false, false),
            (3600, true, false),
            (0, false, true),
        ] {
            if refilled {
                retry.refill();
            }
            let asked = Some(Duration::from_secs(seconds));
            assert_eq!(retry.pause(asked, "url", "reason").await, expected);
        }
    }

    #[test]
    fn words_of_a_registry_reach_people_but_not_their_terminal() {
        for (body, code, message) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                Some("MANIFEST_UNKNOWN"),
                Some("manifest unknown"),
            ),
            (
                r#"{"errors":[{"code":"X","message":"a\u001b[31mb\n"}]}"#,
                Some("X"),
                Some("a[31mb"),
            ),
            (
                r#"{"errors":[{"code":"X","message":"a\u202eb https://u:p@h/?sig=s"}]}"#,
                Some("X"),
                Some("a\\u{202e}b https://***@h/?***"),
            ),
            (
                r#"{"error":"invalid_grant","error_description":"no"}"#,
                Some("invalid_grant"),
                Some("no"),
            ),
            (
                r#"{"details":"incorrect username or password"}"#,
                None,
                Some("incorrect username or password"),
            ),
            (r#"{"errors":[]}"#, None, None),
            ("<html>", None, None),
            ("", None, None),
        ] {
            let (found_code, found_message) = own_words(body.as_bytes());
            assert_eq!(
                (found_code.as_deref(), found_message.as_deref()),
                (code, message),
                "{body}"
            );
        }
        let long = format!(r#"{{"message":"{}"}}"#, "é".repeat(500));
        assert_eq!(own_words(long.as_bytes()).1.unwrap().chars().count(), 200);
    }
}
