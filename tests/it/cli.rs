//! The command-line program as users run it: a process of its own, judged by what it prints, how it
//! exits, and what it leaves behind.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// Returns the program. Built on first use.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // Build scripts that ask for the package of the tests would run again, and what depends on them be built again.
        let variables = std::env::vars_os().map(|(name, _)| name);
        let of_package = variables.filter(|name| {
            let prefixes = [&b"CARGO_MANIFEST_"[..], b"CARGO_PKG_"];
            let name = name.as_encoded_bytes();
            prefixes.iter().any(|prefix| name.starts_with(prefix))
        });
        for name in of_package {
            build.env_remove(name);
        }
        let built = build
            // With a test of its package, it is what was built along with all tests: with the features that
            // dev-dependencies add. Nothing is left to do.
            .args(["build", "--locked", "--quiet", "--workspace"])
            .args(["--bin", "hpcc-rootfs", "--test", "tar"])
            .args(["--message-format", "json"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(built.status.success(), "hpcc-rootfs does not build");
        String::from_utf8(built.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "hpcc-rootfs")
            .filter_map(|message| Some(message["executable"].as_str()?.into()))
            .next_back()
            .expect("cargo names the executable")
    })
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// stdout without the line's end, of a run that succeeded.
    pub(crate) fn line(&self) -> &str {
        assert_eq!(self.status, Some(0), "{self:#?}");
        let line = self.stdout.strip_suffix('\n').expect("a whole line");
        assert!(!line.contains('\n'), "one line only: {:?}", self.stdout);
        line
    }

    /// stdout as JSON, of a run that succeeded.
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.status, Some(0), "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A place to run it in: a cache directory, an agent, and no credentials.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self {
            directory: tempfile::Builder::new().prefix("place-").tempdir().unwrap(),
        };
        fs::write(place.agent(), "#!/agent\n").unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn agent(&self) -> PathBuf {
        self.path("agent")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    /// Names in the cache directory, sorted; none if it is not there. Locks, notes and recall files, which stay
    /// beside artifacts, are left out.
    pub(crate) fn cached(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.cache()) else {
            return Vec::new();
        };
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                let beside = [".lock-", ".lease-", ".note-", ".recall-"];
                !beside.iter().any(|prefix| name.starts_with(prefix))
            })
            .collect();
        names.sort();
        names
    }

    /// Returns a command in an environment that has nothing of the host's but the path.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .env("HPCC_CACHE_DIR", self.cache())
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    /// Returns the program, which listens to signals also where the tests ignore them, as below `nohup`.
    pub(crate) fn listening(&self) -> Command {
        let mut command = self.command("env");
        command.arg("--default-signal=HUP,INT,TERM").arg(program());
        command
    }

    /// Runs the program with these arguments.
    pub(crate) fn run<I>(&self, arguments: I) -> Outcome
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        outcome(self.command(program()).args(arguments))
    }

    /// Runs the program with these arguments. Returns its peak of memory in bytes as well.
    pub(crate) fn run_measured(&self, arguments: &[&str]) -> (Outcome, u64) {
        let mut command = self.command("/usr/bin/time");
        command
            .args(["-f", "peak %M"])
            .arg(program())
            .args(arguments);
        let outcome = outcome(&mut command);
        let peak = outcome.stderr.lines().last().unwrap_or_default();
        let kilobytes = peak.strip_prefix("peak ").map(str::parse::<u64>);
        let Some(Ok(kilobytes)) = kilobytes else {
            panic!("no peak: {outcome:#?}");
        };
        (outcome, kilobytes << 10)
    }

    /// `pull` with the agent.
    pub(crate) fn pull(&self, reference: &str, more: &[&str]) -> Outcome {
        let agent = self.agent();
        let arguments = ["pull", reference, "--agent", agent.to_str().unwrap()];
        self.run(arguments.iter().chain(more))
    }
}

/// Runs a command to its end.
pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
