//! Credential helpers: programs `docker-credential-NAME` that keep logins elsewhere.
//!
//! The one place where this crate starts a program. A name from a configuration file becomes part
//! of a program's name, so it has to be a plain word. The request goes through the stdin of the program,
//! whose time is limited. Its output is never shown, and its stderr only as a note without the secret.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdout, Command};
use tokio::task::JoinSet;

use crate::credentials::login::{Login, Secret};
use crate::error::Error;
use crate::go_document;
use crate::go_json::Keys;
use crate::printable;

/// How long a helper may take. Some of them ask the user, or the cloud.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes that a helper may print.
const MAX_OUTPUT: u64 = 64 << 10;
/// Most braces of its output that are tried as the start of its answer.
const MAX_STARTS: usize = 64;
/// Most bytes of a helper's stderr that are kept, and most lines that are shown.
const MAX_STDERR: usize = 8 << 10;
const MAX_NOTES: usize = 20;
/// Shorter words of its stdout may stand in its stderr.
const SHORTEST_SECRET: usize = 5;
/// How long the end of its stderr is waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// User name of helpers for an identity token that has no password.
const TOKEN_USER: &str = "<token>";

/// Returns the login of the helper `name` for `registry`.
///
/// A helper that is missing, fails or has nothing leads to an anonymous login that says so: a
/// public image can be had without, and where it cannot, the refusal carries the reason.
///
/// # Errors
/// [`Error::Credentials`] if `name` is not a plain word. `origin` is the file that has it.
pub(crate) async fn login(
    name: &str,
    registry: &str,
    origin: &str,
    patience: Duration,
) -> Result<Login, Error> {
    if !is_plain_word(name) {
        return Err(Error::Credentials {
            origin: origin.to_owned(),
            reason: format!(
                "the credential helper for {registry} is called {name:?}, which is no plain word"
            ),
        });
    }
    let program = format!("docker-credential-{name}");
    Ok(run(&program, registry, origin, patience, Group::usual()).await)
}

/// The process group that a helper and its children are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Own,
    /// That of this program.
    Shared,
}

impl Group {
    /// A group of its own, unless there is a terminal, which stops a process that reads from it and is not in the group
    /// in its foreground. Some helpers ask the user.
    fn usual() -> Self {
        match std::fs::read_to_string("/proc/self/stat") {
            Ok(stat) if has_terminal(&stat) => Self::Shared,
            _ => Self::Own,
        }
    }
}

/// Whether the process with this `/proc/PID/stat` has a controlling terminal (proc_pid_stat(5), `tty_nr`).
fn has_terminal(stat: &str) -> bool {
    // The name of the program is in parentheses and may hold anything.
    let after_name = stat.rsplit_once(") ").map(|(_, after)| after);
    let number = after_name.and_then(|after| after.split_ascii_whitespace().nth(4));
    number.is_some_and(|number| number != "0")
}

/// Kills the process group of a helper, unless the helper ended by itself.
struct Killer(Option<Pid>);

impl Drop for Killer {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // A group without processes is not an error.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The reason of a helper that works and keeps no login for the registry.
const NO_LOGIN: &str = "has no login for it";

/// What a program answers within its time, or an anonymous login with the reason.
async fn run(
    program: &str,
    registry: &str,
    origin: &str,
    patience: Duration,
    group: Group,
) -> Login {
    let said = Said::default();
    let asking = ask(program, registry, said.clone(), group);
    let outcome = match tokio::time::timeout(patience, asking).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("gave no answer in {}", printable::exact(patience))),
    };
    let mut login = match outcome {
        Ok(secret) => Login::new(secret, format!("{program}, named in {origin}")),
        Err(reason) => {
            let reason = printable::text(reason);
            tracing::warn!(
                program,
                registry,
                reason,
                "no login from the credential helper"
            );
            let has_failed = reason != NO_LOGIN;
            let reason = format!("{program}, named in {origin}, {reason}");
            let mut login = Login::anonymous(reason.clone());
            login.failures.extend(has_failed.then_some(reason));
            login
        }
    };
    login.is_from_helper = true;
    login.notes = said.notes(program, &login.secret);
    login
}

