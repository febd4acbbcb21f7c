//! Measurements: pulls, bytes by source, durations by stage, reuse, evictions, failures by kind.
//!
//! With the feature `metrics`, all of them go to the recorder of the crate `metrics`, which a worker installs. Without
//! a recorder that costs next to nothing.

use std::time::Duration;

use ociget::SourceSpec;

use crate::error::Error;
use crate::summary::Summary;

/// Every metric, with its description. Metrics that end with `_seconds` are histograms, the others counters.
#[cfg(any(feature = "metrics", test))]
const METRICS: &[(&str, &str)] = &[
    (
        "hpcc_rootfs_pulls",
        "Pulls and builds by outcome: built, existing, failed or interrupted",
    ),
    ("hpcc_rootfs_failures", "Failed pulls and builds by kind"),
    (
        "hpcc_rootfs_bytes",
        "Bytes that builds took, by source: as fetched over the network or read from local files, stored from earlier artifacts",
    ),
    (
        "hpcc_rootfs_reused_layers",
        "Layers that builds copied from earlier artifacts",
    ),
    ("hpcc_rootfs_image_bytes", "Bytes of the images written"),
    (
        "hpcc_rootfs_stage_seconds",
        "Time that each stage of builds was busy, added up over its threads",
    ),
    (
        "hpcc_rootfs_build_seconds",
        "Time of builds, from the resolved image to the published file",
    ),
    ("hpcc_rootfs_evictions", "Artifacts that gc removed"),
    (
        "hpcc_rootfs_evicted_bytes",
        "Bytes of the artifacts that gc removed",
    ),
];

/// An amount for one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Measurement {
    name: &'static str,
    /// Name and value of the label.
    label: Option<(&'static str, &'static str)>,
    amount: Amount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amount {
    Count(u64),
    Time(Duration),
}

type Label = Option<(&'static str, &'static str)>;

fn count(name: &'static str, label: Label, count: u64) -> Measurement {
    let amount = Amount::Count(count);
    Measurement {
        name,
        label,
        amount,
    }
}

fn time(name: &'static str, label: Label, time: Duration) -> Measurement {
    let amount = Amount::Time(time);
    Measurement {
        name,
        label,
        amount,
    }
}

/// Describes every metric to the recorder.
pub(crate) fn describe() {
    #[cfg(feature = "metrics")]
    for &(name, help) in METRICS {
        if name.ends_with("_seconds") {
            metrics::describe_histogram!(name, metrics::Unit::Seconds, help);
        } else {
            metrics::describe_counter!(name, help);
        }
    }
}

/// A call that pulls or builds. It is reported as interrupted if it is dropped before its outcome is known.
#[derive(Debug)]
pub(crate) struct Attempt {
    is_open: bool,
}

impl Attempt {
    pub(crate) fn begin() -> Self {
        Self { is_open: true }
    }

    /// Reports the outcome: `Ok(true)` if the call built the artifact, `Ok(false)` if the artifact existed.
    pub(crate) fn end(mut self, outcome: Result<bool, &Error>) {
        self.is_open = false;
        record(&of_outcome(outcome));
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_open {
            record(&[pulls("interrupted")]);
        }
    }
}

fn pulls(outcome: &'static str) -> Measurement {
    count("hpcc_rootfs_pulls", Some(("outcome", outcome)), 1)
}

/// Reports one build of an image from a source.
pub(crate) fn build(summary: &Summary, source: &SourceSpec) {
    record(&of_build(
        summary,
        matches!(source, SourceSpec::Registry(_)),
    ));
}

/// Reports a collection that removed artifacts of `bytes` together.
pub(crate) fn collection(artifacts: u64, bytes: u64) {
    record(&of_collection(artifacts, bytes));
}

fn of_outcome(outcome: Result<bool, &Error>) -> Vec<Measurement> {
    let word = match outcome {
        Ok(true) => "built",
        Ok(false) => "existing",
        Err(_) => "failed",
    };
    // A call that was wrong attempted nothing.
    if outcome.is_err_and(Error::is_usage) {
        return Vec::new();
    }
    let mut all = vec![pulls(word)];
    if let Err(error) = outcome {
        let label = Some(("kind", error.kind().word()));
        all.push(count("hpcc_rootfs_failures", label, 1));
    }
    all
}

fn of_build(summary: &Summary, is_remote: bool) -> Vec<Measurement> {
    let Summary {
        timings,
        reuse,
        image,
        ..
    } = summary;
    let bytes = |source, bytes| count("hpcc_rootfs_bytes", Some(("source", source)), bytes);
    let layers = u64::try_from(reuse.layers).unwrap_or(u64::MAX);
    let mut all = vec![
        bytes(
            if is_remote { "network" } else { "local" },
            timings.download.bytes,
        ),
        bytes("reuse", reuse.bytes),
        count("hpcc_rootfs_reused_layers", None, layers),
        count("hpcc_rootfs_image_bytes", None, image.image_bytes),
        time("hpcc_rootfs_build_seconds", None, timings.total),
    ];
    let stages = timings.stages().into_iter();
    all.extend(stages.map(|(name, stage)| {
        time(
            "hpcc_rootfs_stage_seconds",
            Some(("stage", name)),
            stage.busy,
        )
    }));
    all
}

fn of_collection(artifacts: u64, bytes: u64) -> Vec<Measurement> {
    vec![
        count("hpcc_rootfs_evictions", None, artifacts),
        count("hpcc_rootfs_evicted_bytes", None, bytes),
    ]
}

/// Reports measurements to the recorder of the crate `metrics`.
#[cfg(feature = "metrics")]
fn record(measurements: &[Measurement]) {
    use metrics::Label;
    for measurement in measurements {
        let labels: Vec<_> = measurement
            .label
            .map(|(name, value)| Label::from_static_parts(name, value))
            .into_iter()
            .collect();
        match measurement.amount {
            Amount::Count(number) => metrics::counter!(measurement.name, labels).increment(number),
            Amount::Time(time) => {
                metrics::histogram!(measurement.name, labels).record(time.as_secs_f64());
            }
        }
    }
}

/// Does nothing, because the feature `metrics` is off.
#[cfg(not(feature = "metrics"))]
fn record(_: &[Measurement]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_errors_count_as_no_attempt() {
        let usage = Error::Source(std::sync::Arc::new(ociget::Error::Usage("no".to_owned())));
        assert_eq!(of_outcome(Err(&usage)), []);
        assert_ne!(of_outcome(Err(&Error::Unproved)), []);
    }

    #[test]
    fn bytes_of_local_files_are_not_of_the_network() {
        for (is_remote, source) in [(true, "network"), (false, "local")] {
            let all = of_build(&Summary::default(), is_remote);
            let bytes = all.iter().find(|found| found.name == "hpcc_rootfs_bytes");
            assert_eq!(bytes.unwrap().label, Some(("source", source)));
        }
    }

    #[test]
    fn every_measurement_has_a_description() {
        let error = Error::Unproved;
        let mut all = of_outcome(Err(&error));
        all.extend(of_outcome(Ok(true)));
        all.push(pulls("interrupted"));
        all.extend(of_build(&Summary::default(), true));
        all.extend(of_collection(1, 2));
        for Measurement { name, amount, .. } in &all {
            assert!(METRICS.iter().any(|(known, _)| known == name), "{name}");
            let is_time = matches!(amount, Amount::Time(_));
            assert_eq!(is_time, name.ends_with("_seconds"), "{name}");
        }
        for (name, _) in METRICS {
            assert!(all.iter().any(|found| found.name == *name), "{name}");
        }
    }
}
