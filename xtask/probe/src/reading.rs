//! How long it takes a kernel to read an image: this machine's, or a guest's.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Number of files that are read in an order that is unrelated to that of the image.
const RANDOM_FILES: usize = 1500;

/// Three ways through an image, each from a cold cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Asking for the metadata of every name; on this machine mounting as well.
    pub walk: Duration,
    /// Reading every file, in the order of names.
    pub everything: Duration,
    /// Opening and reading 1500 files, here and there.
    pub random: Duration,
}

impl Reading {
    /// Reads the image that is mounted at `root`, other file systems within it left out. The walk
    /// begins with whatever is cached; `empty_caches` is called before each of the other two.
    ///
    /// # Errors
    /// Entries that cannot be read, with their paths.
    pub fn of(root: &Path, mut empty_caches: impl FnMut() -> io::Result<()>) -> io::Result<Self> {
        let start = Instant::now();
        let mut files = Vec::new();
        walk(root, &mut files)?;
        let walk = start.elapsed();
        empty_caches()?;
        let everything = read(files.iter())?;
        files.sort();
        // Every file once, as far apart as a step that has no divisor in common with their number takes them.
        let random =
            (0..files.len().min(RANDOM_FILES)).filter_map(|at| files.get(at * 7_919 % files.len()));
        empty_caches()?;
        Ok(Self {
            walk,
            everything,
            random: read(random)?,
        })
    }

    /// Returns all three together.
    #[must_use]
    pub fn total(self) -> Duration {
        self.walk + self.everything + self.random
    }

    /// Returns a line that [`in_log`](Self::in_log) finds again.
    #[must_use]
    pub fn to_line(self) -> String {
        let [walk, everything, random] =
            [self.walk, self.everything, self.random].map(|time| time.as_micros());
        format!("{MARK}{walk} {everything} {random} us")
    }

    /// Returns the reading that a guest wrote to its console.
    #[must_use]
    pub fn in_log(log: &str) -> Option<Self> {
        let line = log.lines().find_map(|line| line.split_once(MARK))?.1;
        let mut times = line
            .strip_suffix(" us")?
            .split(' ')
            .map(|time| time.parse().ok().map(Duration::from_micros));
        let mut next = || times.next().flatten();
        Some(Self {
            walk: next()?,
            everything: next()?,
            random: next()?,
        })
    }
}

const MARK: &str = "read in ";

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = fs::read_dir(directory).map_err(in_path(directory))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let metadata = entry.metadata().map_err(in_path(&path))?;
        if metadata.is_dir() {
            walk(&path, files)?;
        } else if metadata.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn read<'a>(files: impl Iterator<Item = &'a PathBuf>) -> io::Result<Duration> {
    let start = Instant::now();
    let mut buffer = vec![0; 1 << 20];
    for path in files {
        let mut file = File::open(path).map_err(in_path(path))?;
        while file.read(&mut buffer).map_err(in_path(path))? > 0 {}
    }
    Ok(start.elapsed())
}

fn in_path(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_found_in_a_log_and_nothing_else_is() {
        let micros = Duration::from_micros;
        let reading = Reading {
            walk: micros(1),
            everything: micros(2_345_678),
            random: micros(0),
        };
        let log = format!(
            "[    1.0] booted\n[    9.0] {}\n[    9.1] down",
            reading.to_line()
        );
        assert_eq!(Reading::in_log(&log), Some(reading));
        for log in [
            "",
            "read in",
            "read in 1 2 us",
            "read in 1 x 3 us",
            "read in 1 2 3",
        ] {
            assert_eq!(Reading::in_log(log), None, "{log}");
        }
    }

    #[test]
    fn every_file_is_read_with_caches_emptied_before() {
        let directory = tempfile::tempdir().unwrap();
        let sub = directory.path().join("sub");
        fs::create_dir(&sub).unwrap();
        fs::write(sub.join("file"), "content").unwrap();
        let mut emptied = 0;
        let reading = Reading::of(directory.path(), || {
            emptied += 1;
            Ok(())
        });
        assert!(reading.unwrap().total() > Duration::ZERO && emptied == 2);
        let missing = Reading::of(&sub.join("none"), || Ok(())).unwrap_err();
        assert!(missing.to_string().contains("sub/none: "), "{missing}");
    }
}
