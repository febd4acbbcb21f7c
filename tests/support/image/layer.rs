//! One layer: tar entries in the order they are added, and the compression around them.

use std::io::Write;

use flate2::write::GzEncoder;

use super::store::sha256;
use super::{Content, Descriptor, Entry, Flavour, Store};

/// Compression of a layer's tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// One gzip member.
    Gzip,
    /// One zstd frame.
    Zstd,
}

/// A layer under construction. Names are taken as they are given, so that a test can say `../x`.
#[derive(Clone)]
pub struct Layer {
    tar: Vec<u8>,
    end: bool,
    compression: Compression,
    /// Replaces tar and compression as a whole.
    blob: Option<Blob>,
    media_type: Option<String>,
}

/// A layer's blob that is not made from its entries.
#[derive(Clone)]
struct Blob {
    content: Content,
    digest: String,
    diff_id: String,
}

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer {
    /// Returns an empty layer, gzip.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tar: Vec::new(),
            end: true,
            compression: Compression::Gzip,
            blob: None,
            media_type: None,
        }
    }

    /// Returns a layer of a tar that something else wrote, its end blocks included.
    #[must_use]
    pub fn of_tar(tar: impl Into<Vec<u8>>) -> Self {
        Self::new().raw(&tar.into()).without_end()
    }

    /// Returns a layer that is no tar at all, or that was compressed elsewhere.
    #[must_use]
    pub fn of_blob(media_type: &str, blob: impl Into<Vec<u8>>) -> Self {
        let blob = blob.into();
        let digest = sha256(&blob);
        Self::of_content(Content::Memory(blob.into()), digest.clone(), digest)
            .media_type_as(media_type)
    }

    /// Returns a layer whose digests are known already.
    pub(super) fn of_content(content: Content, digest: String, diff_id: String) -> Self {
        Self {
            blob: Some(Blob {
                content,
                digest,
                diff_id,
            }),
            ..Self::new()
        }
    }

    /// Adds an entry.
    #[must_use]
    pub fn entry(self, entry: Entry) -> Self {
        self.raw(&entry.encode())
    }

    /// Adds a directory, 0755 root.
    #[must_use]
    pub fn dir(self, name: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::dir(name))
    }

    /// Adds a regular file, 0644 root.
    #[must_use]
    pub fn file(self, name: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::file(name, body))
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::symlink(name, target))
    }

    /// Adds a hard link to a name of this layer or of an older one.
    #[must_use]
    pub fn hardlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::hardlink(name, target))
    }

    /// Adds the marker that removes `name` of the layers below.
    #[must_use]
    pub fn whiteout(self, name: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        let start = name.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
        let (parent, last) = name.split_at(start);
        self.file([parent, b".wh.", last].concat(), "")
    }

    /// Adds the marker that hides the entries of the layers below in `directory`; an empty name is the root.
    #[must_use]
    pub fn opaque(self, directory: impl AsRef<[u8]>) -> Self {
        let mut name = directory.as_ref().to_vec();
        if !name.is_empty() && !name.ends_with(b"/") {
            name.push(b'/');
        }
        name.extend_from_slice(b".wh..wh..opq");
        self.file(name, "")
    }

    /// Adds bytes directly to the tar stream: headers that no sane tool would write.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.tar.extend_from_slice(bytes);
        self
    }

    /// Leaves out the two zero blocks at the end.
    #[must_use]
    pub fn without_end(mut self) -> Self {
        self.end = false;
        self
    }

    /// Sets the compression of the tar.
    #[must_use]
    pub fn compressed(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets the media type in the manifest, whatever the blob is.
    #[must_use]
    pub fn media_type_as(mut self, media_type: &str) -> Self {
        self.media_type = Some(media_type.into());
        self
    }

    /// Returns the uncompressed tar.
    #[must_use]
    pub fn tar(&self) -> Vec<u8> {
        let mut tar = self.tar.clone();
        if self.end {
            tar.extend_from_slice(&[0; 1024]);
        }
        tar
    }

    /// Returns the blob as a registry holds it.
    ///
    /// # Panics
    /// If it is in a file that can't be read.
    #[must_use]
    pub fn blob(&self) -> Vec<u8> {
        match (&self.blob, self.compression) {
            (Some(blob), _) => blob.content.bytes().expect("what is served can be read"),
            (None, Compression::None) => self.tar(),
            (None, Compression::Gzip) => gzip(&self.tar()),
            (None, Compression::Zstd) => {
                zstd::encode_all(&*self.tar(), 3).expect("a slice is compressed into memory")
            }
        }
    }

    /// Returns the digest of the [`blob`](Self::blob).
    #[must_use]
    pub fn blob_digest(&self) -> String {
        match &self.blob {
            Some(blob) => blob.digest.clone(),
            None => sha256(&self.blob()),
        }
    }

    /// Returns the digest of the uncompressed tar, or of the blob if there is no tar.
    #[must_use]
    pub fn diff_id(&self) -> String {
        match &self.blob {
            Some(blob) => blob.diff_id.clone(),
            None => sha256(&self.tar()),
        }
    }

    /// Puts the blob into a store.
    pub(super) fn add_to(&self, store: &mut Store, flavour: Flavour) -> Descriptor {
        let media_type = self.media_type(flavour);
        match &self.blob {
            Some(blob) => store.insert(&media_type, blob.digest.clone(), blob.content.clone()),
            None => store.add(&media_type, self.blob()),
        }
    }

    fn media_type(&self, flavour: Flavour) -> String {
        let name = match (&self.media_type, flavour, self.compression) {
            (Some(name), ..) => name,
            (None, Flavour::Oci, Compression::None) => "application/vnd.oci.image.layer.v1.tar",
            (None, Flavour::Oci, Compression::Gzip) => {
                "application/vnd.oci.image.layer.v1.tar+gzip"
            }
            (None, _, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (None, Flavour::Docker, Compression::None) => {
                "application/vnd.docker.image.rootfs.diff.tar"
            }
            (None, Flavour::Docker, Compression::Gzip) => {
                "application/vnd.docker.image.rootfs.diff.tar.gzip"
            }
        };
        name.into()
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("a slice is compressed into memory")
}
