//! The command line of `hpcc-rootfs doctor`.

use std::path::PathBuf;

use clap::Args;
use hpcc_rootfs::{Agents, Options};
use ociget::Platform;

use crate::network::NetworkArgs;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hpcc-rootfs doctor
  hpcc-rootfs doctor debian:12 --agent ./agent --cache-dir /var/cache/rootfs")]
pub(crate) struct Doctor {
    /// Image to ask its registry for [default: none is asked]
    image: Option<String>,
    /// Platform of the image, os/architecture[/variant] [default: this host's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Program that becomes PID 1
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Agent for amd64 images
    #[arg(long, value_name = "FILE", conflicts_with = "agent")]
    agent_amd64: Option<PathBuf>,
    /// Agent for arm64 images
    #[arg(long, value_name = "FILE", conflicts_with = "agent")]
    agent_arm64: Option<PathBuf>,
    #[command(flatten)]
    network: NetworkArgs,
}

impl Doctor {
    /// Refuses an image that is none.
    pub(crate) fn check_image(&self) -> Result<(), hpcc_rootfs::Error> {
        Ok(self.request().map(drop)?)
    }

    pub(crate) fn request(&self) -> Result<Option<ociget::Request>, ociget::Error> {
        let image = self.image.as_deref();
        image
            .map(|image| ociget::Request::parse(image, None))
            .transpose()
    }

    /// Whether an agent is named for some platform.
    pub(crate) fn has_agents(&self) -> bool {
        let files = [&self.agent, &self.agent_amd64, &self.agent_arm64];
        files.into_iter().any(Option::is_some)
    }

    pub(crate) fn options(&self) -> anyhow::Result<Options> {
        let mut options = Options::default();
        if let Some(platform) = &self.platform {
            options.platform = platform.clone();
        }
        if let Some(agent) = &self.agent {
            options.agents = Agents::default().with(options.platform.architecture(), agent);
        }
        for (architecture, file) in [("amd64", &self.agent_amd64), ("arm64", &self.agent_arm64)] {
            if let Some(file) = file {
                options.agents = options.agents.with(architecture, file);
            }
        }
        self.network.apply(&mut options, self.image.as_slice())?;
        Ok(options)
    }
}