/// The kept part of a program's stderr.
#[derive(Clone, Default)]
struct Said {
    stderr: Arc<Mutex<Vec<u8>>>,
    /// What it printed where a login was expected: whatever that is, it is not shown.
    stdout: Arc<Mutex<Vec<u8>>>,
}

impl Said {
    async fn listen(self, mut stderr: ChildStderr) {
        let mut buffer = [0; 4096];
        // Read on when nothing more is kept, so that the program is not held up.
        while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
            let mut kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
            let left = MAX_STDERR.saturating_sub(kept.len());
            kept.extend_from_slice(buffer.get(..read.min(left)).unwrap_or_default());
        }
    }

    /// Lines that are safe to print, without the secret that the program is there to keep.
    fn notes(&self, program: &str, secret: &Secret) -> Vec<String> {
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from_utf8_lossy(&kept).into_owned();
        let printed = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
        let printed = String::from_utf8_lossy(&printed).into_owned();
        let words: BTreeSet<&str> = printed.split_whitespace().collect();
        for word in words
            .into_iter()
            .filter(|word| word.len() >= SHORTEST_SECRET)
        {
            text = text.replace(word, "***");
        }
        if let Secret::Password { password: word, .. } | Secret::Identity(word) = secret
            && !word.is_empty()
        {
            text = text.replace(word.as_str(), "***");
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines
            .take(MAX_NOTES)
            .map(|line| {
                let line: String = printable::text(line).chars().take(1000).collect();
                format!("{program}: {line}")
            })
            .collect()
    }
}

async fn ask(program: &str, registry: &str, said: Said, group: Group) -> Result<Secret, String> {
    let mut command = Command::new(program);
    command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if group == Group::Own {
        command.process_group(0);
    }
    let spawned = command.spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "is not installed".to_owned(),
        _ => format!("cannot be started: {error}"),
    })?;
    // Its number is that of its group. Once it is waited for, the number may be another's.
    let number = child.id().filter(|_| group == Group::Own);
    let number = number.and_then(|number| i32::try_from(number).ok());
    let mut killer = Killer(number.and_then(Pid::from_raw));
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that ignores its input may have exited already.
        drop(stdin.write_all(server(registry).as_bytes()).await);
    }
    let said_stdout = Arc::clone(&said.stdout);
    // Ends with this future.
    let mut listening = JoinSet::new();
    if let Some(stderr) = child.stderr.take() {
        listening.spawn(said.listen(stderr));
    }
    let mut printed = Vec::new();
    let mut ended = None;
    if let Some(stdout) = child.stdout.take() {
        let mut reading = std::pin::pin!(read(stdout, &mut printed));
        let is_read = tokio::select! {
            outcome = &mut reading => Some(outcome),
            status = child.wait() => {
                ended = Some(status);
                killer.0 = None;
                // A program that it has started may hold its stdout open, and has no part in the answer.
                tokio::time::timeout(LAST_WORDS, reading).await.ok()
            }
        };
        let is_read = is_read.unwrap_or(Ok(()));
        is_read.map_err(|error| format!("cannot be read: {error}"))?;
    }
    *said_stdout.lock().unwrap_or_else(PoisonError::into_inner) = printed.clone();
    if u64::try_from(printed.len()).is_ok_and(|length| length > MAX_OUTPUT) {
        return Err(format!("printed more than {MAX_OUTPUT} bytes"));
    }
    let status = match ended {
        Some(status) => status,
        None => child.wait().await,
    };
    killer.0 = None;
    let status = match status {
        Ok(status) => Some(status),
        // Where SIGCHLD is ignored, the kernel keeps no status. A program inherits that (sudo-project/sudo#98).
        Err(error) if Errno::from_io_error(&error) == Some(Errno::CHILD) => None,
        Err(error) => return Err(format!("got lost: {error}")),
    };
    // A program that it has started may hold its stderr open.
    let _ = tokio::time::timeout(LAST_WORDS, listening.join_next()).await;
    // These words belong to the protocol; any other output may be a secret.
    let none = b"credentials not found";
    let is_none = printed.to_ascii_lowercase().starts_with(none);
    match status {
        Some(status) if !status.success() && !is_none => Err(format!("failed ({status})")),
        Some(status) if !status.success() => Err(NO_LOGIN.to_owned()),
        None if is_none => Err(NO_LOGIN.to_owned()),
        _ => parse(&printed).ok_or_else(|| "printed something that is no login".to_owned()),
    }
}

