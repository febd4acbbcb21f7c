//! How a pull gets an image into the store: an existing artifact is checked first, then the process that gets the lock
//! builds.

use std::path::Path;
use std::sync::Arc;

use ociget::{Digest, Request, Source, SourceSpec};
use tracing::{Instrument as _, Span};

use super::full_reference::lasting;
use super::handle::Store;
use super::last_use;
use super::lock::BuildLock;
use super::name;
use super::note::Note;
use super::note_lock::NoteLock;
use super::offline::{self, Nowhere};
use super::pulled::Pulled;
use super::shared_build::Ask;
use super::tags;
use super::trials::Trials;
use crate::caught;
use crate::error::Error;
use crate::guest::{Memory, Supplies};
use crate::measure::{self, Attempt};
use crate::progress::Event;
use crate::pull::{self, Destination, Failed};
use crate::recall::{Documents, Recording};
use crate::staging::{Staging, Stop};

/// What one attempt at a build came to.
#[derive(Debug)]
enum Attempted {
    Pulled(Box<Pulled>),
    /// Another attempt is to be made, on these terms.
    Again(Terms),
}

/// What an attempt takes from the attempts before it, and may leave.
#[derive(Debug)]
struct Terms {
    /// Whether it copies from artifacts.
    is_reusing: bool,
    /// What earlier attempts found out.
    trials: Trials,
    /// The documents of the image, if an earlier attempt had them. The file that holds them goes with its artifact.
    documents: Option<Documents>,
    /// Whether it leaves something for later builds.
    is_recorded: bool,
}

impl Store {
    /// Makes sure that the artifact of an image is in the store, and returns where it is.
    ///
    /// `image` is a reference (`debian:12`, `ghcr.io/org/name@sha256:…`) or, with a prefix, another source. `expected`
    /// pins it to the digest of a manifest or of an index; a digest in the reference does the same, and two different
    /// ones are a usage error. If the artifact exists with the same key, this returns immediately, without network. A
    /// damaged artifact, or one with another key, is replaced.
    ///
    /// Callers that request the same image at the same time share one build, in a process and across processes. In a
    /// process they share the look at the agent and at injected files as well. A build takes these files as they are
    /// when its turn comes.
    /// Dropping the future leaves the build to the other callers; if there are none, the build stops and leaves nothing
    /// behind but empty files for locks.
    ///
    /// The build runs on threads of the store, which end with it. The future only waits, so any executor may poll it,
    /// and a runtime that rests keeps no other caller waiting. Callbacks are called on those threads.
    ///
    /// # Errors
    /// Returns every [`Error`] that a pull can have. Nothing is published then, and nothing is left behind.
    pub async fn pull_image(
        &self,
        image: &str,
        expected: Option<&Digest>,
    ) -> Result<Pulled, Error> {
        let shown = ociget::printable::redacted(image);
        let span = tracing::info_span!("pull_image", image = shown, digest = tracing::field::Empty);
        let attempt = Attempt::begin();
        let pull = self.pull(image, expected, &span);
        let pulled = pull.instrument(span.clone()).await;
        attempt.end(pulled.as_ref().map(|pulled| pulled.built.is_some()));
        pulled
    }

    /// Pulls in a span that gets the digest as soon as it is known.
    async fn pull(
        &self,
        image: &str,
        expected: Option<&Digest>,
        span: &Span,
    ) -> Result<Pulled, Error> {
        // Two digests that contradict each other are an error whatever the store holds.
        let request = Request::parse(image, expected)?;
        self.options().check()?;
        let pinned = request.pin().cloned();
        if let Some(digest) = &pinned {
            span.record("digest", tracing::field::display(digest));
        }
        let spec = request.spec().clone();
        let ask = Ask {
            text: image.to_owned(),
            request,
        };
        loop {
            let start = || self.clone().obtain(ask.clone()).instrument(span.clone());
            let answer = self.inner.builds.join(ask.clone(), start).await?;
            let pulled = answer.outcome?;
            // A build that began before this call may have seen an artifact that was removed before this call.
            if answer.is_joined && !self.holds(&pulled.digest)? {
                continue;
            }
            if pinned.is_none() {
                span.record("digest", tracing::field::display(&pulled.digest));
            }
            if let Some(summary) = pulled.built.as_ref().filter(|_| answer.is_first) {
                measure::build(summary, &spec);
            }
            return Ok(pulled);
        }
    }

