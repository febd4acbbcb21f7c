//! `hpcc-rootfs pull`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hpcc_rootfs::{FsVerity, Options, Pulled, Store};
use ociget::Digest;
use rustix::fs::{FlockOperation, Mode, OFlags, SeekFrom, flock};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::config::Layers;
use crate::failure::{Failure, NOT_QUARANTINED, UsageError};
use crate::global::Global;
use crate::image::ImageArgs;
use crate::inputs::{Inputs, is_stdin, position_of_stdin};
use crate::limits::LimitArgs;
use crate::network::NetworkArgs;
use crate::quantity::size;
use crate::target::{CONTENT, Resolved, Target, check_settings, resolve};
use crate::{failure, fs_verity, metrics_file, output, render, terminal, work};

/// How often a damaged artifact is pulled again: a process that works on it may keep it from being quarantined.
const ATTEMPTS: usize = 3;

/// Heading of the options of the store.
const STORE: &str = "Store options";

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hpcc-rootfs pull debian:12 --agent ./agent
  hpcc-rootfs pull --offline debian:12 --agent ./agent
  hpcc-rootfs pull debian:12 alpine:3 --agent ./agent --quiet")]
pub(crate) struct Pull {
    /// Image references, such as debian:12 or registry.example/team/name@sha256:<hex>, or sources that build
    /// takes, such as oci:DIR[:TAG]
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    #[command(flatten)]
    options: PullArgs,
}

/// The options of `pull`, which `doctor` has as well: it checks what they lead to.
#[derive(Debug, clap::Args)]
pub(crate) struct PullArgs {
    /// Digest of the manifest or index that the image must have
    #[arg(long, value_name = "DIGEST")]
    pub(crate) digest: Option<Digest>,
    /// Send no request to a registry: resolve a tag to the image that it was last pulled to, and fail if the
    /// store lacks data
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
    verify: bool,
    /// Fetch every layer, even those that the store has from other images
    #[arg(long, help_heading = STORE)]
    no_reuse: bool,
    /// Store to copy layers from, which you or root must own; never written to; may be repeated
    #[arg(long, value_name = "DIR", help_heading = STORE)]
    seed: Vec<PathBuf>,
    /// Disk space to leave free on the file system of the store [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = STORE)]
    min_free: Option<u64>,
    /// Whether the file system rejects changed blocks of the artifact: off, auto (if it can), or on (fail if
    /// it cannot) [default: off]
    #[arg(long, value_name = "off|auto|on", value_parser = fs_verity::parse, help_heading = STORE)]
    fs_verity: Option<FsVerity>,
    #[command(flatten)]
    image_options: ImageArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

impl PullArgs {
    /// Refuses images that are none, and a digest that contradicts the one in a reference, before the
    /// store is opened.
    pub(crate) fn check_images(&self, images: &[String]) -> anyhow::Result<()> {
        if images.len() > 1 && self.digest.is_some() {
            let what = "--digest is for one image; write NAME@DIGEST for each of several";
            return Err(UsageError(what.to_owned()).into());
        }
        let mut on_stdin = 0;
        for image in images {
            let request = ociget::Request::parse(image, self.digest.as_ref());
            let request = request.map_err(hpcc_rootfs::Error::from)?;
            on_stdin += usize::from(is_stdin(&request));
        }
        if on_stdin > 1 && position_of_stdin().is_none() {
            return Err(UsageError(format!(
                "{on_stdin} images are read from standard input, which is a pipe or a device and can be read once; \
                 redirect it from a file, or name files"
            ))
            .into());
        }
        Ok(())
    }