/// Reads until the end, or more than the limit. What was read stays if the future is dropped.
async fn read(mut stdout: ChildStdout, printed: &mut Vec<u8>) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    while u64::try_from(printed.len()).is_ok_and(|length| length <= MAX_OUTPUT) {
        match stdout.read(&mut buffer).await? {
            0 => break,
            count => printed.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
    Ok(())
}

/// The fields of a helper's answer.
const KEYS: Keys = Keys {
    known: &["Username", "Secret"],
    maps: &[],
    records: &[],
};

fn parse(printed: &[u8]) -> Option<Secret> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: Option<String>,
        secret: String,
    }
    // Some helpers log to stdout before they answer, also in the same line. As docker does, nothing after the answer
    // is read.
    let starts = printed.iter().enumerate();
    let starts = starts.filter(|(_, byte)| **byte == b'{').map(|(at, _)| at);
    let is_first = |at: &usize| {
        let before = printed.get(..*at).unwrap_or_default().iter().rev();
        let mut before = before.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
        before.next().is_none_or(|byte| *byte == b'\n')
    };
    let (first, inner): (Vec<_>, Vec<_>) = starts.partition(is_first);
    // A record of a log may have a secret alone, so an answer with both fields counts before one.
    let mut without_user = None;
    for (number, at) in first.iter().chain(&inner).take(MAX_STARTS).enumerate() {
        let value = printed
            .get(*at..)
            .map(|text| go_document::first(text, KEYS));
        let answer = value.and_then(|value| crate::json::from_value::<Answer>(value.ok()?).ok());
        let Some(Answer { username, secret }) = answer else {
            continue;
        };
        match username {
            Some(user) if user.is_empty() && secret.is_empty() => {}
            Some(user) => return Some(login_of(user, secret)),
            None if secret.is_empty() || number >= first.len() => {}
            None => without_user = without_user.or(Some(secret)),
        }
    }
    without_user.map(|secret| login_of(String::new(), secret))
}

fn login_of(user: String, secret: String) -> Secret {
    match user.as_str() {
        TOKEN_USER => Secret::Identity(secret),
        _ => Secret::Password {
            user,
            password: secret,
        },
    }
}

/// Under what a registry's login is kept: Docker Hub's has kept its first URL.
fn server(registry: &str) -> &str {
    match registry {
        "docker.io" => "https://index.docker.io/v1/",
        other => other,
    }
}

