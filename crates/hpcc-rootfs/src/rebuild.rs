//! Builds an artifact again, to compare it with the one that exists.

use std::path::Path;

use ociget::{Digest, Platform, Request};
use tracing::Instrument as _;

use crate::artifact::{Digests, FORMAT, Key, Record};
use crate::error::Error;
use crate::options::Options;
use crate::pull::{self, Destination};
use crate::staging::Staging;
use crate::store::{read_record, run_without_store};
use crate::summary::Summary;

/// The comparison of an artifact with a second build of its image.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rebuilt {
    /// The record of the artifact that exists.
    pub existing: Record,
    /// The record of the artifact that was built for the comparison.
    pub rebuilt: Record,
    /// Numbers of the build.
    pub summary: Summary,
}

impl Rebuilt {
    /// Returns whether both have the same bytes, provided that the existing artifact matches its record, which
    /// [`verify_file`](crate::verify_file) and [`Store::verify`](crate::Store::verify) check.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.existing == self.rebuilt
    }
}

/// Builds an artifact again from its image, without reuse and without keeping the result, and returns both records. The
/// existing file stays as it is.
///
/// `image` is a reference or any other source, as for [`build`](crate::build()); it must have the digest
/// in the artifact's key. Platform and [`ImageOptions`](crate::ImageOptions) are those of the key,
/// whatever `options` say. The agent and the injected files are not part of the record: `options` name
/// them, and their digests must be those of the key. An artifact without an agent is built without one.
///
/// The build runs on a thread of this crate, so any executor may poll the future. Dropping it stops the build.
///
/// # Errors
/// Returns [`Error::Unrepeatable`] before anything is fetched if the key would differ; otherwise the errors of
/// [`read_record`](crate::read_record) and [`build`](crate::build()).
pub async fn rebuild(
    artifact: impl AsRef<Path>,
    image: &str,
    options: &Options,
) -> Result<Rebuilt, Error> {
    let shown = ociget::printable::redacted(image);
    let span = tracing::info_span!("rebuild", image = shown);
    let (artifact, image) = (artifact.as_ref().to_owned(), image.to_owned());
    let options = options.clone();
    let rebuild = async move { in_span(&artifact, &image, &options).await };
    run_without_store(rebuild.instrument(span)).await
}

async fn in_span(artifact: &Path, image: &str, options: &Options) -> Result<Rebuilt, Error> {
    let failed = |source| Error::store("read", artifact, source);
    let path = std::path::absolute(artifact).map_err(failed)?;
    let existing = read_record(&path)?;
    let key = &existing.key;
    let request = Request::parse(image, Some(&key.identity))?;
    let options = of_key(key, options)?;
    options.check()?;
    let supplies = pull::supplies(&options).await?;
    same_files(key, &supplies.digests())?;
    let directory = path.parent().unwrap_or(&path).to_owned();
    let source = pull::source(&request, &directory, &options)?;
    let image = pull::resolve(&*source, request.pin(), &options).await?;
    let destination = Destination {
        directory,
        name: None,
        staging: Staging::nowhere(),
        recall: None,
    };
    let (rebuilt, summary) =
        pull::pull(&*source, image, supplies, &options, destination, None).await?;
    Ok(Rebuilt {
        existing,
        rebuilt,
        summary,
    })
}

/// Returns options that make the same key, as far as the key contains them.
fn of_key(key: &Key, options: &Options) -> Result<Options, Error> {
    let unrepeatable = |problem: String| Error::Unrepeatable { problem };
    if key.format != FORMAT {
        return Err(unrepeatable(format!(
            "it has format {}, and this program writes format {FORMAT}; use the version that built it",
            key.format
        )));
    }
    let mut options = options.clone();
    options.image = key
        .image_options()
        .ok_or_else(|| unrepeatable(format!("this program has no codec {:?}", key.compressor)))?;
    options.platform = key
        .platform
        .parse::<Platform>()
        .map_err(|error| unrepeatable(format!("its platform is not valid: {error}")))?;
    options.insist_on_platform = true;
    if key.agent.is_none() {
        options.agents = crate::options::Agents::default();
    }
    Ok(options)
}

/// Returns an error unless the host files are those that the artifact was built with.
fn same_files(key: &Key, given: &Digests) -> Result<(), Error> {
    let shown = |digest: &Option<Digest>| match digest {
        Some(digest) => digest.to_string(),
        None => "none".to_owned(),
    };
    let problem = if given.agent != key.agent {
        format!(
            "the agent given is {}, and it was built with {}; name the same file with Options::agents",
            shown(&given.agent),
            shown(&key.agent)
        )
    } else if given.injected != key.injected {
        let list = |injected: &[crate::artifact::Injected]| {
            let files = injected
                .iter()
                .map(|file| format!("{} (mode {:o}, {})", file.path, file.mode, file.digest));
            match files.collect::<Vec<_>>() {
                files if files.is_empty() => "none".to_owned(),
                files => files.join(", "),
            }
        };
        format!(
            "the injected files given are {}, and it was built with {}; name the same files with Options::injections",
            list(&given.injected),
            list(&key.injected)
        )
    } else {
        return Ok(());
    };
    Err(Error::Unrepeatable { problem })
}
