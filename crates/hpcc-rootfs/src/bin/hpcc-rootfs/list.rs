//! `hpcc-rootfs list`.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hpcc_rootfs::Artifact;
use ociget::Digest;
use serde_json::{Value, json};

use crate::global::Global;
use crate::list::filter::Filter;
use crate::quantity::Span;
use crate::table::{self, Column};
use crate::{output, quantity, render, terminal};

pub(crate) mod filter;

/// Hex digits of a short digest, unless more are needed to distinguish artifacts.
pub(crate) const SHORT: usize = 12;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hpcc-rootfs list --sort used
  hpcc-rootfs list --filter 'source=*debian*' --filter unused=1w")]
pub(crate) struct List {
    /// Order: digest, size (largest first), built or used (newest first), or source [default: digest]
    #[arg(long, value_name = "KEY", hide_possible_values = true)]
    sort: Option<Key>,
    /// Reverse the order
    #[arg(long)]
    reverse: bool,
    /// Condition that listed artifacts meet. KEY is source (* matches any text), digest, platform, agent (digits of
    /// its digest, or none), status (usable or unusable), larger (than a size), unused (for a time) or older (than a
    /// time). May be repeated; all must hold
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Print full digests and full lines, as in a pipe
    #[arg(long)]
    no_trunc: bool,
    /// Omit the header line
    #[arg(long)]
    no_header: bool,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Key {
    #[default]
    Digest,
    Size,
    Built,
    Used,
    Source,
}

const COLUMNS: [Column; 7] = [
    Column::text("DIGEST", 0),
    Column::number("SIZE", 1),
    Column::number("BUILT", 4),
    Column::number("USED", 2),
    Column::text("PLATFORM", 3),
    Column::text("AGENT", 5),
    Column::cut("SOURCE"),
];

pub(crate) fn run(global: &Global, command: &List) -> anyhow::Result<()> {
    let now = SystemTime::now();
    let store = global.store()?;
    let all = store.artifacts()?;
    let is_empty = all.is_empty();
    let shown = |artifact: &Artifact| {
        let mut filters = command.filter.iter();
        filters.all(|filter| filter.accepts(artifact, now))
    };
    let mut artifacts: Vec<_> = all.into_iter().filter(shown).collect();
    match command.sort.unwrap_or_default() {
        // Already in order.
        Key::Digest => {}
        Key::Size => artifacts.sort_by_key(|artifact| Reverse(artifact.size)),
        Key::Built => artifacts.sort_by_key(|artifact| Reverse(artifact.built)),
        Key::Used => artifacts.sort_by_key(|artifact| Reverse(artifact.last_used)),
        Key::Source => artifacts.sort_by(|a, b| a.source.cmp(&b.source)),
    }
    if command.reverse {
        artifacts.reverse();
    }
    let width = output::width().filter(|_| !command.no_trunc);
    let digests: Vec<_> = artifacts.iter().map(|artifact| &artifact.digest).collect();
    let digits = width.map(|_| distinct(&digests));
    let rows: Vec<_> = artifacts
        .iter()
        .map(|artifact| row(artifact, now, digits))
        .collect();
    let lines = match rows.is_empty() {
        true => Vec::new(),
        false => table::lines(&COLUMNS, &rows, width, !command.no_header),
    };
    let values: Vec<_> = artifacts.iter().map(value).collect();
    render::print(global, &json!(values), &lines)?;
    if artifacts.is_empty() && !global.quiet && !global.json {
        let directory = output::path(store.directory());
        terminal::say(&match is_empty {
            true => format!("the store at {directory} is empty"),
            false => format!("no artifact in the store at {directory} meets the filters"),
        });
    }
    Ok(())
}

/// Returns the cells of one artifact. A damaged one is listed as damaged.
fn row(artifact: &Artifact, now: SystemTime, digits: Option<usize>) -> Vec<String> {
    let (platform, agent, source) = match &artifact.record {
        Ok(record) => {
            let agent = record.key.agent.as_ref();
            (
                record.key.platform.as_str(),
                agent.map_or("-", |agent| agent.hex().get(..SHORT).unwrap_or_default()),
                artifact.source.clone().unwrap_or_else(|| "-".to_owned()),
            )
        }
        Err(error) => {
            let error = terminal::one_line(&error.clone().into());
            ("-", "-", format!("unusable: {error}"))
        }
    };
    vec![
        digest(&artifact.digest, digits),
        quantity::bytes(artifact.size),
        age(artifact.built, now),
        age(artifact.last_used, now),
        platform.to_owned(),
        agent.to_owned(),
        source,
    ]
}

/// Returns a digest whole, or its first hex digits.
pub(crate) fn digest(digest: &Digest, digits: Option<usize>) -> String {
    let short = digits.and_then(|digits| digest.hex().get(..digits));
    short.map_or_else(|| digest.to_string(), str::to_owned)
}

/// Returns the number of hex digits that distinguish digests, at least [`SHORT`].
pub(crate) fn distinct(digests: &[&Digest]) -> usize {
    let mut all: Vec<_> = digests.iter().map(|digest| digest.hex()).collect();
    all.sort_unstable();
    let same =
        |(a, b): (&&str, &&str)| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let longest = all.iter().zip(all.iter().skip(1)).map(same).max();
    longest.map_or(SHORT, |same| SHORT.max(same + 1))
}

fn value(artifact: &Artifact) -> Value {
    let mut value = json!({
        "digest": artifact.digest.to_string(),
        "path": output::path(&artifact.path),
        "size": artifact.size,
        "built": seconds(artifact.built),
        "last_used": seconds(artifact.last_used),
        "source": render::source(artifact.source.as_deref()),
        "references": artifact.references,
        "agent": null,
    });
    let (name, more) = match &artifact.record {
        Ok(record) => {
            let agent = record.key.agent.as_ref();
            if let Some(place) = value.get_mut("agent") {
                *place = json!(agent.map(Digest::to_string));
            }
            ("record", render::record(record))
        }
        Err(error) => ("error", terminal::one_line(&error.clone().into()).into()),
    };
    if let Value::Object(map) = &mut value {
        map.insert(name.to_owned(), more);
    }
    value
}

/// Returns seconds since 1970.
fn seconds(time: SystemTime) -> i64 {
    let (span, sign) = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => (since, 1),
        Err(before) => (before.duration(), -1),
    };
    i64::try_from(span.as_secs()).map_or(i64::MAX, |seconds| sign * seconds)
}

/// Returns how long ago a time was. A time in the future is now.
fn age(time: SystemTime, now: SystemTime) -> String {
    Span(now.duration_since(time).unwrap_or(Duration::ZERO)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_for_people() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (7200, "2h"),
            (900_000, "1w3d"),
        ] {
            assert_eq!(age(at(1), at(1 + seconds)), text);
        }
        assert_eq!(age(at(100), at(0)), "0s");
    }

    #[test]
    fn short_digests_differ() {
        let of = |hex: &str| format!("sha256:{hex:0<64}").parse::<Digest>().unwrap();
        let (a, b, c) = (of("abcdef0123456789"), of("abcdef0123456799"), of("1"));
        assert_eq!(distinct(&[]), 12);
        assert_eq!(distinct(&[&a, &c]), 12);
        assert_eq!(distinct(&[&a, &c, &b]), 15);
        assert_eq!(digest(&a, Some(12)), "abcdef012345");
        assert_eq!(digest(&a, None), a.to_string());
    }
}
