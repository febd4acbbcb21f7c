//! The options that every command has.

use std::path::{Path, PathBuf};

use clap::Args;
use hpcc_rootfs::{Options, Store};

use crate::failure::UsageError;
use crate::logging::{self, Format};
use crate::progress::{Mode, Wishes};

/// Their heading.
const GLOBAL: &str = "Options of all commands";

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Directory of the store [default: hpcc-rootfs under the user's cache directory]
    #[arg(long, global = true, value_name = "DIR", help_heading = GLOBAL)]
    cache_dir: Option<PathBuf>,
    /// Configuration file, or "none" to use no file [default: hpcc-rootfs/hpcc-rootfs.toml under ~/.config and /etc]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) config: Option<PathBuf>,
    /// Accept a store that users other than you and root can write to; those users then control what guests
    /// run
    #[arg(long, global = true, help_heading = GLOBAL)]
    trust_store: bool,
    /// Print results as JSON
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Print more about each step
    #[arg(short, long, global = true, overrides_with = "verbose", help_heading = GLOBAL)]
    pub(crate) verbose: bool,
    /// Print only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = GLOBAL)]
    pub(crate) quiet: bool,
    /// File to add this run's counters to, in the Prometheus text format
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) metrics_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// The options of what stderr gets.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Form of progress on stderr [default: auto]
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "HOW",
        help_heading = GLOBAL,
        default_value_t,
        hide_default_value = true
    )]
    pub(crate) progress: Mode,
    /// Format of notices, log records (RUST_LOG) and errors on stderr [default: text, or json with --json]
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        help_heading = GLOBAL
    )]
    log_format: Option<Format>,
}

impl Global {
    /// What progress depends on.
    pub(crate) fn wishes(&self) -> Wishes {
        Wishes {
            mode: self.log.progress,
            json: self.json,
            quiet: self.quiet,
            verbose: self.verbose,
        }
    }

    /// Whether each line on stderr is an object of JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.log.is_json(self.json)
    }

    /// The directory of the store.
    fn directory(&self) -> anyhow::Result<PathBuf> {
        if let Some(directory) = &self.cache_dir {
            return Ok(directory.clone());
        }
        absolute_of("XDG_CACHE_HOME")
            .or_else(|| absolute_of("HOME").map(|home| home.join(".cache")))
            .map(|cache| cache.join("hpcc-rootfs"))
            .ok_or_else(|| UsageError("neither XDG_CACHE_HOME nor HOME names an absolute path; name a directory with --cache-dir".to_owned()).into())
    }

    /// Whether the directory of the store is named by a path relative to the working directory.
    pub(crate) fn has_relative_directory(&self) -> bool {
        let directory = self.cache_dir.as_deref();
        directory.is_some_and(Path::is_relative)
    }

    /// The store, for commands that need no options.
    pub(crate) fn store(&self) -> anyhow::Result<Store> {
        self.store_with(Options::default())
    }

    /// The store with these options.
    pub(crate) fn store_with(&self, mut options: Options) -> anyhow::Result<Store> {
        options.store.trusted = self.trust_store;
        Ok(Store::open(self.directory()?, options)?)
    }
}

/// Returns the path in a variable of the environment, if it is absolute. The XDG Base Directory Specification has relative
/// ones ignored, because they would be other directories for each working directory.
pub(crate) fn absolute_of(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.filter(|path| path.is_absolute())
}

impl LogArgs {
    /// Whether each line on stderr is an object of JSON. `json` is whether the result is.
    pub(crate) fn is_json(&self, json: bool) -> bool {
        logging::is_json(self.log_format, json, self.progress)
    }
}
