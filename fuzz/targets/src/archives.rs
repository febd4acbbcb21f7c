//! An image in an archive that [`members`] makes, read to its end: in place, and as it comes.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ociget::{
    ArchiveStream, Client, Digest, OpenArchive, OpenedArchive, Options, Platform, Request, Source,
    Spool, Wanted,
};

use crate::members;

/// Most bytes that are read of an image's layers.
const BYTES: u64 = 4 << 20;

/// Returns whether the archive holds an image that could be read to its end. An image that resolves has to be one, and each
/// stream of it has to end in the digest or in an error.
pub(crate) fn check<S: Source>(input: &[u8], transport: &str, open: impl Fn(PathBuf) -> S) -> bool {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&members::archive(input)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let source = open(file.path().to_owned());
    let in_place = runtime.block_on(read(&source));

    let mut options = Options::default();
    options.archives = Arc::new(Streaming);
    let request = format!("{transport}:{}", file.path().display());
    let request = Request::parse(&request, None).unwrap();
    let source = request.open(&Client::new(options).unwrap()).unwrap();
    let arriving = runtime.block_on(read(&*source));
    // An archive that comes once may be refused where a file is not: a needed name that leads to a blob of no need.
    // The reverse never happens, and neither does another image.
    assert!(arriving.is_err() || in_place.is_ok(), "{in_place:?}");
    if let (Ok(one), Ok(other)) = (&in_place, &arriving) {
        assert_eq!(one, other);
    }
    in_place.is_ok()
}

/// Opens every archive as one that comes once.
#[derive(Debug)]
struct Streaming;

impl OpenArchive for Streaming {
    fn open(&self, path: &Path, _wanted: &Wanted) -> io::Result<OpenedArchive> {
        let spool = Kept(Arc::new(tempfile::tempfile()?));
        let stream = ArchiveStream::new(Box::new(File::open(path)?), Box::new(spool));
        Ok(OpenedArchive::Stream(stream))
    }
}

struct Kept(Arc<File>);

impl Spool for Kept {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn file(&mut self) -> io::Result<Arc<File>> {
        Ok(Arc::clone(&self.0))
    }
}

/// Reads an image to its end, and returns the digests of its manifest, its layers and its config.
async fn read(source: &dyn Source) -> Result<Vec<Digest>, ociget::Error> {
    let platform: Platform = "linux/amd64".parse().unwrap();
    let image = ociget::resolve(source, None, &platform).await?;
    let mut needed: Vec<Digest> = image
        .layers
        .iter()
        .map(|layer| layer.descriptor.digest.clone())
        .collect();
    needed.push(image.config_digest.get().clone());
    let all = [&[image.manifest.get().clone()], &needed[..]].concat();
    // The layer that is read first, if it is read once.
    let first = needed[0].clone();
    let once = needed.iter().filter(|digest| **digest == first).count() == 1;
    source.announce(&needed, once.then_some(&first)).await;
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
                return Ok(all);
            }
        }
        let proof = blob.finish().await?;
        assert_eq!(*proof.get(), layer.descriptor.digest);
        assert_eq!(length, layer.descriptor.size);
    }
    source.finish().await?;
    Ok(all)
}
