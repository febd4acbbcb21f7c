//! Where the asynchronous side ends: blobs go in chunk by chunk, a plain [`Read`] comes out.
//!
//! ```text
//!   Downloads (async, in the caller's task)             Feed (blocking thread)
//!   source.blob() ──chunks──► [ bounded channel ] ──► LayerBody: Read
//!        ▲                                               │
//!        └────────────── "open layer 2" ─────────────────┘
//! ```
//!
//! The end of a body is a message, sent after the blob's size and digest were verified. A channel
//! that closes without it is a broken download, never the end of a layer. Either side may go away
//! at any moment: the other one notices at its next chunk.

use std::io::{self, Read};

use bytes::Bytes;
use ociget::{Digest, Image, Source, Verified};
use tokio::sync::mpsc;

use crate::flatten::LayerSource;
use crate::progress::{Event, Progress};

/// Chunks that wait for the reader. They are what one read of the network gave, some 16 KiB.
const CHUNKS_AHEAD: usize = 64;

/// Makes the two ends of the bridge.
pub(crate) fn feed() -> (Feed, Requests) {
    let (sender, receiver) = mpsc::channel(1);
    (Feed { requests: sender }, Requests(receiver))
}

/// The blocking end: opens layers.
pub(crate) struct Feed {
    requests: mpsc::Sender<Request>,
}

/// What the asynchronous end is asked for.
pub(crate) struct Requests(mpsc::Receiver<Request>);

struct Request {
    layer: usize,
    chunks: mpsc::Sender<Message>,
}

enum Message {
    Data(Bytes),
    /// All of it was sent, and it was what its descriptor promised.
    Verified,
}

impl LayerSource for Feed {
    fn open(&mut self, layer: usize) -> io::Result<Box<dyn Read + '_>> {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let request = Request {
            layer,
            chunks: sender,
        };
        self.requests
            .blocking_send(request)
            .map_err(|_| stopped())?;
        Ok(Box::new(LayerBody {
            chunks: receiver,
            current: Bytes::new(),
            verified: false,
        }))
    }
}

/// The compressed bytes of one layer.
struct LayerBody {
    chunks: mpsc::Receiver<Message>,
    current: Bytes,
    verified: bool,
}

impl Read for LayerBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.verified {
            match self.chunks.blocking_recv() {
                Some(Message::Data(bytes)) => self.current = bytes,
                Some(Message::Verified) => self.verified = true,
                None => return Err(stopped()),
            }
        }
        let length = buffer.len().min(self.current.len());
        let piece = self.current.split_to(length);
        if let Some(place) = buffer.get_mut(..length) {
            place.copy_from_slice(&piece);
        }
        Ok(length)
    }
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the download stopped")
}

/// Serves the blocking end until it goes away. Returns the proof for each layer, by its index;
/// layers that were never asked for, or not read to their end, have none.
pub(crate) async fn serve(
    mut requests: Requests,
    source: &dyn Source,
    image: &Image,
    progress: &Progress,
) -> Result<Vec<Option<Verified<Digest>>>, ociget::Error> {
    let mut proofs = vec![None; image.layers.len()];
    while let Some(request) = requests.0.recv().await {
        let (Some(layer), Some(place)) = (
            image.layers.get(request.layer),
            proofs.get_mut(request.layer),
        ) else {
            continue;
        };
        progress.tell(&Event::LayerStarted {
            layer: request.layer,
            descriptor: &layer.descriptor,
        });
        let mut blob = source.blob(&layer.descriptor).await?;
        let mut wanted = true;
        loop {
            let chunk = tokio::select! {
                chunk = blob.chunk() => chunk?,
                // The reader failed or was cancelled; a silent server must not keep us from
                // noticing.
                () = request.chunks.closed() => {
                    wanted = false;
                    break;
                }
            };
            let Some(bytes) = chunk else { break };
            progress.tell(&Event::LayerBytes {
                layer: request.layer,
                bytes: bytes.len() as u64,
            });
            if request.chunks.send(Message::Data(bytes)).await.is_err() {
                wanted = false;
                break;
            }
        }
        if wanted {
            *place = Some(blob.finish().await?);
            // If the reader is gone meanwhile, its own error says why.
            let _ = request.chunks.send(Message::Verified).await;
            progress.tell(&Event::LayerDone {
                layer: request.layer,
            });
        }
    }
    Ok(proofs)
}
