//! The asynchronous end: blobs from the source to whoever asked for them.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt};
use ociget::{Digest, Image, Source, Verified};
use tokio::sync::mpsc;

use super::Request;
use super::meter::{Meter, Meters, Spent};
use crate::progress::{Event, Progress};

/// What the blocking end asks for.
pub(crate) struct Requests {
    pub(super) receiver: mpsc::Receiver<Request>,
    pub(super) meters: Arc<Meters>,
}

/// Serves the blocking end until it goes away. Returns the proof for each layer, by its index;
/// layers that were never asked for, or not read to their end, have none.
pub(crate) async fn serve(
    requests: Requests,
    source: &dyn Source,
    image: &Image,
    progress: &Progress,
) -> Result<Vec<Option<Verified<Digest>>>, ociget::Error> {
    let Requests {
        mut receiver,
        meters,
    } = requests;
    let mut proofs = vec![None; image.layers.len()];
    let mut downloads = FuturesUnordered::new();
    let mut open = true;
    while open || !downloads.is_empty() {
        tokio::select! {
            request = receiver.recv(), if open => match request {
                Some(request) => downloads.push(download(request, source, image, progress, &meters.download)),
                None => open = false,
            },
            Some(done) = downloads.next(), if !downloads.is_empty() => {
                let (layer, proof) = done?;
                if let Some(place) = proofs.get_mut(layer)
                    && proof.is_some()
                {
                    *place = proof;
                }
            }
        }
    }
    Ok(proofs)
}

/// One layer, from its first byte to its proof; without one if nobody wanted it to its end.
async fn download(
    request: Request,
    source: &dyn Source,
    image: &Image,
    progress: &Progress,
    meter: &Meter,
) -> Result<(usize, Option<Verified<Digest>>), ociget::Error> {
    let Request { layer, chunks } = request;
    let unwanted = Ok((layer, None));
    let Some(descriptor) = image.layers.get(layer).map(|layer| &layer.descriptor) else {
        return unwanted;
    };
    progress.tell(&Event::LayerStarted { layer, descriptor });
    let mut blob = tokio::select! {
        blob = source.blob(descriptor) => blob?,
        () = chunks.closed() => return unwanted,
    };
    loop {
        let asked = Instant::now();
        let chunk = tokio::select! {
            chunk = blob.chunk() => chunk?,
            // The reader failed or was cancelled; a silent server must not keep us from noticing.
            () = chunks.closed() => return unwanted,
        };
        meter.add(Spent::Busy, asked.elapsed());
        let Some(bytes) = chunk else { break };
        meter.bytes(bytes.len());
        progress.tell(&Event::LayerBytes {
            layer,
            bytes: bytes.len() as u64,
        });
        let offered = Instant::now();
        if !chunks.data(bytes).await {
            return unwanted;
        }
        meter.add(Spent::Blocked, offered.elapsed());
    }
    let proof = blob.finish().await?;
    chunks.verified();
    progress.tell(&Event::LayerDone { layer });
    Ok((layer, Some(proof)))
}
