//! What the tests of the pull client share: an image, options of a client in a hurry, a pull.

use std::sync::Arc;
use std::time::Duration;

use ociget::{Anonymous, Client, Error, Options, Source, SourceSpec};
use test_support::image::{Compression, Image, Layer, Store};

/// Options of a client that gives up soon, but not as soon as a busy machine may pause a process, and that has no
/// credentials.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.credentials = Arc::new(Anonymous::default());
    options.retries = 1;
    options.stall_timeout = Duration::from_secs(2);
    options
}

/// Bytes without a pattern in which a mix-up could hide.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Returns a store whose `latest` has one plain layer, with a file of `length` bytes.
pub(crate) fn store(length: usize) -> Store {
    let mut store = Store::new();
    let layer = Layer::new()
        .compressed(Compression::None)
        .file("noise", noise(length));
    let image = Image::new().layer(layer).add_to(&mut store);
    store.tag("latest", &image);
    store
}

pub(crate) fn open(text: &str, options: Options) -> Box<dyn Source> {
    let spec: SourceSpec = text.parse().unwrap();
    spec.open(&Client::new(options).unwrap()).unwrap()
}

/// Resolves for linux/amd64 and reads every layer; gives back how many bytes they have. Every
/// blob ends in its proof.
pub(crate) fn pull(text: &str, options: Options) -> Result<u64, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(pull_from(&*open(text, options)))
}

pub(crate) async fn pull_from(source: &dyn Source) -> Result<u64, Error> {
    let image = ociget::resolve(source, None, &"linux/amd64".parse().unwrap()).await?;
    let mut bytes = 0;
    for layer in &image.layers {
        let mut blob = source.blob(&layer.descriptor).await?;
        while let Some(chunk) = blob.chunk().await? {
            bytes += u64::try_from(chunk.len()).unwrap();
        }
        assert_eq!(blob.received(), layer.descriptor.size);
        assert_eq!(blob.finish().await?.get(), &layer.descriptor.digest);
    }
    Ok(bytes)
}
