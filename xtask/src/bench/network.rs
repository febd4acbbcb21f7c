//! Pulls through a network that is slower than the machine, beside a plain download of the same bytes.
//!
//! Where the network is what holds a pull up, everything else should hide behind it. What does not
//! is work that waits for the last byte.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::measure::{self, Sample};
use super::served::Served;
use super::throttle::Throttle;
use super::{program, report};
use crate::workspace;

/// How slow, and how often.
#[derive(clap::Args, Debug)]
pub(super) struct NetworkOptions {
    /// Kilobytes a second that all connections share; may be given many times
    #[arg(long = "rate", default_values_t = [12_500, 25_000, 50_000], value_name = "KB/s")]
    rates: Vec<u32>,
    /// How often each is measured; medians are printed
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// Writes everything as JSON to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One bandwidth.
struct Row {
    /// Kilobytes a second.
    rate: u32,
    download: Vec<Sample>,
    pull: Vec<Sample>,
}

pub(super) fn network(options: &NetworkOptions) -> Result<()> {
    let served = Served::start()?;
    let program = program::binary("hpcc-rootfs", "hpcc-rootfs")?;
    let directory = workspace::target("bench")?;
    let mut rows: Vec<_> = options
        .rates
        .iter()
        .map(|rate| Row {
            rate: *rate,
            download: Vec::new(),
            pull: Vec::new(),
        })
        .collect();
    for _ in 0..options.rounds {
        for row in &mut rows {
            let bytes = row.rate.checked_mul(1000).context("too fast a network")?;
            let throttle = Throttle::start(served.registry.addr(), bytes)?;
            let wall = download(throttle.addr(), &served.digest)?;
            row.download.push(Sample {
                wall,
                ..Sample::default()
            });
            let sample = pull(&program, &throttle, &served.digest, &directory)?;
            println!("{} KB/s: download {wall:.2?}, pull {sample}", row.rate);
            row.pull.push(sample);
        }
    }
    let report = Report {
        machine: report::machine()?,
        rows,
    };
    println!("{report}");
    if let Some(path) = &options.json {
        std::fs::write(path, report.to_json())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn pull(program: &Path, throttle: &Throttle, digest: &str, directory: &Path) -> Result<Sample> {
    let cache = tempfile::tempdir_in(directory)?;
    let mut pull = Command::new(program);
    pull.args(["pull", "--quiet", "--digest", digest])
        .arg(format!("{}/{}:latest", throttle.addr(), Served::NAME))
        .args(["--agent", "/bin/true", "--cache-dir"])
        .arg(cache.path());
    measure::run(&mut pull)
}

/// Downloads the manifest and all that it names, one after the other, and drops them.
fn download(addr: SocketAddr, digest: &str) -> Result<Duration> {
    let start = Instant::now();
    let repository = format!("/v2/{}", Served::NAME);
    let manifest = get(addr, &format!("{repository}/manifests/{digest}"), true)?;
    let manifest: Value = serde_json::from_slice(&manifest)?;
    let layers = manifest["layers"].as_array().context("no image manifest")?;
    for blob in layers.iter().chain([&manifest["config"]]) {
        let digest = blob["digest"].as_str().context("a blob without digest")?;
        get(addr, &format!("{repository}/blobs/{digest}"), false)?;
    }
    Ok(start.elapsed())
}

/// Returns the body of an answer, if it is to be kept.
fn get(addr: SocketAddr, path: &str, keep: bool) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(addr)?;
    let accept = "application/vnd.oci.image.manifest.v1+json, */*";
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    if keep {
        stream.read_to_end(&mut answer)?;
    } else {
        let mut buffer = [0; 256 << 10];
        loop {
            match stream.read(&mut buffer)? {
                0 => break,
                length if answer.is_empty() => answer.extend_from_slice(&buffer[..length]),
                _ => {}
            }
        }
    }
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        bail!("{path}: {}", String::from_utf8_lossy(&answer));
    }
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    Ok(answer.split_off(end.context("no end of the headers")? + 4))
}

struct Report {
    machine: String,
    rows: Vec<Row>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{}\n\n| MB/s | plain download s | pull s | ratio | CPU s of the pull |\n|---|---|---|---|---|",
            self.machine
        )?;
        for row in &self.rows {
            let download = measure::median(&row.download, |sample| sample.wall).as_secs_f64();
            let pull = measure::median(&row.pull, |sample| sample.wall).as_secs_f64();
            writeln!(
                f,
                "| {:.1} | {download:.2} | {pull:.2} | {:.3} | {:.2} |",
                f64::from(row.rate) / 1000.0,
                pull / download,
                measure::median(&row.pull, |sample| sample.cpu).as_secs_f64(),
            )?;
        }
        Ok(())
    }
}

impl Report {
    fn to_json(&self) -> String {
        let seconds = |samples: &[Sample], of: fn(&Sample) -> Duration| -> Vec<f64> {
            samples
                .iter()
                .map(|sample| of(sample).as_secs_f64())
                .collect()
        };
        let rows = self.rows.iter().map(|row| {
            json!({
                "kilobytes_a_second": row.rate,
                "download_seconds": seconds(&row.download, |sample| sample.wall),
                "pull_seconds": seconds(&row.pull, |sample| sample.wall),
                "pull_cpu_seconds": seconds(&row.pull, |sample| sample.cpu),
            })
        });
        json!({ "machine": self.machine, "rows": rows.collect::<Vec<_>>() }).to_string()
    }
}
