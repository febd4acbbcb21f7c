//! The pipeline: a resolved image in, a published artifact out.
//!
//! ```text
//!   blobs ──feed──► decompress ──► tar entries ──► bodies ──► data blocks ──┐
//!   (async)         (blocking thread from here on)   └─► change lists       ├──► artifact file
//!                                                          └─► tree ──► tables ──┘
//! ```

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ociget::{Client, Digest, Image, Request, Source, Verified};
use sqfs_writer::DataWriter;

use crate::artifact::{self, ArtifactWriter, Key, MountPoint, Record, SealedArtifact};
use crate::caught::blocking;
use crate::error::Error;
use crate::feed::{self, Feed, Meters, ReadAhead};
use crate::flatten::{self, KnownLayer, LayerName, LayerSource, LayerSpec, Layers, Proof};
use crate::guest::{self, Furnished, HashedSupplies, Supplies};
use crate::layer::{self, Stream};
use crate::options::Options;
use crate::panics;
use crate::progress::{Event, ImageLayer, Progress};
use crate::recall::{Documents, Plan, Recorder, Spool};
use crate::spool::ArchiveSpool;
use crate::staging::{Spare, StagedFile, Staging, Stop};
use crate::summary::{Reuse, Summary};
use crate::timings::{Stage, Timings};

/// The directory and the name of an artifact.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) directory: PathBuf,
    /// Name of the artifact; `None` if only its record is wanted.
    pub(crate) name: Option<OsString>,
    /// How the file is staged.
    pub(crate) staging: Staging,
    /// The recall file that is left for later builds: its name and the documents in it.
    pub(crate) recall: Option<(OsString, Documents)>,
}

/// Why a pull failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// Whether the disk was full when the artifact was published, while a file for later builds took space on it.
    pub(crate) is_crowded: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error,
            is_crowded: false,
        }
    }
}

