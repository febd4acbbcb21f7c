//! A tar file whose members are read without unpacking it: in place, or as they come.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::background;
use crate::error::Error;
use crate::joint::{Drivers, Once};
use crate::open_archive::{OpenArchive, OpenedArchive, PlainFiles, Wanted};
use crate::source::arriving::Arriving;
use crate::source::arriving::plan::Plan;
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
    opened: Arc<Once<Opened>>,
    /// While it is alive, the archive is still needed.
    alive: Arc<()>,
}

/// An archive that can be read.
#[derive(Clone, Debug)]
enum Opened {
    InPlace(Arc<File>, Arc<Members>),
    Arriving(Arc<Arriving>),
}

impl Archive {
    pub(crate) fn new(transport: &'static str, path: PathBuf) -> Self {
        Self {
            path,
            transport,
            opener: Arc::new(PlainFiles),
            opened: Arc::new(Once::new(Drivers::All)),
            alive: Arc::default(),
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
        let path = self.path.join(name);
        match self.opened().await? {
            Opened::InPlace(file, members) => {
                let found = members.find(name);
                Ok(found.map(|pieces| Section::of(file, path, Arc::clone(pieces))))
            }
            Opened::Arriving(archive) => {
                let found = archive.find(name).await;
                let found = found.map_err(|source| self.failed(source))?;
                Ok(found.map(|found| Section::arriving(archive, &self.alive, path, found)))
            }
        }
    }

    /// A member by name, which has to be there.
    pub(crate) async fn section(&self, name: &str) -> Result<Section, Error> {
        if let Some(section) = self.find(name).await? {
            return Ok(section);
        }
        let target = self.target(name).await?;
        let source = match target == name {
            true => io::Error::new(
                io::ErrorKind::NotFound,
                "the archive has no file of this name, and no link that leads to one",
            ),
            false => io::Error::new(
                io::ErrorKind::NotFound,
                format!("it is a link to {target}, which is not a file of the archive"),
            ),
        };
        Err(Error::Io {
            path: self.path.join(name),
            source,
        })
    }

    /// The name that `name` leads to by links, as far as they are known.
    pub(crate) async fn target(&self, name: &str) -> Result<String, Error> {
        Ok(match self.opened().await? {
            Opened::InPlace(_, members) => members.target(name).to_owned(),
            Opened::Arriving(archive) => archive.target(name).await,
        })
    }

    /// The member `name` that every archive of this kind has. Without it the archive is of another
    /// kind, and the error names it.
    pub(crate) async fn landmark(&self, name: &str) -> Result<Section, Error> {
        if let Some(section) = self.find(name).await? {
            return Ok(section);
        }
        let (found, length) = match self.opened().await? {
            Opened::InPlace(file, members) => {
                let metadata = file.metadata().map_err(|source| self.failed(source))?;
                (kind::of_names(members.names()), metadata.len())
            }
            Opened::Arriving(archive) => {
                let names = archive.names().await;
                let found = kind::of_names(names.iter().map(String::as_str));
                (found, archive.length().await)
            }
        };
        if length == 0 {
            return Err(self.failed(kind::empty()));
        }
        Err(kind::mistaken(self.transport, &self.path, Some(found)))
    }

    /// Says which members are needed from now on. An archive that is read in place has them all.
    pub(crate) async fn plan(&self, plan: Plan) {
        if let Some(Opened::Arriving(archive)) = self.opened.get() {
            archive.plan(plan).await;
        }
    }

    /// Reads an archive that comes once to its end, and reports damage in the rest.
    pub(crate) async fn finish(&self) -> Result<(), Error> {
        match self.opened.get() {
            Some(Opened::Arriving(archive)) => {
                let finished = archive.finish().await;
                finished.map_err(|source| self.failed(source))
            }
            Some(Opened::InPlace(..)) | None => Ok(()),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io {
            path: self.path.clone(),
            source,
        }
    }

    async fn opened(&self) -> Result<&Opened, Error> {
        let open = || {
            let archive = self.clone();
            async move { archive.open().await }
        };
        self.opened.get_or_make(open).await
    }

    async fn open(&self) -> Result<Opened, Error> {
        let (path, opener) = (self.path.clone(), Arc::clone(&self.opener));
        // Dropped with the source and the last of its blobs, and the thread notices.
        let seen = Arc::downgrade(&self.alive);
        let wanted: Wanted = Arc::new(move || seen.strong_count() > 0);
        let opening = background::run(move || {
            Ok(match opener.open(&path, &wanted)? {
                OpenedArchive::File(file) => {
                    let members = Members::read(&file, &*wanted)?;
                    Opened::InPlace(Arc::new(file), Arc::new(members))
                }
                OpenedArchive::Stream(stream) => {
                    Opened::Arriving(Arc::new(Arriving::new(stream, wanted)))
                }
            })
        });
        let source = match opening.await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(error)) => error,
            Err(stopped) => stopped,
        };
        if self.path != Path::new("-") && self.path.is_dir() {
            return Err(kind::mistaken(
                self.transport,
                &self.path,
                kind::of(&self.path),
            ));
        }
        Err(self.failed(source))
    }
}