    /// Finds or builds the artifact, and notes the tag, for all callers that wait.
    async fn obtain(self, ask: Ask) -> Result<Pulled, Error> {
        let Ask { text, request } = ask;
        let is_tag = request.pin().is_none();
        let is_offline = self.is_offline(request.spec());
        let (store, image) = (self.clone(), text.clone());
        let stop = Stop::default();
        // Hashing continues after this future is dropped, unless it is stopped.
        let _stop = stop.on_drop();
        let looked = self.look(move || {
            let request = match is_offline {
                true => store.pinned_offline(&image, request)?,
                false => request,
            };
            store.is_made("use the store")?;
            let supplies = store.open_supplies(&stop)?;
            let there = match request.pin() {
                Some(identity) => store.up_to_date(identity, &supplies, false)?,
                None => None,
            };
            if there.is_none() {
                store.check_fs_verity()?;
            }
            Ok((request, there))
        });
        let (request, there) = looked.await?;
        if let Some(there) = there {
            return Ok(there);
        }
        let shown = ociget::printable::redacted(&text);
        let span = tracing::info_span!("build", image = shown, digest = tracing::field::Empty);
        let terms = Terms {
            is_reusing: self.options().store.reuse && can_read_again(request.spec()),
            trials: Trials::default(),
            documents: None,
            is_recorded: true,
        };
        let ask = Ask {
            text: text.clone(),
            request,
        };
        let build = self.clone().build(ask, span.clone(), terms);
        let pulled = build.instrument(span).await;
        let pulled = pulled.map_err(|error| match is_offline {
            true => offline::refused(&text, error, self.options().store.reuse),
            false => error,
        })?;
        if is_tag && !is_offline {
            let (store, digest) = (self.clone(), pulled.digest.clone());
            let noted = self.look(move || {
                store.remember(&text, &digest);
                Ok(())
            });
            noted.await?;
        }
        Ok(pulled)
    }

    /// Builds the requested image, unless another process has done so meanwhile. Copies from the artifacts of the store
    /// as far as possible. If copying fails, builds again without the artifact that failed, and the second time without
    /// any. If the disk has no space for the recall file, builds again without one.
    async fn build(self, ask: Ask, span: Span, mut terms: Terms) -> Result<Pulled, Error> {
        loop {
            // A failed attempt keeps no connection and no file open while the next one runs.
            match self.attempt(ask.clone(), &span, terms).await? {
                Attempted::Pulled(pulled) => return Ok(*pulled),
                Attempted::Again(next) => terms = next,
            }
        }
    }

