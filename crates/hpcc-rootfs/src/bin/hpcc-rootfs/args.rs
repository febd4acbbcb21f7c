//! The command line.

mod image;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use hpcc_rootfs::{Agents, FsVerity, Injection, MountPoint, Options};
use ociget::{Digest, Platform};

use self::image::ImageArgs;
use crate::attest::Attest;
use crate::boot_args::BootArgs;
use crate::completions::{Completions, Man};
use crate::config::show::Config;
use crate::df::Df;
use crate::doctor::Doctor;
use crate::failure::UsageError;
use crate::fs_verity;
use crate::global::Global;
use crate::injection;
use crate::limits::LimitArgs;
use crate::link::Link;
use crate::list::List;
use crate::network::NetworkArgs;
use crate::path::PathOf;
use crate::quantity::{duration, size};
use crate::rebuild::RebuildArgs;
use crate::requires::Requires;
use crate::rm::{Rm, Untag};
use crate::spool::SpoolArgs;
use crate::subject::Subject;
use crate::vm_config::VmConfig;

/// Turn container images into squashfs root file systems that a microVM boots.
#[derive(Debug, Parser)]
// By name, because `clap` would repeat whatever the program was called as.
#[command(
    version,
    bin_name = "hpcc-rootfs",
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:
  hpcc-rootfs doctor debian:12 --agent ./agent
  hpcc-rootfs pull debian:12 --agent ./agent
  hpcc-rootfs list

Each option can also be set by a variable, HPCC_CACHE_DIR for --cache-dir, or by a key of
hpcc-rootfs.toml, cache-dir = \"DIR\". The command line counts first, then the variable, then the file."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Headings of options: of what goes into an image, and of the store.
const CONTENT: &str = "Content options";
const STORE: &str = "Store options";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pull images into the store and print the paths of their artifacts
    Pull(Box<Pull>),
    /// Turn an image into a squashfs file, without a store
    Build(Box<Build>),
    /// List the artifacts in the store
    List(List),
    /// Print where the artifact of an image is; for a whole digest, also where it would be
    Path(PathOf),
    /// Show what an artifact was made from
    Inspect(Inspect),
    /// Print an in-toto statement with SLSA provenance about an artifact, to be signed
    Attest(Attest),
    /// Print the kernel command line that boots an artifact
    BootArgs(BootArgs),
    /// Print a virtual machine that boots an artifact, for its monitor
    VmConfig(VmConfig),
    /// Read artifacts whole and compare them with their records; exit 1 if one is not sound
    Verify(Box<Verify>),
    /// Remove artifacts from the store
    Rm(Rm),
    /// Remove one artifact from the store, as rm does; for a whole digest, a missing one is fine
    Untag(Untag),
    /// Give an artifact a second name where a VM looks for it, such as a jail
    Link(Link),
    /// Make room: remove artifacts least recently used first, and what belongs to none
    Gc(Gc),
    /// Show how much of the disk each artifact takes, and how much of its layers others have too
    Df(Df),
    /// Check everything that a pull with the same options needs, and say what to do; exit 1 if the pull
    /// would fail, 75 if it may succeed later
    Doctor(Box<Doctor>),
    /// Show how the options are set
    Config(Config),
    /// Print a script that completes commands and options in a shell
    Completions(Completions),
    /// Write the manual pages, one for each command
    Man(Man),
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  hpcc-rootfs verify
  hpcc-rootfs verify debian:12 ./out.sqsh
  hpcc-rootfs verify --rebuild debian:12")]
