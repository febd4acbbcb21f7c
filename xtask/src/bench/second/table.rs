//! What second images cost, for people, programs and eyes.

use std::fmt;

use serde_json::{Value, json};

use crate::bench::bars::{self, Bar};
use crate::bench::measure::{self, median};

/// All that was measured.
pub(super) struct Report {
    pub(super) machine: String,
    pub(super) rows: Vec<Row>,
}

/// One image.
pub(super) struct Row {
    name: &'static str,
    pub(super) cold: Vec<Sample>,
    pub(super) warm: Vec<Sample>,
}

/// One pull.
#[derive(Clone)]
pub(super) struct Sample {
    pub(super) took: measure::Sample,
    /// Bytes of documents and blobs that were fetched.
    pub(super) network: u64,
    pub(super) requests: usize,
    /// Layers that were not fetched.
    pub(super) layers: u64,
    /// Stored bytes that were copied.
    pub(super) copied: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} s, {:.2} s of CPU, {} MB, {} requests for {} bytes, {} copied",
            self.took.wall.as_secs_f64(),
            self.took.cpu.as_secs_f64(),
            self.took.peak / 1_000_000,
            self.requests,
            self.network,
            self.copied
        )
    }
}

/// Medians.
struct Cost {
    /// Seconds.
    wall: f64,
    /// Seconds.
    cpu: f64,
    /// Megabytes.
    peak: f64,
    /// Megabytes.
    network: f64,
    requests: usize,
    layers: u64,
    /// Megabytes.
    copied: f64,
}

impl Cost {
    fn of(samples: &[Sample]) -> Self {
        let mega = |of: fn(&Sample) -> u64| median(samples, of) as f64 / 1e6;
        Self {
            wall: median(samples, |sample| sample.took.wall).as_secs_f64(),
            cpu: median(samples, |sample| sample.took.cpu).as_secs_f64(),
            peak: mega(|sample| sample.took.peak),
            network: mega(|sample| sample.network),
            requests: median(samples, |sample| sample.requests),
            layers: median(samples, |sample| sample.layers),
            copied: mega(|sample| sample.copied),
        }
    }
}

impl Row {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            cold: Vec::new(),
            warm: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{}\n\n| second image | wall s | of cold | CPU s | of cold | peak MB | fetched MB | requests | layers not fetched | copied MB |\n\
             |---|---|---|---|---|---|---|---|---|---|",
            self.machine
        )?;
        for row in &self.rows {
            let (cold, warm) = (Cost::of(&row.cold), Cost::of(&row.warm));
            for (what, cost) in [("cold", &cold), ("with reuse", &warm)] {
                writeln!(
                    f,
                    "| {}, {what} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} | {:.1} | {} | {} | {:.0} |",
                    row.name,
                    cost.wall,
                    cost.wall / cold.wall,
                    cost.cpu,
                    cost.cpu / cold.cpu,
                    cost.peak,
                    cost.network,
                    cost.requests,
                    cost.layers,
                    cost.copied,
                )?;
            }
        }
        Ok(())
    }
}

impl Report {
    /// Wall times, each image cold and with reuse.
    pub(super) fn to_svg(&self) -> String {
        let bars = self.rows.iter().flat_map(|row| {
            let bar = |what: &str, samples: &[Sample], ours| Bar {
                name: format!("{}, {what}", row.name),
                value: Cost::of(samples).wall,
                ours,
            };
            [
                bar("cold", &row.cold, false),
                bar("with reuse", &row.warm, true),
            ]
        });
        let title = "The second image: wall time of a pull";
        bars::svg(&self.machine, title, &bars.collect::<Vec<_>>(), "s")
    }

    pub(super) fn to_json(&self) -> String {
        let samples = |samples: &[Sample]| -> Vec<Value> {
            let samples = samples.iter().map(|sample| {
                json!({
                    "wall_seconds": sample.took.wall.as_secs_f64(),
                    "cpu_seconds": sample.took.cpu.as_secs_f64(),
                    "peak_bytes": sample.took.peak,
                    "network_bytes": sample.network,
                    "requests": sample.requests,
                    "layers_not_fetched": sample.layers,
                    "copied_bytes": sample.copied,
                })
            });
            samples.collect()
        };
        let rows = self.rows.iter().map(|row| {
            json!({
                "name": row.name,
                "cold": samples(&row.cold),
                "reuse": samples(&row.warm),
            })
        });
        json!({ "machine": self.machine, "rows": rows.collect::<Vec<_>>() }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rows_show_medians_and_ratios_to_cold() {
        let sample = |wall: u64, cpu: u64, network| Sample {
            took: measure::Sample {
                wall: Duration::from_millis(wall),
                cpu: Duration::from_millis(cpu),
                peak: 40_000_000,
                ..measure::Sample::default()
            },
            network,
            requests: 3,
            layers: 2,
            copied: 7_000_000,
        };
        let mut row = Row::new("another agent");
        row.cold = vec![sample(4000, 8000, 300_000_000)];
        row.warm = vec![
            sample(9000, 9000, 0),
            sample(1000, 800, 0),
            sample(900, 700, 0),
        ];
        let report = Report {
            machine: "machine".into(),
            rows: vec![row],
        };
        let text = report.to_string();
        let cold = "| another agent, cold | 4.00 | 1.00 | 8.00 | 1.00 | 40 | 300.0 | 3 | 2 | 7 |";
        let warm =
            "| another agent, with reuse | 1.00 | 0.25 | 0.80 | 0.10 | 40 | 0.0 | 3 | 2 | 7 |";
        assert!(text.contains(cold) && text.contains(warm), "{text}");
        assert!(report.to_svg().contains("1.00 s"));
        assert!(report.to_json().contains("\"network_bytes\":300000000"));
    }
}
