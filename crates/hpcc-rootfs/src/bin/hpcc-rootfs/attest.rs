//! `hpcc-rootfs attest`.

use anyhow::Context as _;
use clap::Args as ClapArgs;

use crate::global::Global;
use crate::subject::Subject;
use crate::{output, render, subject};

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  hpcc-rootfs attest debian:12 > statement.json
  hpcc-rootfs attest ./out.sqsh")]
pub(crate) struct Attest {
    /// The artifact, by digest, prefix of a digest, reference or path
    #[arg(value_name = "NAME")]
    subject: Subject,
}

/// Prints the statement as one line, with `--json` or without, because the signed bytes must not depend on how they are
/// shown.
pub(crate) fn run(global: &Global, command: &Attest) -> anyhow::Result<()> {
    let (path, file, _) = subject::open(global, &command.subject)?;
    let statement = hpcc_rootfs::attest(&file)
        .with_context(|| format!("cannot attest {}", output::path(&path)))?;
    render::document(&statement)
}
