//! The asynchronous end, which sends blobs from the source to the threads that requested them.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::TryFutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt};
use ociget::{BlobStream, Digest, Error, Image, Source, Verified};
use tokio::sync::mpsc;

use super::meter::{Meter, Meters, Spent};
use super::request::Request;
use crate::progress::{Event, ImageLayer, Progress};

/// The requests of the blocking end.
pub(crate) struct Requests {
    pub(super) receiver: mpsc::Receiver<Request>,
    pub(super) meters: Arc<Meters>,
}

/// The outcome of the downloads.
pub(crate) struct Served {
    /// The proof for each layer, by its index. Layers that were never requested, or not read to their end, have none.
    pub(crate) proofs: Vec<Option<Verified<Digest>>>,
    /// Blobs that were dropped before their end, each with its layer.
    unfinished: Vec<(usize, BlobStream)>,
}

impl Served {
    /// Reads the rest of the blob of a layer that could not be decoded, to find out whether the blob matches its
    /// digest.
    ///
    /// # Errors
    /// Returns [`Error::Digest`] and [`Error::Size`]. If the rest cannot be read, the result is `Ok`, because nothing
    /// more is known.
    pub(crate) async fn check_copy(self, layer: usize) -> Result<(), Error> {
        let mut unfinished = self.unfinished.into_iter();
        let Some((_, blob)) = unfinished.find(|(of, _)| *of == layer) else {
            return Ok(());
        };
        match blob.finish().await {
            Err(error @ (Error::Digest { .. } | Error::Size { .. })) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Serves the blocking end until it is dropped.
///
/// # Errors
/// Returns the index of the layer whose blob could not be read, and why.
pub(crate) async fn serve(
    requests: Requests,
    source: &dyn Source,
    image: &Image,
    progress: &Progress,
) -> Result<Served, (usize, Error)> {
    let Requests {
        mut receiver,
        meters,
    } = requests;
    let mut proofs = vec![None; image.layers.len()];
    let mut unfinished = Vec::new();
    let mut downloads = FuturesUnordered::new();
    let mut open = true;
    while open || !downloads.is_empty() {
        tokio::select! {
            request = receiver.recv(), if open => match request {
                Some(request) => {
                    let layer = request.layer;
                    let download = download(request, source, image, progress, &meters.download);
                    downloads.push(download.map_err(move |error| (layer, error)));
                }
                None => open = false,
            },
            Some(done) = downloads.next(), if !downloads.is_empty() => {
                let (layer, end) = done?;
                match end {
                    End::Verified(proof) => {
                        if let Some(place) = proofs.get_mut(layer) {
                            *place = Some(proof);
                        }
                    }
                    End::Unfinished(blob) => unfinished.push((layer, blob)),
                    End::Unwanted => {}
                }
            }
        }
    }
    Ok(Served { proofs, unfinished })
}

/// How a download ended that did not fail.
enum End {
    Verified(Verified<Digest>),
    /// The reader stopped before the end.
    Unfinished(BlobStream),
    /// The reader needed none of it.
    Unwanted,
}

/// Downloads one layer, from its first byte to its end.
async fn download(
    request: Request,
    source: &dyn Source,
    image: &Image,
    progress: &Progress,
    meter: &Meter,
) -> Result<(usize, End), Error> {
    let Request { layer, chunks } = request;
    let unwanted = Ok((layer, End::Unwanted));
    let Some(named) = ImageLayer::of(image, layer) else {
        return unwanted;
    };
    progress.tell(&Event::LayerStarted { layer: named });
    let mut blob = tokio::select! {
        blob = source.blob(named.descriptor) => blob?,
        () = chunks.closed() => return unwanted,
    };
    loop {
        let asked = Instant::now();
        let chunk = tokio::select! {
            chunk = blob.chunk() => chunk?,
            // The reader failed or was cancelled, which a silent server must not hide.
            () = chunks.closed() => return Ok((layer, End::Unfinished(blob))),
        };
        meter.add(Spent::Busy, asked.elapsed());
        let Some(bytes) = chunk else { break };
        meter.bytes(bytes.len());
        progress.tell(&Event::LayerBytes {
            layer: named,
            bytes: bytes.len() as u64,
        });
        let offered = Instant::now();
        let mut offer = std::pin::pin!(chunks.data(bytes));
        let is_wanted = tokio::select! {
            biased;
            is_wanted = &mut offer => is_wanted,
            () = std::future::ready(()) => {
                progress.tell(&Event::LayerHeld { layer: named });
                let is_wanted = offer.await;
                progress.tell(&Event::LayerResumed { layer: named });
                is_wanted
            }
        };
        if !is_wanted {
            return Ok((layer, End::Unfinished(blob)));
        }
        meter.add(Spent::Blocked, offered.elapsed());
    }
    let proof = blob.finish().await?;
    chunks.verified();
    progress.tell(&Event::LayerDone { layer: named });
    Ok((layer, End::Verified(proof)))
}