pub(crate) struct Verify {
    /// Artifacts by digest, prefix of a digest or reference, which are set aside if damaged, or by
    /// path [default: all in the store]
    #[arg(value_name = "NAME")]
    pub(crate) subjects: Vec<Subject>,
    #[command(flatten)]
    pub(crate) rebuild: RebuildArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  hpcc-rootfs gc
  hpcc-rootfs gc --max-size 20G --max-age 4w --dry-run")]
pub(crate) struct Gc {
    /// Largest total size of all artifacts and the files beside them, with K, M, G or T for powers of 1024, such as 1.5G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_size: Option<u64>,
    /// Longest time since an artifact was last used, with w, d, h, m or s, such as 1w or 1h30m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_age: Option<Duration>,
    /// Remove nothing, and print what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  hpcc-rootfs pull debian:12 --agent ./agent
  hpcc-rootfs pull --offline debian:12 --agent ./agent
  hpcc-rootfs pull debian:12 alpine:3 --agent ./agent --quiet")]
pub(crate) struct Pull {
    /// Image references, such as debian:12 or registry.example/team/name@sha256:<hex>
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
    #[command(flatten)]
    pub(crate) options: PullArgs,
}

/// The options of `pull`, which `doctor` has as well: it checks what they lead to.
#[derive(Debug, ClapArgs)]
pub(crate) struct PullArgs {
    /// Digest of the manifest or index that the image must have
    #[arg(long, value_name = "DIGEST")]
    pub(crate) digest: Option<Digest>,
    /// Ask no registry for anything: a tag is what it was pulled to last, and what the store lacks is an
    /// error
    #[arg(long, help_heading = STORE)]
    offline: bool,
    #[command(flatten)]
    target: Target,
    /// Agent for amd64 images
    #[arg(long, value_name = "FILE", conflicts_with_all = ["agent", "no_agent"], help_heading = CONTENT)]
    agent_amd64: Option<PathBuf>,
    /// Agent for arm64 images
    #[arg(long, value_name = "FILE", conflicts_with_all = ["agent", "no_agent"], help_heading = CONTENT)]
    agent_arm64: Option<PathBuf>,
    /// Check an existing artifact in full, and rebuild it if it is damaged
    #[arg(long, help_heading = STORE)]
    pub(crate) verify: bool,
    /// Fetch every layer, also those that the store knows from other images
    #[arg(long, help_heading = STORE)]
    no_reuse: bool,
    /// Store of this user or of root to copy known layers from, never written; may be repeated
    #[arg(long, value_name = "DIR", help_heading = STORE)]
    seed: Vec<PathBuf>,
    /// Bytes to leave free on the file system of the store [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = STORE)]
    min_free: Option<u64>,
    /// Have the file system refuse changed blocks of the artifact: off, auto (where it can), or on (fail
    /// where it cannot) [default: off]
    #[arg(long, value_name = "off|auto|on", value_parser = fs_verity::parse, help_heading = STORE)]
    fs_verity: Option<FsVerity>,
    #[command(flatten)]
    image_options: ImageArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  hpcc-rootfs build debian:12 --agent ./agent -o debian.sqsh
  docker save app:1 | hpcc-rootfs build docker-archive:- -o app.sqsh
  hpcc-rootfs build oci:./layout:v1 -o app.sqsh --compressor xz")]
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
#[command(after_help = "Examples:
  hpcc-rootfs inspect debian:12
  hpcc-rootfs inspect ./out.sqsh --tree")]
pub(crate) struct Inspect {
    /// The artifact, by digest, prefix of a digest, reference or path
    #[arg(value_name = "NAME")]
    pub(crate) subject: Subject,
    /// List every file in it as well
    #[arg(long)]
    pub(crate) tree: bool,
    #[command(flatten)]
    pub(crate) requires: Requires,
}

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = CONTENT)]
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
    /// Put no agent into the image: PID 1 comes from elsewhere
    #[arg(long, conflicts_with = "agent")]
    no_agent: bool,
    /// Directory, or with :file a file, to make where the image has none, for the guest to mount
    /// over; may be repeated
    #[arg(long, value_name = "PATH[:file]")]
    mount_point: Vec<MountPoint>,
}

impl PullArgs {
    /// Refuses images that are none, and a digest that contradicts the one in a reference, before the
    /// store is opened.
    pub(crate) fn check_images(&self, images: &[String]) -> anyhow::Result<()> {
        if images.len() > 1 && self.digest.is_some() {
            let what = "--digest is for one image; write NAME@DIGEST for each of several";
            return Err(UsageError(what.to_owned()).into());
        }
        for image in images {
            let request = ociget::Request::parse(image, self.digest.as_ref());
            request.map_err(hpcc_rootfs::Error::from)?;
        }
        Ok(())
    }

