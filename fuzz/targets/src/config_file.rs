//! Hostile configuration files of docker and podman: nothing panics, and no message quotes them.

use ociget::Keychain;

/// What a file may hold as a secret, and a message may not.
const SECRET: &str = "hunter2hunter2";

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    for registry in ["docker.io", "reg.example:5000"] {
        let text = match Keychain::login_in(input, registry, "team/app", "the input") {
            Ok(Some(login)) => format!("{login} {login:?}"),
            Ok(None) => continue,
            Err(error) => format!("{error} {error:?}"),
        };
        // Keys are names of hosts, and shown; values are not.
        let input = String::from_utf8_lossy(input);
        let mut places = input.split(SECRET).skip(1);
        let is_key = places.any(|rest| {
            // A quotation mark of the key is escaped.
            let rest = rest.replace("\\\\", "").replace("\\\"", "");
            let end = rest.split_once('"');
            end.is_some_and(|(_, after)| after.trim_start().starts_with(':'))
        });
        assert!(is_key || !text.contains(SECRET), "{text}");
    }
}
