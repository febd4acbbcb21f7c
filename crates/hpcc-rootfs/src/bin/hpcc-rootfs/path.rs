//! `hpcc-rootfs path`.

use crate::args::Global;
use crate::render;
use crate::subject::{Found, Subject};

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
    let path = match command.subject.find(&store)? {
        Found::Digest(digest) => store.path_for(&digest),
        Found::File(path) => std::path::absolute(path)?,
    };
    render::path(global, &path)
}
