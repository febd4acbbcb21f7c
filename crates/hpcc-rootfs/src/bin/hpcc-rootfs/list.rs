//! `hpcc-rootfs list`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hpcc_rootfs::Artifact;
use ociget::Digest;
use serde_json::{Value, json};

use crate::args::Global;
use crate::{output, render, terminal};

pub(crate) fn run(global: &Global) -> anyhow::Result<()> {
    let now = SystemTime::now();
    let artifacts = global.store()?.artifacts()?;
    let lines: Vec<_> = artifacts
        .iter()
        .map(|artifact| line(artifact, now))
        .collect();
    let values: Vec<_> = artifacts.iter().map(value).collect();
    render::print(global, &json!(values), &lines)
}

/// One artifact: digest, size, age, last use, platform, agent, source. A damaged one is listed as
/// what it is.
fn line(artifact: &Artifact, now: SystemTime) -> String {
    let digest = &artifact.digest;
    let record = match &artifact.record {
        Ok(record) => record,
        Err(error) => {
            let error = terminal::one_line(&error.clone().into());
            return format!("{digest}  unusable: {error}");
        }
    };
    let agent = record.key.agent.as_ref();
    format!(
        "{digest}  {:>10}  built {:>4} ago  used {:>4} ago  {}  agent {}  from {}",
        indicatif::HumanBytes(artifact.size),
        age(artifact.built, now),
        age(artifact.last_used, now),
        record.key.platform,
        agent.map_or("-", |agent| agent.hex().get(..12).unwrap_or_default()),
        artifact.source.as_deref().unwrap_or("-"),
    )
}

fn value(artifact: &Artifact) -> Value {
    let mut value = json!({
        "digest": artifact.digest.to_string(),
        "path": output::path(&artifact.path),
        "size": artifact.size,
        "built": seconds(artifact.built),
        "last_used": seconds(artifact.last_used),
        "source": artifact.source,
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

/// Seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// The largest unit that fits: `5m`, `3d`. A time in the future is now.
fn age(time: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(time).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
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
            (900_000, "10d"),
        ] {
            assert_eq!(age(at(1), at(1 + seconds)), text);
        }
        assert_eq!(age(at(100), at(0)), "0s");
    }
}
