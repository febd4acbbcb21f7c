//! Credential helpers: programs `docker-credential-NAME` that keep logins elsewhere.
//!
//! The one place where this crate starts a program. A name from a configuration file becomes part
//! of a program's name, so it has to be a plain word; what the program is asked goes through its
//! stdin; how long it may take is limited; what it prints is shown to nobody.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::credentials::login::{Login, Secret};
use crate::error::Error;
use crate::printable;

/// How long a helper may take. Some of them ask the user, or the cloud.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes that a helper may print.
const MAX_OUTPUT: u64 = 64 << 10;
/// What helpers call themselves who hold an identity token and no password.
const TOKEN_USER: &str = "<token>";

/// What the helper `name` has for `registry`.
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
    Ok(run(
        &format!("docker-credential-{name}"),
        registry,
        origin,
        patience,
    )
    .await)
}

/// What a program answers within its time, or an anonymous login with the reason.
async fn run(program: &str, registry: &str, origin: &str, patience: Duration) -> Login {
    let outcome = match tokio::time::timeout(patience, ask(program, registry)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("gave no answer in {} s", patience.as_secs_f32())),
    };
    match outcome {
        Ok(secret) => Login::new(secret, format!("{program}, named in {origin}")),
        Err(reason) => {
            let reason = printable::text(reason);
            tracing::warn!(
                program,
                registry,
                reason,
                "no login from the credential helper"
            );
            Login::anonymous(format!("{program}, named in {origin}, {reason}"))
        }
    }
}

async fn ask(program: &str, registry: &str) -> Result<Secret, String> {
    let spawned = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "is not installed".to_owned(),
        _ => format!("cannot be started: {error}"),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not care what it is asked may be gone already.
        drop(stdin.write_all(server(registry).as_bytes()).await);
    }
    let mut printed = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = stdout.take(MAX_OUTPUT + 1);
        let read = stdout.read_to_end(&mut printed).await;
        read.map_err(|error| format!("cannot be read: {error}"))?;
    }
    if u64::try_from(printed.len()).is_ok_and(|length| length > MAX_OUTPUT) {
        return Err(format!("printed more than {MAX_OUTPUT} bytes"));
    }
    let status = child
        .wait()
        .await
        .map_err(|error| format!("got lost: {error}"))?;
    if !status.success() {
        // These words are the protocol's; anything else that it says may be a secret.
        let none = printed
            .to_ascii_lowercase()
            .starts_with(b"credentials not found");
        return Err(match none {
            true => "has no login for it".to_owned(),
            false => format!("failed ({status})"),
        });
    }
    parse(&printed).ok_or_else(|| "printed something that is no login".to_owned())
}

fn parse(printed: &[u8]) -> Option<Secret> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let Answer { username, secret } = serde_json::from_slice(printed).ok()?;
    match username.as_str() {
        "" => None,
        TOKEN_USER => Some(Secret::Identity(secret)),
        _ => Some(Secret::Password {
            user: username,
            password: secret,
        }),
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
    async fn a_helper_that_takes_too_long_is_ended() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let program = at("docker-credential-sleeps");
        let script = format!(
            "#!/bin/sh\necho $$ > {}\nexec sleep 60\n",
            at("pid").display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Enough for a shell to start on a busy machine.
        let patience = Duration::from_secs(3);
        let login = run(program.to_str().unwrap(), "r.io", "f", patience).await;
        let text = login.to_string();
        assert!(text.contains("gave no answer in 3 s"), "{text}");
        let pid = std::fs::read_to_string(at("pid")).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        for _ in 0..100 {
            // Gone, or a zombie that the runtime has not reaped yet.
            match std::fs::read_to_string(&stat) {
                Ok(text) if !text.contains(") Z ") => {}
                _ => return,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it still runs");
    }

    #[test]
    fn what_helpers_print() {
        for (printed, holds) in [
            (r#"{"ServerURL":"r.io","Username":"u","Secret":"s"}"#, true),
            (r#"{"Username":"<token>","Secret":"s"}"#, true),
            (r#"{"Username":"","Secret":""}"#, false),
            (r#"{"Username":"u"}"#, false),
            ("", false),
        ] {
            assert_eq!(parse(printed.as_bytes()).is_some(), holds, "{printed}");
        }
    }
}
