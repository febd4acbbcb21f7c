//! An image in an archive that [`members`] makes, read to its end.

use std::io::Write as _;
use std::path::PathBuf;

use ociget::{Platform, Source};

use crate::members;

/// Most bytes that are read of an image's layers.
const BYTES: u64 = 4 << 20;

/// Returns whether the archive holds an image that could be read to its end. An image that resolves has to be one, and each
/// stream of it has to end in the digest or in an error.
pub(crate) fn check<S: Source>(input: &[u8], open: impl Fn(PathBuf) -> S) -> bool {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&members::archive(input)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let source = open(file.path().to_owned());
    let outcome = runtime.unwrap().block_on(read(&source));
    outcome.is_ok()
}

async fn read(source: &impl Source) -> Result<(), ociget::Error> {
    let platform: Platform = "linux/amd64".parse().unwrap();
    let image = ociget::resolve(source, None, &platform).await?;
    assert_eq!(image.layers.len(), image.config.diff_ids.len());
    assert!(platform.accepts(&image.platform));
    let mut left = BYTES;
    for layer in &image.layers {
        let mut blob = source.blob(&layer.descriptor).await?;
        let mut length = 0;
        while let Some(chunk) = blob.chunk().await? {
            assert!(!chunk.is_empty());
            length += chunk.len() as u64;
            assert!(length <= layer.descriptor.size);
            left = left.saturating_sub(chunk.len() as u64);
            if left == 0 {
                return Ok(());
            }
        }
        let proof = blob.finish().await?;
        assert_eq!(*proof.get(), layer.descriptor.digest);
        assert_eq!(length, layer.descriptor.size);
    }
    Ok(())
}
