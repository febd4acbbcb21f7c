//! Layers that pass the bridge, complete or broken.

use std::io::Write;
use std::num::NonZeroUsize;

use bytes::Bytes;
use ociget::{DiffId, Digest};

use super::*;
use crate::flatten::LayerSpec;
use crate::layer::{Budget, Entry, EntryKind, Limits, TarReader};

/// Returns an archive with one file of that name.
fn archive(name: &str, size: usize) -> Vec<u8> {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    header[148..156].fill(b' ');
    header[156] = b'0';
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut bytes = header.to_vec();
    let words = (0u32..).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes());
    bytes.extend(words.take(size));
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    bytes
}

/// Returns zstd data with a window of 2 to the `log` bytes.
fn zstd(bytes: &[u8], log: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(log).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns blobs and what they decompress to, oldest first.
fn image() -> (Vec<Vec<u8>>, Vec<LayerSpec>) {
    let mut blobs = Vec::new();
    let mut specs = Vec::new();
    for layer in 0..7 {
        let tar = archive(&format!("from-{layer}"), 100_000 * layer);
        let blob = match layer % 3 {
            0 => gzip(&tar),
            1 => zstd(&tar, 24),
            _ => tar.clone(),
        };
        specs.push(LayerSpec {
            size: blob.len() as u64,
            diff_id: DiffId(Digest::of(&tar)),
            blob: None,
        });
        blobs.push(blob);
    }
    (blobs, specs)
}

fn read_ahead(layers: usize, bytes: usize) -> ReadAhead {
    ReadAhead::new(NonZeroUsize::new(layers).unwrap(), bytes)
}

/// Sends the requested blobs in pieces. A blob that is `None` never arrives.
async fn send(mut requests: Requests, blobs: Vec<Option<Vec<u8>>>) {
    let mut downloads = tokio::task::JoinSet::new();
    while let Some(Request { layer, chunks }) = requests.receiver.recv().await {
        let blob = blobs[layer].clone();
        downloads.spawn(async move {
            let Some(blob) = blob else {
                return chunks.closed().await;
            };
            for piece in blob.chunks(7001) {
                if !chunks.data(Bytes::copy_from_slice(piece)).await {
                    return;
                }
            }
            chunks.verified();
        });
    }
    downloads.join_all().await;
}

/// Returns the names that were read, newest layer first.
fn names(feed: &mut Feed, specs: &[LayerSpec], layers: &[usize]) -> Result<Vec<String>, Error> {
    let limits = Limits::default();
    let mut budget = Budget::new(limits.clone());
    let mut names = Vec::new();
    for &layer in layers {
        let of_image = Layers {
            specs,
            limits: &limits,
        };
        let mut tar = TarReader::new(feed.open(layer, of_image)?, &mut budget);
        let mut entry = Entry::default();
        while tar.read_entry(&mut entry)? {
            assert!(
                matches!(entry.kind, EntryKind::File { size } if size == 100_000 * layer as u64)
            );
            names.push(String::from_utf8(entry.path.clone()).unwrap());
        }
        let proof = tar.finish()?;
        assert_eq!(*proof.get(), specs[layer].diff_id);
    }
    Ok(names)
}

#[tokio::test]
async fn however_much_is_read_ahead_the_layers_are_the_same() {
    let (blobs, specs) = image();
    // Newest first, and two of them once more.
    let order = [6, 5, 4, 3, 2, 1, 0, 4, 1];
    let expected: Vec<_> = order.iter().map(|n| format!("from-{n}")).collect();
    for (layers, bytes) in [(1, 24 << 20), (3, 24 << 20), (7, 100), (100, 0)] {
        let (mut feed, requests) = feed(read_ahead(layers, bytes), Vec::new(), Stop::default());
        let specs = specs.clone();
        let reader = tokio::task::spawn_blocking(move || names(&mut feed, &specs, &order));
        send(requests, blobs.iter().cloned().map(Some).collect()).await;
        assert_eq!(reader.await.unwrap().unwrap(), expected, "{layers} {bytes}");
    }
}

#[tokio::test]
async fn damage_found_ahead_is_reported_in_its_turn() {
    let (blobs, specs) = image();
    let mut blobs: Vec<_> = blobs.into_iter().map(Some).collect();
    let last = blobs[3].as_mut().unwrap();
    last.truncate(last.len() - 9);
    let (mut feed, requests) = feed(read_ahead(7, 64 << 20), Vec::new(), Stop::default());
    let reader = tokio::task::spawn_blocking(move || {
        names(&mut feed, &specs, &[6, 5, 4]).unwrap();
        names(&mut feed, &specs, &[3])
    });
    send(requests, blobs).await;
    let error = reader.await.unwrap().unwrap_err();
    assert!(
        matches!(error, Error::Compression { codec: "gzip", .. }),
        "{error}"
    );
}

/// The rest of the layers was already fetched and decompressed, and reading it would take long.
#[tokio::test]
async fn stop_ends_reading_whatever_is_read_ahead() {
    let (blobs, specs) = image();
    let stop = Stop::default();
    let guard = stop.on_drop();
    let (mut feed, requests) = feed(read_ahead(7, 64 << 20), Vec::new(), stop);
    let reader = tokio::task::spawn_blocking(move || {
        names(&mut feed, &specs, &[6]).unwrap();
        feed.check().unwrap();
        drop(guard);
        let error = names(&mut feed, &specs, &[5]).unwrap_err();
        assert!(feed.check().is_err());
        error
    });
    send(requests, blobs.into_iter().map(Some).collect()).await;
    let error = reader.await.unwrap();
    assert!(
        matches!(&error, Error::Source(source) if source.to_string().contains("cancelled")),
        "{error}"
    );
}

/// Nothing of this may hang: the reader gives up while one layer waits for a silent server, one for capacity and one
/// for its turn.
#[tokio::test]
async fn a_reader_that_gives_up_ends_every_download_and_thread() {
    let (blobs, specs) = image();
    let mut blobs: Vec<_> = blobs.into_iter().map(Some).collect();
    blobs[5] = None;
    let (mut feed, requests) = feed(read_ahead(6, 6 << 20), Vec::new(), Stop::default());
    let reader = tokio::task::spawn_blocking(move || {
        let names = names(&mut feed, &specs, &[6]);
        drop(feed);
        names
    });
    send(requests, blobs).await;
    assert_eq!(reader.await.unwrap().unwrap(), ["from-6"]);
}

/// For layers that earlier builds know, no blob is fetched until one of them turns out to be needed.
#[tokio::test]
async fn layers_on_demand_are_requested_only_when_they_are_opened() {
    let (blobs, specs) = image();
    let on_demand = [true, true, false, true, false, true, false];
    let (mut feed, requests) = feed(read_ahead(7, 64 << 20), on_demand.to_vec(), Stop::default());
    let reader = tokio::task::spawn_blocking(move || names(&mut feed, &specs, &[6, 4, 3, 2, 0]));
    let Requests {
        mut receiver,
        meters,
    } = requests;
    let (forward, forwarded) = mpsc::channel(1);
    let requested = tokio::spawn(async move {
        let mut requested = Vec::new();
        while let Some(request) = receiver.recv().await {
            requested.push(request.layer);
            forward.send(request).await.unwrap();
        }
        requested
    });
    let requests = Requests {
        receiver: forwarded,
        meters,
    };
    send(requests, blobs.into_iter().map(Some).collect()).await;
    let expected = [6, 4, 3, 2, 0].map(|layer| format!("from-{layer}"));
    assert_eq!(reader.await.unwrap().unwrap(), expected);
    // The first three are requested concurrently, each of the others when its turn comes.
    assert_eq!(requested.await.unwrap(), [6, 4, 2, 3, 0]);
}
