//! A tar file whose members are read in place, without unpacking it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::error::Error;
use crate::regular_file;
use crate::source::section::Section;
use crate::source::tar_index::Members;

/// First bytes of what is a compressed archive.
const COMPRESSED: [(&[u8], &str); 4] = [
    (b"\x1f\x8b", "gunzip"),
    (b"\x28\xb5\x2f\xfd", "unzstd"),
    (b"\xfd7zXZ", "unxz"),
    (b"BZh", "bunzip2"),
];

/// The archive; opened and indexed when it is first needed.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    opened: Arc<OnceCell<(Arc<File>, Members)>>,
}

impl Archive {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            opened: Arc::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A member by name, as people see it too.
    pub(crate) async fn section(&self, name: &str) -> Result<Section, Error> {
        let (file, members) = self.opened.get_or_try_init(|| self.open()).await?;
        let path = self.path.join(name);
        match members.find(name) {
            Some((offset, length)) => Ok(Section {
                file: Arc::clone(file),
                path,
                offset,
                length,
            }),
            None => Err(Error::Io {
                path,
                source: std::io::ErrorKind::NotFound.into(),
            }),
        }
    }

    async fn open(&self) -> Result<(Arc<File>, Members), Error> {
        let path = self.path.clone();
        // Dropped with the future, and the thread notices.
        let wanted = Arc::new(());
        let seen = Arc::downgrade(&wanted);
        let opening = tokio::task::spawn_blocking(move || open(&path, || seen.strong_count() > 0));
        match opening.await {
            Ok(outcome) => outcome,
            Err(stopped) => Err(std::io::Error::other(stopped)),
        }
        .map_err(|source| Error::Io {
            path: self.path.clone(),
            source,
        })
    }
}

fn open(path: &Path, wanted: impl Fn() -> bool) -> std::io::Result<(Arc<File>, Members)> {
    use std::os::unix::fs::FileExt as _;
    // Archives are read in place, not as a stream.
    let (file, _) = regular_file::open(path)?;
    let mut magic = [0; 6];
    let read = file.read_at(&mut magic, 0)?;
    let magic = magic.get(..read).unwrap_or_default();
    if let Some((_, tool)) = COMPRESSED
        .iter()
        .find(|(start, _)| magic.starts_with(start))
    {
        return Err(std::io::Error::other(format!(
            "the archive is compressed; unpack it first, with {tool}"
        )));
    }
    let members = Members::read(&file, wanted)?;
    Ok((Arc::new(file), members))
}
