//! Trying again: what is worth it, how often, after how long.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{Method, header};

use crate::clock;
use crate::error::Error;
use crate::options::Budget;
use crate::printable;
use crate::progress::{Event, Progress};
use crate::refusal::{Part, Refusal, Sender, may_pass};
use crate::transport::{Answer, Failure, Request, Transport};

/// The first pause; each following one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause of our own choosing.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Most bytes read of the body of a refusal.
const MAX_ERROR_BODY: usize = 64 << 10;

/// The retry budget of one request.
#[derive(Clone, Debug)]
pub(crate) struct Retry {
    budget: Budget,
    used: u32,
    /// When the failures began. Requests in parallel for one thing share it, and so their time.
    since: Arc<Mutex<Option<Instant>>>,
    /// The statuses that were answered with another attempt.
    passed: Vec<u16>,
    /// Whether a server that was reached gave no answer to a `HEAD`.
    is_head_unanswered: bool,
    progress: Progress,
}

impl Retry {
    pub(crate) fn new(budget: Budget, progress: Progress) -> Self {
        Self {
            budget,
            used: 0,
            since: Arc::default(),
            passed: Vec::new(),
            is_head_unanswered: false,
            progress,
        }
    }

    /// Returns the patience of a request in parallel for a part of the same thing: with a count of its own, and with
    /// the time of all of them.
    pub(crate) fn share(&self) -> Self {
        Self {
            used: 0,
            passed: Vec::new(),
            ..self.clone()
        }
    }

    /// Attempts made, the running one included.
    pub(crate) fn attempts(&self) -> u32 {
        self.used + 1
    }

    /// Answers with `status`, the last one included.
    fn answers(&self, status: u16) -> u32 {
        let passed = self.passed.iter().filter(|passed| **passed == status);
        u32::try_from(passed.count())
            .unwrap_or(u32::MAX)
            .saturating_add(1)
    }

    /// Returns whether the last error was that of a `HEAD` without an answer, and forgets it.
    pub(crate) fn take_unanswered_head(&mut self) -> bool {
        std::mem::take(&mut self.is_head_unanswered)
    }

    /// Things went well for a while: patience is full again.
    pub(crate) fn refill(&mut self) {
        self.used = 0;
        self.passed.clear();
        self.heard();
    }

