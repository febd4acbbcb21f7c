//! `hpcc-rootfs build`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hpcc_rootfs::Options;
use ociget::Digest;
use serde_json::json;

use crate::absence::is_absent;
use crate::config::Layers;
use crate::failure::UsageError;
use crate::global::Global;
use crate::image::ImageArgs;
use crate::inputs::Inputs;
use crate::limits::LimitArgs;
use crate::network::NetworkArgs;
use crate::quantity::size;
use crate::target::{Target, check_settings, resolve};
use crate::{metrics_file, output, render, work};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hpcc-rootfs build debian:12 --agent ./agent -o debian.sqsh
  docker save app:1 | hpcc-rootfs build docker-archive:- -o app.sqsh
  hpcc-rootfs build oci:./layout:v1 -o app.sqsh --compressor xz")]
pub(crate) struct Build {
    /// Image reference, docker://REF, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG],
    /// dir:DIR, or tar:FILE for a root file system; a FILE of - is standard input
    source: String,
    /// File to write; it appears only when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Digest of the manifest or index that the image must have
    #[arg(long, value_name = "DIGEST")]
    digest: Option<Digest>,
    /// Disk space to leave free on the file system of the file [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    min_free: Option<u64>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    image_options: ImageArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    network: NetworkArgs,
}

impl Build {
    /// Refuses an output that no artifact can be, before anything is opened.
    fn check_output(&self) -> anyhow::Result<()> {
        let output = &self.output;
        let shown = output::path(output);
        let ends_with_slash = output.as_os_str().as_encoded_bytes().ends_with(b"/");
        if output == Path::new("-") {
            let problem = "cannot write -: an artifact is written at any offset, which stdout is not; name a file, or \
                           ./- for a file of this name";
            return Err(UsageError(problem.to_owned()).into());
        }
        // What may not be looked at is no mistake in the command line.
        let is_directory = |path: &Path| match fs::metadata(path) {
            Ok(found) => Ok(found.is_dir()),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot write {shown}")),
        };
        if ends_with_slash || output.file_name().is_none() || is_directory(output)? {
            let problem =
                format!("cannot write {shown}: a directory, not a regular file; name a file in it");
            return Err(UsageError(problem).into());
        }
        let parent = output.parent().filter(|parent| *parent != Path::new(""));
        if let Some(parent) = parent
            && !is_directory(parent)?
        {
            let problem = format!(
                "cannot write {shown}: there is no directory {}; make it first",
                output::path(parent)
            );
            return Err(UsageError(problem).into());
        }
        match hpcc_rootfs::check_output(output) {
            Ok(()) => Ok(()),
            // It names what has the name.
            Err(error) if error.raw_os_error().is_none() => {
                Err(UsageError(format!("cannot write {shown}: {error}; name a file")).into())
            }
            Err(error) => Err(error).with_context(|| format!("cannot write {shown}")),
        }
    }

    /// Whether to say where the time went.
    fn timings(&self) -> bool {
        self.image_options.timings
    }

    /// Returns the problem with options that do not depend on the image. Reads nothing.
    pub(crate) fn check_settings(&self) -> anyhow::Result<()> {
        check_settings(&self.image_options, &self.network)
    }

    fn options(&self, global: &Global, layers: &Layers) -> anyhow::Result<Options> {
        self.check_output()?;
        let source = std::slice::from_ref(&self.source);
        let inputs = Inputs::of(layers, &self.target, &self.network, source);
        // The counters are added at the end, to a file that is the artifact by then.
        let metrics = global.metrics_file.as_ref();
        if let Some(metrics) = metrics {
            let metrics = metrics_file::resolved(metrics);
            inputs.refuse(&metrics)?;
            if metrics == metrics_file::resolved(&self.output) {
                let output = output::path(&self.output);
                return Err(UsageError(format!(
                    "cannot write {output}: --metrics-file names it as well; name another file"
                ))
                .into());
            }
        }
        inputs.refuse(&self.output)?;
        let (image, limits) = (&self.image_options, &self.limits);
        let mut options = resolve(&self.target, image, limits, &self.network, source).options()?;
        options.store.min_free = self.min_free.unwrap_or(options.store.min_free);
        Ok(options)
    }
}

pub(crate) fn run(global: &Global, command: &Build, layers: &Layers) -> anyhow::Result<()> {
    let mut options = command.options(global, layers)?;
    options.progress = work::progress(global);
    options.network.progress = work::network(global);
    let built = work::block_on(hpcc_rootfs::build(
        &command.source,
        command.digest.as_ref(),
        &command.output,
        &options,
    ))?;
    work::summary(global, &built.summary, command.timings());
    render::print(
        global,
        &json!({
            "digest": built.digest.to_string(),
            "path": output::path(&built.path),
            "record": render::record(&built.record),
            "built": render::summary(&built.summary),
        }),
        &[],
    )
}