    /// Returns the files that a pull of these images reads.
    fn inputs(&self, layers: &Layers, images: &[String]) -> Inputs {
        let agents = [&self.agent_amd64, &self.agent_arm64];
        Inputs::of(layers, &self.target, &self.network, images).with(agents.into_iter().flatten())
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

impl Pull {
    /// Returns the problem with options that do not depend on the image. Reads nothing.
    pub(crate) fn check_settings(&self) -> anyhow::Result<()> {
        check_settings(&self.options.image_options, &self.options.network)
    }
}

pub(crate) fn run(global: &Global, command: &Pull, layers: &Layers) -> anyhow::Result<()> {
    command.options.check_images(&command.images)?;
    if let Some(metrics) = &global.metrics_file {
        let inputs = command.options.inputs(layers, &command.images);
        inputs.refuse(&metrics_file::resolved(metrics))?;
    }
    let mut options = command.options.options(&command.images)?;
    options.progress = work::progress(global);
    options.network.progress = work::network(global);
    // The store reports those that it does not trust, and only when it builds.
    options.store.seeds.retain(|seed| {
        let reason = match std::fs::metadata(seed) {
            Ok(found) if found.is_dir() => return true,
            Ok(_) => "it is not a directory".to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                "there is no such directory".to_owned()
            }
            Err(error) => error.to_string(),
        };
        let seed = output::path(seed);
        terminal::warn(&format!("the seed {seed} is passed over: {reason}"));
        false
    });
    let store = global.store_with(options)?;
    if let [image] = command.images.as_slice() {
        let pulled = work::block_on(pull(&store, command, image))?;
        let value = report(global, command, &pulled);
        return render::result(global, &value, &pulled.path);
    }
    several(global, command, &store)
}

/// Pulls one image after the other, so that each copies the layers that it shares with the ones before from the store.
/// One that fails does not keep the others from being pulled.
fn several(global: &Global, command: &Pull, store: &Store) -> anyhow::Result<()> {
    let all = command.images.len();
    let (mut values, mut failed) = (Vec::new(), Vec::new());
    let start = position_of_stdin();
    let mut printed = Ok(());
    let ended = work::block_on(async {
        for image in &command.images {
            // An earlier image may have been read from the same file.
            if let Some(start) = start {
                let _ = rustix::fs::seek(std::io::stdin(), SeekFrom::Start(start));
            }
            let pulled = pull(store, command, image).await;
            let image = ociget::printable::redacted(image);
            match pulled {
                Ok(pulled) => {
                    let value = report(global, command, &pulled);
                    // Immediately, because later images may take long, or be interrupted.
                    if !global.json && printed.is_ok() {
                        printed = render::result(global, &value, &pulled.path);
                    }
                    values.push(value);
                }
                Err(error) => {
                    let line = terminal::one_line(&error);
                    terminal::warn_of_failure(&format!("{image}: {line}"));
                    values.push(json!({ "image": image.to_string(), "error": line }));
                    failed.push((image, error));
                }
            }
        }
        anyhow::Ok(())
    });
    let tried = values.len();
    if global.json {
        render::print(global, &Value::from(values), &[])?;
    }
    printed?;
    let count = failed.len();
    if let Err(stopped) = ended {
        let done = tried - count;
        let was = if done == 1 { "was" } else { "were" };
        let what = format!("{done} of {all} images {was} pulled before");
        return Err(stopped.context(what));
    }
    // A failure that is permanent decides about the exit code.
    failed.sort_by_key(|(_, error)| failure::exit_code(error) == failure::TRANSIENT);
    match failed.into_iter().next() {
        None => Ok(()),
        Some((image, error)) => {
            let what = format!("{count} of {all} images could not be pulled, {image} first");
            Err(error.context(what))
        }
    }
}

async fn pull(store: &Store, command: &Pull, image: &str) -> anyhow::Result<Pulled> {
    let mut left = None;
    for _ in 0..ATTEMPTS {
        let pull = store.pull_image(image, command.options.digest.as_ref());
        let pulled = pull.await?;
        // What was just built was just written.
        if !command.options.verify || pulled.built.is_some() {
            return Ok(pulled);
        }
        // Without a name, it was removed meanwhile.
        let Some(damage) = store.verify(&pulled.digest)? else {
            continue;
        };
        if damage.is_empty() {
            return Ok(pulled);
        }
        let lines: Vec<_> = damage.iter().map(ToString::to_string).collect();
        let damage = format!("{}: damaged in {}", pulled.digest, lines.join("; "));
        if left.is_none() {
            terminal::warn(&format!("rebuilding {damage}"));
        }
        left = Some((pulled, damage));
    }
    let (pulled, damage) = left.context("other processes remove the artifact each time")?;
    let is_locked = is_locked(&pulled.path);
    let advice = match is_locked {
        true => "another process works on this artifact; wait for it and try again",
        false => NOT_QUARANTINED,
    };
    Err(Failure {
        kind: "corrupt",
        message: format!("cannot replace {damage}; {advice}"),
        hint: Some(advice.to_owned()),
        transient: is_locked,
    }
    .into())
}

/// Whether a process builds or removes the artifact at `path`.
fn is_locked(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let lock = path.with_file_name(format!(".lock-{stem}"));
    // Another user may have put something else there.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::open(lock, flags, Mode::empty());
    lock.is_ok_and(|lock| {
        let operation = FlockOperation::NonBlockingLockExclusive;
        flock(&lock, operation) == Err(Errno::WOULDBLOCK)
    })
}

/// Prints what was done, and returns the JSON of an artifact.
fn report(global: &Global, command: &Pull, pulled: &Pulled) -> Value {
    if let Some(summary) = &pulled.built {
        work::summary(global, summary, command.options.timings());
    } else if global.verbose || command.options.timings() {
        terminal::say("already there");
    }
    json!({
        "digest": pulled.digest.to_string(),
        "path": output::path(&pulled.path),
        "record": render::record(&pulled.record),
        "built": pulled.built.as_ref().map(render::summary),
    })
}