impl From<ociget::Error> for Failed {
    fn from(error: ociget::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// What is done with an image, apart from its source.
#[derive(Debug)]
struct Recipe {
    key: Key,
    supplies: HashedSupplies,
    writer: sqfs_writer::Options,
    mount_points: Vec<MountPoint>,
    flatten: flatten::Options,
    progress: Progress,
}

/// Opens and hashes the host files, in a thread that may block. Without a configured agent, the result has none.
pub(crate) async fn supplies(options: &Options) -> Result<HashedSupplies, Error> {
    let (options, stop) = (options.clone(), Stop::default());
    // Hashing continues after this future is dropped, unless it is stopped.
    let _stop = stop.on_drop();
    blocking(move || Supplies::open(&options, false, &stop)?.hashed()).await?
}

/// Opens the source of a request, pinned as the request is. Nothing is requested from it yet. An archive that cannot be
/// read in place is spooled to `directory`, unless the options name another.
pub(crate) fn source(
    request: &Request,
    directory: &Path,
    options: &Options,
) -> Result<Box<dyn Source>, Error> {
    let mut network = options.network.clone();
    let progress = network.progress.clone();
    network.progress = ociget::Progress::new(move |event| panics::call(|| progress.tell(event)));
    network.credentials = Arc::new(panics::Guarded(network.credentials));
    let spool = ArchiveSpool::new(&options.spool, directory, options.limits.zstd_window);
    network.archives = Arc::new(spool);
    // Its digest is computed before its only layer is read.
    let limits = &options.limits;
    network.max_tar = limits.layer_bytes.min(limits.unpacked_bytes);
    Ok(request.open(&Client::new(network)?)?)
}

/// Opens and hashes the host files, and drops them.
pub(crate) fn check_supplies(options: &Options) -> Result<(), Error> {
    Supplies::open(options, false, &Stop::default())?
        .hashed()
        .map(drop)
}

/// Resolves an image for the platform, and verifies it down to manifest and config.
pub(crate) async fn resolve(
    source: &dyn Source,
    expected: Option<&Digest>,
    options: &Options,
) -> Result<Image, Error> {
    let platform = &options.platform;
    let image = match options.insist_on_platform {
        true => ociget::resolve_insisting(source, expected, platform).await?,
        false => ociget::resolve(source, expected, platform).await?,
    };
    if image.platform.os() != "linux" {
        return Err(Error::NotLinux {
            os: image.platform.os().to_owned(),
            image: image.manifest.into_inner(),
        });
    }
    options.progress.tell(&Event::Resolved { image: &image });
    Ok(image)
}

/// Pulls, verifies and flattens an image, adds the guest files, and publishes the artifact.
pub(crate) async fn pull(
    source: &dyn Source,
    image: Image,
    supplies: HashedSupplies,
    options: &Options,
    destination: Destination,
    plan: Option<Arc<Plan>>,
) -> Result<(Record, Summary), Failed> {
    let started = Instant::now();
    let recipe = Recipe::new(&image, supplies, options);
    let Destination {
        directory,
        name,
        staging,
        recall,
    } = destination;
    // The threads below continue after this future is dropped, so they are stopped.
    let stop = staging.stop.clone();
    let _stop = stop.on_drop();
    let (recall_name, documents) = recall.unzip();
    let written_down = documents.and_then(|documents| {
        // Without it later builds take longer, which is no reason not to build.
        let staging = Staging::new(options.store.min_free, None)
            .with_files(Arc::clone(&staging.files))
            .with_stop(stop.clone());
        match StagedFile::create(&directory, staging) {
            Ok(staged) => Some((Spare::new(staged), documents)),
            Err(error) => {
                tracing::info!(%error, "the build leaves no recall file for later ones");
                None
            }
        }
    });
    // The recall file for later builds is dropped if the artifact needs its disk space.
    let spare = written_down.as_ref().map(|(file, _)| file.clone());
    let staged = StagedFile::create(&directory, staging.with_spare(spare))
        .map_err(|error| Error::store("write to", &directory, error))?;
    let opened = number(&directory);
    let spool = written_down.map(|(file, documents)| {
        let spool = Spool::new(file, &image, &options.limits, &options.image);
        (spool, documents)
    });

    let read_ahead = ReadAhead::new(options.parallel_layers, options.read_ahead);
    let known = |layer| {
        plan.as_ref()
            .is_some_and(|plan: &Arc<Plan>| plan.knows(layer))
    };
    let on_demand: Vec<bool> = (0..image.layers.len()).map(known).collect();
    announce(source, &image, &on_demand).await;
    let (feed, requests) = feed::feed(read_ahead, on_demand, stop.clone());
    let meters = feed.meters();
    let assembly = blocking({
        let image = image.clone();
        let layers = Recalling {
            feed,
            plan: plan.clone(),
        };
        move || assemble(&image, recipe, layers, staged, spool, stop)
    });
    let downloads = feed::serve(requests, source, &image, &options.progress);
    let (served, assembled) = tokio::join!(downloads, assembly);
    // A broken download also fails the assembly; the error of the download has the cause.
    let of_layer = |layer, error| match image.layers.get(layer) {
        Some(of) => Error::of_layer(LayerName::new(layer, &layer_spec(of)), error),
        None => Error::from(error),
    };
    let served = served.map_err(|(layer, error)| of_layer(layer, error))?;
    let assembled = match assembled? {
        Ok(assembled) => assembled,
        Err(error) => {
            // Report a damaged copy as such, whether the download or the reader fails first.
            if let Some(layer) = error.layer_without_sense() {
                let checked = served.check_copy(layer).await;
                checked.map_err(|error| of_layer(layer, error))?;
            }
            return Err(error.of_sink(&directory).into());
        }
    };

    source.finish().await?;
    let fetched = &assembled.summary.flattened.layers_read_again;
    let proofs = assembled.proofs.iter().enumerate();
    let reused = proofs
        .filter(|(layer, proof)| matches!(proof, Proof::Remembered(_)) && !fetched.contains(layer));
    let reused = reused.count();
    let proofs = Proofs::collect(&image, served.proofs, assembled.proofs)?;
    let mut summary = assembled.summary;
    if let Some(plan) = plan {
        summary.reuse = Reuse {
            layers: reused,
            bytes: plan.copied(),
            sources: plan.sources(),
        };
    }
    let progress = options.progress.clone();
    let record = blocking(move || {
        let publishing = Instant::now();
        let Some(name) = name else {
            let record = assembled.artifact.record().clone();
            return Ok((record, publishing.elapsed()));
        };
        let image = image.identity.get();
        progress.tell(&Event::Syncing { image });
        let durable = || progress.tell(&Event::Publishing { image });
        let published = assembled.artifact.publish(&name, &proofs, durable);
        let record = published.map_err(|error| {
            let at = match error.kind() {
                io::ErrorKind::IsADirectory => directory.join(&name),
                _ => directory.clone(),
            };
            let error = Error::store("publish to", &at, error);
            // What was not written when it was synced cannot be written again by another sync.
            let is_full = matches!(error, Error::NoSpace { .. });
            Failed {
                is_crowded: is_full && assembled.recall.is_some(),
                error,
            }
        })?;
        let is_elsewhere = number(&directory) != opened;
        if is_elsewhere && is_gone(&directory.join(&name)) {
            let problem =
                "the directory was renamed or removed meanwhile, and the file with it; try again";
            return Err(Error::store("publish to", &directory, io::Error::other(problem)).into());
        }
        if let (Some(recall), Some(name)) = (assembled.recall, recall_name)
            && let Err(error) = recall.publish_carelessly(&name)
        {
            tracing::debug!(%error, "nothing is left for later builds");
        }
        Ok::<_, Failed>((record, publishing.elapsed()))
    });
    let (record, publishing) = record.await??;
    summary.timings = timings(&meters, &summary.image, publishing, started.elapsed());
    Ok((record, summary))
}

/// Returns the device and the inode of a directory.
fn number(directory: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(directory).ok()?;
    Some((found.dev(), found.ino()))
}

fn is_gone(path: &Path) -> bool {
    let found = fs::symlink_metadata(path);
    found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Announces to a source which blobs will be opened. The newest layer hides none of its own bodies, so it is never read
/// again, and the reader begins with it unless an earlier build recorded it.
async fn announce(source: &dyn Source, image: &Image, on_demand: &[bool]) {
    let digests = image.layers.iter().map(|layer| &layer.descriptor.digest);
    let mut needed: Vec<Digest> = digests.cloned().collect();
    let newest = needed
        .split_last()
        .filter(|(newest, others)| !others.contains(newest));
    let once = newest.map(|(newest, _)| newest.clone());
    let once = once.filter(|_| on_demand.last() == Some(&false));
    needed.push(image.config_digest.get().clone());
    source.announce(&needed, once.as_ref()).await;
}

/// Combines the times of the feed and of the writer.
fn timings(
    meters: &Meters,
    image: &sqfs_writer::Summary,
    publishing: Duration,
    total: Duration,
) -> Timings {
    let inflate = meters.inflate();
    let times = image.times;
    let starved = meters.reader_starved();
    Timings {
        download: meters.download(),
        inflate,
        read: Stage {
            bytes: inflate.bytes,
            // All time of the calling thread except sleeping, writing and compressing; it also slept while it waited
            // for layers.
            busy: (times.input + times.tables).saturating_sub(starved),
            starved,
            blocked: times.waiting,
        },
        compress: Stage {
            bytes: image.body_bytes,
            busy: times.compressing.busy,
            starved: times.compressing.waiting,
            blocked: Duration::ZERO,
        },
        write: Stage {
            bytes: image.image_bytes,
            busy: times.writing,
            ..Stage::default()
        },
        publish: Stage {
            bytes: image.image_bytes,
            busy: publishing,
            ..Stage::default()
        },
        total,
    }
}

impl Recipe {
    fn new(image: &Image, supplies: HashedSupplies, options: &Options) -> Self {
        Self {
            key: Key::new(
                image.identity.get().clone(),
                image.manifest.get().clone(),
                options.platform.to_string(),
                supplies.digests(),
                &options.image,
            ),
            supplies,
            writer: options.image.writer(options.threads),
            mount_points: options.image.mount_points.clone(),
            flatten: flatten::Options {
                limits: options.limits.clone(),
                time: options.image.time,
            },
            progress: options.progress.clone(),
        }
    }
}

/// A complete file without a name, and the proofs of its inputs.
struct Assembled {
    artifact: SealedArtifact,
    /// The recall file for later builds, complete and without a name.
    recall: Option<StagedFile>,
    proofs: Vec<Proof>,
    summary: Summary,
}

/// Assembles the artifact synchronously, in the order in which its parts reach the disk.
fn assemble(
    image: &Image,
    mut recipe: Recipe,
    mut source: Recalling,
    staged: StagedFile,
    spool: Option<(Spool, Documents)>,
    stop: Stop,
) -> Result<Assembled, Error> {
    let artifact = ArtifactWriter::new(staged, recipe.key).map_err(sqfs_writer::Error::Sink)?;
    let mut data = DataWriter::new(artifact, &recipe.writer)?;
    data.cancel_when(move || stop.is_requested());
    if let Some(plan) = &source.plan {
        let copies = plan.copies().map_err(sqfs_writer::Error::Source)?;
        data.replay_from(copies);
    }
    let (mut spool, documents) = spool.unzip();
    if spool.is_some() {
        data.keep_places();
    }
    let layers: Vec<_> = image.layers.iter().map(layer_spec).collect();
    let reading = Instant::now();
    let taken = |layer| {
        if let Some(layer) = ImageLayer::of(image, layer) {
            recipe.progress.tell(&Event::LayerReused { layer });
        }
    };
    let mut recorder = Recorder::new(&mut data, &mut spool, layers.len(), &taken);
    let flattened = flatten::flatten(&layers, &mut source, &mut recorder, &recipe.flatten)?;
    let reading = reading.elapsed();

    let identity = image.identity.get();
    recipe.progress.tell(&Event::Sealing { image: identity });
    let sealing = Instant::now();
    let mut tree = flattened.tree;
    let Furnished {
        replaced,
        made,
        agent,
    } = guest::furnish(
        &mut tree,
        &mut data,
        image,
        &mut recipe.supplies,
        &recipe.mount_points,
        &recipe.flatten,
    )?;
    let sealed = data.finish(&tree)?;
    let artifact = sealed
        .sink
        .seal(sealed.superblock)
        .map_err(sqfs_writer::Error::Sink)?;
    let agent_problem =
        agent.and_then(|agent| agent.problem(image.platform.architecture(), artifact.image()));
    let recall = match (spool, sealed.places, documents) {
        (Some(spool), Some(places), Some(documents)) => {
            let record = artifact.record();
            spool.seal(&places, record.root(), record.image_length, &documents)
        }
        _ => None,
    };
    Ok(Assembled {
        artifact,
        recall,
        proofs: flattened.proofs,
        summary: Summary {
            replaced_mount_points: replaced,
            made_mount_points: made,
            mistyped_members: image.config.mistyped.clone(),
            agent_problem,
            flattened: flattened.report,
            image: sealed.summary,
            reading,
            sealing: sealing.elapsed(),
            ..Summary::default()
        },
    })
}

/// Layers from the network, and layers that earlier builds recorded.
struct Recalling {
    feed: Feed,
    plan: Option<Arc<Plan>>,
}

impl LayerSource for Recalling {
    fn open(&mut self, layer: usize, layers: Layers<'_>) -> Result<Stream<'_>, layer::Error> {
        self.feed.open(layer, layers)
    }

    fn known(&mut self, layer: usize, choice: usize) -> Option<Box<dyn KnownLayer>> {
        self.plan.as_ref()?.known(layer, choice)
    }

    fn check(&self) -> Result<(), layer::Error> {
        self.feed.check()
    }
}

fn layer_spec(layer: &ociget::Layer) -> LayerSpec {
    LayerSpec {
        size: layer.descriptor.size,
        diff_id: layer.diff_id.clone(),
        blob: Some(layer.descriptor.digest.clone()),
    }
}

/// Everything that must hold for the bytes that an artifact was made from: the manifest is verified, and so are the
/// blob of each layer and the tar in it, by this build or by an earlier one that recorded them.
///
/// Publishing takes it as an argument, so that nothing can be published without it.
#[derive(Debug)]
pub(crate) struct Proofs {
    _layers: Vec<(Option<Verified<Digest>>, Proof)>,
}

impl artifact::Proofs for Proofs {}

impl Proofs {
    fn collect(
        image: &Image,
        blobs: Vec<Option<Verified<Digest>>>,
        proofs: Vec<Proof>,
    ) -> Result<Self, Error> {
        let proved = |(layer, (blob, proof)): (&ociget::Layer, &(Option<Verified<_>>, Proof))| {
            let (digest, diff_id) = (&layer.descriptor.digest, &layer.diff_id);
            match proof {
                Proof::Read(read) => {
                    let blob = blob.as_ref();
                    blob.is_some_and(|blob| blob.get() == digest) && read.get() == diff_id
                }
                Proof::Remembered(proof) => proof.blob == *digest && proof.diff_id == *diff_id,
            }
        };
        let count = image.layers.len();
        let complete = blobs.len() == count && proofs.len() == count;
        let layers: Vec<_> = blobs.into_iter().zip(proofs).collect();
        if complete && image.layers.iter().zip(&layers).all(proved) {
            return Ok(Self { _layers: layers });
        }
        Err(Error::Unproved)
    }
}
