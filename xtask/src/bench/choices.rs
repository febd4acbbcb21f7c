//! The costs of each choice of codec, level, block size and tails: to build, to keep, and to read.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use hpcc_probe::Reading;
use serde_json::json;
use test_support::real_image::{self, RealImage};

use super::measure::{self, Sample};
use super::{program, reading, report};
use crate::{guest, workspace};

/// What is measured how often.
#[derive(clap::Args, Debug)]
pub(super) struct ChoicesOptions {
    /// How often each choice is built and read; medians are printed
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// Reads each in a guest too, once; emulated, that takes minutes
    #[arg(long)]
    guest: bool,
    /// Only this choice, as it stands in the table; may be repeated
    #[arg(long, value_name = "CHOICE", allow_hyphen_values = true)]
    only: Vec<String>,
    /// Writes everything as JSON to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Options of the program, the defaults first.
const CHOICES: [&str; 14] = [
    "",
    "--level 1",
    "--level 2",
    "--level 6",
    "--level 15",
    "--compressor lz4",
    "--compressor gzip --level 6",
    "--compressor gzip",
    "--compressor xz",
    "--compressor none",
    "--block-size 64K",
    "--block-size 256K",
    "--block-size 1M",
    "--tails no",
];

#[derive(Clone)]
struct Row {
    arguments: &'static str,
    samples: Vec<(Sample, Reading)>,
    guest: Option<Reading>,
}

/// Builds the image of compilers with each choice and reads it back through this machine's kernel.
pub(super) fn choices(options: &ChoicesOptions) -> Result<()> {
    let image = real_image::compilers()
        .map_err(Error::msg)?
        .context("the image is built as root")?;
    let source = format!("oci:{}:{}", image.layout().display(), RealImage::TAG);
    let program = program::binary("hpcc-rootfs", "hpcc-rootfs")?;
    let agent = guest::build()?.reader;
    let output = workspace::target("bench")?.join("choice.sqsh");
    let mut rows = CHOICES.map(Row::of).to_vec();
    if !options.only.is_empty() {
        rows.retain(|row| options.only.contains(&row.to_string()));
    }
    for _ in 0..options.rounds {
        for row in &mut rows {
            let mut build = Command::new(&program);
            build
                .args(["build", "--quiet", &source, "--output"])
                .arg(&output)
                .arg("--agent")
                .arg(&agent)
                .args(row.arguments.split_whitespace());
            measure::warm(image.layout())?;
            let mut sample = measure::run(&mut build)?;
            sample.size = measure::bytes_used(&output)?;
            let reading = reading::here(&output)
                .with_context(|| format!("reading what {:?} made", row.arguments))?;
            if options.guest && row.guest.is_none() {
                let reading = reading::in_guest(&output)?;
                println!("{row}, in a guest: {reading:.2?}");
                row.guest = Some(reading);
            }
            println!(
                "{row}: {sample}, read in {:.2} s",
                reading.total().as_secs_f64()
            );
            row.samples.push((sample, reading));
        }
    }
    std::fs::remove_file(&output)?;
    println!(
        "\n{}\n\n| choice | build s | CPU s | MB | walk s | read all s | 1500 files s | in a guest |\n|---|---|---|---|---|---|---|---|",
        report::machine()?
    );
    let first = rows.first().and_then(|row| row.guest);
    for row in &rows {
        println!("{}", row.line(first));
    }
    if let Some(path) = &options.json {
        let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
        let report = json!({ "machine": report::machine()?, "rows": rows });
        std::fs::write(path, report.to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl Row {
    fn of(arguments: &'static str) -> Self {
        Self {
            arguments,
            samples: Vec::new(),
            guest: None,
        }
    }

    fn seconds(&self, of: impl Fn(&(Sample, Reading)) -> Duration) -> f64 {
        measure::median(&self.samples, of).as_secs_f64()
    }

    fn size(&self) -> u64 {
        measure::median(&self.samples, |(sample, _)| sample.size)
    }

    /// Returns the row. The guest's times are multiples of the first row's, because an emulated guest has seconds of
    /// its own.
    fn line(&self, first: Option<Reading>) -> String {
        let guest = self
            .guest
            .zip(first)
            .map_or_else(String::new, |(own, first)| {
                let ratio =
                    |of: fn(Reading) -> Duration| of(own).as_secs_f64() / of(first).as_secs_f64();
                format!(
                    "{:.2}, {:.2}, {:.2}",
                    ratio(|reading| reading.walk),
                    ratio(|reading| reading.everything),
                    ratio(|reading| reading.random)
                )
            });
        format!(
            "| {self} | {:.2} | {:.2} | {}.{} | {:.2} | {:.2} | {:.2} | {guest} |",
            self.seconds(|(sample, _)| sample.wall),
            self.seconds(|(sample, _)| sample.cpu),
            self.size() / 1_000_000,
            self.size() / 100_000 % 10,
            self.seconds(|(_, reading)| reading.walk),
            self.seconds(|(_, reading)| reading.everything),
            self.seconds(|(_, reading)| reading.random),
        )
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "arguments": self.arguments,
            "build_seconds": self.seconds(|(sample, _)| sample.wall),
            "cpu_seconds": self.seconds(|(sample, _)| sample.cpu),
            "image_bytes": self.size(),
            "walk_seconds": self.seconds(|(_, reading)| reading.walk),
            "read_seconds": self.seconds(|(_, reading)| reading.everything),
            "random_seconds": self.seconds(|(_, reading)| reading.random),
            "guest_seconds": self.guest.map(|reading| {
                [reading.walk, reading.everything, reading.random].map(|time| time.as_secs_f64())
            }),
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.arguments {
            "" => "the defaults",
            arguments => arguments,
        })
    }
}
