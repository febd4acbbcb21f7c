//! The asynchronous end: blobs from the source to whoever asked for them.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt};
use ociget::{BlobStream, Digest, Error, Image, Source, Verified};
use tokio::sync::mpsc;

use super::meter::{Meter, Meters, Spent};
use super::request::Request;
use crate::progress::{Event, ImageLayer, Progress};

/// What the blocking end asks for.
pub(crate) struct Requests {
    pub(super) receiver: mpsc::Receiver<Request>,
    pub(super) meters: Arc<Meters>,
}

/// What became of the blobs.
pub(crate) struct Served {
    /// The proof for each layer, by its index; layers that were never asked for, or not read to
    /// their end, have none.
    pub(crate) proofs: Vec<Option<Verified<Digest>>>,
    /// Blobs that nobody wanted any more before they were at their end, each with its layer.
    unfinished: Vec<(usize, BlobStream)>,
}

impl Served {
    /// For a layer whose bytes made no sense: reads what is left of its blob, to know whether they
    /// are those that were meant.
    ///
    /// # Errors
    /// [`Error::Digest`] and [`Error::Size`]. If the rest cannot be had, nothing more is known.
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

/// Serves the blocking end until it goes away.
pub(crate) async fn serve(
    requests: Requests,
    source: &dyn Source,
    image: &Image,
    progress: &Progress,
) -> Result<Served, Error> {
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
                Some(request) => downloads.push(download(request, source, image, progress, &meters.download)),
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
    /// Nobody wanted it to its end.
    Unfinished(BlobStream),
    /// Nobody wanted any of it.
    Unwanted,
}

/// One layer, from its first byte to its end.
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
            // The reader failed or was cancelled; a silent server must not keep us from noticing.
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
