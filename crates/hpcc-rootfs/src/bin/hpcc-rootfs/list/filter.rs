//! `list --filter KEY=VALUE`.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use hpcc_rootfs::Artifact;

use crate::quantity;

/// A condition on an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// A pattern for the source and the references.
    Source(String),
    /// The start of the digest.
    Digest(String),
    Platform(String),
    /// The start of the agent's digest, or `none`.
    Agent(String),
    Usable(bool),
    Larger(u64),
    Unused(Duration),
    Older(Duration),
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text
            .split_once('=')
            .ok_or("expected KEY=VALUE, such as platform=linux/amd64")?;
        let owned = value.to_owned();
        Ok(match key {
            "source" => Self::Source(owned),
            "digest" if !is_start(value) => {
                return Err(
                    "expected digits 0 to 9 and a to f of a digest, with sha256: or without".into(),
                );
            }
            "digest" => Self::Digest(owned),
            "platform" => Self::Platform(owned),
            "agent" if value != "none" && !is_start(value) => {
                return Err(
                    "expected none, or digits 0 to 9 and a to f of the agent's digest".into(),
                );
            }
            "agent" => Self::Agent(owned),
            "status" => match value {
                "usable" => Self::Usable(true),
                "unusable" => Self::Usable(false),
                _ => return Err("expected status=usable or status=unusable".into()),
            },
            "larger" => Self::Larger(quantity::size(value)?),
            "unused" => Self::Unused(quantity::duration(value)?),
            "older" => Self::Older(quantity::duration(value)?),
            _ => {
                return Err(
                    "expected one of the keys source, digest, platform, agent, status, larger, unused and older"
                        .into(),
                );
            }
        })
    }
}

impl Filter {
    pub(crate) fn accepts(&self, artifact: &Artifact, now: SystemTime) -> bool {
        let key = artifact.record.as_ref().ok().map(|record| &record.key);
        let since = |time| now.duration_since(time).unwrap_or_default();
        match self {
            Self::Source(pattern) => {
                let names = artifact.source.iter().chain(&artifact.references);
                names.into_iter().any(|name| matches(pattern, name))
            }
            Self::Digest(start) => {
                let digest = &artifact.digest;
                digest.hex().starts_with(start) || digest.to_string().starts_with(start)
            }
            Self::Platform(platform) => key.is_some_and(|key| key.platform == *platform),
            Self::Agent(start) => key.is_some_and(|key| match &key.agent {
                Some(agent) => {
                    agent.hex().starts_with(start) || agent.to_string().starts_with(start)
                }
                None => start == "none",
            }),
            Self::Usable(usable) => key.is_some() == *usable,
            Self::Larger(size) => artifact.size > *size,
            Self::Unused(time) => since(artifact.last_used) > *time,
            Self::Older(time) => since(artifact.built) > *time,
        }
    }
}

/// Whether a digest can begin so.
fn is_start(text: &str) -> bool {
    let algorithms = ["sha256:", "sha512:"];
    let starts = algorithms.iter().any(|name| name.starts_with(text));
    let hex = algorithms.iter().find_map(|name| text.strip_prefix(name));
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    starts || hex.unwrap_or(text).bytes().all(is_digit)
}

/// Returns whether a text matches the pattern, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("debian", "debian", true),
            ("debian", "debian:12", false),
            ("debian*", "debian:12", true),
            ("*debian*", "docker.io/library/debian:12", true),
            ("*/debian:*2", "docker.io/library/debian:12", true),
            ("*a*a*", "ba", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn wrong_filters_are_refused() {
        for text in ["", "x", "x=1", "status=bad", "larger=1X", "unused=never"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
        // No digest begins so, and a list of nothing would hide that.
        for text in [
            "digest=xyz",
            "digest=ABCDEF",
            "digest=md5:00",
            "agent=-",
            "agent=any",
        ] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
        for text in [
            "digest=",
            "digest=sha",
            "digest=sha256:0a",
            "digest=0a",
            "agent=none",
        ] {
            assert!(text.parse::<Filter>().is_ok(), "{text}");
        }
        assert_eq!("larger=1.5K".parse(), Ok(Filter::Larger(1536)));
    }
}