    async fn attempt(&self, ask: Ask, span: &Span, terms: Terms) -> Result<Attempted, Error> {
        let Terms {
            is_reusing,
            trials,
            documents: had,
            is_recorded,
        } = terms;
        let Ask { text, request } = ask.clone();
        if let SourceSpec::OciArchive { .. }
        | SourceSpec::DockerArchive { .. }
        | SourceSpec::Tar { .. } = request.spec()
        {
            // The archive may be spooled here before anything else needs the directory.
            let store = self.clone();
            blocking(move || store.make()).await?;
        }
        let is_offline = self.is_offline(request.spec());
        let network: Box<dyn Source> = match is_offline {
            true => Box::new(Nowhere),
            false => pull::source(&request, self.directory(), self.options())?,
        };
        let source = Recording::new(&*network);
        self.options().progress.tell(&Event::Resolving {
            image: &ociget::printable::redacted(&text),
            is_remote: matches!(request.spec(), SourceSpec::Registry(_)),
        });
        let stop = Stop::default();
        let _stop = stop.on_drop();
        // Nothing is requested from the registry before it is clear that no other process is requesting it. Without a
        // digest, only the registry knows what to wait for.
        let (mut resolved, mut identity) = match request.pin() {
            Some(identity) => (None, identity.clone()),
            // Resolving the tag to a digest is cheaper than fetching the manifest, and is all that is needed if the
            // artifact exists.
            None => {
                // Host files are opened again for each look, so that pulls that wait hold no descriptors of them.
                drop(self.open_supplies(&stop)?);
                match source.identity().await? {
                    Some(identity) => (None, identity),
                    None => {
                        let image = pull::resolve(&source, None, self.options()).await?;
                        let identity = image.identity.get().clone();
                        (Some(image), identity)
                    }
                }
            }
        };
        // At most twice: the second time, the image is known.
        let (lock, turn, image, kept, seen) = loop {
            span.record("digest", tracing::field::display(&identity));
            let store = self.clone();
            let (digest, looking) = (identity.clone(), stop.clone());
            // Most tags resolve to an existing artifact, for which no lock is needed.
            let there = self.look(move || {
                let supplies = store.open_supplies(&looking)?;
                let there = store.up_to_date(&digest, &supplies, false)?;
                Ok((there, supplies.memory(&Memory::default())))
            });
            let (there, seen) = there.await?;
            if let Some(there) = there {
                // A process that writes into a pipe would be killed if the rest were not read.
                network.finish().await?;
                return Ok(Attempted::Pulled(Box::new(there)));
            }

            let lock = self.lock(&identity).await?;
            let store = self.clone();
            let (digest, looking) = (identity.clone(), stop.clone());
            let there = self.look(move || {
                let supplies = store.open_supplies(&looking)?;
                supplies.adopt(&seen);
                supplies.digests(&Memory::default())?;
                // Leftovers of another user are no reason to fail.
                if let Err(error) = store.sweep() {
                    tracing::debug!(%error, "leftovers stay");
                }
                let there = store.up_to_date(&digest, &supplies, true)?;
                Ok((there, supplies.memory(&Memory::default())))
            });
            let (there, seen) = there.await?;
            if let Some(there) = there {
                network.finish().await?;
                return Ok(Attempted::Pulled(Box::new(there)));
            }
            // Taken after the lock, so that a build that waits for another process does not block a turn.
            let turns = &self.inner.turns;
            let turn = turns
                .take(|ahead| {
                    let digest = &identity;
                    let event = Event::Queued { digest, ahead };
                    self.options().progress.tell(&event);
                })
                .await;
            if let Some(image) = resolved.take() {
                break (lock, turn, image, None, seen);
            }
            let store = self.clone();
            let (digest, had) = (identity.clone(), had.clone());
            let kept = blocking(move || {
                let of_store = || is_reusing.then(|| store.documents(&digest));
                Ok(had.or_else(of_store))
            });
            let kept = kept.await?.unwrap_or_default();
            let kept = kept.source(&self.options().platform);
            let kept = Recording::new(&kept);
            match pull::resolve(&kept, Some(&identity), self.options()).await {
                // Of the documents, those of this image go with the artifact.
                Ok(image) => break (lock, turn, image, Some(kept.into_documents()), seen),
                Err(error) if is_offline => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "the kept documents do not resolve the image")
                }
            }
            // By the digest that was locked, because the tag may resolve to another one by now.
            let image = pull::resolve(&source, Some(&identity), self.options()).await;
            let image = match image {
                // The tag has moved and its old target was deleted, or the host has no requests by digest.
                Err(error) if request.pin().is_none() && is_missing(&error) => {
                    pull::resolve(&source, None, self.options()).await?
                }
                image => image?,
            };
            if image.identity.get() == &identity {
                break (lock, turn, image, None, seen);
            }
            identity = image.identity.get().clone();
            resolved = Some(image);
        };
        let documents = kept.unwrap_or_else(|| source.into_documents());
        let (store, planned) = (self.clone(), image.clone());
        let (mut trials, planning) = (trials, stop.clone());
        let planned = blocking(move || {
            if !is_reusing {
                return Ok((None, trials));
            }
            let plan = store.plan(&planned, &mut trials, is_offline, &planning);
            let plan = plan.map_err(|error| Error::store("read", store.directory(), error))?;
            Ok((plan.map(Arc::new), trials))
        });
        let (plan, mut trials) = planned.await?;
        let (store, digest) = (self.clone(), identity.clone());
        let old = self.look(move || {
            let (directory, trust) = (store.directory(), store.trust());
            // The time of a note without times is that of the artifact, which this build replaces.
            tags::settle(directory, &digest, trust);
            let old = Note::read(directory, &digest, trust).ok();
            Ok(old.map(|old| Note {
                references: Some(tags::times(directory, &digest, &old)),
                ..old
            }))
        });
        let (store, hashing) = (self.clone(), stop.clone());
        let supplies = blocking(move || {
            let supplies = store.open_supplies(&hashing)?;
            supplies.adopt(&seen);
            supplies.digests(&Memory::default())?;
            Ok(supplies)
        });
        let supplies = supplies.await?;
        // The source is no tag of the artifact yet: that of a pinned pull may stand for another one.
        let note = old.await?.map(|old| Note {
            source: Some(lasting(&text)),
            supplies: supplies.memory(&Memory::default()),
            ..old
        });
        let had = documents.clone();
        let destination = Destination {
            directory: self.directory().to_owned(),
            name: Some(name::artifact(&identity).into()),
            staging: Staging::new(self.options().store.min_free, Some(Box::new(lock)))
                .with_files(Arc::clone(&self.inner.files))
                .with_fs_verity(self.options().store.fs_verity),
            recall: is_recorded.then(|| (name::recall(&identity).into(), documents)),
        };
        let supplies = supplies.hashed()?;
        let options = self.options();
        let copied = plan.clone();
        let described = is_offline.then(|| (ask.text.clone(), image.clone()));
        let pulled = pull::pull(&*network, image, supplies, options, destination, copied).await;
        let (record, summary) = match (pulled, plan) {
            (Ok(pulled), plan) => {
                if let Some(plan) = plan {
                    self.exclude_unreadable(&plan, &mut trials);
                }
                pulled
            }
            (
                Err(Failed {
                    error,
                    is_crowded: true,
                }),
                _,
            ) if can_read_again(ask.request.spec()) => {
                tracing::warn!(%error, "the disk is full; the image is built again without a recall file");
                let terms = Terms {
                    is_reusing,
                    trials,
                    documents: Some(had),
                    is_recorded: false,
                };
                return Ok(Attempted::Again(terms));
            }
            (Err(Failed { error, .. }), plan) => {
                let plan = plan.filter(|_| error.is_of_reuse() || is_offline);
                let failed = plan.as_ref().and_then(|plan| plan.failed());
                let mut has_failed = failed.is_some();
                if let Some(failed) = failed {
                    self.lose(&failed, &mut trials);
                }
                if let Some(plan) = &plan {
                    has_failed |= self.exclude_unreadable(plan, &mut trials);
                }
                if has_failed {
                    trials.fail();
                }
                let may_copy = has_failed && trials.may_go_on();
                if let Some((text, image)) = described
                    && is_reusing
                    && !may_copy
                {
                    let plan = plan.as_deref();
                    let error = offline::unavailable(&text, &image, error, plan, &trials);
                    return Err(error);
                }
                if plan.is_none() {
                    return Err(error);
                }
                tracing::warn!(%error, may_copy, "copying from earlier builds failed; the image is built again");
                let terms = Terms {
                    is_reusing: may_copy,
                    trials,
                    documents: Some(had),
                    is_recorded,
                };
                return Ok(Attempted::Again(terms));
            }
        };
        drop(turn);
        self.make_lease_file(&identity);
        // Until now it is the time at which the build began, and other artifacts may have been used since. A `gc` may be
        // running, and the note may have to wait.
        last_use::set(self.directory(), &identity);
        let (store, digest) = (self.clone(), identity.clone());
        let noted = self.look(move || {
            let directory = store.directory();
            let _lock = NoteLock::take(directory, store.trust());
            // Another pull may have added its reference during this build, or moved one.
            let now = Note::read(directory, &digest, store.trust());
            let (Ok(now), Some(note)) = (now, note) else {
                return Ok(());
            };
            let note = match now.references {
                Some(_) => Note {
                    source: note.source,
                    supplies: note.supplies,
                    ..now
                },
                None => note,
            };
            note.write(directory, &digest);
            Ok(())
        });
        noted.await?;
        let path = self.path_for(&identity);
        Ok(Attempted::Pulled(Box::new(Pulled {
            path,
            digest: identity,
            record,
            built: Some(summary),
        })))
    }

    /// Runs short work on files of the store on a thread that may block. Any number of callers get few threads and
    /// descriptors.
    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        // Nothing closes the semaphore.
        let _permit = self.inner.looks.acquire().await.ok();
        blocking(work).await
    }

    fn open_supplies(&self, stop: &Stop) -> Result<Supplies, Error> {
        Supplies::open(self.options(), true, stop)
    }

    /// Waits until no other process or handle builds or removes the artifact.
    async fn lock(&self, identity: &Digest) -> Result<BuildLock, Error> {
        let store = self.clone();
        blocking(move || store.make()).await?;
        let directory = self.directory();
        let busy = || {
            let event = Event::Waiting { digest: identity };
            self.options().progress.tell(&event);
        };
        BuildLock::take(directory, identity, self.trust(), busy)
            .instrument(tracing::debug_span!("lock", digest = %identity))
            .await
            .map_err(|error| Error::store("lock", &directory.join(name::lock(identity)), error))
    }
}

/// Runs `work` on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    caught::blocking(work).await?
}

/// Returns whether a source may be opened a second time, if copying from earlier artifacts fails. Standard input is
/// read only once.
fn can_read_again(spec: &SourceSpec) -> bool {
    match spec {
        SourceSpec::OciArchive { file, .. }
        | SourceSpec::DockerArchive { file, .. }
        | SourceSpec::Tar { file, .. } => file != Path::new("-"),
        _ => true,
    }
}

/// Returns whether a registry does not have what was requested from it.
fn is_missing(error: &Error) -> bool {
    matches!(error.of_source(), Some(ociget::Error::NotFound(_)))
}