    /// Whether to say where the time went.
    pub(crate) fn timings(&self) -> bool {
        self.image_options.timings
    }

    /// Whether an agent is named for some platform.
    pub(crate) fn has_agents(&self) -> bool {
        let files = [&self.target.agent, &self.agent_amd64, &self.agent_arm64];
        files.into_iter().any(Option::is_some)
    }

    /// Returns what a pull of these images works with.
    pub(crate) fn options(&self, images: &[String]) -> anyhow::Result<Options> {
        self.resolve(images).options()
    }

    /// Resolves the options. One that cannot be used leaves its default, and is a problem.
    pub(crate) fn resolve(&self, images: &[String]) -> Resolved {
        let mut resolved = resolve(
            &self.target,
            &self.image_options,
            &self.limits,
            &self.network,
            images,
        );
        let options = &mut resolved.options;
        for (architecture, file) in [("amd64", &self.agent_amd64), ("arm64", &self.agent_arm64)] {
            if let Some(file) = file {
                options.agents = std::mem::take(&mut options.agents).with(architecture, file);
            }
        }
        if let Some(bytes) = self.min_free {
            options.store.min_free = bytes;
        }
        options.store.fs_verity = self.fs_verity.unwrap_or_default();
        options.store.reuse = !self.no_reuse;
        options.store.offline = self.offline;
        options.store.seeds.clone_from(&self.seed);
        resolved
    }
}

impl Build {
    /// Refuses an output that no artifact can be, before anything is opened.
    fn check_output(&self) -> Result<(), UsageError> {
        let output = &self.output;
        let shown = crate::output::path(output);
        let ends_with_slash = output.as_os_str().as_encoded_bytes().ends_with(b"/");
        if output == Path::new("-") {
            return Err(UsageError(
                "cannot write -: an artifact is written at any offset, which stdout is not; name a file, or \
                 ./- for a file of this name"
                    .to_owned(),
            ));
        }
        if output.is_dir() || ends_with_slash || output.file_name().is_none() {
            return Err(UsageError(format!(
                "cannot write {shown}: a directory, not a regular file; name a file in it"
            )));
        }
        let parent = output.parent().filter(|parent| *parent != Path::new(""));
        match parent {
            Some(parent) if !parent.is_dir() => Err(UsageError(format!(
                "cannot write {shown}: there is no directory {}; make it first",
                crate::output::path(parent)
            ))),
            _ => Ok(()),
        }
    }

    /// Whether to say where the time went.
    pub(crate) fn timings(&self) -> bool {
        self.image_options.timings
    }

    pub(crate) fn options(&self) -> anyhow::Result<Options> {
        self.check_output()?;
        let source = std::slice::from_ref(&self.source);
        let (image, limits) = (&self.image_options, &self.limits);
        resolve(&self.target, image, limits, &self.network, source).options()
    }
}

/// Options of the library, and why some given ones are not among them.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) options: Options,
    /// The problem with what goes into an image.
    pub(crate) content: Option<anyhow::Error>,
    /// The problem with the way to registries, because of which no request may be sent.
    pub(crate) network: Option<anyhow::Error>,
}

impl Resolved {
    /// Returns the options, or the first problem.
    fn options(self) -> anyhow::Result<Options> {
        match self.content.or(self.network) {
            Some(problem) => Err(problem),
            None => Ok(self.options),
        }
    }
}

fn resolve(
    target: &Target,
    image: &ImageArgs,
    limits: &LimitArgs,
    network: &NetworkArgs,
    sources: &[String],
) -> Resolved {
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
    options.no_agent = target.no_agent;
    options.image.mount_points.clone_from(&target.mount_point);
    let content = image.apply(&mut options).err().map(anyhow::Error::from);
    limits.apply(&mut options.limits);
    let network = network.apply(&mut options, sources).err();
    Resolved {
        options,
        content,
        network,
    }
}

#[cfg(test)]
mod tests;
