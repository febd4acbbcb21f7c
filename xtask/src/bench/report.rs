//! Medians and ratios, as tables for people and as JSON for programs.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::bars::{self, Bar};
use super::contender::Contender;
use super::measure::{self, Sample};

/// All that was measured.
pub(super) struct Report {
    pub(super) machine: String,
    pub(super) tables: Vec<Table>,
}

/// Contenders that did the same.
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) rows: Vec<Row>,
}

/// One of them.
pub(super) struct Row {
    name: &'static str,
    makes_image: bool,
    pub(super) samples: Vec<Sample>,
}

impl Row {
    pub(super) fn new(contender: &Contender) -> Self {
        Self {
            name: contender.name,
            makes_image: contender.makes_image,
            samples: Vec::new(),
        }
    }

    fn median<T: Ord + Copy + Default>(&self, of: impl Fn(&Sample) -> T) -> T {
        measure::median(&self.samples, of)
    }
}

impl Table {
    /// Returns the least wall time that the floor's computing can take: its CPU and the registry's, spread over all
    /// cores, and then the disk.
    fn floor(&self) -> Option<Duration> {
        let floor = self.rows.iter().find(|row| !row.makes_image)?;
        let cores = u32::try_from(std::thread::available_parallelism().ok()?.get()).ok()?;
        let others = self.rows.iter().filter(|row| row.makes_image);
        let sync = others.map(|row| row.median(|sample| sample.sync)).min()?;
        Some(
            (floor.median(|sample| sample.cpu) + floor.median(|sample| sample.registry)) / cores
                + sync,
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.machine)?;
        for table in &self.tables {
            writeln!(
                f,
                "\n| {} | wall s | CPU s | peak MB | size MB | reading it s |\n|---|---|---|---|---|---|",
                table.title
            )?;
            for row in &table.rows {
                write!(
                    f,
                    "| {} | {:.2} | {:.2} | {} |",
                    row.name,
                    row.median(|sample| sample.wall).as_secs_f64(),
                    row.median(|sample| sample.cpu).as_secs_f64(),
                    row.median(|sample| sample.peak) / 1_000_000,
                )?;
                match row.median(|sample| sample.size) {
                    0 => writeln!(f, " | |")?,
                    size => writeln!(
                        f,
                        " {}.{:03} | {:.2} |",
                        size / 1_000_000,
                        size / 1000 % 1000,
                        row.median(|sample| sample.reading).as_secs_f64()
                    )?,
                }
            }
            if let Some(floor) = table.floor() {
                writeln!(
                    f,
                    "| the floor, disk included | {:.2} | | | | |",
                    floor.as_secs_f64()
                )?;
                for row in table.rows.iter().filter(|row| row.makes_image) {
                    let wall = row.median(|sample| sample.wall).as_secs_f64();
                    writeln!(
                        f,
                        "\n{}: {:.2} x the floor",
                        row.name,
                        wall / floor.as_secs_f64()
                    )?;
                }
            }
        }
        Ok(())
    }
}

impl Report {
    /// Returns the wall times of the first table, the floor first.
    pub(super) fn to_svg(&self) -> String {
        let Some(table) = self.tables.first() else {
            return String::new();
        };
        let floor = table.floor().map(|floor| Bar {
            name: "the floor, disk included".into(),
            value: floor.as_secs_f64(),
            ours: false,
        });
        let rows = table.rows.iter().filter(|row| row.makes_image);
        let bars: Vec<_> = floor
            .into_iter()
            .chain(rows.map(|row| Bar {
                name: row.name.into(),
                value: row.median(|sample| sample.wall).as_secs_f64(),
                ours: row.name.starts_with("hpcc-rootfs"),
            }))
            .collect();
        bars::svg(&self.machine, table.title, &bars, "s")
    }

    pub(super) fn to_json(&self) -> String {
        let tables = self.tables.iter().map(|table| {
            let rows = table.rows.iter().map(|row| {
                let samples = row.samples.iter().map(|sample| {
                    json!({
                        "wall_seconds": sample.wall.as_secs_f64(),
                        "cpu_seconds": sample.cpu.as_secs_f64(),
                        "registry_cpu_seconds": sample.registry.as_secs_f64(),
                        "sync_seconds": sample.sync.as_secs_f64(),
                        "peak_bytes": sample.peak,
                        "image_bytes": sample.size,
                        "reading_seconds": sample.reading.as_secs_f64(),
                    })
                });
                json!({ "name": row.name, "samples": samples.collect::<Vec<_>>() })
            });
            json!({
                "title": table.title,
                "floor_seconds": table.floor().map(|floor| floor.as_secs_f64()),
                "rows": rows.collect::<Vec<_>>(),
            })
        });
        json!({ "machine": self.machine, "tables": tables.collect::<Vec<_>>() }).to_string()
    }
}

/// CPU, cores and the kernel's version, which is all that a number needs to be understood.
pub(super) fn machine() -> Result<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let version: Vec<_> = release.trim().split('.').take(2).collect();
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "{model}, {cores} cores, Linux {}",
        version.join(".")
    ))
}
