//! How long it takes the kernel to read an image.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use test_support::oracle::Mount;

use crate::command;

/// Of so many files some are read in an order that has nothing to do with that of the image.
const RANDOM_FILES: usize = 1500;

/// Three ways through an image, each from a cold cache.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// Mounting it, and asking for the metadata of every name.
    pub(super) walk: Duration,
    /// Reading every file, in the order of names.
    pub(super) everything: Duration,
    /// Opening and reading 1500 files, here and there.
    pub(super) random: Duration,
}

impl Reading {
    /// Mounts an image and reads it. As root; the page cache of the machine is emptied.
    pub(super) fn of(image: &Path) -> Result<Self> {
        empty_caches()?;
        let start = Instant::now();
        let mount = Mount::squashfs(image)
            .map_err(Error::msg)?
            .context("mounting needs root")?;
        let mut files = Vec::new();
        walk(mount.root(), &mut files)?;
        let walk = start.elapsed();
        let everything = read(&mount, &files)?;
        // Every file once, as far apart as a step that has no divisor in common with their number takes them.
        files.sort();
        let random: Vec<_> = (0..files.len().min(RANDOM_FILES))
            .filter_map(|at| files.get(at * 7_919 % files.len()).cloned())
            .collect();
        let random = read(&mount, &random)?;
        Ok(Self {
            walk,
            everything,
            random,
        })
    }

    pub(super) fn total(self) -> Duration {
        self.walk + self.everything + self.random
    }
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            walk(&entry.path(), files)?;
        } else if metadata.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn read(mount: &Mount, files: &[PathBuf]) -> Result<Duration> {
    empty_caches()?;
    let start = Instant::now();
    let mut buffer = vec![0; 1 << 20];
    for path in files {
        let name = path.strip_prefix(mount.root()).unwrap_or(path).display();
        let mut file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        while file
            .read(&mut buffer)
            .with_context(|| format!("cannot read {name}"))?
            > 0
        {}
    }
    Ok(start.elapsed())
}

fn empty_caches() -> Result<()> {
    command::output(&mut Command::new("sync"))?;
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot empty the page cache")
}
