//! `hpcc-rootfs link`.

use std::path::PathBuf;

use hpcc_rootfs::LinkMethod;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, getppid, pidfd_open};
use serde_json::json;

use crate::global::Global;
use crate::subject::Subject;
use crate::{output, render, subject};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hpcc-rootfs link debian:12 /srv/jail/root.sqsh &
  hpcc-rootfs link 3f1e5a /srv/jail/root.sqsh --detach --own")]
pub(crate) struct Link {
    /// The artifact in the store, by digest, prefix of a digest, reference or path
    #[arg(value_name = "NAME")]
    subject: Subject,
    /// Path of the file to create, in an existing directory
    path: PathBuf,
    /// Exit immediately, so that gc may remove the artifact; the file at the path stays
    #[arg(long)]
    detach: bool,
    /// Create a separate file, never a hard link, so that you can change its owner and mode
    #[arg(long)]
    own: bool,
}

pub(crate) fn run(global: &Global, command: &Link) -> anyhow::Result<()> {
    // Before anything else, so that a parent that ends meanwhile is not mistaken for another one.
    let parent = getppid();
    let store = global.store()?;
    let digest = command.subject.existing_stored(&store)?;
    let methods = match command.own {
        true => LinkMethod::OWN_FILE,
        false => LinkMethod::ALL,
    };
    let linked = store.link_with(&digest, &command.path, methods)?;
    let linked = linked.ok_or_else(|| subject::not_in_the_store(&store, &digest.to_string()))?;
    let method = match linked.method {
        LinkMethod::HardLink => "hard link",
        LinkMethod::Reflink => "reflink",
        _ => "copy",
    };
    let path = output::path(&linked.path);
    let value = json!({ "digest": digest.to_string(), "path": path, "method": method });
    render::result(global, &value, &linked.path)?;
    if command.detach {
        return Ok(());
    }
    match parent.map(|number| pidfd_open(number, PidfdFlags::empty())) {
        // If the number stands for another process by now, the parent has ended, and this process has another parent.
        Some(Ok(watched)) if getppid() == parent => {
            while let Err(Errno::INTR) = poll(&mut [PollFd::new(&watched, PollFlags::IN)], None) {}
        }
        Some(Ok(_) | Err(Errno::SRCH)) => {}
        // A parent outside of the PID namespace, or one that cannot be watched: until a signal ends this process.
        _ => while matches!(poll(&mut [], None), Ok(_) | Err(Errno::INTR)) {},
    }
    drop(linked.lease);
    Ok(())
}
