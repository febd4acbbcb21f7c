//! What is built: the options of an image, and of the library that builds it.

use std::path::PathBuf;

use hpcc_rootfs::{Agents, Injection, MountPoint, Options};
use ociget::Platform;

use crate::image::ImageArgs;
use crate::injection;
use crate::limits::LimitArgs;
use crate::network::NetworkArgs;
use crate::spool::SpoolArgs;

/// Heading of the options of what goes into an image.
pub(crate) const CONTENT: &str = "Content options";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = CONTENT)]
pub(crate) struct Target {
    /// Platform to select from an image index, os/architecture[/variant]; takes precedence if the index and
    /// the config disagree [default: this host's]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    /// Program to add to the image as /.hpcc/agent, which the guest runs as PID 1
    #[arg(long, value_name = "FILE")]
    pub(crate) agent: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// File to add to the image below /.hpcc, with an octal mode [default: 644]; may be repeated
    #[arg(long, value_name = "HOST:GUEST[:MODE]", value_parser = injection::parse)]
    pub(crate) inject: Vec<Injection>,
    /// Add no agent to the image; PID 1 comes from elsewhere
    #[arg(long, conflicts_with = "agent")]
    pub(crate) no_agent: bool,
    /// Directory, or file with :file, to create if the image lacks it, for the guest to mount over; may be
    /// repeated
    #[arg(long, value_name = "PATH[:file]")]
    pub(crate) mount_point: Vec<MountPoint>,
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
    pub(crate) fn options(self) -> anyhow::Result<Options> {
        match self.content.or(self.network) {
            Some(problem) => Err(problem),
            None => Ok(self.options),
        }
    }
}

/// Returns the first problem with options of images and of the network together. Reads nothing.
pub(crate) fn check_settings(image: &ImageArgs, network: &NetworkArgs) -> anyhow::Result<()> {
    let mut options = Options::default();
    image.apply(&mut options)?;
    network.apply_without_login(&mut options)?;
    options.check().map_err(anyhow::Error::from)
}

/// Resolves the options of an image. One that cannot be used leaves its default, and is a problem.
pub(crate) fn resolve(
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
