//! `--metrics-file`: counters in the text form of Prometheus, for the textfile collector of node_exporter.
//!
//! The file adds up over runs: each run reads it, adds its own measurements and replaces it. A lock beside it makes runs
//! take turns. The collector never reads a half-written file, because a rename replaces it.

mod replacement;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hpcc_rootfs::Span;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use rustix::process::geteuid;

use crate::{output, terminal};
use replacement::{open, write};

/// Time to wait for another run that updates the file. It holds the lock for moments.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// Most bytes that are read of a file. One of this program has some thousand.
const LENGTH_MAX: u64 = 1 << 20;

/// Most symlinks that are followed, as in the kernel.
const LINKS_MAX: usize = 40;

/// The first line of a file of this program. A file that begins otherwise is not replaced.
const HEAD: &str = "# Counters of hpcc-rootfs, added up over its runs.";
/// Time of the last run that succeeded.
const LAST: &str = "hpcc_rootfs_last_success_timestamp_seconds";

/// Samples by the name of their metric, then by their labels.
type Samples = BTreeMap<String, BTreeMap<String, f64>>;

/// The counters of this run, and the file that they are added to.
#[derive(Debug)]
pub(crate) struct MetricsFile {
    file: PathBuf,
    run: Run,
}

impl MetricsFile {
    /// Counts the library's measurements from here on.
    pub(crate) fn start(file: PathBuf) -> Self {
        let run = Run::default();
        // It fails only if a recorder is installed already, and this is the only place that installs one.
        let _ = metrics::set_global_recorder(run.clone());
        Self { file, run }
    }

    /// Adds the counters to the file. A file that cannot be written is a warning, because the run itself did its work.
    pub(crate) fn add(self, succeeded: bool) {
        let counted = self.run.lock();
        if let Err(error) = update(&self.file, &counted, succeeded) {
            let file = output::path(&self.file);
            terminal::warn(&format!("cannot write the metrics to {file}: {error}"));
        }
    }
}

/// The counts of one run.
#[derive(Debug, Default)]
struct Counted {
    samples: Samples,
    /// Descriptions by the name of the metric.
    help: BTreeMap<String, String>,
}

/// A recorder that adds up everything. A histogram becomes the sum of its values.
#[derive(Clone, Debug, Default)]
struct Run(Arc<Mutex<Counted>>);

/// One series of a run.
#[derive(Debug)]
struct Series {
    run: Run,
    name: String,
    labels: String,
}

impl Run {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}=\"{}\"", label.key(), label.value()))
            .collect();
        let labels = match labels[..] {
            [] => String::new(),
            _ => format!("{{{}}}", labels.join(",")),
        };
        Arc::new(Series {
            run: self.clone(),
            name: format!("{}_total", key.name()),
            labels,
        })
    }

    fn describe(&self, name: &KeyName, help: &SharedString) {
        let name = format!("{}_total", name.as_str());
        self.lock().help.insert(name, help.to_string());
    }
}

impl Series {
    fn add(&self, value: f64) {
        let mut counted = self.run.lock();
        let series = counted.samples.entry(self.name.clone()).or_default();
        *series.entry(self.labels.clone()).or_default() += value;
    }
}

impl CounterFn for Series {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counters of Prometheus are floating-point numbers"
    )]
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

impl Recorder for Run {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

/// Adds the file that failed to an error, because the caller names the file of the counters.
fn about(path: &Path, operation: &str, error: io::Error) -> io::Error {
    let path = output::path(path);
    io::Error::new(error.kind(), format!("cannot {operation} {path}: {error}"))
}

/// Waits until no other run updates the file.
fn lock(path: &Path) -> io::Result<File> {
    // Opening the file is enough to lock it, so no other user may.
    let options = &mut OpenOptions::new();
    let lock = open(path, options.create(true).append(true).mode(0o600))
        .map_err(|error| about(path, "open the lock", error))?;
    if lock.metadata()?.mode() & 0o077 != 0 {
        lock.set_permissions(Permissions::from_mode(0o600))
            .map_err(|error| about(path, "restrict the lock", error))?;
    }
    let started = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if started.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other(format!(
                    "another process has held the lock {} for {}",
                    output::path(path),
                    Span(PATIENCE)
                )));
            }
            Err(TryLockError::Error(error)) => return Err(about(path, "take the lock", error)),
        }
    }
}

