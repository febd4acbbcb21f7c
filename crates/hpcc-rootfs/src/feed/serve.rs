//! The asynchronous end: blobs from the source to whoever asked for them.

use futures_util::stream::{FuturesUnordered, StreamExt};
use ociget::{Digest, Image, Source, Verified};
use tokio::sync::mpsc;

use super::Request;
use crate::progress::{Event, Progress};

/// What the blocking end asks for.
pub(crate) struct Requests(pub(super) mpsc::Receiver<Request>);

/// Serves the blocking end until it goes away. Returns the proof for each layer, by its index;
/// layers that were never asked for, or not read to their end, have none.
pub(crate) async fn serve(
    mut requests: Requests,
    source: &dyn Source,
    image: &Image,
    progress: &Progress,
) -> Result<Vec<Option<Verified<Digest>>>, ociget::Error> {
    let mut proofs = vec![None; image.layers.len()];
    let mut downloads = FuturesUnordered::new();
    let mut open = true;
    while open || !downloads.is_empty() {
        tokio::select! {
            request = requests.0.recv(), if open => match request {
                Some(request) => downloads.push(download(request, source, image, progress)),
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
        let chunk = tokio::select! {
            chunk = blob.chunk() => chunk?,
            // The reader failed or was cancelled; a silent server must not keep us from noticing.
            () = chunks.closed() => return unwanted,
        };
        let Some(bytes) = chunk else { break };
        progress.tell(&Event::LayerBytes {
            layer,
            bytes: bytes.len() as u64,
        });
        if !chunks.data(bytes).await {
            return unwanted;
        }
    }
    let proof = blob.finish().await?;
    chunks.verified();
    progress.tell(&Event::LayerDone { layer });
    Ok((layer, Some(proof)))
}
