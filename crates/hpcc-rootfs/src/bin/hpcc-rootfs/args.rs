//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use hpcc_rootfs::{Agents, Compressor, Injection, Options, Store};
use ociget::{Digest, Platform};

use crate::injection;
use crate::limits::LimitArgs;
use crate::network::NetworkArgs;
use crate::spool::SpoolArgs;
use crate::subject::Subject;

/// Turn container images into squashfs root file systems that a microVM boots.
#[derive(Debug, Parser)]
// By name, because `clap` would repeat whatever the program was called as.
#[command(version, bin_name = "hpcc-rootfs", max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Global {
    /// Directory of the store [default: hpcc-rootfs under the user's cache directory]
    #[arg(
        long,
        global = true,
        env = "HPCC_CACHE_DIR",
        hide_env_values = true,
        value_name = "DIR"
    )]
    cache_dir: Option<PathBuf>,
    /// Use the store although users other than this one and root can write to it; they then choose
    /// what the guests run
    #[arg(long, global = true)]
    trust_store: bool,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more about what happens
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Say nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pull an image into the store and print the path of its artifact
    Pull(Pull),
    /// Turn an image into a squashfs file, without a store
    Build(Build),
    /// List the artifacts in the store
    List,
    /// Print where the artifact of an image is, or would be
    Path {
        /// Digest of the image: sha256:<64 hex digits>
        digest: Digest,
    },
    /// Show what an artifact was made from
    Inspect(Inspect),
    /// Read artifacts whole and compare them with their records; exit 1 if one is not sound
    Verify(Verify),
    /// Remove an artifact from the store; a missing one is fine
    Untag {
        /// Digest of the image: sha256:<64 hex digits>
        digest: Digest,
    },
    /// Make room: remove artifacts least recently used first, and what belongs to none
    Gc(Gc),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Verify {
    /// Digests of images in the store, which are set aside if damaged, or paths of artifacts
    /// [default: all in the store]
    #[arg(value_name = "DIGEST-OR-FILE")]
    pub(crate) subjects: Vec<Subject>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Gc {
    /// Bytes that all artifacts may have together
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_size: Option<u64>,
    /// How long ago an artifact may have been used last: a number of s, m, h or d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_age: Option<Duration>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Pull {
    /// Image reference, such as debian:12 or registry.example/team/name@sha256:<hex>
    pub(crate) image: String,
    /// Digest of the manifest or index that the image must have
    #[arg(long, value_name = "DIGEST")]
    pub(crate) digest: Option<Digest>,
    #[command(flatten)]
    target: Target,
    /// Agent for amd64 images
    #[arg(long, value_name = "FILE", conflicts_with = "agent")]
    agent_amd64: Option<PathBuf>,
    /// Agent for arm64 images
    #[arg(long, value_name = "FILE", conflicts_with = "agent")]
    agent_arm64: Option<PathBuf>,
    /// Read an artifact that is there already whole, and build it anew if it is damaged
    #[arg(long)]
    pub(crate) verify: bool,
    /// Fetch every layer, also those that the store knows from other images
    #[arg(long)]
    no_reuse: bool,
    /// Store of somebody else to copy known layers from, never written; may be repeated
    #[arg(long, value_name = "DIR")]
    seed: Vec<PathBuf>,
    /// Bytes to leave free on the file system of the store [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    min_free: Option<u64>,
    #[command(flatten)]
    image_options: ImageArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    network: NetworkArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Build {
    /// Image reference, docker://REF, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG],
    /// dir:DIR, or tar:FILE for a root file system; a FILE of - is standard input
    pub(crate) source: String,
    /// File to write; it appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Digest of the manifest or index that the image must have
    #[arg(long, value_name = "DIGEST")]
    pub(crate) digest: Option<Digest>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    image_options: ImageArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    network: NetworkArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Inspect {
    /// Digest of an image in the store, or path of an artifact
    #[arg(value_name = "DIGEST-OR-FILE")]
    pub(crate) subject: Subject,
    /// List every name in it as well
    #[arg(long)]
    pub(crate) tree: bool,
}

#[derive(Debug, ClapArgs)]
struct Target {
    /// Platform to choose of an index, os/architecture[/variant]; counts where an index and the config
    /// that it leads to name different ones [default: this host's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Program that becomes PID 1, put into the image as /.hpcc/agent
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    #[command(flatten)]
    spool: SpoolArgs,
    /// Further file for the guest, to a path below /.hpcc, with an octal mode [default: 644]; may be
    /// repeated
    #[arg(long, value_name = "HOST:GUEST[:MODE]", value_parser = injection::parse)]
    inject: Vec<Injection>,
}

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Image options")]
struct ImageArgs {
    /// Codec of the image [default: zstd]
    #[arg(long)]
    compressor: Option<Codec>,
    /// Level of the codec: zstd 1 to 22, gzip 1 to 9, xz 0 to 9 [default: 3, 9, 6]
    #[arg(long, allow_negative_numbers = true)]
    level: Option<i32>,
    /// Size of a data block, 4K to 1M, a power of two [default: 128K]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    block_size: Option<u64>,
    /// Whether the ends of files larger than a block go into fragments
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    tails: Option<bool>,
    /// Time of what is not the image's own, in seconds since 1970 [default: 0]
    #[arg(
        long,
        env = "SOURCE_DATE_EPOCH",
        hide_env_values = true,
        value_name = "SECONDS"
    )]
    time: Option<u32>,
    /// Threads that compress [default: the CPUs this process may use]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print where the time went, stage by stage
    #[arg(long)]
    timings: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Codec {
    Zstd,
    Gzip,
    Xz,
    Lz4,
    /// Every block as it is
    None,
}

/// A mistake in the arguments that only became apparent after parsing; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

impl Global {
    /// The directory of the store.
    fn directory(&self) -> anyhow::Result<PathBuf> {
        if let Some(directory) = &self.cache_dir {
            return Ok(directory.clone());
        }
        let from = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty());
        from("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| from("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .map(|cache| cache.join("hpcc-rootfs"))
            .context("neither XDG_CACHE_HOME nor HOME is set; name a directory with --cache-dir")
    }

    /// The store, for commands that need no options.
    pub(crate) fn store(&self) -> anyhow::Result<Store> {
        self.store_with(Options::default())
    }

    fn store_with(&self, mut options: Options) -> anyhow::Result<Store> {
        options.store.trusted = self.trust_store;
        Ok(Store::open(self.directory()?, options)?)
    }
}

impl Pull {
    /// Refuses a digest that contradicts the one in the reference, before the store is opened.
    pub(crate) fn check_pin(&self) -> Result<(), hpcc_rootfs::Error> {
        ociget::Request::parse(&self.image, self.digest.as_ref())?;
        Ok(())
    }

    /// The store to pull into.
    pub(crate) fn store(&self, global: &Global, options: Options) -> anyhow::Result<Store> {
        global.store_with(options)
    }

    /// Whether to say where the time went.
    pub(crate) fn timings(&self) -> bool {
        self.image_options.timings
    }

    pub(crate) fn options(&self) -> anyhow::Result<Options> {
        let mut options = resolve(
            &self.target,
            &self.image_options,
            &self.limits,
            &self.network,
            &self.image,
        )?;
        for (architecture, file) in [("amd64", &self.agent_amd64), ("arm64", &self.agent_arm64)] {
            if let Some(file) = file {
                options.agents = options.agents.with(architecture, file);
            }
        }
        if let Some(bytes) = self.min_free {
            options.store.min_free = bytes;
        }
        options.store.reuse = !self.no_reuse;
        options.store.seeds.clone_from(&self.seed);
        Ok(options)
    }
}

impl Build {
    /// Whether to say where the time went.
    pub(crate) fn timings(&self) -> bool {
        self.image_options.timings
    }

    pub(crate) fn options(&self) -> anyhow::Result<Options> {
        resolve(
            &self.target,
            &self.image_options,
            &self.limits,
            &self.network,
            &self.source,
        )
    }
}

fn resolve(
    target: &Target,
    image: &ImageArgs,
    limits: &LimitArgs,
    network: &NetworkArgs,
    source: &str,
) -> anyhow::Result<Options> {
    let mut options = Options::default();
    if let Some(platform) = &target.platform {
        options.platform = platform.clone();
        options.insist_on_platform = true;
    }
    if let Some(agent) = &target.agent {
        options.agents = Agents::default().with(options.platform.architecture(), agent);
    }
    target.spool.apply(&mut options.spool);
    options.injections.clone_from(&target.inject);
    options.image.compressor = compressor(image)?;
    if let Some(size) = image.block_size {
        options.image.block_size = u32::try_from(size)
            .map_err(|_| UsageError(format!("--block-size {size} is more than 1M")))?;
    }
    if let Some(tails) = image.tails {
        options.image.tails = tails;
    }
    if let Some(time) = image.time {
        options.image.time = time;
    }
    if let Some(threads) = image.threads {
        options.threads = threads;
    }
    limits.apply(&mut options.limits);
    network.apply(&mut options, source)?;
    Ok(options)
}

fn compressor(image: &ImageArgs) -> Result<Compressor, UsageError> {
    let level = image.level;
    let from_zero = |default, message: &str| {
        u32::try_from(level.unwrap_or(default)).map_err(|_| UsageError(message.into()))
    };
    let compressor = match image.compressor.unwrap_or(Codec::Zstd) {
        Codec::Zstd => Compressor::Zstd {
            level: level.unwrap_or(3),
        },
        Codec::Gzip => Compressor::Gzip {
            level: from_zero(9, "gzip levels go from 1 to 9")?,
        },
        Codec::Xz => Compressor::Xz {
            level: from_zero(6, "xz levels go from 0 to 9")?,
        },
        Codec::Lz4 => Compressor::Lz4 { high: false },
        Codec::None => Compressor::None,
    };
    match (compressor, level) {
        (Compressor::Lz4 { .. } | Compressor::None, Some(_)) => Err(UsageError(format!(
            "--compressor {compressor} has no levels"
        ))),
        _ => Ok(compressor),
    }
}

/// Bytes, with K, M, G or T for powers of 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..).unwrap_or_default() {
        "" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "m" | "MiB" => 20,
        "G" | "g" | "GiB" => 30,
        "T" | "t" | "TiB" => 40,
        _ => return Err("a size is a number, with K, M, G or T after it".into()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "a size is a number, with K, M, G or T after it".into())
}

/// A time span, with s, m, h or d after it; without, it is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        _ => None,
    };
    let seconds = digits.parse::<u64>().ok().zip(unit);
    seconds
        .and_then(|(number, unit)| number.checked_mul(unit))
        .map(Duration::from_secs)
        .ok_or_else(|| "a time span is a number with s, m, h or d after it".into())
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("yes or no".into()),
    }
}

#[cfg(test)]
mod tests;
