//! `hpcc-rootfs boot-args`.

use clap::Args as ClapArgs;
use hpcc_rootfs::{BootError, BootOptions, Record, boot_args, verity_table};
use serde_json::json;

use crate::failure::{self, Failure, UsageError};
use crate::global::Global;
use crate::subject::Subject;
use crate::{render, subject};

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  hpcc-rootfs boot-args debian:12
  hpcc-rootfs boot-args ./out.sqsh --device /dev/vdb")]
pub(crate) struct BootArgs {
    /// The artifact, by digest, prefix of a digest, reference or path
    #[arg(value_name = "NAME")]
    subject: Subject,
    #[command(flatten)]
    root: Root,
    /// Print the device-mapper table of a sealed artifact instead, for dmsetup in an initramfs
    #[arg(long)]
    table: bool,
}

/// Advice for an artifact without a hash tree.
const UNSEALED: &str = "pull or build the image with --verity";

/// How the guest finds its root and PID 1.
#[derive(Debug, ClapArgs)]
pub(crate) struct Root {
    /// Block device in the guest that holds the artifact [default: /dev/vda]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Program in the image that becomes PID 1 [default: /.hpcc/agent]
    #[arg(long, value_name = "PATH")]
    init: Option<String>,
}

impl Root {
    fn options(&self) -> BootOptions {
        let mut options = BootOptions::default();
        if let Some(device) = &self.device {
            options.device.clone_from(device);
        }
        if let Some(init) = &self.init {
            options.init.clone_from(init);
        }
        options
    }

    /// Returns the kernel line of an artifact, with other options before it.
    pub(crate) fn line(&self, record: &Record, append: &str) -> anyhow::Result<String> {
        let mut options = self.options();
        options.append = append.to_owned();
        boot_args(record, &options).map_err(usage)
    }
}

pub(crate) fn run(global: &Global, command: &BootArgs) -> anyhow::Result<()> {
    let (_, _, record) = subject::open(global, &command.subject)?;
    if command.table {
        let table = verity_table(&record, &command.root.options().device).map_err(usage)?;
        let table = table.ok_or_else(|| Failure {
            kind: failure::OTHER,
            message: format!("the artifact has no hash tree, so there is no table; {UNSEALED}"),
            hint: Some(UNSEALED.to_owned()),
            transient: false,
        })?;
        return render::print(global, &json!({ "table": table }), &[table]);
    }
    let line = command.root.line(&record, "")?;
    render::print(global, &json!({ "boot_args": line }), &[line])
}

fn usage(error: BootError) -> anyhow::Error {
    let advice = match error {
        BootError::NoAgent => " (--init)",
        BootError::Append { .. } => " (--append)",
        _ => "",
    };
    UsageError(format!("{error}{advice}")).into()
}
