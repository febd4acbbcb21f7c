//! A tar file whose members are read in place, without unpacking it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::error::Error;
use crate::open_archive::{OpenArchive, PlainFiles};
use crate::source::kind;
use crate::source::section::Section;
use crate::source::tar_index::Members;

/// The archive; opened and indexed when it is first needed.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    /// Under which a user names it.
    transport: &'static str,
    opener: Arc<dyn OpenArchive>,
    opened: Arc<OnceCell<(Arc<File>, Members)>>,
}

impl Archive {
    pub(crate) fn new(transport: &'static str, path: PathBuf) -> Self {
        Self {
            path,
            transport,
            opener: Arc::new(PlainFiles),
            opened: Arc::default(),
        }
    }

    pub(crate) fn opened_by(self, opener: Arc<dyn OpenArchive>) -> Self {
        Self { opener, ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, for people.
    pub(crate) fn shown(&self) -> String {
        match self.path == Path::new("-") {
            true => "standard input".to_owned(),
            false => self.path.display().to_string(),
        }
    }

    /// A member by name, as people see it too. `None` if there is none.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Section>, Error> {
        let (file, members) = self.opened.get_or_try_init(|| self.open()).await?;
        let found = members.find(name);
        Ok(found.map(|pieces| Section::of(file, self.path.join(name), pieces)))
    }

    /// A member by name, which has to be there.
    pub(crate) async fn section(&self, name: &str) -> Result<Section, Error> {
        self.find(name).await?.ok_or_else(|| Error::Io {
            path: self.path.join(name),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }

    /// The member `name` that every archive of this kind has. Without it the archive is of another
    /// kind, and the error says which.
    pub(crate) async fn landmark(&self, name: &str) -> Result<Section, Error> {
        if let Some(section) = self.find(name).await? {
            return Ok(section);
        }
        let (_, members) = self.opened.get_or_try_init(|| self.open()).await?;
        let found = kind::of_names(members.names());
        Err(kind::mistaken(self.transport, &self.path, Some(found)))
    }

    async fn open(&self) -> Result<(Arc<File>, Members), Error> {
        let (path, opener) = (self.path.clone(), Arc::clone(&self.opener));
        // Dropped with the future, and the thread notices.
        let wanted = Arc::new(());
        let seen = Arc::downgrade(&wanted);
        let opening = tokio::task::spawn_blocking(move || {
            let wanted = || seen.strong_count() > 0;
            let file = opener.open(&path, &wanted)?;
            let members = Members::read(&file, wanted)?;
            Ok((Arc::new(file), members))
        });
        let source = match opening.await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(error)) => error,
            Err(stopped) => std::io::Error::other(stopped),
        };
        if self.path != Path::new("-") && self.path.is_dir() {
            return Err(kind::mistaken(
                self.transport,
                &self.path,
                kind::of(&self.path),
            ));
        }
        Err(Error::Io {
            path: self.path.clone(),
            source,
        })
    }
}