/// Returns the text of the file, which is empty if the file does not exist.
fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    match open(file, OpenOptions::new().read(true)) {
        Ok(file) => file.take(LENGTH_MAX).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(text)
}

/// Returns the path of the file that is replaced: its directory without symlinks, and the file that a symlink leads to,
/// even if that does not exist yet. The symlink of another user is not followed: it would choose where a run of root
/// makes a file.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let directory = path.parent().filter(|parent| *parent != Path::new(""));
        let directory = fs::canonicalize(directory.unwrap_or(Path::new(".")));
        if let (Ok(directory), Some(name)) = (directory, path.file_name()) {
            path = directory.join(name);
        }
        let is_own = fs::symlink_metadata(&path)
            .is_ok_and(|link| [0, geteuid().as_raw()].contains(&link.uid()));
        match fs::read_link(&path) {
            Ok(target) if is_own => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Ok(_) | Err(_) => break,
        }
    }
    path
}

fn update(file: &Path, counted: &Counted, succeeded: bool) -> io::Result<()> {
    hpcc_rootfs::check_output(file)?;
    // A symlink stays, and the file that it leads to is replaced.
    let file = &resolved(file);
    let name = file.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let beside = |prefix: &str, suffix: &str| -> PathBuf {
        let mut hidden = std::ffi::OsString::from(prefix);
        hidden.push(name);
        hidden.push(suffix);
        file.with_file_name(hidden)
    };
    let _lock = lock(&beside(".", ".lock"))?;
    let mut samples = parse(&read(file)?)?;
    for (name, series) in &counted.samples {
        let sums = samples.entry(name.clone()).or_default();
        for (labels, value) in series {
            *sums.entry(labels.clone()).or_default() += value;
        }
    }
    if succeeded {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.unwrap_or_default().as_secs_f64().floor();
        samples.insert(LAST.into(), BTreeMap::from([(String::new(), seconds)]));
    }
    let temporary = beside(".", ".new");
    let written = write(&temporary, &text(&samples, &counted.help), file)
        .map_err(|error| about(&temporary, "write", error))
        .and_then(|()| fs::rename(&temporary, file));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Reads samples of a file that this program wrote.
fn parse(text: &str) -> io::Result<Samples> {
    let broken = |line: &str| {
        io::Error::other(format!(
            "the existing file has a line that this program did not write: {line:?}; remove the file or name another"
        ))
    };
    let mut lines = text.lines();
    match lines.next() {
        None => return Ok(Samples::new()),
        Some(HEAD) => {}
        Some(line) => return Err(broken(line)),
    }
    let mut samples = Samples::new();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let parsed = line.rsplit_once(' ').and_then(|(series, value)| {
            let at = series.find('{').unwrap_or(series.len());
            let (name, labels) = series.split_at(at);
            let value = value.parse::<f64>().ok().filter(|value| *value >= 0.0)?;
            name.starts_with("hpcc_rootfs_")
                .then(|| (name.to_owned(), labels.to_owned(), value))
        });
        let (name, labels, value) = parsed.ok_or_else(|| broken(line))?;
        samples.entry(name).or_default().insert(labels, value);
    }
    Ok(samples)
}

