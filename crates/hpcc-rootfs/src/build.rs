//! Builds one image to one file, without a store.

use std::path::{Path, PathBuf};

use ociget::{Digest, Request, SourceSpec};
use tracing::{Instrument as _, Span};

use crate::artifact::Record;
use crate::caught::blocking;
use crate::error::Error;
use crate::measure::{self, Attempt};
use crate::options::Options;
use crate::progress::Event;
use crate::pull::{self, Destination};
use crate::regular_file;
use crate::staging::{FsVerity, Staging};
use crate::store;
use crate::summary::Summary;

/// An artifact that was written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Built {
    /// The identity of the image.
    pub digest: Digest,
    /// The absolute path of the file.
    pub path: PathBuf,
    /// The record at its end.
    pub record: Record,
    /// Numbers of the build.
    pub summary: Summary,
}

/// Builds an image to a file at `output`. The file appears when it is complete, and replaces what
/// [`check_output`](crate::check_output) accepts: a regular file, or a symlink to one. The bytes are those that a store with the same options would hold.
///
/// `image` is a reference or any other source that [`ociget::SourceSpec`] can express; `expected` pins it. If it
/// differs from a digest in the reference, that is a usage error before anything is opened. If no agent is configured
/// for the architecture, the image gets none.
///
/// The build runs on a thread of this crate, so any executor may poll the future. Dropping it stops the build.
///
/// # Errors
/// Returns every [`Error`] that has to do with one build. Nothing is left behind then.
pub async fn build(
    image: &str,
    expected: Option<&Digest>,
    output: impl AsRef<Path>,
    options: &Options,
) -> Result<Built, Error> {
    let shown = ociget::printable::redacted(image);
    let span = tracing::info_span!("build", image = shown, digest = tracing::field::Empty);
    measure::describe();
    let attempt = Attempt::begin();
    let (image, output) = (image.to_owned(), output.as_ref().to_owned());
    let (expected, options, inner) = (expected.cloned(), options.clone(), span.clone());
    let build = async move { in_span(&image, expected.as_ref(), &output, &options, &inner).await };
    let built = store::run_without_store(build.instrument(span)).await;
    // The recorder is the caller's, so it is called where the caller is.
    let built = built.map(|(built, spec)| {
        measure::build(&built.summary, &spec);
        built
    });
    attempt.end(built.as_ref().map(|_| true));
    built
}

async fn in_span(
    image: &str,
    expected: Option<&Digest>,
    output: &Path,
    options: &Options,
    span: &Span,
) -> Result<(Built, SourceSpec), Error> {
    let request = Request::parse(image, expected)?;
    options.check()?;
    let failed = |source| Error::store("write", output, source);
    let path = std::path::absolute(output).map_err(failed)?;
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    };
    regular_file::check_output(&path).map_err(failed)?;
    let fs_verity = options.store.fs_verity;
    check_directory(fs_verity, output, directory).await?;
    let supplies = pull::supplies(options).await?;
    let source = pull::source(&request, directory, options)?;
    options.progress.tell(&Event::Resolving {
        image: &ociget::printable::redacted(image),
        is_remote: matches!(request.spec(), SourceSpec::Registry(_)),
    });
    let image = pull::resolve(&*source, request.pin(), options).await?;
    let digest = image.identity.get().clone();
    span.record("digest", tracing::field::display(&digest));
    let destination = Destination {
        directory: directory.to_owned(),
        name: Some(name.to_owned()),
        staging: Staging::outside(options.store.min_free).with_fs_verity(fs_verity),
        recall: None,
    };
    let (record, summary) =
        pull::pull(&*source, image, supplies, options, destination, None).await?;
    let built = Built {
        digest,
        path,
        record,
        summary,
    };
    Ok((built, request.spec().clone()))
}

/// Refuses a build into a store, and one that could not enable fs-verity, before any work is done for it.
async fn check_directory(
    fs_verity: FsVerity,
    output: &Path,
    directory: &Path,
) -> Result<(), Error> {
    let (output, directory) = (output.to_owned(), directory.to_owned());
    blocking(move || {
        // It lists the directory, which takes its time.
        let refused = store::refuse_output(&directory);
        refused.map_err(|error| Error::store("write", &output, error))?;
        let checked = fs_verity.check(&directory);
        checked.map_err(|error| Error::store("enable fs-verity in", &directory, error))
    })
    .await?
}

/// Opens and hashes the agent and the injected files that `options` name, as a build does first. A missing agent is not
/// an error.
///
/// # Errors
/// Returns [`Error::Agent`], [`Error::Injection`] and [`Error::Inject`].
pub fn check_host_files(options: &Options) -> Result<(), Error> {
    pull::check_supplies(options)
}