fn is_plain_word(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_helper_is_a_plain_word() {
        for name in [
            "", "../evil", "a/b", "/bin/sh", "a b", "a;b", "$(x)", "-x", ".", "..", "a\0b", "é",
        ] {
            let error = login(name, "r.io", "f", PATIENCE).await.unwrap_err();
            assert!(matches!(error, Error::Credentials { .. }), "{name}");
        }
        for name in ["gcloud", "ecr-login", "secretservice", "acr_env", "x.1"] {
            assert!(is_plain_word(name), "{name}");
        }
    }

    #[tokio::test]
    async fn a_helper_that_is_missing_means_anonymous() {
        let login = login("surely-missing", "r.io", "f", PATIENCE)
            .await
            .unwrap();
        let text = login.to_string();
        assert!(text.contains("an anonymous client"), "{text}");
        assert!(
            text.contains("docker-credential-surely-missing, named in f, is not installed"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn slow_helper_is_ended_with_its_children() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let program = at("docker-credential-sleeps");
        let script = format!(
            "#!/bin/sh\nsleep 60 &\necho $! > {}\necho $$ > {}\nwait\n",
            at("child").display(),
            at("pid").display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Enough for a shell to start on a busy machine.
        let patience = Duration::from_secs(3);
        let login = run(program.to_str().unwrap(), "r.io", "f", patience, Group::Own).await;
        let text = login.to_string();
        assert!(text.contains("gave no answer in 3s"), "{text}");
        for name in ["pid", "child"] {
            let pid = std::fs::read_to_string(at(name)).unwrap();
            assert!(ends(pid.trim()).await, "{name} still runs");
        }
    }

    #[tokio::test]
    async fn answer_counts_while_a_child_keeps_stdout_open() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("docker-credential-forks");
        let answer = r#"{"Username":"u","Secret":"s"}"#;
        let script = format!("#!/bin/sh\nsleep 20 &\necho '{answer}'\n");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let patience = Duration::from_secs(15);
        let login = run(program.to_str().unwrap(), "r.io", "f", patience, Group::Own).await;
        let is_known = matches!(&login.secret, Secret::Password { user, .. } if user == "u");
        assert!(is_known, "{login}");
    }

    /// Whether a process ends within a few seconds.
    async fn ends(pid: &str) -> bool {
        let stat = format!("/proc/{pid}/stat");
        for _ in 0..200 {
            // Gone, or a zombie that is not reaped yet.
            match std::fs::read_to_string(&stat) {
                Ok(text) if !text.contains(") Z ") => {}
                _ => return true,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    #[test]
    fn terminal_is_known_by_its_number() {
        for (stat, expected) in [
            ("7 (a) S 1 7 7 34816 7 4194304", true),
            ("7 (a) b) S 1 7 7 0 -1 4194304", false),
            ("", false),
        ] {
            assert_eq!(has_terminal(stat), expected, "{stat}");
        }
    }

    #[test]
    fn what_helpers_print() {
        for (printed, holds) in [
            (r#"{"ServerURL":"r.io","Username":"u","Secret":"s"}"#, true),
            (r#"{"Username":"<token>","Secret":"s"}"#, true),
            (r#"{"Username":"","Secret":""}"#, false),
            // skopeo sends a secret without a user, and one of the two is enough.
            (r#"{"Username":"","Secret":"s"}"#, true),
            (r#"{"Username":null,"Secret":"s"}"#, true),
            (r#"{"Secret":"s"}"#, true),
            (r#"{"Secret":""}"#, false),
            (r#"{"a":{"Secret":"s"}}"#, false),
            (r#"{"Username":"u"}"#, false),
            // testcontainers/testcontainers-java#4064
            (
                "time=x level=error msg=\"no {log}\"\n{\"Username\":\"u\",\"Secret\":\"s\"}\n",
                true,
            ),
            (" {\"Username\":\"u\",\"Secret\":\"s\"}", true),
            ("note: {\"Username\":\"u\",\"Secret\":\"s\"}", true),
            // docker/docker-credential-helpers decodes with encoding/json and stops at the end of the object.
            (r#"{"username":"u","SECRET":"s"}"#, true),
            ("{\"Username\":\"u\",\"Secret\":\"s\"}\ndone {\n", true),
            ("{\"Username\":\"u\",\"Secret\":\"s\"}{}", true),
            (r#"{"Username":"x","Username":"u","Secret":"s"}"#, true),
            ("{\"Username\":\"u\",\"Secret\":\"caf\\udce9\"}", true),
            (r#"{"Username":"u","Secret":null}"#, false),
            (r#"{"Username":"u","Secret":"s""#, false),
            (r#"["Username","Secret"]"#, false),
            ("time=x {\n", false),
            ("", false),
        ] {
            assert_eq!(parse(printed.as_bytes()).is_some(), holds, "{printed}");
        }
    }

    #[test]
    fn answer_counts_before_records_with_a_secret_alone() {
        let answer = r#"{"Username":"u","Secret":"s"}"#;
        for record in [
            r#"{"level":"info","secret":"x"}"#,
            r#"{"level":"info","secret":""}"#,
            r#"{"username":"","secret":""}"#,
        ] {
            let found = parse(format!("{record}\n{answer}\n").as_bytes());
            let is_answer = matches!(&found, Some(Secret::Password { user, .. }) if user == "u");
            assert!(is_answer, "{record}");
        }
    }
}
