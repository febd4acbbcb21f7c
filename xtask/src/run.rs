//! Runs the command of any image in a virtual machine, as `cargo xtask run`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use hpcc_rootfs::{Event, Progress, Store};

use crate::boot::Boot;
use crate::qemu::Accel;
use crate::{guest, packages, pull, workspace};

/// What is run, and how.
#[derive(Debug, clap::Args)]
pub struct RunOptions {
    /// Image: a reference, or `oci:DIR[:TAG]`, oci-archive:FILE, docker-archive:FILE, dir:DIR, tar:FILE
    pub image: String,
    /// Word for the agent on the kernel command line, such as hpcc.root=ro; may be repeated
    #[arg(long, value_name = "WORD")]
    pub line: Vec<String>,
    /// What executes the guest
    #[arg(long, value_enum, default_value_t)]
    pub accel: Accel,
    /// Seconds the guest may take; then it is killed, and the exit code is 124
    #[arg(long, value_name = "SECS", default_value_t = 3600)]
    pub timeout: u64,
    /// Words that replace the cmd of the image
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// The exit code of a machine whose time was up, as of timeout(1).
const TIMED_OUT: u8 = 124;
/// The exit code of a machine that ended without one, as of the agent when it fails.
const FAILED: u8 = 125;

/// Pulls the image into `target/run` with the example agent, boots it, shows its output, and returns its exit code.
///
/// # Errors
///
/// A program is missing, the image cannot be pulled, or the machine cannot be started.
pub fn run(options: &RunOptions) -> Result<ExitCode> {
    packages::install_for_guest()?;
    let guest = guest::build_shown()?;
    let store = Store::open(
        workspace::target("run")?,
        pull::options(guest.agent, progress())?,
    )?;
    let pulled = pull::pull_into(&store, &options.image, None)?;
    let words = options.line.join(" ");
    println!("booting {}\n", pulled.path.display());
    let mut boot = Boot::of(&pulled.path);
    boot.words = &words;
    boot.command = (!options.command.is_empty()).then_some(&*options.command);
    boot.show = true;
    boot.accel = options.accel;
    boot.timeout = Duration::from_secs(options.timeout);
    let ended = boot.run()?;
    Ok(ExitCode::from(ended.code.unwrap_or_else(|| {
        let (problem, code) = match ended.timed_out {
            true => {
                let limit = options.timeout;
                let problem = format!(
                    "the machine ran for {limit} s and was killed; --timeout sets the limit"
                );
                (problem, TIMED_OUT)
            }
            false => ("the machine ended without an exit code".to_owned(), FAILED),
        };
        // If the terminal is gone, the exit code says the same.
        let _ = writeln!(std::io::stderr(), "error: {problem}");
        code
    })))
}

/// Shows what a pull does, one line per event.
pub(crate) fn progress() -> Progress {
    Progress::new(|event| match event {
        Event::Resolved { image } => {
            let layers = match image.layers.len() {
                1 => "1 layer".to_owned(),
                count => format!("{count} layers"),
            };
            println!("   resolved: {layers} for {}", image.platform);
        }
        Event::LayerDone { layer } => println!("   {layer}: verified"),
        Event::Sealing { .. } => println!("   all names are final; writing the tables"),
        Event::Syncing { .. } => println!("   everything is verified; syncing and publishing"),
        _ => {}
    })
}