fn text(samples: &Samples, help: &BTreeMap<String, String>) -> String {
    let mut text = format!("{HEAD}\n");
    for (name, series) in samples {
        let (help, kind) = match help.get(name) {
            Some(help) => (help.as_str(), "counter"),
            None if name == LAST => ("Time of the last run that succeeded", "gauge"),
            None => ("", "counter"),
        };
        if !help.is_empty() {
            let _ = writeln!(text, "# HELP {name} {help}");
        }
        let _ = writeln!(text, "# TYPE {name} {kind}");
        for (labels, value) in series {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::replacement::NEW_MODE;
    use super::*;
    use std::os::unix::fs::fchown;

    fn counted() -> Counted {
        let labels = BTreeMap::from([("{outcome=\"built\"}".to_owned(), 1.5)]);
        Counted {
            samples: BTreeMap::from([("hpcc_rootfs_pulls_total".to_owned(), labels)]),
            help: BTreeMap::from([("hpcc_rootfs_pulls_total".to_owned(), "Pulls".to_owned())]),
        }
    }

    #[test]
    fn counters_add_up_over_runs() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("hpcc.prom");
        for _ in 0..3 {
            update(&file, &counted(), false).unwrap();
        }
        let text = fs::read_to_string(&file).unwrap();
        let expected = "# HELP hpcc_rootfs_pulls_total Pulls\n\
            # TYPE hpcc_rootfs_pulls_total counter\n\
            hpcc_rootfs_pulls_total{outcome=\"built\"} 4.5\n";
        assert_eq!(text, format!("{HEAD}\n{expected}"));
        update(&file, &Counted::default(), true).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.contains(&format!("# TYPE {LAST} gauge\n{LAST} 1")),
            "{text}"
        );
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 2, "the file and its lock");
    }

    #[test]
    fn symlink_of_another_user_leads_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let (link, target) = (directory.path().join("a.prom"), directory.path().join("x"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert_eq!(resolved(&link).file_name(), target.file_name());
        if std::os::unix::fs::lchown(&link, Some(12345), None).is_err() {
            eprintln!("not checked: only root can give a symlink away");
            return;
        }
        update(&resolved(&link), &counted(), false).unwrap_err();
        assert!(!target.exists());
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("notes");
        for content in [
            "my notes\n",
            &format!("{HEAD}\nnode_load1 3\n"),
            &format!("{HEAD}\nx\n"),
        ] {
            fs::write(&file, content).unwrap();
            update(&file, &counted(), true).unwrap_err();
            assert_eq!(fs::read_to_string(&file).unwrap(), *content);
        }
    }

    #[test]
    fn lock_wait_is_bounded_and_skipped_for_other_users() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        // As an older version made it.
        fs::write(at(".x.lock"), "").unwrap();
        fs::set_permissions(at(".x.lock"), Permissions::from_mode(0o644)).unwrap();
        for name in ["x", "y"] {
            update(&at(name), &counted(), true).unwrap();
            let lock = at(&format!(".{name}.lock"));
            assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600);
        }
        let held = File::open(at(".x.lock")).unwrap();
        held.lock_shared().unwrap();
        let error = update(&at("x"), &counted(), true).unwrap_err().to_string();
        assert!(
            error.starts_with("another process has held the lock "),
            "{error}"
        );
    }

    #[test]
    fn replaced_file_keeps_mode_and_group_of_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mode = |name: &str| fs::metadata(at(name)).unwrap().mode() & 0o7777;
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        update(&at("link"), &counted(), true).unwrap();
        assert!(at("link").is_symlink());
        assert_eq!(mode("real"), NEW_MODE);
        for bits in [0o600, 0o640, 0o664] {
            fs::set_permissions(at("real"), Permissions::from_mode(bits)).unwrap();
            let other = fchown(File::open(at("real")).unwrap(), None, Some(26)).is_ok();
            update(&at("link"), &counted(), true).unwrap();
            assert_eq!(mode("real"), bits);
            let group = fs::metadata(at("real")).unwrap().gid();
            assert!(!other || group == 26, "group {group}");
        }
    }

    #[test]
    fn only_regular_files_are_replaced_and_links_stay() {
        use rustix::fs::{CWD, FileType, Mode};
        use std::os::unix::fs::symlink;

        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let fifo = |name: &str| {
            let (kind, mode) = (FileType::Fifo, Mode::from_raw_mode(0o644));
            rustix::fs::mknodat(CWD, at(name), kind, mode, 0).unwrap();
        };
        symlink("/dev/null", at("null")).unwrap();
        symlink("/proc/self/fd/1", at("stdout")).unwrap();
        symlink("real", at("link")).unwrap();
        fifo("fifo");
        for name in ["null", "stdout", "fifo"] {
            let error = update(&at(name), &counted(), true).unwrap_err().to_string();
            assert!(error.ends_with(", not a regular file"), "{error}");
        }
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 4, "a lock was left");
        fs::write(at("real"), "").unwrap();
        for _ in 0..2 {
            update(&at("link"), &counted(), true).unwrap();
        }
        assert!(at("link").is_symlink());
        assert!(fs::read_to_string(at("real")).unwrap().contains("} 3\n"));
        // What a killed run left is replaced, and what others put there is not followed.
        symlink(at("victim"), at(".real.new")).unwrap();
        update(&at("link"), &counted(), true).unwrap();
        assert!(!at("victim").exists());
        fifo(".y.lock");
        let error = update(&at("y"), &counted(), true).unwrap_err().to_string();
        let lock = format!("cannot open the lock {}", at(".y.lock").display());
        assert!(error.starts_with(&lock), "{error}");
    }
}