    /// Notes that data came: the other side is alive, so its absence begins with the next failure.
    pub(crate) fn heard(&mut self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits before the next attempt at `url`. Returns `false` if there is to be none. `asked` is the shortest
    /// pause that the server requests.
    pub(crate) async fn pause(&mut self, asked: Option<Duration>, url: &str, reason: &str) -> bool {
        if self.used >= self.budget.retries
            || asked.is_some_and(|asked| asked > self.budget.longest_asked)
        {
            return false;
        }
        let now = Instant::now();
        let since = {
            let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
            *since.get_or_insert(now)
        };
        let spent = now.saturating_duration_since(since);
        let left = self.budget.time.saturating_sub(spent);
        if left.is_zero() {
            return false;
        }
        // The server's advice is a minimum: following it alone would hammer a server that always requests 1 s. It
        // counts like any pause, and only the last one, of at most `longest_asked`, may end after the time.
        let own = jittered(own_pause(self.used)).min(left);
        let pause = asked.map_or(own, |asked| asked.max(own));
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
                let status = answer.status().as_u16();
                answer.attempts = retry.answers(status);
                if !may_pass(status) {
                    return Ok(answer);
                }
                let asked = retry_after(&answer);
                let reason = format!("it answered {status}");
                if !retry.pause(asked, &answer.url, &reason).await {
                    return Ok(answer);
                }
                retry.passed.push(status);
            }
            Err(Failure::Error(error)) => return Err(error),
            Err(Failure::Connection(trouble)) => {
                // A server or a firewall that knows no HEAD may well answer a GET.
                if request.method == Method::HEAD && trouble.is_unanswered {
                    retry.is_head_unanswered = true;
                    return Err(trouble.into_error(retry.attempts()));
                }
                let is_final = trouble.is_final;
                if is_final || !retry.pause(None, &trouble.url, &trouble.reason).await {
                    return Err(trouble.into_error(retry.attempts()));
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
        Err(Failure::Connection(trouble)) => {
            if retry.pause(None, &trouble.url, &trouble.reason).await {
                return Ok(None);
            }
            Err(trouble.into_error(retry.attempts()))
        }
    }
}

/// Returns the error of an answer other than a success, with the text of its sender. `part` is what was requested.
pub(crate) async fn refuse(mut answer: Answer, sender: Sender, part: Part) -> Error {
    let status = answer.status().as_u16();
    // The body is a courtesy. If it does not come, the status alone has to do.
    let body = answer.read_start(MAX_ERROR_BODY).await;
    let (code, message) = match part {
        // Only a refusal has words. Anything else may be a token.
        Part::Token if status < 400 => (None, None),
        Part::Token => {
            answer.secrets.note_body(&body);
            answer.words(&body)
        }
        Part::Manifest | Part::Blob => answer.words(&body),
    };
    Refusal {
        needs_tls: answer.needs_tls(&body),
        retry_after: retry_after(&answer),
        redirected_from: answer.redirected_from(),
        proxy: answer.proxy.clone(),
        url: answer.url,
        status,
        code,
        message,
        credentials: sender.credentials,
        is_authenticated: sender.is_authenticated,
        attempts: answer.attempts,
        part,
    }
    .into_error()
}

pub(crate) fn retry_after(answer: &Answer) -> Option<Duration> {
    let text = answer.header(header::RETRY_AFTER)?;
    clock::retry_after(text, SystemTime::now())
}

fn own_pause(used: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << used.min(10))
        .min(LONGEST_PAUSE)
}

/// Between half of the pause and all of it, so that a fleet does not come back in step.
fn jittered(pause: Duration) -> Duration {
    // Every RandomState has a new seed, which is random enough for jitter.
    let random = RandomState::new().hash_one(0u8) % 1024;
    let half = pause / 2;
    half + half.saturating_mul(u32::try_from(random).unwrap_or(0)) / 1024
}

#[cfg(test)]
mod tests {
    use url::Url;

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
        let mut retry = Retry::new(options.budget(), options.progress.clone());
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
    async fn name_that_does_not_resolve_is_retried() {
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
    async fn patience_ends_with_its_count_and_is_refilled() {
        let budget = Budget {
            retries: 1,
            time: Duration::MAX,
            longest_asked: Duration::from_secs(60),
        };
        let mut retry = Retry::new(budget, Progress::default());
        for (asked, refilled, expected) in [
            (None, false, true),
            (None, false, false),
            (Some(3600), true, false),
            (None, false, true),
        ] {
            if refilled {
                retry.refill();
            }
            let asked = asked.map(Duration::from_secs);
            assert_eq!(retry.pause(asked, "url", "reason").await, expected);
        }
    }

    // containers/skopeo#2499
    #[tokio::test]
    async fn patience_ends_with_its_time_and_begins_when_something_comes() {
        let budget = Budget {
            retries: 100,
            time: Duration::from_millis(300),
            longest_asked: Duration::from_secs(60),
        };
        let mut retry = Retry::new(budget, Progress::default());
        let start = Instant::now();
        let mut pauses = 0;
        while retry.pause(None, "url", "reason").await {
            pauses += 1;
        }
        assert!(start.elapsed() >= budget.time && pauses >= 2, "{pauses}");
        assert!(!retry.pause(None, "url", "reason").await);
        retry.heard();
        assert!(retry.pause(None, "url", "reason").await);
    }

    #[tokio::test]
    async fn pauses_that_a_server_requests_count_against_the_time() {
        let budget = Budget {
            retries: u32::MAX,
            time: Duration::from_millis(200),
            longest_asked: Duration::from_secs(60),
        };
        for asked in [1, 50, 250] {
            let mut retry = Retry::new(budget, Progress::default());
            let mut pauses = 0;
            while pauses < 20
                && retry
                    .pause(Some(Duration::from_millis(asked)), "url", "reason")
                    .await
            {
                pauses += 1;
            }
            assert!((1..10).contains(&pauses), "{asked} ms: {pauses} pauses");
        }
    }

    #[tokio::test]
    async fn parallel_requests_share_the_time_and_not_the_count() {
        let budget = Budget {
            retries: 2,
            time: Duration::from_millis(800),
            longest_asked: Duration::from_secs(60),
        };
        let mut whole = Retry::new(budget, Progress::default());
        let (mut one, mut other) = (whole.share(), whole.share());
        assert!(one.pause(None, "url", "reason").await);
        assert!(other.pause(Some(budget.time), "url", "reason").await);
        assert!(!one.pause(None, "url", "reason").await);
        assert!(!whole.pause(None, "url", "reason").await);
        one.heard();
        assert!(whole.pause(None, "url", "reason").await);
        assert_eq!(whole.attempts(), 2);
    }

    #[test]
    fn default_budget_outlasts_a_restart_of_30_seconds() {
        let options = Options::default();
        let least: Duration = (0..options.retries).map(|used| own_pause(used) / 2).sum();
        let outage = Duration::from_secs(30);
        assert!(least > outage && options.retry_for > outage, "{least:?}");
    }
}
