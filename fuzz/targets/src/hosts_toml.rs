//! Hostile `hosts.toml` files: nothing panics, no message quotes them, and every host that is used is one of http or https.

use std::path::Path;

use ociget::Options;

/// What a header may hold as a secret, and a message may not.
const SECRET: &str = "hunter2hunter2";

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    match Options::default().hosts_in(text, Path::new("/etc/hosts.toml")) {
        Ok(hosts) => {
            for host in hosts {
                assert!(host.starts_with("http://") || host.starts_with("https://"));
                assert!(
                    host.ends_with('/') && !host.contains(['@', '?', '#', ' ']),
                    "{host}"
                );
            }
        }
        Err(error) => {
            // Names of hosts are shown; values are not.
            let bare = text.trim_start_matches('\u{feff}');
            let is_key = bare.lines().any(|line| {
                let after = line.split_once(SECRET).map(|(_, after)| after);
                after.is_some_and(|after| line.trim_start().starts_with('[') || after.contains('='))
            });
            let text = format!("{error} {error:?}");
            assert!(is_key || !text.contains(SECRET), "{text}");
        }
    }
}
