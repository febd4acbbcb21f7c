//! The name that is most like a wrong one.

use std::collections::BTreeSet;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};

use super::options::PREFIX;

/// Returns the known name that a wrong one stands for in another notation: `cache_dir`, `--cache-dir` and
/// `HPCC_CACHE_DIR` are all `cache-dir`. Otherwise returns the one that clap would suggest for it.
pub(super) fn nearest<'a>(wrong: &str, known: &'a [String]) -> Option<&'a str> {
    let plain = plain(wrong);
    find(&plain, known).or_else(|| find(&suggestion(&plain, known)?, known))
}

/// Returns what to do about a wrong name: write the one that it stands for, or look at a similar one.
pub(super) fn advice(wrong: &str, known: &[String]) -> Option<String> {
    let nearest = nearest(wrong, known)?;
    Some(match nearest == plain(wrong) {
        true => format!("write {nearest}"),
        false => format!("a similar one is {nearest}"),
    })
}

/// Returns the name of an option in the notation of keys.
fn plain(name: &str) -> String {
    let dashed = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let (name, prefix) = (dashed(name), dashed(PREFIX));
    let name = name.trim_start_matches('-');
    name.strip_prefix(&prefix).unwrap_or(name).to_owned()
}

fn find<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let mut known = known.iter().map(String::as_str);
    known.find(|known| *known == name)
}

/// Returns what clap suggests for a word that is not an option.
fn suggestion(wrong: &str, known: &[String]) -> Option<String> {
    let names: BTreeSet<&String> = known.iter().collect();
    let args = names.into_iter().map(|name| {
        let arg = Arg::new(name.clone()).long(name.clone());
        arg.action(ArgAction::SetTrue)
    });
    let command = Command::new("names")
        .no_binary_name(true)
        .disable_help_flag(true)
        .args(args);
    let error = command.try_get_matches_from([format!("--{wrong}")]).err()?;
    match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(option)) => option.strip_prefix("--").map(str::to_owned),
        _ => None,
    }
}

/// Whether one name becomes the other by one slip of the fingers: a letter too much, too few or wrong, or two letters
/// that changed places.
pub(super) fn is_slip(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let same = |(a, b): &(&u8, &u8)| a == b;
    let start = one.iter().zip(other).take_while(same).count();
    let (one, other) = (&one[start..], &other[start..]);
    let end = one
        .iter()
        .rev()
        .zip(other.iter().rev())
        .take_while(same)
        .count();
    let (one, other) = (&one[..one.len() - end], &other[..other.len() - end]);
    match (one, other) {
        ([], [_]) | ([_], []) | ([_], [_]) => true,
        ([a, b], [c, d]) => (a, b) == (d, c),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_or_otherwise_written_name_has_a_nearest_one() {
        let known = ["agent", "agent-amd64", "cache-dir", "no-proxy", "pull"].map(str::to_owned);
        for (wrong, expected) in [
            ("cache_dir", Some("cache-dir")),
            ("--cache-dir", Some("cache-dir")),
            ("HPCC_CACHE_DIR", Some("cache-dir")),
            ("Agent", Some("agent")),
            ("agnet", Some("agent")),
            ("cachedir", Some("cache-dir")),
            ("pul", Some("pull")),
            ("noproxy", Some("no-proxy")),
            ("xyz", None),
            ("", None),
            ("-", None),
            ("agent=x", None),
            ("a b\nc", None),
            ("\u{1f600}", None),
        ] {
            assert_eq!(nearest(wrong, &known), expected, "{wrong:?}");
        }
    }

    #[test]
    fn one_slip_is_distinguished_from_another_name() {
        for (one, other, expected) in [
            ("AGENT", "AGNET", true),
            ("AGENT", "AGEN", true),
            ("AGENT", "AGGENT", true),
            ("AGENT", "AGANT", true),
            ("AGENT", "AGENTS", true),
            ("AGENT", "AGENT", false),
            ("AGENT", "GENTA", false),
            ("VERSION", "VERBOSE", false),
            ("A", "", true),
            ("", "", false),
            ("\u{e4}", "\u{f6}", true),
        ] {
            assert_eq!(is_slip(one, other), expected, "{one} {other}");
            assert_eq!(is_slip(other, one), expected, "{other} {one}");
        }
    }
}
