//! `hpcc-rootfs path`.

use crate::global::Global;
use crate::render;
use crate::subject::Subject;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hpcc-rootfs path debian:12
  hpcc-rootfs path 3f1e5a")]
pub(crate) struct PathOf {
    /// The artifact, by digest, prefix of a digest, reference or path
    #[arg(value_name = "NAME")]
    subject: Subject,
}

pub(crate) fn run(global: &Global, command: &PathOf) -> anyhow::Result<()> {
    let store = global.store()?;
    let digest = command.subject.stored(&store)?;
    render::path(global, &store.path_for(&digest))
}
