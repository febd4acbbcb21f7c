//! Time and memory of pulls as images grow: in entries, bytes, layers, hard links, and names of one directory.
//!
//! The images are generated, and served from memory by the registry of the tests, which is a process of its
//! own only in name: it takes its share of the cores. What is pulled is not read back here; the tests do that
//! with images that tell more. That every inode is there is seen from the superblock.

mod series;
mod table;
mod text;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use test_support::contract::MOUNT_POINTS;
use test_support::image::{Image, Store};
use test_support::registry::Registry;

use self::series::{SERIES, Series};
use self::table::{Point, Report, Table};
use self::text::Text;
use super::{measure, program, report};
use crate::workspace;

/// What grows, how often it is measured, and what becomes of it.
#[derive(clap::Args, Debug)]
pub(super) struct GrowthOptions {
    /// Only these of entries, bytes, layers, links, names; may be given many times
    #[arg(long = "only", value_name = "SERIES", value_parser = SERIES.iter().map(|series| series.name).collect::<Vec<_>>())]
    only: Vec<String>,
    /// How often each image is pulled; medians are printed
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// Writes everything as JSON to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Plots it into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(super) fn growth(options: &GrowthOptions) -> Result<()> {
    let program = program::binary("hpcc-rootfs", "hpcc-rootfs")?;
    let text = Text::new();
    let wanted = |series: &&Series| {
        options.only.is_empty() || options.only.iter().any(|name| name == series.name)
    };
    let tables = SERIES.iter().filter(wanted);
    let report = Report {
        machine: report::machine()?,
        tables: tables
            .map(|series| measured(series, &text, &program, options.rounds))
            .collect::<Result<_>>()?,
    };
    println!("{report}");
    for (path, content) in [
        (&options.json, report.to_json()),
        (&options.svg, report.to_svg()),
    ] {
        if let Some(path) = path {
            std::fs::write(path, content)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// Measures all images of a series, one after the other, as often as the options say.
fn measured(series: &'static Series, text: &Text, program: &Path, rounds: usize) -> Result<Table> {
    let mut store = Store::new();
    let mut points = Vec::new();
    let mut digests = Vec::new();
    for size in series.sizes {
        let layers = (series.layers)(text, *size);
        let image = layers.into_iter().fold(Image::new(), Image::layer);
        digests.push(image.add_to(&mut store).digest);
        points.push(Point {
            size: *size,
            samples: Vec::new(),
        });
    }
    let registry = Registry::serve(store)?;
    for _ in 0..rounds {
        for (point, digest) in points.iter_mut().zip(&digests) {
            let cache = tempfile::tempdir_in(workspace::target("bench")?)?;
            let mut pull = Command::new(program);
            pull.args(["pull", "--quiet", "--agent", "/bin/true", "--cache-dir"])
                .arg(cache.path())
                .arg(format!("{}/growth@{digest}", registry.addr()));
            let sample = measure::run(&mut pull)?;
            println!("{} {}: {sample}", series.name, point.size);
            point.samples.push(sample);
            let artifact = format!("{}.sqsh", digest.replace(':', "-"));
            check(&cache.path().join(artifact), (series.inodes)(point.size))?;
        }
    }
    Ok(Table { series, points })
}

/// Checks that the image has as many inodes as were put in and those that this project adds: the root, `/.hpcc`, two
/// files in it, the mount points.
fn check(artifact: &Path, expected: u64) -> Result<()> {
    let mut count = [0; 4];
    File::open(artifact)?.read_exact_at(&mut count, 4)?;
    let found = u64::from(u32::from_le_bytes(count));
    let expected = expected + 4 + MOUNT_POINTS.len() as u64;
    if found != expected {
        bail!("{}: {found} inodes, not {expected}", artifact.display());
    }
    Ok(())
}
